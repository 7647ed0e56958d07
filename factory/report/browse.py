"""Find samples of a run by their verdict, and format one for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import polars as pl

from factory.core.errors import RunError
from factory.core.run_dir import sample_parts
from factory.judging.metrics import load_measured_frame, prompt_frame
from factory.judging.no_rows import read_reference, shorten
from factory.judging.recorded import stored_folder
from factory.judging.verdicts import load_verdicts
from factory.report.conversation import format_turns, is_episode, list_flagged_words
from factory.report.highlight import find_flagged, list_flagged, mark_excerpt, mark_text
from filters.base import Filter, Rule


def find_samples(
    run: Path,
    filters: Mapping[str, Filter] | None = None,
    *,
    reason: str | None = None,
    decision: str | None = None,
    source: str | None = None,
    limit: int = 5,
    seed: int = 0,
) -> Iterator[pl.DataFrame]:
    """Yield at most `limit` matching samples, drawn with `seed`, each as a frame of one row.

    It has the verdict, the text and the metrics of `filters`, with their types. Raises RunError
    that lists the run's reasons if no sample matches.
    """
    verdicts = load_verdicts(run)
    columns = ["sample_id", "prompt_id", "index", "decision", "reason", "filter"]
    found = verdicts.select("source", *columns)
    wanted = {"reason": reason, "decision": decision, "source": source}
    for column, value in wanted.items():
        if value is not None:
            found = found.filter(pl.col(column) == value)
    rows = found.select(columns).collect()
    if rows.is_empty():
        known = verdicts.select(pl.col("reason").drop_nulls().unique().sort()).collect()
        raise RunError(
            f"{run} has no matching sample; its reasons are {', '.join(known['reason']) or 'none'}"
        )
    chosen = rows.sort("sample_id").sample(min(limit, rows.height), seed=seed, shuffle=True)
    prompts = prompt_frame(run)
    asked = prompts.select("prompt_id", "question", "verifier")
    for part in sample_parts(run):
        scan = pl.scan_parquet(part)
        turns = [name for name in ("turns",) if name in scan.collect_schema()]
        texts = scan.select("prompt_id", "index", "text", *turns)
        own = chosen.lazy().join(texts, on=["prompt_id", "index"]).collect()
        if own.height:
            measured = rule_frame(run, part, prompts, filters or {})
            own = own.join(asked, on="prompt_id", how="left").drop("prompt_id", "index")
            own = own.join(measured, on="sample_id")
        yield from own.iter_slices(1)


def rule_frame(
    run: Path, part: Path, prompts: pl.DataFrame, filters: Mapping[str, Filter]
) -> pl.DataFrame:
    """Return all columns that rules read: base columns, metrics and the prompt's pass rate."""
    rates = pl.read_parquet(run / "pass_rates.parquet")
    folders = {name: stored_folder(run, name, filter_) for name, filter_ in filters.items()}
    measured = load_measured_frame(part, prompts, folders)
    return measured.join(rates, on="prompt_id", how="left", maintain_order="left")


def broken_rules(rules: Sequence[Rule], sample: pl.DataFrame) -> list[Rule]:
    """Return the rules that match the one sample of a frame."""
    known = [rule for rule in rules if set(rule.when.meta.root_names()) <= set(sample.columns)]
    return [rule for rule in known if sample.select(rule.when.fill_null(False)).item()]


def format_sample(
    sample: pl.DataFrame, filters: Mapping[str, Filter], *, full: bool
) -> Iterator[str]:
    """Yield the lines that show a sample: its verdict and why, then its text with marked spans."""
    row = sample.row(0, named=True)
    turns = row.get("turns")
    found = [] if is_episode(turns) else find_flagged(row["text"], row)
    verdict = row["decision"] + (f": {row['reason']}" if row["reason"] else "")
    head = f"=== {row['sample_id']}  {verdict}  {row['n_tokens']} tokens, {row['source']}"
    yield click.style(head, bold=True)
    yield from (f"    {line}" for line in format_question(row))
    filter_ = filters.get(row["filter"] or "")
    for rule in broken_rules(filter_.rules(), sample) if filter_ else ():
        if rule.reason == row["reason"]:
            yield f"    {rule.metric} is {format_value(row[rule.metric])}, required: {rule.bound}"
    if is_episode(turns):
        yield from (f"    {line}" for line in list_flagged_words(turns, row))
        yield from format_turns(turns, full=full)
        yield ""
        return
    yield from (f"    {line}" for line in list_flagged(row["text"], found))
    yield mark_text(row["text"], found) if full else mark_excerpt(row["text"], found)
    yield ""


def format_question(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield question, reference and extracted answer as lines below each other."""
    yield f"question   {shorten(row['question'])}"
    yield f"reference  {shorten(read_reference(row['verifier']))}"
    if "correctness_extracted" in row:
        yield f"read       {shorten(row['correctness_extracted'])}"


def format_value(value: Any) -> str:
    """Format a metric's value for a line or a table cell, in at most 80 characters."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    words = " ".join(str(value).split())
    return words if len(words) <= 80 else f"{words[:79]}…"
