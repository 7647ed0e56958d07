"""Reviews are durable at once, and no reviewer overwrites another."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.core.errors import RunError
from factory.judging.review_verdicts import SCHEMA, summarize_reviews
from factory.judging.reviews import FILE, Reviews, StaleReview, cohens_kappa

A, B = "accept", "reject"


def nobody(_: str) -> bool:
    return False


def everybody(_: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("pairs", "kappa"),
    [
        ([], None),
        ([(A, A)], None),  # agreement by chance alone
        ([(A, A), (B, B)], 1.0),
        ([(A, B), (B, A)], -1.0),
        ([(A, A), (A, B), (B, A), (B, B)], 0.0),
        ([(A, A)] * 20 + [(A, B)] * 5 + [(B, A)] * 10 + [(B, B)] * 15, 0.4),
    ],
)
def test_kappa_is_cohens(pairs: list[tuple[str, str]], kappa: float | None) -> None:
    assert cohens_kappa(pairs) == kappa


@given(st.lists(st.tuples(st.sampled_from([A, B]), st.sampled_from([A, B]))))
def test_kappa_is_symmetric(pairs: list[tuple[str, str]]) -> None:
    assert cohens_kappa(pairs) == cohens_kappa([(b, a) for a, b in pairs])


def test_a_decision_on_a_text_that_was_edited_meanwhile_is_refused(tmp_path: Path) -> None:
    reviews = Reviews(tmp_path)
    reviews.edit("p-0", "ann", 0, "better", "4")
    with pytest.raises(StaleReview, match="ann has edited p-0"):
        reviews.decide("p-0", "bob", "accept", 0)
    with pytest.raises(StaleReview):
        reviews.edit("p-0", "bob", 0, "worse", "5")
    standing = reviews.standing("p-0")
    assert standing.edit is not None
    assert standing.edit.thinking == "better"
    assert reviews.decide("p-0", "bob", "accept", standing.version).decision == "keep"


def test_an_edit_requires_new_decisions(tmp_path: Path) -> None:
    reviews = Reviews(tmp_path)
    reviews.decide("p-0", "ann", "reject", 0, "unreadable")
    version = reviews.edit("p-0", "bob", 0, "clearer", "4").version
    assert reviews.standing("p-0").decision is None
    assert reviews.decide("p-0", "ann", "accept", version).decision == "keep"
    assert [action.kind for action in reviews.history("p-0")] == ["reject", "edit", "accept"]


def test_many_at_once_lose_nothing_and_one_edit_wins(tmp_path: Path) -> None:
    reviews = Reviews(tmp_path)

    def work(number: int) -> bool:
        reviews.decide(f"p-{number % 7}", f"reviewer-{number}", "accept", 0)
        try:
            reviews.edit("contested-0", f"reviewer-{number}", 0, None, str(number))
        except StaleReview:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(work, range(40)))
    assert won.count(True) == 1
    assert sum(len(s.decisions) for s in reviews.standings()) == 40


def test_acknowledged_reviews_survive_a_kill(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom factory.judging.reviews import Reviews\n"
        "reviews = Reviews(Path(sys.argv[1]))\n"
        "for n in range(10_000):\n"
        "    reviews.decide(f'p-{n}', 'ann', 'accept', 0)\n    print(n, flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        answered = [int(process.stdout.readline()) for _ in range(20)]
        os.kill(process.pid, signal.SIGKILL)
        answered += [int(line) for line in process.stdout]
    kept = {standing.sample_id for standing in Reviews(tmp_path).standings()}
    assert {f"p-{number}" for number in answered} <= kept


def test_the_queue_gives_each_sample_to_one_reviewer_and_shared_ones_to_all(tmp_path: Path) -> None:
    reviews = Reviews(tmp_path)
    queue = ["p-0", "p-1", "p-2"]
    assert reviews.next(queue, "ann", nobody) == "p-0"
    assert reviews.next(queue, "bob", nobody) == "p-1"  # the first is assigned to ann
    assert reviews.next(queue, "ann", nobody) == "p-0"
    reviews.decide("p-0", "ann", "accept", 0)
    assert reviews.next(queue, "ann", nobody) == "p-2"
    assert reviews.next(queue, "bob", everybody) == "p-0"
    reviews.decide("p-0", "bob", "accept", 0)
    assert reviews.next(["p-0"], "bob", everybody) is None


def test_agreement_counts_only_texts_that_both_saw(tmp_path: Path) -> None:
    reviews = Reviews(tmp_path)
    for name, choices in {"ann": "ARAR", "bob": "ARAA", "cid": "A"}.items():
        for number, choice in enumerate(choices):
            reviews.decide(f"p-{number}", name, "accept" if choice == "A" else "reject", 0, "other")
    version = reviews.edit("p-9", "ann", 0, None, "x").version
    reviews.decide("p-9", "bob", "accept", version)
    found = {(a.first, a.second): a for a in reviews.agreement()}
    assert (found["ann", "bob"].both, found["ann", "bob"].agreed) == (4, 3)
    assert found["ann", "bob"].kappa == 0.5
    assert found["ann", "cid"].kappa is None


def test_a_reviewer_who_changed_their_mind_counts_once(tmp_path: Path) -> None:
    reviews = Reviews(tmp_path)
    reviews.decide("p-0", "ann", "reject", 0, "wrong")
    assert reviews.decide("p-0", "ann", "accept", 0).decision == "keep"
    assert reviews.counts() == {"ann": 1}


def test_the_overlay_says_what_was_decided_and_by_whom(tmp_path: Path) -> None:
    reviews = Reviews(tmp_path)
    reviews.decide("kept-0", "ann", "accept", 0)
    reviews.decide("dropped-0", "ann", "reject", 0, "unreadable")
    reviews.decide("disputed-0", "ann", "accept", 0)
    reviews.decide("disputed-0", "bob", "reject", 0, "wrong")
    version = reviews.edit("edited-0", "bob", 0, "think", "4", ["correctness: wrong"]).version
    reviews.decide("edited-0", "ann", "accept", version)
    reviews.edit("undecided-0", "bob", 0, "think", "4")
    rows = {row["sample_id"]: row for row in summarize_reviews(tmp_path).to_dicts()}
    assert {name: row["decision"] for name, row in rows.items()} == {
        "kept-0": "keep",
        "dropped-0": "drop",
        "disputed-0": "undecided",
        "edited-0": "keep",
    }
    assert rows["dropped-0"]["reason"] == "unreadable"
    assert rows["edited-0"]["thinking"] == "think"
    assert rows["edited-0"]["flags"] == ["correctness: wrong"]
    assert rows["edited-0"]["reviewers"] == ["bob", "ann"]
    assert rows["kept-0"]["response"] is None


def test_no_review_is_an_empty_overlay_and_leaves_no_file(tmp_path: Path) -> None:
    frame = summarize_reviews(tmp_path)
    assert frame.schema == pl.Schema(SCHEMA)
    assert frame.is_empty()
    assert not list(tmp_path.iterdir())


def test_a_damaged_store_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database, and long enough to tell" * 40)
    with pytest.raises(RunError, match="move it away"):
        Reviews(tmp_path)


def test_commits_are_synchronous(tmp_path: Path) -> None:
    Reviews(tmp_path).decide("p-0", "ann", "accept", 0)
    connection = sqlite3.connect(tmp_path / FILE)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    with Reviews(tmp_path)._connection() as own:
        assert own.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
