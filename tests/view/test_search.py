"""Search gives the same result as a loop over all samples."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.report.snapshot import Snapshot, take_snapshot
from factory.view.search import PAGE, Query, search
from tests.report.runs import judged_run


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return take_snapshot(judged_run(tmp_path_factory.mktemp("search") / "run", n=12))


def by_hand(snapshot: Snapshot, query: Query) -> list[str]:
    """Return the ids of matching samples by checking every row."""
    texts = dict(snapshot.texts(snapshot.samples).select("sample_id", "text").iter_rows())
    questions = dict(snapshot.prompts.select("prompt_id", "question").iter_rows())
    found = [
        (row["n_tokens"], row["sample_id"])
        for row in snapshot.samples.rows(named=True)
        if query.source in ("", row["source"])
        and query.decision in ("", row["decision"])
        and query.reason in ("", row["reason"])
        and (query.min_tokens is None or row["n_tokens"] >= query.min_tokens)
        and (query.max_tokens is None or row["n_tokens"] <= query.max_tokens)
        and query.text.lower() in texts[row["sample_id"]].lower()
        and query.question.lower() in questions[row["prompt_id"]].lower()
    ]
    if query.sort:
        found.sort(key=lambda item: item[0], reverse=query.sort.startswith("-"))
    return [sample_id for _, sample_id in found]


QUERIES = st.builds(
    Query,
    source=st.sampled_from(["", "sums", "<b>odd</b>", "none"]),
    decision=st.sampled_from(["", "keep", "drop"]),
    reason=st.sampled_from(["", "mixed_script", "unclosed_think"]),
    text=st.sampled_from(["", "FIRST I add", "\\boxed", "所以", "(", "nowhere"]),
    question=st.sampled_from(["", "what is 3", "\\(a+b\\)"]),
    min_tokens=st.none() | st.integers(0, 140),
    max_tokens=st.none() | st.integers(0, 140),
    sort=st.sampled_from(["", "n_tokens", "-n_tokens"]),
)


@given(query=QUERIES)
def test_search_finds_what_a_loop_over_all_samples_finds(snapshot: Snapshot, query: Query) -> None:
    found = search(snapshot, query, seconds=60)
    wanted = by_hand(snapshot, query)
    assert found.total == len(wanted)
    assert found.exact
    assert found.rows["sample_id"].to_list() == wanted[:PAGE]
    second = search(snapshot, replace(query, page=2), seconds=60)
    assert second.rows["sample_id"].to_list() == wanted[PAGE : 2 * PAGE]


def test_a_text_search_out_of_time_reports_its_progress(snapshot: Snapshot) -> None:
    found = search(snapshot, Query(text="First"), seconds=0)
    assert not found.exact
    assert (found.searched, found.to_search) == (1, 2)
    assert found.rows["part"].n_unique() == 1


def test_a_text_search_continues_where_it_stopped(snapshot: Snapshot) -> None:
    whole = search(snapshot, Query(text="First"), seconds=60)
    halves = [search(snapshot, Query(text="First", skip=skip), seconds=0) for skip in (0, 1)]
    assert [half.exact for half in halves] == [False, True]
    assert sum(half.total for half in halves) == whole.total
    assert search(snapshot, Query(text="First", skip=9), seconds=0).exact


@pytest.mark.parametrize("sort", ["; DROP TABLE", "text", "-"])
def test_an_unknown_sort_order_falls_back_to_the_order_drawn(snapshot: Snapshot, sort: str) -> None:
    found = search(snapshot, Query(sort=sort))
    assert found.rows["sample_id"].to_list() == snapshot.samples["sample_id"].head(PAGE).to_list()


def test_missing_pass_rates_come_last(snapshot: Snapshot) -> None:
    assert snapshot.samples["pass_rate"].null_count() == snapshot.samples.height
    found = search(snapshot, Query(sort="-pass_rate"))
    assert found.total == snapshot.samples.height
    assert search(snapshot, Query(min_pass=0.0)).total == 0
    assert isinstance(found.rows, pl.DataFrame)
