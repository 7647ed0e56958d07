"""Samples → metrics → verdicts. A pure function of the log and the recipe; no engine.

Metrics are dear and are cached beside the samples, part by part. Verdicts are expressions over them
and are made anew each time: a changed threshold reads a few narrow columns and no text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import xxhash
from polars import selectors

from factory.core.errors import RunError
from factory.core.files import write_parquet
from factory.core.run_dir import sample_parts
from factory.judging.metrics import (
    batches,
    by_part,
    measure_parts,
    measured_frame_of,
    metrics_folder,
    narrow_rows,
    prompt_frame,
    read_metrics,
)
from factory.judging.suspects import NO_CHANGES, settled_states
from factory.prompts.references import References
from factory.recipe.build import refuse_assembly
from filters.base import BASE_COLUMNS, Filter, Rule, decision_exprs

if TYPE_CHECKING:
    from factory.recipe.build import Recipe

ENGINE_STAGE = "engine"
"""The stage before the filters: a generation cut short is not judged as if it had ended."""

WRITERS = 4
"""Verdict files written side by side: most of the time they wait for the disk."""

_CUT_SHORT = {"abort": "aborted", "early_stop": "stopped_early"}


class TextHash(Filter):
    """The text's hash, for exact duplicates. Takes nothing by itself."""

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        digests = [xxhash.xxh3_64_intdigest(text.encode()) for text in samples["text"]]
        return samples.select("sample_id", text_hash=pl.Series(digests, dtype=pl.UInt64))

    def rules(self) -> list[Rule]:
        return []


def all_filters(recipe: Recipe) -> dict[str, Filter]:
    """The recipe's filters, in order, after what the factory itself measures."""
    return {"text": TextHash(), **recipe.filters}


def early_filters(filters: Mapping[str, Filter]) -> dict[str, Filter]:
    """The filters as they can judge while the engine samples: it cannot be its own judge then, and
    another model would take its memory."""
    early = {name: filter_.without_local_judge() for name, filter_ in filters.items()}
    return {name: filter_ for name, filter_ in early.items() if filter_ is not None}


def verdict_column(stage: str) -> str:
    """The column of a verdict table that holds one stage's own decision and reason."""
    return f"{stage}_verdict"


def decide(measured: pl.DataFrame, filters: Mapping[str, Filter]) -> pl.DataFrame:
    """Verdicts: one row a sample, with what decided and every filter's own word.

    A drop outranks an undecided; among equals the first filter of the recipe gives the reason.
    """
    cut = pl.col("finish_reason").replace_strict(_CUT_SHORT, default=None)
    words = {
        ENGINE_STAGE: (pl.when(cut.is_null()).then(pl.lit("keep")).otherwise(pl.lit("drop")), cut)
    }
    words |= {name: decision_exprs(judge.rules()) for name, judge in filters.items()}
    verdicts = measured.select(
        *BASE_COLUMNS,
        *(
            pl.struct(decision=decision, reason=reason).alias(verdict_column(stage))
            for stage, (decision, reason) in words.items()
        ),
    )
    own_words = [(stage, pl.col(verdict_column(stage))) for stage in words]

    def first(decision: str, take: str) -> pl.Expr:
        return pl.coalesce(
            pl.when(own.struct.field("decision") == decision).then(
                pl.lit(stage) if take == "stage" else own.struct.field(take)
            )
            for stage, own in own_words
        )

    return verdicts.with_columns(
        decision=pl.coalesce(
            first("drop", "decision"), first("undecided", "decision"), pl.lit("keep")
        ),
        reason=pl.coalesce(first("drop", "reason"), first("undecided", "reason")),
        filter=pl.coalesce(first("drop", "stage"), first("undecided", "stage")),
    )


