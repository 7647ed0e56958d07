"""Format an evaluation as tables: on a terminal, and in eval.md with the paper's figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from factory.core.resources import data_path
from factory.evaluation.estimators import MeanEstimate
from factory.evaluation.result import Evaluation, ModelComparison
from factory.evaluation.scores import GroupResult
from factory.evaluation.variants import VariantSpread, describe_spread
from factory.recipe.evaluation import parse_choice

MISSING = "–"

CHOICES = "Minus the plain vote over the same samples"

ABOUT_MARGINS = (
    "The margin is the lead of the most frequent answer over the second, as a share of all samples "
    "of a prompt. References do not count the votes; they only say whether the vote is wrong (in "
    "brackets: Wilson's 95% interval). So it says what a vote is worth as a reference on prompts "
    "like these."
)
Rows = Sequence[Sequence[str]]


@cache
def load_published() -> dict[str, Any]:
    """Load R1's published figures, with their source."""
    text = data_path("eval/published.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def print_evaluation(found: Evaluation, console: Console) -> None:
    """Print the metrics by source, the comparisons and the notes."""
    _print_table(f"{found.name}: {found.model}", *_metric_rows(found), console)
    if found.choices:
        _print_table(CHOICES, *_choice_rows(found), console)
    for comparison in found.against:
        title = _format_title(found, comparison)
        _print_table(title, *_difference_rows(comparison), console)
    if found.variants is not None:
        _print_table("Wordings of the prompt", *_variant_rows(found.variants), console)
        console.print(describe_spread(found.variants), highlight=False, markup=False)
    for line in format_notes(found):
        console.print(line, highlight=False, markup=False)


def format_markdown(found: Evaluation) -> str:
    """Return the text of eval.md."""
    level = f"{found.bootstrap['confidence']:.0%}"
    drawn = ", ".join(f"{key} {value}" for key, value in _settings(found).items())
    lines = [f"# {found.name}", "", f"Model: `{found.model}`. Drawn with {drawn}.", ""]
    lines += _format_table(*_metric_rows(found))
    lines += [
        "",
        f"In brackets: {level} confidence intervals, percentiles of the mean over "
        f"{found.bootstrap['resamples']:,} resamplings of the prompts. If all prompts have the "
        "same value, the width is that of Wilson's interval. " + " ".join(format_notes(found)),
    ]
    if found.choices:
        lines += ["", f"## {CHOICES}", "", *_format_table(*_choice_rows(found)), ""]
        lines += list(_describe_costs(found))
    if found.margins:
        lines += ["", "## How often the vote is wrong", "", *_format_table(*_margin_rows(found))]
        lines += ["", ABOUT_MARGINS]
    for comparison in found.against:
        lines += ["", f"## {_format_title(found, comparison)}", ""]
        lines += _format_table(*_difference_rows(comparison))
    if found.variants is not None:
        lines += [
            "",
            "## Wordings of the prompt",
            "",
            *_format_table(*_variant_rows(found.variants)),
        ]
        lines += ["", describe_spread(found.variants)]
    published = _published_rows(found)
    if published:
        lines += ["", "## Comparison with the paper", "", *_format_table(*published)]
        source = load_published()["source"]
        lines += ["", f"In percent. The values of the other models are from {source}."]
    return "\n".join(lines) + "\n"


def format_notes(found: Evaluation) -> Iterator[str]:
    """Yield the notes needed to read the numbers: what is missing, undecided or excluded."""
    for name, group in found.groups.items():
        if name in found.k and group.undecided:
            share = group.undecided / group.samples
            yield (
                f"{name}: {group.undecided:,} of {group.samples:,} samples ({share:.1%}) are "
                "undecided and not counted in pass@1."
            )
        if name in found.k and group.missing:
            yield (
                f"{name}: {group.missing:,} samples were never drawn; failures.jsonl has the "
                "reasons. Run the same command again to retry those that may succeed."
            )
        for metric, estimate in group.metrics.items():
            # For instance, reasoning without a think section has no language metric.
            if 0 < estimate.prompts < group.prompts:
                prompts = f"{estimate.prompts:,} of {group.prompts:,} prompts"
                yield f"{name}: {metric} is the mean of {prompts}."
    if found.bad_references:
        count = f"{found.bad_references:,} prompts"
        yield f"{count} were not used: their reference answer fails its own verifier."
    if found.left_out:
        yield f"{found.left_out:,} prompts were excluded, since `exclude` names them."
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


def _metric_rows(found: Evaluation) -> tuple[list[str], Rows]:
    columns = found.columns
    rows = [
        [name, *_counts(found, name, group), *(_cell(c, group.metrics.get(c)) for c in columns)]
        for name, group in found.groups.items()
    ]
    return ["source", "prompts", "k", "undecided", *columns], rows


def _counts(found: Evaluation, name: str, group: GroupResult) -> list[str]:
    k = found.k.get(name)
    return [f"{group.prompts:,}", MISSING if k is None else str(k), f"{group.undecided:,}"]


def _format_title(found: Evaluation, comparison: ModelComparison) -> str:
    return (
        f"{found.name} minus {comparison.name} ({comparison.model}): "
        f"{comparison.better:,} prompts better, {comparison.worse:,} worse"
    )


def _difference_rows(comparison: ModelComparison) -> tuple[list[str], Rows]:
    groups = comparison.groups
    columns = list(dict.fromkeys(c for metrics in groups.values() for c in metrics))
    rows = [
        [name, *(_cell(c, metrics.get(c), sign="+") for c in columns)]
        for name, metrics in groups.items()
    ]
    return ["source", *columns], rows


def _choice_rows(found: Evaluation) -> tuple[list[str], Rows]:
    columns = list(dict.fromkeys(name for own in found.choices.values() for name in own))
    rows = [
        [source, *(_cell(name, own.get(name), sign="+") for name in columns)]
        for source, own in found.choices.items()
    ]
    return ["source", *columns], rows


def _describe_costs(found: Evaluation) -> Iterator[str]:
    """Yield what the choices cost: those with the same K read the same samples."""
    wanted = {choice.at: choice for name in found.columns if (choice := parse_choice(name))}
    for source, group in found.groups.items():
        tokens = group.metrics.get("tokens")
        mean = None if tokens is None else tokens.value
        for at, choice in wanted.items():
            if choice.budget is not None:
                yield f"{source}, {at}: at most {choice.budget:,} generated tokens per prompt."
            elif choice.k is not None and mean is not None:
                yield f"{source}, {at} samples: {mean * choice.k:,.0f} generated tokens per prompt."


def _margin_rows(found: Evaluation) -> tuple[list[str], Rows]:
    rows = [
        [
            source,
            f"{one.margin:.0%}",
            f"{one.prompts:,} of {one.of:,}",
            _cell("wrong", MeanEstimate(one.wrong, one.low, one.high, one.prompts)),
        ]
        for source, margins in found.margins.items()
        for one in margins
    ]
    return ["source", "margin of at least", "prompts", "vote wrong"], rows


def _variant_rows(found: VariantSpread) -> tuple[list[str], Rows]:
    """Return each variant's pass@1, and its difference from the mean of all on the same prompts."""
    rows = [
        [name, f"{one.samples:,}", _cell("pass@1", one.mean), _cell("pass@1", one.difference, "+")]
        for name, one in found.variants.items()
    ]
    return ["variant", "samples", "pass@1", "minus the mean of all"], rows


def _published_rows(found: Evaluation) -> tuple[list[str], Rows] | None:
    """Return this model's and the paper's percentages on common benchmarks; None without any."""
    known = load_published()["benchmarks"]
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
    for model, figures in load_published()["models"].items():
        theirs = [figures.get(name, {}).get(metric) for name, metric in pairs]
        rows.append([model, *(MISSING if value is None else f"{value:.1f}" for value in theirs)])
    return ["model", *(f"{known[name]['title']} {metric}" for name, metric in pairs)], rows


def _cell(metric: str, estimate: MeanEstimate | None, sign: str = "") -> str:
    """Format an estimate: shares in percent, tokens as a count; the interval in brackets."""
    if estimate is None or estimate.value is None:
        return MISSING
    scale = 1 if metric == "tokens" else 100
    shown = f"{scale * estimate.value:{sign},.1f}"
    if estimate.low is None or estimate.high is None:
        return shown
    return f"{shown} [{scale * estimate.low:{sign},.1f}, {scale * estimate.high:{sign},.1f}]"


def _format_table(columns: Sequence[str], rows: Rows) -> list[str]:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _print_table(title: str, columns: Sequence[str], rows: Rows, console: Console) -> None:
    """Print the table transposed, one line per metric: a terminal is too narrow for all columns."""
    header, *lines = zip(columns, *rows, strict=True)
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    console.print(table, highlight=False)
