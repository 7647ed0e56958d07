"""The rows of a run that is still sampling: accepted samples of the parts that are judged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from factory.build.build import choose_rows
from factory.build.refilter import link_or_copy
from factory.core.files import write_atomic
from factory.core.run_dir import read_manifest, sample_parts
from factory.corpus.rows import write_corpus
from factory.judging.funnel import SampleCount
from factory.judging.metrics import metrics_folder
from factory.judging.verdicts import all_filters
from factory.recipe.build import Recipe, load_run_recipe

COPIED = ("recipe.yaml", "run.json", "prompts.parquet", "failures.jsonl", "reviews.sqlite")


class GrowingCorpus:
    """A folder like a finished run, with the rows that a running run has so far.

    Each call of `grow` adds files with new rows. A row stays as it was written: what later samples
    change in the selection, only the finished corpus knows.
    """

    def __init__(self, run: Path, folder: Path) -> None:
        self._run, self.folder = run, folder
        self._seen: list[Path] = []

    @property
    def shards(self) -> list[Path]:
        return sorted((self.folder / "corpus").glob("*.parquet"))

    def find_obstacles(self) -> Iterator[str]:
        """Yield why no row can be known before the run's end, if that is so."""
        for name, filter_ in load_run_recipe(self._run).filters.items():
            if filter_.local_judge:
                yield (
                    f"the filter {name} asks a model that is started after sampling: no row is "
                    "known before, and all are pushed at the end"
                )

    def grow(self, least: int) -> int:
        """Add the new rows if there are `least` of them. Returns how many were added."""
        recipe = load_run_recipe(self._run)
        parts = list(_judged_parts(recipe, self._run))
        if parts == self._seen:
            return 0
        self._seen = parts
        with TemporaryDirectory(prefix="factory-growing-") as scratch:
            copy = Path(scratch) / self._run.name
            _link_parts(recipe, self._run, copy, parts)
            return self._add_rows(recipe, copy, least)

    def _add_rows(self, recipe: Recipe, copy: Path, least: int) -> int:
        chosen = choose_rows(recipe, copy)
        known = _read_ids(self.shards)
        new = chosen.rows.filter(~pl.col("sample_id").is_in(known["id"].implode()))
        if new.height < least:
            return 0
        written = write_corpus(
            copy,
            new,
            all_filters(recipe),
            read_manifest(copy)["params"],
            recipe.corpus.shard_rows,
            shard_bytes=recipe.corpus.shard_bytes,
            overlay=chosen.overlay,
            tags=recipe.corpus.tags,
        )
        count = known.height + new.height
        tokens = int(known["n_tokens"].sum()) + int(new["n_tokens"].sum())
        (self.folder / "corpus").mkdir(parents=True, exist_ok=True)
        replace(chosen.funnel, rows=SampleCount(count, tokens)).save(self.folder)
        write_atomic(self.folder / "recipe.yaml", recipe.to_yaml())
        manifest = {**read_manifest(copy), "state": "done"}
        write_atomic(self.folder / "run.json", json.dumps(manifest, indent=2) + "\n")
        for shard in written:
            split = shard.name.partition("-")[0]
            number = len(list((self.folder / "corpus").glob(f"{split}-part-*.parquet")))
            target = self.folder / "corpus" / f"{split}-part-{number:05d}.parquet"
            scratch = target.with_suffix(".tmp")
            scratch.write_bytes(shard.read_bytes())
            scratch.rename(target)
        return new.height


def _judged_parts(recipe: Recipe, run: Path) -> Iterable[Path]:
    """Yield the sealed parts that every filter has measured."""
    folders = [metrics_folder(run, name, own) for name, own in all_filters(recipe).items()]
    for part in sample_parts(run):
        if all((folder / part.name).exists() for folder in folders):
            yield part


def _link_parts(recipe: Recipe, run: Path, copy: Path, parts: Sequence[Path]) -> None:
    """Make a run of these parts and their metrics. Parquet files are linked."""
    copy.mkdir()
    for name in COPIED:
        if (run / name).exists():
            link_or_copy(str(run / name), str(copy / name))
    folders = [metrics_folder(run, name, own) for name, own in all_filters(recipe).items()]
    for folder in (run / "samples", *folders):
        target = copy / folder.relative_to(run)
        target.mkdir(parents=True)
        for part in parts:
            link_or_copy(str(folder / part.name), str(target / part.name))


def _read_ids(shards: Sequence[Path]) -> pl.DataFrame:
    empty = pl.DataFrame(schema={"id": pl.String, "n_tokens": pl.Int32})
    return pl.concat([empty, *(pl.read_parquet(one, columns=empty.columns) for one in shards)])