def pass_rates(
    run: Path,
    prompts: pl.DataFrame,
    filters: Mapping[str, Filter],
    changes: pl.DataFrame = NO_CHANGES,
) -> pl.DataFrame:
    """prompt_id, n_samples, n_judged, n_correct, pass_rate over all sealed samples.

    The pass rate counts judged samples only: one whose verifier timed out, or that nothing can
    verify, says nothing about the prompt. Null where no sample was judged. `changes` holds states
    (sample_id, state) that stand in for the measured ones.
    """
    counts = []
    for some in batches(sample_parts(run)):
        frame = narrow_rows(some, prompts)
        frame = frame.filter(~pl.col("finish_reason").is_in(list(_CUT_SHORT)))
        state = pl.lit(None, dtype=pl.String)
        if "correctness" in filters:
            folder = metrics_folder(run, "correctness", filters["correctness"])
            metrics = read_metrics(folder, some, pl.col("sample_id", "correctness_state"))
            frame = _with_changes(frame.join(metrics, on="sample_id", how="left"), changes)
            state = pl.col("correctness_state")
        counts.append(
            frame.group_by("prompt_id").agg(
                n_samples=pl.len(),
                n_judged=state.is_in(["correct", "wrong", "no_answer", "unparseable"]).sum(),
                n_correct=(state == "correct").sum(),
            )
        )
    if not counts:
        empty = {"n_samples": pl.UInt32, "n_judged": pl.UInt32, "n_correct": pl.UInt32}
        counts = [pl.DataFrame(schema={"prompt_id": pl.String, **empty})]
    totals = pl.concat(counts).group_by("prompt_id").agg(pl.all().sum())
    rate = pl.when(pl.col("n_judged") > 0).then(pl.col("n_correct") / pl.col("n_judged"))
    return totals.with_columns(pass_rate=rate)


def verdict_files(run: Path) -> list[Path]:
    return sorted((run / "verdicts").glob("part-*.parquet"))


def _with_changes(frame: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    if changes.is_empty():
        return frame
    return (
        frame.join(changes, on="sample_id", how="left", maintain_order="left")
        .with_columns(correctness_state=pl.coalesce("state", "correctness_state"))
        .drop("state")
    )


def judge_run(run: Path, filters: Mapping[str, Filter], references: References) -> dict[str, int]:
    """Measure what is missing, decide everything, write verdicts/.

    Returns how many parts each filter had to measure.
    """
    prompts = prompt_frame(run)
    parts = sample_parts(run)
    measured = measure_parts(run, parts, prompts, filters)
    rates = pass_rates(run, prompts, filters)
    changes = NO_CHANGES
    if "correctness" in filters:
        judge = filters["correctness"]
        folder = metrics_folder(run, "correctness", judge)
        files = {part.stem: folder / part.name for part in parts}
        changes = settled_states(run, prompts, rates, files, references)
        if changes.height:
            rates = pass_rates(run, prompts, filters, changes)
    _write_verdicts(run, parts, prompts, filters, rates, changes)
    known = {part.name for part in parts}
    for stale in verdict_files(run):
        if stale.name not in known:
            stale.unlink()
    write_parquet(run / "pass_rates.parquet", rates.sort("prompt_id").to_arrow())
    return measured


def _write_verdicts(
    run: Path,
    parts: Sequence[Path],
    prompts: pl.DataFrame,
    filters: Mapping[str, Filter],
    rates: pl.DataFrame,
    changes: pl.DataFrame,
) -> None:
    """Decide every sample, from the few columns that the rules name."""
    rules = {name: judge.rules() for name, judge in filters.items()}
    named = {name for own in rules.values() for rule in own for name in rule.when.meta.root_names()}
    columns = selectors.by_name("sample_id", *named, require_all=False)
    folders = {
        name: metrics_folder(run, name, judge) for name, judge in filters.items() if rules[name]
    }
    with ThreadPoolExecutor(WRITERS) as writers:
        for some in batches(parts):
            rows = narrow_rows(some, prompts)
            metrics = {
                name: read_metrics(folder, some, columns) for name, folder in folders.items()
            }
            frame = _with_changes(measured_frame_of(rows, metrics), changes)
            frame = frame.join(rates, on="prompt_id", how="left", maintain_order="left")
            verdicts = decide(frame, filters)
            placed = verdicts.join(rows.select("sample_id", "part"), on="sample_id", how="left")
            own = by_part(placed, some)
            files = [run / "verdicts" / part.name for part in own]
            list(writers.map(write_parquet, files, [one.to_arrow() for one in own.values()]))


def text_hashes(run: Path, filters: Mapping[str, Filter]) -> pl.LazyFrame:
    """sample_id and text_hash of every measured sample."""
    folder = metrics_folder(run, "text", filters["text"])
    files = [folder / part.name for part in sample_parts(run)]
    if not files:
        return pl.LazyFrame(schema={"sample_id": pl.String, "text_hash": pl.UInt64})
    return pl.scan_parquet(files)


def load_verdicts(run: Path) -> pl.LazyFrame:
    """All verdicts of a judged run."""
    files = verdict_files(run)
    if not files:
        refuse_assembly(run)
        raise RunError(f"{run} has no verdicts yet; build it first")
    return pl.scan_parquet(files)
