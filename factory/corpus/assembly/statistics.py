"""Statistics of an assembly: its Table 5 next to R1's, and what each step left out."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from factory.core.errors import RunError
from factory.core.files import write_atomic
from factory.core.nouns import R1_DOMAINS
from factory.corpus.assembly.quotas import Shortfall
from factory.judging.funnel import Funnel, Group, Removal, SampleCount, TeacherCount

FILE = "statistics.json"

CONTAMINATED = "prompt in an evaluation set"
"""Name of the step that leaves out rows that overlap with an evaluation set."""

PAPER_TABLE_5: Mapping[str, tuple[int, float, float]] = {
    "math": (395_285, 1.0, 6094.2),
    "code": (211_129, 1.1, 7435.7),
    "stem": (10_124, 1.0, 4928.8),
    "logic": (10_395, 1.0, 2739.0),
    "general": (177_812, 1.1, 1419.8),
    "total": (804_745, 1.0, 5355.3),
}
"""DeepSeek-R1's SFT corpus (arXiv 2501.12948v2, Table 5): samples, mean rounds, mean tokens."""


@dataclass(frozen=True)
class Share:
    """One row of Table 5: rows, and the mean number of rounds (user turns) and of tokens."""

    samples: int
    rounds: float
    tokens: float


@dataclass(frozen=True)
class SelectionStep:
    """The rows that one step of an assembly left out."""

    name: str
    left_out: SampleCount


@dataclass(frozen=True)
class AssemblyReport:
    """Statistics of an assembled corpus, saved next to it as statistics.json."""

    name: str
    offered: SampleCount
    steps: list[SelectionStep]
    rows: SampleCount
    splits: dict[str, int]
    domains: dict[str, Share]  # "total" is the last
    shortfalls: list[Shortfall]
    runs: dict[str, int]  # rows by run
    models: dict[str, int]
    unknown_licenses: dict[str, int]  # rows by source, for sources without a license

    def save(self, out: Path) -> None:
        paper = {name: asdict(Share(*line)) for name, line in PAPER_TABLE_5.items()}
        document = {**asdict(self), "paper": paper}
        write_atomic(out / FILE, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def load_report(out: Path) -> AssemblyReport:
    """Load the report of a finished assembly. Raises RunError if there is none."""
    try:
        data: dict[str, Any] = json.loads((out / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{out} has no readable {FILE} ({error}); build it again") from error
    del data["paper"]
    data["offered"], data["rows"] = SampleCount(**data["offered"]), SampleCount(**data["rows"])
    data["steps"] = [
        SelectionStep(step["name"], SampleCount(**step["left_out"])) for step in data["steps"]
    ]
    data["domains"] = {name: Share(**share) for name, share in data["domains"].items()}
    data["shortfalls"] = [Shortfall(**item) for item in data["shortfalls"]]
    return AssemblyReport(**data)


def count_rows(rows: pl.DataFrame) -> SampleCount:
    return SampleCount(rows.height, int(rows["n_tokens"].cast(pl.Int64).sum()))


def compute_shares(rows: pl.DataFrame) -> dict[str, Share]:
    """Return Table 5 of these rows: one entry per domain, the paper's first, and the total."""
    means = (pl.len(), pl.col("rounds").mean(), pl.col("n_tokens").mean())
    lines = {
        str(domain): Share(*line)
        for domain, *line in rows.group_by("domain").agg(*means).iter_rows()
    }
    names = dict.fromkeys((*R1_DOMAINS, *sorted(lines)))
    ordered = {name: lines[name] for name in names if name in lines}
    total = rows.select(*means).row(0) if rows.height else (0, 0.0, 0.0)
    return ordered | {"total": Share(*total)}


def count_values(rows: pl.DataFrame, column: str) -> dict[str, int]:
    """Return the rows per value of a column, the most frequent first."""
    counted = rows.select(pl.col(column).cast(pl.String)).to_series().value_counts()
    return dict(counted.sort("count", column, descending=[True, False]).iter_rows())


def merge_funnels(funnels: Iterable[Funnel], rows: SampleCount) -> Funnel:
    """Add up the funnels of all runs: the cost of the whole corpus, from the first sample."""
    prompts, drawn, kept = 0, SampleCount(), SampleCount()
    taken: dict[tuple[str, str, str], SampleCount] = defaultdict(SampleCount)
    groups: dict[str, dict[str, Group]] = {"by_source": {}, "by_domain": {}}
    failures: dict[str, int] = defaultdict(int)
    teachers: dict[str, TeacherCount] = {}
    for funnel in funnels:
        prompts += funnel.prompts
        drawn, kept = drawn.add(funnel.drawn), kept.add(funnel.kept)
        for item in funnel.taken:
            key = (item.filter, item.reason, item.decision)
            taken[key] = taken[key].add(item.count)
        for kind, known in groups.items():
            for name, group in getattr(funnel, kind).items():
                was = known.get(name, Group(0, 0, SampleCount(), SampleCount()))
                known[name] = Group(
                    was.prompts + group.prompts,
                    was.covered + group.covered,
                    was.drawn.add(group.drawn),
                    was.kept.add(group.kept),
                )
        for reason, number in funnel.failures.items():
            failures[reason] += number
        for one in funnel.by_teacher:
            before = teachers.get(one.name)
            teachers[one.name] = one if before is None else before.add(one)
    lines = [Removal(*key, number) for key, number in taken.items()]
    return Funnel(
        prompts,
        drawn,
        lines,
        kept,
        by_source=groups["by_source"],
        by_domain=groups["by_domain"],
        failures=dict(failures),
        rows=rows,
        by_teacher=list(teachers.values()),
    )


def print_assembly(report: AssemblyReport, console: Console) -> None:
    """Print the steps, Table 5 next to the paper's, and the notes."""
    steps = _table(f"{report.name}: from {report.offered.samples:,} rows", "step", "rows", "tokens")
    for step in report.steps:
        left = step.left_out
        steps.add_row(step.name, f"-{left.samples:,}", f"-{left.tokens:,}")
    steps.add_section()
    steps.add_row("corpus", f"{report.rows.samples:,}", f"{report.rows.tokens:,}")
    console.print(steps)
    table = _table(
        "mean rounds and tokens, next to R1's (v2, Table 5)",
        *("domain", "rows", "rounds", "tokens", "R1: rows", "rounds", "tokens"),
    )
    for name, share in report.domains.items():
        cells = [line for each in (share, Share(*PAPER_TABLE_5[name])) for line in _cells(each)]
        table.add_row(name, *cells)
    console.print(table)
    for line in list_notes(report):
        console.print(line, highlight=False, markup=False)


def list_notes(report: AssemblyReport) -> list[str]:
    """Return one line per shortfall, for several models, and per source without a license."""
    lines = [f"short of its quota: {shortfall}" for shortfall in report.shortfalls]
    if len(report.models) > 1:
        listing = ", ".join(f"{model} {rows:,}" for model, rows in report.models.items())
        lines.append(f"rows of {len(report.models)} models: {listing}")
    for source, rows in report.unknown_licenses.items():
        lines.append(
            f"the licence of {source} is unknown ({rows:,} rows): set `license:` on that source"
        )
    return lines


def _cells(share: Share) -> list[str]:
    return [f"{share.samples:,}", f"{share.rounds:.1f}", f"{share.tokens:,.1f}"]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table
