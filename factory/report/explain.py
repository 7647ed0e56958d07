"""Explain the verdict on one sample: every metric with its bound, the deciding rule, the text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import polars as pl

from factory.core.errors import RunError
from factory.core.run_dir import sample_parts
from factory.judging.metrics import base_frame, prompt_frame
from factory.judging.no_rows import describe_vote
from factory.judging.recorded import Recorded
from factory.judging.verdicts import load_verdicts, verdict_column
from factory.report.browse import broken_rules, format_question, format_value, rule_frame
from factory.report.conversation import format_turns, is_episode, list_flagged_words
from factory.report.highlight import find_flagged, list_flagged, mark_text, show_controls
from factory.sampling.search.node_log import read_tree
from filters.base import Filter


def find_sample(run: Path, sample_id: str) -> tuple[Path, dict[str, Any]]:
    """Return the part and the row of a sample. Raises RunError where the run has no such sample."""
    prompt_id, _, index = sample_id.rpartition("-")
    wanted = (pl.col("prompt_id") == prompt_id) & (pl.col("index").cast(pl.String) == index)
    for part in sample_parts(run):
        rows = pl.scan_parquet(part).filter(wanted).collect()
        if rows.height:
            return part, rows.row(0, named=True)
    raise RunError(
        f"{run} has no sample {sample_id!r}. Ids look like 0123456789abcdef-3; "
        "`factory samples RUN` lists some."
    )


def explain(filters: Mapping[str, Filter], run: Path, sample_id: str) -> list[str]:
    """Return the explanation of one sample as lines of text."""
    part, sample = find_sample(run, sample_id)
    prompts = prompt_frame(run)
    own = pl.col("sample_id") == sample_id
    if base_frame(part, prompts).filter(own).is_empty():
        raise RunError(f"the prompt of {sample_id} is no longer among the recipe's sources")
    measured = rule_frame(run, part, prompts, filters).filter(own)
    row = measured.row(0, named=True)
    asked = prompts.row(by_predicate=pl.col("prompt_id") == sample["prompt_id"], named=True)
    verdict = load_verdicts(run).filter(own).collect().row(0, named=True)
    turns = sample.get("turns")
    found = [] if is_episode(turns) else find_flagged(sample["text"], row)
    flagged = list(list_flagged(sample["text"], found))
    if is_episode(turns):
        flagged = list_flagged_words(turns, row)
    lines = [
        f"sample    {sample_id}",
        f"model     {sample['model']}",
        f"verdict   {click.style(_format_verdict(verdict), bold=True)}",
        f"drawn     {sample['created_at']:%Y-%m-%d %H:%M:%S} UTC, {sample['n_tokens']} tokens "
        f"after {sample['n_prompt_tokens']} of prompt, finish reason {sample['finish_reason']}",
        *(
            [f"continues {sample['parent']}, its first {sample['cut']} characters"]
            if sample.get("parent")
            else []
        ),
        *format_question({**asked, **row}),
        _describe_prompt(row, asked["verifier"]),
    ]
    lines += _format_search(run, sample)
    for name, filter_ in filters.items():
        lines += _format_filter(name, filter_, measured, verdict)
    if flagged:
        lines += ["", "flagged", *(f"  {line}" for line in flagged)]
    lines += ["", "--- prompt, as the model saw it", show_controls(sample["prompt_text"])]
    if is_episode(turns):
        return [*lines, "--- episode", *format_turns(turns)]
    return [*lines, "--- sample", mark_text(sample["text"], found)]


def _describe_prompt(row: Mapping[str, Any], verifier: str | None) -> str:
    """Describe how often the samples of a prompt are right, or why nobody can say."""
    if vote := describe_vote(verifier):
        return f"prompt    its samples are compared with a vote, so none counts as correct{vote}"
    return f"prompt    {row['n_correct']} of {row['n_judged']} judged samples are correct"


def _format_search(run: Path, sample: Mapping[str, Any]) -> list[str]:
    """Format how a search found a sample: what it drew, and the steps of the answer by value."""
    tree = read_tree(run / "samples", sample["prompt_id"], sample["index"])
    if tree is None:
        return []
    ends = (node.number for node in tree.nodes if tree.text(node.number) == sample["text"])
    path = tree.path(next(ends, 0))[1:]
    whole = sum(node.end == "stop" for node in tree.nodes)
    head = f"search    {len(tree.nodes) - 1} continuations, {whole} complete turns"
    steps = (
        f"{'–' if node.value is None else f'{node.value:.3f}':>9}  {show_controls(node.text)!r:.90}"
        for node in path
    )
    return [f"{head}; the answer's steps by value:", *steps]


def describe_sample(filters: Mapping[str, Filter], run: Path, sample_id: str) -> dict[str, Any]:
    """Return a sample with its question, reference, metrics and verdicts, as one mapping."""
    part, sample = find_sample(run, sample_id)
    prompts, own = prompt_frame(run), pl.col("sample_id") == sample_id
    asked = prompts.filter(prompt_id=sample["prompt_id"]).rows(named=True)
    measured = rule_frame(run, part, prompts, filters).filter(own).rows(named=True)
    verdicts = load_verdicts(run).filter(own).collect().rows(named=True)
    known = {
        key: value
        for rows in (asked, measured, verdicts)
        for row in rows[:1]
        for key, value in row.items()
    }
    return {**known, **sample, "sample_id": sample_id}


def _format_verdict(verdict: Mapping[str, Any]) -> str:
    if verdict["decision"] == "keep":
        return "keep"
    return f"{verdict['decision']}: {verdict['reason']} (by {verdict['filter']})"


def _format_filter(
    name: str, filter_: Filter, measured: pl.DataFrame, verdict: Mapping[str, Any]
) -> list[str]:
    """Format every metric of a filter with its bounds; a cross marks the broken ones."""
    own = verdict.get(verdict_column(name)) or {"reason": None, "decision": "no decision stored"}
    rules = filter_.rules()
    if not rules and not isinstance(filter_, Recorded):
        return []
    broken = {(rule.metric, rule.reason) for rule in broken_rules(rules, measured)}
    bounds: dict[str, list[str]] = {}
    for rule in sorted(rules, key=lambda rule: (rule.metric, rule.reason) not in broken):
        bounds.setdefault(rule.metric, []).append(f"{rule.reason} unless {rule.bound}")
    broken_metrics = {metric for metric, _ in broken}
    row = measured.row(0, named=True)
    lines = ["", f"{name}: {own['reason'] or own['decision']}"]
    for column in sorted(set(bounds) | {c for c in row if c.startswith(f"{name}_")}):
        if isinstance(measured.schema.get(column), pl.List):
            continue  # spans, which are marked in the text
        first, *others = bounds.get(column, [""])
        mark = "✗" if column in broken_metrics else " "
        line = f"{mark} {column:<34} {format_value(row.get(column)):<12} {first}".rstrip()
        lines.append(click.style(line, fg="red") if column in broken_metrics else line)
        lines += [f"{'':<50}{other}" for other in others]
    return lines
