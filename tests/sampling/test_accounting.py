from __future__ import annotations

import io
from dataclasses import asdict
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from factory.sampling.accounting import (
    OUTCOMES,
    Ledger,
    classify_outcome,
    token_account,
    worker_account,
)
from factory.sampling.engine import Worker
from factory.sampling.progress import Progress, workers_line, workers_table

ROWS = [
    ("a", "keep", "stop", 100),
    ("a", "drop", "stop", 50),
    ("a", "drop", "abort", 7),
    ("a", "drop", "early_stop", 30),
    ("b", "undecided", "length", 200),
    ("b", "drop", "length", 13),
]
VERDICTS = pl.DataFrame(
    ROWS, schema=["source", "decision", "finish_reason", "n_tokens"], orient="row"
)


def test_every_token_has_one_fate() -> None:
    account = token_account(VERDICTS, seconds=8.0)
    assert account["source"].to_list() == ["a", "b", "all"]
    tokens = {
        row["source"]: tuple(row[f"{name}_tokens"] for name in OUTCOMES)
        for row in account.rows(named=True)
    }
    assert tokens == {
        "a": (100, 50, 0, 7, 30),
        "b": (0, 13, 200, 0, 0),
        "all": (100, 63, 200, 7, 30),
    }
    assert account["tokens"].to_list() == [sum(tokens[name]) for name in ("a", "b", "all")]
    assert account["samples"].to_list() == [4, 2, 6]
    assert account["tokens_per_accepted"].to_list() == [187.0, None, 400.0]
    assert account["seconds_per_accepted"].to_list() == [8.0 * 187 / 400, None, 8.0]


def test_nothing_drawn() -> None:
    assert token_account(VERDICTS.clear()).height == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.sampled_from(["keep", "drop", "undecided", "unjudged"]),
            st.sampled_from(["stop", "length", "abort", "early_stop"]),
            st.integers(1, 10**6),
        ),
        min_size=1,
    )
)
def test_the_live_ledger_is_the_account(rows: list[tuple[str, str, str, int]]) -> None:
    ledger = Ledger()
    for source, decision, finish_reason, tokens in rows:
        ledger.add(source, classify_outcome(decision, finish_reason), tokens)
    account = token_account(pl.DataFrame(rows, schema=VERDICTS.schema, orient="row"))
    whole = account.row(by_predicate=pl.col("source") == "all", named=True)
    assert ledger.totals() == tuple(
        {fate: whole[f"{fate}_{what}"] for fate in OUTCOMES if whole[f"{fate}_samples"]}
        for what in ("samples", "tokens")
    )


def test_a_build_tells_what_an_accepted_sample_took() -> None:
    text = io.StringIO()
    progress = Progress(Console(file=text, force_terminal=True, width=200), 8)
    for source, decision, finish_reason, tokens in ROWS:
        progress.count_sample(tokens)
        progress.count_verdict(source, decision, "wrong", finish_reason, tokens)
    progress.close()
    assert "1 accepted (400 tokens" in ", ".join(progress.facts())
    assert list(progress.waste())[:2] == ["16% of tokens rejected", "50% of tokens undecided"]
    shown = Console(width=200, file=(table := io.StringIO()))
    shown.print(progress.account())
    *_, a, whole = table.getvalue().splitlines()
    assert a.split() == ["a", "1", "100", "50", "0", "7", "30", "187"]
    assert whole.split() == ["all", "1", "100", "63", "200", "7", "30", "400"]


def test_each_endpoint_is_shown_worst_first() -> None:
    workers = [
        Worker("http://fast", True, 64, 60, 100, 9000, 10.0, {"timeout": 2}),
        Worker("http://slow", True, 8, 8, 5, 400, 10.0),
        Worker("http://gone", False, 32, 0, 0, 0, 0.0),
    ]
    shown = Console(width=120, file=(text := io.StringIO()))
    shown.print(*workers_table(workers))
    _, *lines = (line.split() for line in text.getvalue().splitlines())
    assert lines == [
        ["http://gone", "down", "0", "32", "0"],
        ["http://slow", "40", "8", "8", "5"],
        ["http://fast", "900", "60", "64", "100", "2", "timeout"],
    ]
    assert list(workers_line(workers)) == ["2 of 3 up at 40-900 tokens/s"]
    assert list(workers_line(workers[:1])) == []
    assert list(workers_table([])) == []


def test_endpoint_totals_add_up_over_processes() -> None:
    """The last entry of each process counts, whether it ended or was killed."""

    def event_row(event: str, samples: int, **faults: int) -> dict[str, Any]:
        worker = Worker("http://a", True, 8, 0, samples, 10 * samples, samples / 2, faults)
        return {"event": event, "workers": [asdict(worker)]}

    events = [
        {"event": "engine_started"},
        event_row("workers", 2),
        event_row("workers", 4, engine=1),
        {"event": "engine_started"},
        event_row("workers", 1),
        {"event": "throughput"},
        event_row("engine_stopped", 6, timeout=2),
    ]
    (row,) = worker_account(events)
    assert row == {
        "name": "http://a",
        "samples": 10,
        "tokens": 100,
        "seconds": 5.0,
        "faults": 3,
        "tokens_per_second": 20.0,
    }
    assert worker_account([{"event": "throughput"}]) == []
