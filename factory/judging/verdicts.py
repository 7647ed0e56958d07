"""Samples → metrics → verdicts. A pure function of the samples and the recipe, without an engine.

Metrics are expensive and are cached per part of the samples. Verdicts are expressions over metrics
and are computed each time: after a change of a threshold only a few narrow columns are read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from polars import selectors

from factory.core.errors import RunError
from factory.core.files import write_atomic, write_parquet
from factory.core.run_dir import sample_parts
from factory.judging.elsewhere import measure_elsewhere
from factory.judging.late import settle
from factory.judging.metrics import (
    TextHash,
    batches,
    join_metrics,
    measure_parts,
    metrics_folder,
    narrow_rows,
    prompt_frame,
    read_metrics,
    split_by_part,
)
from factory.judging.suspects import NO_CHANGES, resolve_suspects
from factory.prompts.references import References
from factory.recipe.build import refuse_assembly
from filters.base import BASE_COLUMNS, Filter, decision_exprs

if TYPE_CHECKING:
    from factory.recipe.build import Recipe
    from factory.recipe.corpus import Judging

ENGINE_STAGE = "engine"
"""The stage before the filters. It drops samples whose generation was aborted or stopped early."""

METRICS_KEYS = "verdicts/metrics.json"
"""Filter → key of the metrics behind the verdicts, for readers that do not load its class."""

WRITERS = 4
"""Threads that write verdict files: they mostly wait for the disk."""

_CUT_SHORT = {
    "abort": "aborted",
    "early_stop": "stopped_early",
    "environment": "environment_failed",
}
"""Finish reason → reason. A failed environment is no fault of the sample: it is undecided."""


def all_filters(recipe: Recipe) -> dict[str, Filter]:
    """Return the built-in `text` metric, then the recipe's filters in order."""
    return {"text": TextHash(), **recipe.filters}


def early_filters(filters: Mapping[str, Filter]) -> dict[str, Filter]:
    """Return the filters that can run during sampling, without local judges.

    The engine is busy then, and another model would need its memory.
    """
    early = {name: filter_.without_local_judge() for name, filter_ in filters.items()}
    return {name: filter_ for name, filter_ in early.items() if filter_ is not None}


def verdict_column(stage: str) -> str:
    """Return the name of the column with one stage's own decision and reason."""
    return f"{stage}_verdict"


def decide(measured: pl.DataFrame, filters: Mapping[str, Filter]) -> pl.DataFrame:
    """Return the verdicts: one row per sample, with the final and each filter's own decision.

    A drop has priority over undecided. Among equal decisions the first filter gives the reason.
    """
    cut = pl.col("finish_reason").replace_strict(_CUT_SHORT, default=None)
    decision = (
        pl.when(cut.is_null())
        .then(pl.lit("keep"))
        .when(cut == "environment_failed")
        .then(pl.lit("undecided"))
        .otherwise(pl.lit("drop"))
    )
    stages = {ENGINE_STAGE: (decision, cut)}
    stages |= {name: decision_exprs(filter_.rules()) for name, filter_ in filters.items()}
    verdicts = measured.select(
        *BASE_COLUMNS,
        *(
            pl.struct(decision=decision, reason=reason).alias(verdict_column(stage))
            for stage, (decision, reason) in stages.items()
        ),
    )
    columns = [(stage, pl.col(verdict_column(stage))) for stage in stages]

    def first(decision: str, field: str) -> pl.Expr:
        return pl.coalesce(
            pl.when(own.struct.field("decision") == decision).then(
                pl.lit(stage) if field == "stage" else own.struct.field(field)
            )
            for stage, own in columns
        )

    found = {
        "decision": pl.coalesce(
            first("drop", "decision"), first("undecided", "decision"), pl.lit("keep")
        ),
        "reason": pl.coalesce(first("drop", "reason"), first("undecided", "reason")),
        "filter": pl.coalesce(first("drop", "stage"), first("undecided", "stage")),
    }
    # What filters say of an episode that its environment ended is no verdict on the model.
    failed = {"decision": "undecided", "reason": "environment_failed", "filter": ENGINE_STAGE}
    is_failed = pl.col("finish_reason") == "environment"
    return verdicts.with_columns(
        pl.when(is_failed).then(pl.lit(failed[name])).otherwise(value).alias(name)
        for name, value in found.items()
    )


