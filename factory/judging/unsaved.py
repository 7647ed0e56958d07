"""Metrics of samples that are judged while they are drawn, until their part can be saved.

Samples are judged in one order and sealed in another. A part is saved when it is sealed and all its
samples are measured. Its file is read once, when it is sealed. After that the work is that of the
samples that come, however many parts wait.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import polars as pl

from factory.judging.metrics import inputs_key, sample_key, save_metrics
from filters.base import Filter

BASE = ("sample_id", "domain", "source", "language")
"""What the key of a part's inputs is made of."""


class Measured(NamedTuple):
    """Metrics of some samples by filter."""

    base: pl.DataFrame
    metrics: Mapping[str, pl.DataFrame]

    def keep(self, names: Collection[str]) -> Measured:
        """Return the rows of these samples."""
        if len(names) == self.base.height:
            return self
        chosen = pl.col("sample_id").is_in(list(names))
        frames = {name: frame.filter(chosen) for name, frame in self.metrics.items()}
        return Measured(self.base.filter(chosen), frames)


@dataclass
class _Part:
    """A sealed part that is not saved."""

    lacks: int
    """Samples that are not measured yet."""
    pieces: list[Measured] = field(default_factory=list)


class UnsavedMetrics:
    """Metrics that are not saved yet, and the sealed parts that wait for more of them."""

    def __init__(self, run: Path, filters: Mapping[str, Filter]) -> None:
        self._run, self._filters = run, filters
        self._loose: list[Measured] = []  # of samples that no sealed part has yet
        self._parts: dict[str, _Part] = {}
        self._part_of: dict[str, str] = {}  # samples of sealed parts that are to come
        self._skipped: set[str] = set()

    def add(self, measured: Measured) -> None:
        """Take the metrics of some samples. Those of a part that was given up are left out."""
        names = defaultdict[str | None, list[str]](list)
        for name in measured.base["sample_id"]:
            names[self._part_of.pop(name, None)].append(name)
        for part, own in names.items():
            if part is None:
                self._loose.append(measured.keep(own))
            elif part in self._parts:
                self._parts[part].pieces.append(measured.keep(own))
                self._parts[part].lacks -= len(own)

    def skip(self, names: Iterable[str]) -> None:
        """Note samples that are judged after sampling. Nothing of a part that has one is saved."""
        for name in names:
            part = self._part_of.pop(name, None)
            if part is None:
                self._skipped.add(name)
            else:
                self._parts.pop(part, None)

    def seal(self, part: str) -> None:
        """Note that a part is durable: its metrics can be saved once all are there."""
        file = self._run / "samples" / f"{part}.parquet"
        keys = pl.read_parquet(file, columns=["prompt_id", "index"])
        all_of_it = set(keys.select(sample_key()).to_series())
        to_come, pieces, loose = set(all_of_it), [], []
        for some in self._loose:
            names = some.base["sample_id"].to_list()
            if own := [name for name in names if name in to_come]:
                pieces.append(some.keep(own))
                to_come.difference_update(own)
            if others := [name for name in names if name not in all_of_it]:
                loose.append(some.keep(others))
        self._loose = loose
        skipped = self._skipped & all_of_it
        self._skipped -= skipped
        self._part_of |= dict.fromkeys(to_come - skipped, part)
        if not skipped:
            self._parts[part] = _Part(len(to_come), pieces)

    def give_up(self) -> None:
        """Leave the sealed parts to the judging after sampling."""
        self._parts.clear()

    def save(self) -> None:
        """Save the metrics of every sealed part whose samples are all measured.

        Raises StorageError for a disk that takes nothing more.
        """
        for part in [name for name, one in self._parts.items() if not one.lacks]:
            pieces = self._parts.pop(part).pieces
            inputs = inputs_key(pl.concat([one.base for one in pieces]))
            for name, filter_ in self._filters.items():
                own = pl.concat([one.metrics[name] for one in pieces], how="vertical_relaxed")
                save_metrics(self._run, name, filter_, part, own, inputs)
