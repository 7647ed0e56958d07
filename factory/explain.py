"""One sample, in full: every metric beside its bound, what decided, and the text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from factory.errors import RunError
from factory.judging import all_filters, load_verdicts, verdict_column
from factory.metrics import base_frame, measured_frame, prompt_frame
from factory.recipe import Recipe
from factory.store import sample_parts
from filters.contract import Filter


def find_sample(run: Path, sample_id: str) -> tuple[Path, dict[str, Any]]:
    """The part and the row of a sample. Raises RunError that says what ids look like."""
    prompt_id, _, index = sample_id.rpartition("-")
    wanted = (pl.col("prompt_id") == prompt_id) & (pl.col("index").cast(pl.String) == index)
    for part in sample_parts(run):
        rows = pl.scan_parquet(part).filter(wanted).collect()
        if rows.height:
            return part, rows.row(0, named=True)
    raise RunError(
        f"{run} has no sample {sample_id!r}. Ids read like 0123456789abcdef-3; "
        "`factory samples RUN` lists some."
    )


def explain(recipe: Recipe, run: Path, sample_id: str) -> list[str]:
    """The account of one sample, as lines of text."""
    part, sample = find_sample(run, sample_id)
    filters = all_filters(recipe)
    prompts = prompt_frame(run)
    own = pl.col("sample_id") == sample_id
    if base_frame(part, prompts).filter(own).is_empty():
        raise RunError(f"the prompt of {sample_id} is no longer among the recipe's sources")
    measured = measured_frame(run, part, prompts, filters).filter(own)
    verdict = load_verdicts(run).filter(own).collect().row(0, named=True)
    lines = [
        f"sample    {sample_id}",
        f"model     {sample['model']}",
        f"verdict   {_word(verdict)}",
    ]
    lines += [
        f"drawn     {sample['created_at']:%Y-%m-%d %H:%M:%S} UTC, {sample['n_tokens']} tokens "
        f"after {sample['n_prompt_tokens']} of prompt, finished by {sample['finish_reason']}"
    ]
    for name, judge in filters.items():
        lines += _filter_lines(name, judge, measured, verdict)
    lines += ["", "--- prompt, as the model saw it", sample["prompt_text"]]
    lines += ["--- sample", sample["text"]]
    return lines


def _word(verdict: Mapping[str, Any]) -> str:
    if verdict["decision"] == "keep":
        return "keep"
    return f"{verdict['decision']}: {verdict['reason']} (by {verdict['filter']})"


def _filter_lines(
    name: str, judge: Filter, measured: pl.DataFrame, verdict: Mapping[str, Any]
) -> list[str]:
    own = verdict[verdict_column(name)]
    rules = judge.rules()
    if not rules:
        return []
    lines = ["", f"{name}: {own['reason'] or own['decision']}"]
    bounds: dict[str, list[str]] = {}
    for rule in rules:
        bounds.setdefault(rule.metric, []).append(f"{rule.reason} unless {rule.bound}")
    row = measured.row(0, named=True)
    for column in sorted(set(bounds) | {c for c in row if c.startswith(f"{name}_")}):
        value = row.get(column)
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        lines.append(
            f"  {column:<34} {shown[:60]:<12} {'; '.join(bounds.get(column, []))}".rstrip()
        )
    return lines
