"""Browsing a run's samples by what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import polars as pl

from factory.core.errors import RunError
from factory.core.run_dir import sample_parts
from factory.judging.metrics import measured_frame, prompt_frame
from factory.judging.verdicts import load_verdicts
from factory.report.highlight import excerpt, listed, marked, offences
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
) -> Iterator[dict[str, Any]]:
    """Samples that match, chosen by a seeded draw: verdict, text and what `filters` measured.

    Raises RunError for a reason that no sample of the run has, naming those that some have.
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
            f"{run} has no such sample; its reasons are {', '.join(known['reason']) or 'none'}"
        )
    chosen = rows.sort("sample_id").sample(min(limit, rows.height), seed=seed, shuffle=True)
    prompts = prompt_frame(run, verifiers=False)
    for part in sample_parts(run):
        texts = pl.scan_parquet(part).select("prompt_id", "index", "text")
        own = chosen.lazy().join(texts, on=["prompt_id", "index"]).collect()
        if own.height:
            measured = rule_frame(run, part, prompts, filters or {})
            own = own.drop("prompt_id", "index").join(measured, on="sample_id")
        yield from own.rows(named=True)


def rule_frame(
    run: Path, part: Path, prompts: pl.DataFrame, filters: Mapping[str, Filter]
) -> pl.DataFrame:
    """All that rules read of a part's samples: base columns, metrics, the prompt's pass rate."""
    rates = pl.read_parquet(run / "pass_rates.parquet")
    measured = measured_frame(run, part, prompts, filters)
    return measured.join(rates, on="prompt_id", how="left", maintain_order="left")


def broken_rules(rules: Sequence[Rule], sample: pl.DataFrame) -> list[Rule]:
    """The rules that take the one sample of a frame."""
    known = [rule for rule in rules if set(rule.when.meta.root_names()) <= set(sample.columns)]
    return [rule for rule in known if sample.select(rule.when.fill_null(False)).item()]


def told(row: Mapping[str, Any], filters: Mapping[str, Filter], *, full: bool) -> Iterator[str]:
    """A sample in lines: what became of it and why, then its text with what offended marked."""
    found = offences(row["text"], row)
    verdict = row["decision"] + (f": {row['reason']}" if row["reason"] else "")
    head = f"=== {row['sample_id']}  {verdict}  {row['n_tokens']} tokens, {row['source']}"
    yield click.style(head, bold=True)
    judge = filters.get(row["filter"] or "")
    for rule in broken_rules(judge.rules(), pl.DataFrame([row])) if judge else ():
        if rule.reason == row["reason"]:
            yield f"    {rule.metric} is {in_short(row[rule.metric])}, wanted: {rule.bound}"
    yield from (f"    {line}" for line in listed(row["text"], found))
    yield marked(row["text"], found) if full else excerpt(row["text"], found)
    yield ""


def in_short(value: Any) -> str:
    """A metric's value as a line or a table shows it."""
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
