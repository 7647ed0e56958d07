"""A run directory as Polars frames: `Run`."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import polars as pl

from factory.core.errors import RunError
from factory.core.run_dir import read_manifest, sample_parts
from factory.judging.funnel import load_funnel
from factory.judging.metrics import scan_samples, scan_whole_samples
from factory.judging.verdicts import load_verdicts, verdict_files
from factory.recipe.build import refuse_assembly
from factory.stores.fetch import fetch_copy


class Run:
    """A run directory, read and never written; no code that its recipe names is run.

    Every method reads what is on disk now, so that a run can be watched while it is made: samples
    and verdicts of sealed parts are there, the newest minutes may not be. `path` may also be the
    address of a store (`s3://bucket/prefix`), of which a copy is fetched and read.

    Raises RunError if `path` is not a run directory, StoreError if a store can't be read.

    >>> run = Run("runs/quickstart")  # doctest: +SKIP
    >>> run.samples(reason="wrong").select("text", "n_tokens").head()  # doctest: +SKIP
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = fetch_copy(str(path)) if "://" in str(path) else Path(path)
        if not (self.path / "run.json").is_file():
            raise RunError(
                f"{self.path} is not a run directory: it has no run.json; build makes one"
            )

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def manifest(self) -> dict[str, Any]:
        """run.json: state, name, sampling settings by fingerprint, versions, times."""
        return read_manifest(self.path)

    @property
    def finished(self) -> bool:
        """True once the corpus was written."""
        return bool(self.manifest.get("state") == "done")

    def prompts(self) -> pl.DataFrame:
        """The prompts, one a row: id, source, domain, messages, verifier (JSON), language, license,
        also_in, meta (JSON). Raises RunError where there are none yet."""
        refuse_assembly(self.path)
        file = self.path / "prompts.parquet"
        if not file.is_file():
            raise RunError(f"{self.path} has no prompts yet; build it first")
        return pl.read_parquet(file)

    def samples(
        self,
        *,
        reason: str | None = None,
        filter: str | None = None,
        prompt: str | None = None,
        decision: str | None = None,
        source: str | None = None,
    ) -> pl.DataFrame:
        """The samples, one a row, in the order they were sealed; every argument narrows them.

        Columns: sample_id, prompt_id, index, source, text, prompt_text, finish_reason, n_tokens,
        n_prompt_tokens, model, params_fp, created_at, and what became of it: decision (keep, drop,
        undecided), reason, filter (the one whose reason it is). Those three are null where nothing
        was decided yet.

        `prompt` is a prompt's id, `filter` a filter's name in the recipe. Raises RunError for a
        value that no sample of the run has, naming those there are.
        """
        refuse_assembly(self.path)
        given = {"reason": reason, "filter": filter, "decision": decision, "source": source}
        wanted = {column: value for column, value in given.items() if value is not None}
        decided = self._decided(needed=bool(wanted.keys() - {"source"}))
        columns = ["source", "decision", "reason", "filter"]
        for column, value in wanted.items():
            self._require(column, value, decided)
            decided = decided.filter(pl.col(column) == value)
        if prompt is not None:
            decided = self._of_prompt(prompt, decided)
        parts = sample_parts(self.path)
        if not parts:
            raise RunError(f"{self.path} has no sealed samples yet; build it first")
        sampled = scan_whole_samples(parts).with_columns(
            sample_id=pl.format("{}-{}", "prompt_id", "index")
        )
        if prompt is not None:
            sampled = sampled.filter(pl.col("prompt_id") == prompt)
        how: Any = "inner" if wanted else "left"
        return (
            sampled.join(
                decided.select("sample_id", *columns),
                on="sample_id",
                how=how,
                maintain_order="left",
            )
            .select("sample_id", "prompt_id", "index", "source", pl.exclude(*_FIRST, *columns[1:]),
                    *columns[1:])
            .collect()
        )  # fmt: skip

    def verdicts(self) -> pl.DataFrame:
        """Every filter's own decision, one sample a row.

        Columns: sample_id, prompt_id, index, finish_reason, n_tokens, domain, source, language,
        a struct NAME_verdict (decision, reason) for each filter, and what they come to: decision,
        reason, filter. Raises RunError before a build has decided anything.
        """
        return load_verdicts(self.path).collect()

    def corpus(self, split: str | None = None) -> pl.DataFrame:
        """The corpus, one row a kept sample, in its shuffled order, with its `split` in front.

        `split` (train, validation) narrows it. Raises RunError before the run is finished, and for
        a split that the corpus has not.
        """
        from factory.export.export import corpus_shards, split_of

        shards = corpus_shards(self.path)
        splits = dict.fromkeys(split_of(shard) for shard in shards)
        if split is not None and split not in splits:
            raise RunError(f"{self.path} has no split {split!r}; it has {', '.join(splits)}")
        frames = [
            pl.read_parquet(shard).select(pl.lit(split_of(shard)).alias("split"), pl.all())
            for shard in shards
            if split in (None, split_of(shard))
        ]
        return pl.concat(frames, how="vertical_relaxed")

    def funnel(self) -> pl.DataFrame:
        """From samples drawn to corpus rows: stage, filter, reason, samples, tokens.

        Stages in their order: drawn; a row of dropped or undecided for each reason, with its
        filter; kept; and rows, those that were selected into the corpus. Raises RunError before
        the run is finished.
        """
        funnel = load_funnel(self.path)
        stages: list[tuple[str, str | None, str | None, int, int]] = [
            ("drawn", None, None, funnel.drawn.samples, funnel.drawn.tokens)
        ]
        for taken in funnel.taken:
            stage = "dropped" if taken.decision == "drop" else taken.decision
            count = taken.count
            stages.append((stage, taken.filter, taken.reason, count.samples, count.tokens))
        stages.append(("kept", None, None, funnel.kept.samples, funnel.kept.tokens))
        if funnel.rows is not None:
            stages.append(("rows", None, None, funnel.rows.samples, funnel.rows.tokens))
        return pl.DataFrame(stages, schema=_FUNNEL, orient="row")

    def _decided(self, *, needed: bool) -> pl.LazyFrame:
        columns = ["sample_id", "prompt_id", "source", "decision", "reason", "filter"]
        if verdict_files(self.path):
            return load_verdicts(self.path).select(columns)
        if needed:
            load_verdicts(self.path)  # raises: there are none
        sources = pl.scan_parquet(self.path / "prompts.parquet").select("source", prompt_id="id")
        nothing = pl.lit(None, dtype=pl.String)
        return (
            scan_samples(sample_parts(self.path))
            .select("prompt_id", "index")
            .join(sources, on="prompt_id", how="left", maintain_order="left")
            .select(
                pl.format("{}-{}", "prompt_id", "index").alias("sample_id"),
                "prompt_id",
                "source",
                nothing.alias("decision"),
                nothing.alias("reason"),
                nothing.alias("filter"),
            )
        )

    def _require(self, column: str, value: str, decided: pl.LazyFrame) -> None:
        known = decided.select(pl.col(column).drop_nulls().unique().sort()).collect().to_series()
        if value not in set(known):
            listing = ", ".join(known) or "none"
            raise RunError(
                f"{self.path} has no sample whose {column} is {value!r}; there are {listing}"
            )

    def _of_prompt(self, prompt: str, decided: pl.LazyFrame) -> pl.LazyFrame:
        known = self.prompts().select(pl.col("id") == prompt).to_series()
        if not known.any():
            raise RunError(f"{self.path} has no prompt {prompt!r}; Run.prompts() lists their ids")
        return decided.filter(pl.col("prompt_id") == prompt)


_FIRST = ("sample_id", "prompt_id", "index", "source")

_FUNNEL = {
    "stage": pl.String,
    "filter": pl.String,
    "reason": pl.String,
    "samples": pl.Int64,
    "tokens": pl.Int64,
}
