"""Prefixes of a run's samples, each a prompt whose samples continue it.

Math-Shepherd (arXiv 2312.08935, §3.3) labels a step by how often its continuations reach the right
answer. So the pass rates of such a run are the labels of steps: factory.prompts.steps.labels.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field

from factory.core.checksums import refuse_damaged
from factory.core.errors import SourceError
from factory.core.nouns import Continues, Prompt, sample_id
from factory.core.run_dir import sample_parts
from factory.prompts.from_run import EarlierRun
from factory.prompts.source import BadRow, Row, Source
from filters.reasoning_steps import StepRule, cut_response

if TYPE_CHECKING:
    import polars as pl

PREFIX = "prefix"
"""Key in a prompt's meta: {"samples": ids of all samples that begin so, "whole": [{"sample_id",
"rest", "correct"}] of those that have no longer prefix}."""

VERDICT = "correctness_verdict"


class _Text(NamedTuple):
    """A sample that was judged."""

    sample_id: str
    text: str
    correct: bool


class Prefixes(Source):
    """The samples of a run, cut into steps: every start of a response is a prompt to go on from.

    Accepted and rejected samples by the run's `correctness` filter; undecided ones have no label
    and are left out. Samples with the same start share its prompt.
    """

    kind: Literal["prefixes"] = "prefixes"
    path: str = Field(description="Directory of a run with a `correctness` filter.")
    rule: StepRule = Field(
        "auto",
        description="Where a step ends: `lines`, `paragraphs`, `sentences`, `numbered`, "
        "`equations`, or `auto`, the first rule that finds two steps.",
    )
    max_steps: int = Field(
        32,
        ge=2,
        description="Maximum number of steps per sample; neighbouring steps of a longer one are "
        "joined evenly.",
    )
    samples: int | None = Field(
        None,
        ge=1,
        description="Maximum number of samples per prompt, right and wrong ones in turn. Default: "
        "all.",
    )

    def local_paths(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def label(self) -> str:
        return self.name or Path(self.path).name or self.kind

    def identity(self) -> Any:
        parts = [*sample_parts(Path(self.path)), *self._verdicts()]
        return [super().identity(), [(part.name, part.stat().st_size) for part in parts]]

    def read(self) -> Iterator[tuple[str, Row | BadRow]]:
        keys = {name: getattr(self, name) for name in ("domain", "language", "license")}
        run = EarlierRun(path=self.path, name=self.label, **keys)
        texts = self._read_texts()
        for place, row in run.read():
            if isinstance(row, BadRow):
                yield place, row
                continue
            base = run.prompt(row)
            own = texts.get(base.id, [])
            for found in self._list_prefixes(_alternate(own)[: self.samples]):
                yield f"{place} {found['parent']}", {"base": base, **found}

    def prompt(self, row: Row) -> Prompt:
        text = row["text"]
        start = Continues(parent=row["parent"], cut=len(text), text=text)
        base: Prompt = row["base"]
        meta = {**base.meta, PREFIX: row["meta"]}
        return dataclasses.replace(base, continues=start, meta=meta, id="")

    def _list_prefixes(self, samples: Sequence[_Text]) -> Iterator[dict[str, Any]]:
        """Yield the distinct prefixes of a prompt's samples, in their order."""
        found: dict[str, dict[str, Any]] = {}
        for sample in samples:
            ends = merge_ends(cut_response(sample.text, self.rule), self.max_steps)
            for end in ends[:-1]:
                text = sample.text[:end]
                one = found.setdefault(
                    text,
                    {
                        "text": text,
                        "parent": sample.sample_id,
                        "meta": {"samples": [], "whole": []},
                    },
                )
                one["meta"]["samples"].append(sample.sample_id)
            if len(ends) > 1:
                rest = sample.text[ends[-2] :]
                whole = {"sample_id": sample.sample_id, "rest": rest, "correct": sample.correct}
                found[sample.text[: ends[-2]]]["meta"]["whole"].append(whole)
        yield from found.values()

    def _verdicts(self) -> list[Path]:
        return sorted((Path(self.path) / "verdicts").glob("part-*.parquet"))

    def _read_texts(self) -> dict[str, list[_Text]]:
        """Return the judged samples by prompt. Raises SourceError for a run that is not judged."""
        import polars as pl

        parts, verdicts = sample_parts(Path(self.path)), self._verdicts()
        refuse_damaged(parts)
        if not parts or not verdicts:
            raise SourceError(
                f"{self.path}: has no judged samples; it must be a finished run of `factory build` "
                "with the filter `correctness` (paths are relative to the recipe)"
            )
        judged = pl.scan_parquet(verdicts)
        if VERDICT not in judged.collect_schema():
            raise SourceError(
                f"{self.path}: has no filter `correctness`, so nobody knows which samples are "
                "right; add it to the run's recipe and run `factory filter`"
            )
        decision = pl.col(VERDICT).struct.field("decision")
        cut_short = pl.col("finish_reason").is_in(["abort", "early_stop", "environment"])
        decided = judged.filter(decision.is_in(["keep", "drop"]), ~cut_short)
        texts = pl.scan_parquet(parts, missing_columns="insert", extra_columns="ignore")
        rows = (
            texts.select("prompt_id", "index", "text")
            .join(
                decided.select("prompt_id", "index", correct=decision == "keep"),
                on=("prompt_id", "index"),
            )
            .sort("prompt_id", "index")
            .collect()
        )
        return _group(rows)


def merge_ends(ends: Sequence[int], most: int) -> list[int]:
    """Return at most `most` of the ends, evenly spread; the last one stays.

    >>> merge_ends([1, 2, 3, 4, 5], 2)
    [3, 5]
    """
    count = min(most, len(ends))
    return [ends[-(-len(ends) * (number + 1) // count) - 1] for number in range(count)]


def _alternate(samples: Sequence[_Text]) -> list[_Text]:
    """Return right and wrong samples in turn, each in their order."""
    seen: Counter[bool] = Counter()
    placed = []
    for sample in samples:
        placed.append((seen[sample.correct], not sample.correct, sample))
        seen[sample.correct] += 1
    return [sample for *_, sample in sorted(placed, key=lambda one: one[:2])]


def _group(rows: pl.DataFrame) -> dict[str, list[_Text]]:
    found: dict[str, list[_Text]] = {}
    for row in rows.iter_rows(named=True):
        one = _Text(sample_id(row["prompt_id"], row["index"]), row["text"], row["correct"])
        found.setdefault(row["prompt_id"], []).append(one)
    return found