def pass_rates(
    run: Path,
    prompts: pl.DataFrame,
    filters: Mapping[str, Filter],
    changes: pl.DataFrame = NO_CHANGES,
) -> pl.DataFrame:
    """Return prompt_id, n_samples, n_judged, n_correct and pass_rate over all sealed samples.

    The pass rate counts judged samples only, not those without a verifier or with a verifier
    timeout. It is null if no sample was judged. `changes` (sample_id, state) replaces measured
    states.
    """
    counts = []
    for some in batches(sample_parts(run)):
        frame = narrow_rows(some, prompts)
        frame = frame.filter(~pl.col("finish_reason").is_in(list(_CUT_SHORT)))
        state = pl.lit(None, dtype=pl.String)
        if "correctness" in filters:
            folder = metrics_folder(run, "correctness", filters["correctness"])
            metrics = read_metrics(folder, some, pl.col("sample_id", "correctness_state"))
            frame = _apply_changes(frame.join(metrics, on="sample_id", how="left"), changes)
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


def _apply_changes(frame: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    if changes.is_empty():
        return frame
    return (
        frame.join(changes, on="sample_id", how="left", maintain_order="left")
        .with_columns(correctness_state=pl.coalesce("state", "correctness_state"))
        .drop("state")
    )


def judge_run(
    run: Path,
    filters: Mapping[str, Filter],
    references: References,
    judging: Judging | None = None,
) -> dict[str, int]:
    """Measure what is missing, where `judging` says, decide all samples and write verdicts/.

    Returns the number of parts that each filter measured.
    """
    prompts = prompt_frame(run)
    parts = sample_parts(run)
    measured = Counter[str]()
    if judging is not None and judging.on == "ray":
        measured += measure_elsewhere(run, parts, prompts, filters, judging)
    measured += measure_parts(run, parts, prompts, filters)
    settle(run, filters)
    rates = pass_rates(run, prompts, filters)
    changes = NO_CHANGES
    if "correctness" in filters:
        folder = metrics_folder(run, "correctness", filters["correctness"])
        files = {part.stem: folder / part.name for part in parts}
        changes = resolve_suspects(run, prompts, rates, files, references)
        if changes.height:
            rates = pass_rates(run, prompts, filters, changes)
    _write_verdicts(run, parts, prompts, filters, rates, changes)
    known = {part.name for part in parts}
    for stale in verdict_files(run):
        if stale.name not in known:
            stale.unlink()
    keys = {name: filter_.cache_key() for name, filter_ in filters.items()}
    write_atomic(run / METRICS_KEYS, json.dumps(keys) + "\n")
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
    """Decide every sample. Reads only the columns that the rules use."""
    rules = {name: filter_.rules() for name, filter_ in filters.items()}
    named = {name for own in rules.values() for rule in own for name in rule.when.meta.root_names()}
    columns = selectors.by_name("sample_id", *named, require_all=False)
    folders = {
        name: metrics_folder(run, name, filter_) for name, filter_ in filters.items() if rules[name]
    }
    with ThreadPoolExecutor(WRITERS) as writers:
        for some in batches(parts):
            rows = narrow_rows(some, prompts)
            metrics = {
                name: read_metrics(folder, some, columns) for name, folder in folders.items()
            }
            frame = _apply_changes(join_metrics(rows, metrics), changes)
            frame = frame.join(rates, on="prompt_id", how="left", maintain_order="left")
            verdicts = decide(frame, filters)
            placed = verdicts.join(rows.select("sample_id", "part"), on="sample_id", how="left")
            own = split_by_part(placed, some)
            files = [run / "verdicts" / part.name for part in own]
            list(writers.map(write_parquet, files, [one.to_arrow() for one in own.values()]))


def text_hashes(run: Path, filters: Mapping[str, Filter]) -> pl.LazyFrame:
    """Return sample_id and text_hash of every measured sample."""
    folder = metrics_folder(run, "text", filters["text"])
    files = [folder / part.name for part in sample_parts(run)]
    if not files:
        return pl.LazyFrame(schema={"sample_id": pl.String, "text_hash": pl.UInt64})
    return pl.scan_parquet(files)


def load_verdicts(run: Path) -> pl.LazyFrame:
    """Return all verdicts of a judged run. Raises RunError if there are none."""
    files = verdict_files(run)
    if not files:
        refuse_assembly(run)
        raise RunError(f"{run} has no verdicts yet; build it first")
    return pl.scan_parquet(files)
