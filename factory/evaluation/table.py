"""An evaluation as tables: on a terminal, and in eval.md beside the paper's own figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from factory.core.resources import data_path
from factory.evaluation.estimators import Estimate
from factory.evaluation.result import Comparison, Evaluation
from factory.evaluation.scores import Group

NONE = "–"
Rows = Sequence[Sequence[str]]


@cache
def published() -> dict[str, Any]:
    """R1's own figures, with their source."""
    text = data_path("eval/published.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def print_evaluation(found: Evaluation, console: Console) -> None:
    """The metrics by source, the comparisons, and what stands beside them."""
    _print(f"{found.name}: {found.model}", *_metrics(found), console)
    for comparison in found.against:
        _print(_versus(found, comparison), *_differences(comparison), console)
    for line in notes(found):
        console.print(line, highlight=False, markup=False)


def markdown(found: Evaluation) -> str:
    """eval.md."""
    level = f"{found.bootstrap['confidence']:.0%}"
    drawn = ", ".join(f"{key} {value}" for key, value in _settings(found).items())
    lines = [f"# {found.name}", "", f"Model: `{found.model}`. Drawn with {drawn}.", ""]
    lines += _table(*_metrics(found))
    lines += [
        "",
        f"In brackets {level} intervals: percentiles of the mean over "
        f"{found.bootstrap['resamples']:,} resamplings of the prompts; where all prompts agree, "
        "Wilson's. " + " ".join(notes(found)),
    ]
    for comparison in found.against:
        lines += ["", f"## {_versus(found, comparison)}", "", *_table(*_differences(comparison))]
    beside = _beside_published(found)
    if beside:
        lines += ["", "## Beside the paper", "", *_table(*beside)]
        lines += ["", f"In percent. The others as reported by {published()['source']}."]
    return "\n".join(lines) + "\n"


def notes(found: Evaluation) -> Iterator[str]:
    """What a reader must know of these numbers."""
    for name, group in found.groups.items():
        if name in found.k and group.undecided:
            share = group.undecided / group.samples
            yield (
                f"{name}: {group.undecided:,} of {group.samples:,} samples ({share:.1%}) are "
                "undecided and in no pass@1."
            )
        if name in found.k and group.missing:
            yield (
                f"{name}: {group.missing:,} samples were never drawn; failures.jsonl says why, and "
                "the same command tries again what may succeed."
            )
        for metric, estimate in group.metrics.items():
            # Without think sections, no reasoning has a language to judge.
            if 0 < estimate.prompts < group.prompts:
                yield f"{name}: {metric} is of {estimate.prompts:,} of {group.prompts:,} prompts."
    if found.bad_references:
        yield f"{found.bad_references:,} prompts fail their own verifier and were not asked."
    if found.left_out:
        yield f"{found.left_out:,} prompts were left out: they are asked elsewhere too (`exclude`)."
    for comparison in found.against:
        if comparison.only_here or comparison.only_there:
            yield (
                f"Against {comparison.name}: {comparison.prompts:,} prompts are in both, "
                f"{comparison.only_here:,} only here, {comparison.only_there:,} only there."
            )
        for setting in comparison.settings:
            yield f"Against {comparison.name}, {setting}."


def _settings(found: Evaluation) -> dict[str, Any]:
    wanted = ("temperature", "top_p", "top_k", "max_tokens")
    own = {key: found.settings.get(f"sampling.{key}") for key in wanted}
    return {key: value for key, value in own.items() if value}


def _metrics(found: Evaluation) -> tuple[list[str], Rows]:
    columns = found.columns
    rows = [
        [name, *_counts(found, name, group), *(_cell(c, group.metrics.get(c)) for c in columns)]
        for name, group in found.groups.items()
    ]
    return ["source", "prompts", "k", "undecided", *columns], rows


def _counts(found: Evaluation, name: str, group: Group) -> list[str]:
    k = found.k.get(name)
    return [f"{group.prompts:,}", NONE if k is None else str(k), f"{group.undecided:,}"]


def _versus(found: Evaluation, comparison: Comparison) -> str:
    return (
        f"{found.name} less {comparison.name} ({comparison.model}): "
        f"{comparison.better:,} prompts better, {comparison.worse:,} worse"
    )


def _differences(comparison: Comparison) -> tuple[list[str], Rows]:
    groups = comparison.groups
    columns = list(dict.fromkeys(c for metrics in groups.values() for c in metrics))
    rows = [
        [name, *(_cell(c, metrics.get(c), sign="+") for c in columns)]
        for name, metrics in groups.items()
    ]
    return ["source", *columns], rows


def _beside_published(found: Evaluation) -> tuple[list[str], Rows] | None:
    """This model's percentages above the paper's, on the benchmarks that both have."""
    known = published()["benchmarks"]
    pairs = [
        (name, metric)
        for name, benchmark in known.items()
        for metric in benchmark["metrics"]
        if name in found.groups and metric in found.groups[name].metrics
    ]
    if not pairs:
        return None
    own = [_cell(metric, found.groups[name].metrics[metric]) for name, metric in pairs]
    rows = [[found.name, *own]]
    for model, figures in published()["models"].items():
        theirs = [figures.get(name, {}).get(metric) for name, metric in pairs]
        rows.append([model, *(NONE if value is None else f"{value:.1f}" for value in theirs)])
    return ["model", *(f"{known[name]['title']} {metric}" for name, metric in pairs)], rows


def _cell(metric: str, estimate: Estimate | None, sign: str = "") -> str:
    """Shares in percent, tokens as they are; the interval in brackets."""
    if estimate is None or estimate.value is None:
        return NONE
    scale = 1 if metric == "tokens" else 100
    shown = f"{scale * estimate.value:{sign},.1f}"
    if estimate.low is None or estimate.high is None:
        return shown
    return f"{shown} [{scale * estimate.low:{sign},.1f}, {scale * estimate.high:{sign},.1f}]"


def _table(columns: Sequence[str], rows: Rows) -> list[str]:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _print(title: str, columns: Sequence[str], rows: Rows, console: Console) -> None:
    """A terminal is narrow, and there are more metrics than sources: a line a metric."""
    header, *lines = zip(columns, *rows, strict=True)
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    console.print(table, highlight=False)
