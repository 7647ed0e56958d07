"""Print funnels as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from factory.judging.funnel import Funnel, Group, SampleCount, TeacherCount


def print_funnel(name: str, funnel: Funnel, console: Console) -> None:
    """Print the funnel, then acceptance by source, and by domain if there are several."""
    title = f"{name}: {funnel.drawn.samples:,} samples of {funnel.prompts:,} prompts"
    table = _table(title, "filter", "reason", "samples", "share", "tokens")
    drawn = funnel.drawn
    _row(table, "drawn", "", drawn, drawn)
    for step in funnel.taken:
        reason = step.reason if step.decision == "drop" else f"{step.reason} (undecided)"
        _row(table, step.filter, reason, step.count, drawn, sign="-")
    table.add_section()
    _row(table, "kept", "", funnel.kept, drawn)
    if funnel.rows is not None:
        _row(table, "corpus", "rows after selection", funnel.rows, drawn)
    console.print(table)
    _print_groups("source", funnel.by_source, console)
    if len(funnel.by_domain) > 1:
        _print_groups("domain", funnel.by_domain, console)
    _print_teachers(funnel.by_teacher, console)
    cost = funnel.tokens_per_accepted
    if cost is not None:
        console.print(f"generated tokens per accepted sample: {cost:,.1f}", highlight=False)
    for kind, count in funnel.failures.items():
        console.print(
            f"{count:,} requests returned no sample: {kind} (listed in failures.jsonl)",
            highlight=False,
        )


def _print_groups(key: str, groups: Mapping[str, Group], console: Console) -> None:
    table = _table(None, key, "prompts", "covered", "samples", "kept", "share", "tokens/accepted")
    for name, group in groups.items():
        table.add_row(
            name,
            f"{group.prompts:,}",
            f"{group.covered:,}",
            f"{group.drawn.samples:,}",
            f"{group.kept.samples:,}",
            _format_share(group.kept.samples, group.drawn.samples),
            f"{group.drawn.tokens / group.kept.samples:,.1f}" if group.kept.samples else "-",
        )
    console.print(table)


def _print_teachers(teachers: Sequence[TeacherCount], console: Console) -> None:
    if not teachers:
        return
    table = _table(None, "teacher", "samples", "kept", "share", "tokens", "price", "price/accepted")
    for one in teachers:
        table.add_row(
            one.name,
            f"{one.drawn.samples:,}",
            f"{one.kept.samples:,}",
            _format_share(one.kept.samples, one.drawn.samples),
            f"{one.drawn.tokens:,}",
            format_price(one.price),
            format_price(one.price_per_accepted),
        )
    console.print(table)


def format_price(price: float | None) -> str:
    """Format an amount of money, which may be a small part of a cent; - where there is none."""
    if price is None:
        return "-"
    return f"{price:,.2f}" if price >= 1 else f"{price:.3g}"


def _table(title: str | None, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        text = column in ("filter", "reason", "source", "domain", "teacher")
        table.add_column(column, justify="left" if text else "right", no_wrap=True)
    return table


def _row(
    table: Table, stage: str, reason: str, count: SampleCount, whole: SampleCount, sign: str = ""
) -> None:
    table.add_row(
        stage,
        reason,
        f"{sign}{count.samples:,}",
        _format_share(count.samples, whole.samples),
        f"{sign}{count.tokens:,}",
    )


def _format_share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def print_corpus(run: Path, funnel: Funnel, console: Console) -> None:
    """Print where the corpus is, with its rows and files."""
    shards = len(list((run / "corpus").glob("*.parquet")))
    rows = funnel.rows.samples if funnel.rows else 0
    files = "1 file" if shards == 1 else f"{shards} files"
    console.print(f"corpus: {rows:,} rows in {files} of {run / 'corpus'}", highlight=False)
