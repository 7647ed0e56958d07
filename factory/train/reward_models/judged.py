"""Training rows of a reward model that are in a run: judged answers, or labels of steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from factory.core.checksums import refuse_damaged
from factory.core.errors import SourceError
from factory.core.run_dir import sample_parts
from factory.recipe.reward_model import STEP_LABELS, RewardModel

BATCH = 1024
"""Rows in memory at once."""


def read_run_rows(recipe: RewardModel) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the rows of a run directory, `recipe.data`, with their places.

    Of `pointwise` every sample that the run's filter `correctness` found right or wrong. Raises
    SourceError for a run that is not judged or has no labels of steps, and for `pairwise`.
    """
    run = recipe.data
    if recipe.shape == "pairwise":
        raise SourceError(
            f"{run}: is a run, which has no pairs; make them with `factory.train.preferences`, or "
            "set shape: pointwise to learn which answers are right"
        )
    if recipe.shape == "stepwise":
        raise SourceError(
            f"{run}: is a run without labels of steps ({STEP_LABELS}); build one with a source of "
            "kind prefixes"
        )
    yield from _read_judged(run)


def _read_judged(run: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    import polars as pl

    parts = sample_parts(run)
    verdicts = sorted((run / "verdicts").glob("part-*.parquet"))
    refuse_damaged(parts)
    judged = pl.scan_parquet(verdicts) if parts and verdicts else None
    if judged is None or "correctness_verdict" not in judged.collect_schema():
        raise SourceError(
            f"{run}: no sample was judged by a filter `correctness`; add it to the run's recipe "
            "and run `factory build` again"
        )
    decision = pl.col("correctness_verdict").struct.field("decision")
    ended = ~pl.col("finish_reason").is_in(["abort", "early_stop", "environment"])
    labels = judged.filter(decision.is_in(["keep", "drop"]) & ended).select(
        "prompt_id", "index", label=decision == "keep"
    )
    prompts = pl.scan_parquet(run / "prompts.parquet").select("messages", prompt_id="id")
    for part in parts:
        rows = (
            pl.scan_parquet(part)
            .select("prompt_id", "index", "text")
            .join(labels, on=["prompt_id", "index"])
            .join(prompts, on="prompt_id")
            .sort("prompt_id", "index")
            .collect()
        )
        for batch in rows.iter_slices(BATCH):
            for row in batch.iter_rows(named=True):
                place = f"{part}: sample {row['prompt_id']}-{row['index']}"
                yield place, {"prompt": row["messages"], "text": row["text"], "label": row["label"]}
