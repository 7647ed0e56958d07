"""Sources none of whose samples is correct: rather a mistake in the set-up than hard questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from factory.core.run_dir import sample_parts
from factory.judging.metrics import metrics_folder, prompt_frame, sample_key
from filters.base import Filter

MIN_SAMPLES = 8
"""Judged samples below which nothing is said."""

_JUDGED = ("correct", "wrong", "no_answer", "unparseable")
_SUSPECTS = {
    "no_answer": "the instruction (`prompting.instruction`), `sampling.max_tokens`, or `think` of "
    "the filter correctness: no final answer was found",
    "unparseable": "the kind of the verifier, or the instruction: the answers cannot be read as it",
    "wrong": "the answer column (`columns.answer`), the kind of the verifier, or questions that "
    "this model cannot solve",
}


def unsolved_sources(run: Path, filters: Mapping[str, Filter]) -> Iterator[str]:
    """A line for each source of a judged run without one correct sample: what to suspect, and one
    example, its reference next to what was read."""
    if "correctness" not in filters:
        return
    folder = metrics_folder(run, "correctness", filters["correctness"])
    frames = []
    for part in sample_parts(run):
        keys = pl.read_parquet(part, columns=["prompt_id", "index"]).with_columns(sample_key())
        names = ("state", "extracted")
        metrics = pl.read_parquet(folder / part.name).select(
            "sample_id", *(pl.col(f"correctness_{name}").alias(name) for name in names)
        )
        frames.append(keys.join(metrics, on="sample_id"))
    if not frames:
        return
    prompts = prompt_frame(run).select("prompt_id", "source", "verifier")
    table = pl.concat(frames).join(prompts, on="prompt_id")
    table = table.filter(pl.col("state").is_in(_JUDGED)).sort("sample_id")
    for (source,), samples in table.group_by("source", maintain_order=True):
        if samples.height >= MIN_SAMPLES and not (samples["state"] == "correct").any():
            yield _complaint(str(source), samples)


def _complaint(source: str, samples: pl.DataFrame) -> str:
    counts = samples["state"].value_counts(sort=True)
    state = counts["state"][0]
    said = ", ".join(f"{n:,} {name}" for name, n in counts.iter_rows())
    shown = samples.filter(pl.col("state") == state)
    read = shown.filter(pl.col("extracted").is_not_null())
    example = (read if read.height else shown).row(0, named=True)
    reference = pl.Series([example["verifier"]]).str.json_path_match("$.answer")[0]
    return (
        f"NOT ONE CORRECT: none of {samples.height:,} judged samples of {source} is correct "
        f"({said}). Suspect {_SUSPECTS[state]}. Example: the reference is {_short(reference)}, "
        f"read was {_short(example['extracted'])} (sample {example['sample_id']})"
    )


def _short(text: str | None) -> str:
    if text is None:
        return "nothing"
    return repr(text if len(text) <= 80 else f"{text[:79]}…")
