"""Preference pairs from a run's samples, compared by a judge behind a real socket."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.core.errors import RunError
from factory.train.preferences import Pairing, decide_pair, draw_pairs, make_pairs, read_grades
from filters.judges.client import Endpoint, JudgeClient
from tests.fake_server import FakeServer
from tests.report.runs import judged_run

REPLIES: list[tuple[str, tuple[int, int] | None]] = [
    ('{"grades": [8, 5]}', (8, 5)),
    ('Both do.\n{"grades": [1, 10]}\n', (1, 10)),
    ('{"grades": [8, 5]} as asked', None),
    ('{"grades": [8]}', None),
    ('{"grades": [8, 11]}', None),
    ('{"grades": [0, 5]}', None),
    ('{"grades": [true, 5]}', None),
    ('{"grades": [8.5, 5]}', None),
    ('{"first": 8}', None),
    ("", None),
]


@pytest.mark.parametrize(("reply", "expected"), REPLIES)
def test_only_replies_in_the_requested_format_count(
    reply: str, expected: tuple[int, int] | None
) -> None:
    assert read_grades(reply) == expected


DECIDED: list[tuple[list[Any], str]] = [
    ([(8, 5)] * 4, "kept"),
    ([(5, 8)] * 4, "kept"),
    ([(6, 5)] * 4, "close"),  # the margin must be exceeded
    ([(6, 5), (6, 5), (6, 5), (7, 5)], "kept"),
    ([(8, 5), (5, 8), (8, 5), (5, 8)], "close"),  # a judge that prefers the first response
    ([(8, 5), (8, 5), (8, 5), None], "unread"),
]


@pytest.mark.parametrize(("grades", "expected"), DECIDED)
def test_the_outcome_of_a_pair(grades: list[Any], expected: str) -> None:
    assert decide_pair(grades, Pairing())[0] == expected


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.text("xy", max_size=3), st.integers(1, 9))),
    st.integers(1, 4),
)
def test_pairs_share_a_prompt_and_have_different_texts_of_similar_length(
    rows: list[tuple[str, str, int]], per_prompt: int
) -> None:
    samples = pl.DataFrame(
        [
            {"prompt_id": prompt, "sample_id": f"{prompt}-{n}", "text": text, "n_tokens": tokens}
            for n, (prompt, text, tokens) in enumerate(rows)
        ],
        schema={
            "prompt_id": pl.String,
            "sample_id": pl.String,
            "text": pl.String,
            "n_tokens": pl.Int64,
        },
    )
    by_id = {row["sample_id"]: row for row in samples.iter_rows(named=True)}
    pairing = Pairing(per_prompt=per_prompt)
    pairs = list(draw_pairs(samples, pairing))
    assert sorted(pairs) == sorted(draw_pairs(samples.reverse(), pairing))
    assert len(pairs) == len(set(pairs))
    for prompt in "abc":
        assert sum(pair.prompt_id == prompt for pair in pairs) <= per_prompt
    for pair in pairs:
        one, other = by_id[pair.first], by_id[pair.second]
        assert one["prompt_id"] == other["prompt_id"] == pair.prompt_id
        assert one["text"] != other["text"]
        lengths = sorted((one["n_tokens"], other["n_tokens"]))
        assert lengths[1] <= 1.5 * lengths[0]


def prefers_the_plain(body: dict[str, Any]) -> str:
    """Give the response with markup the lower grade, in either order."""
    first = re.search("<first>(.*)</first>", body["messages"][1]["content"], re.DOTALL)
    assert first is not None
    grades = [3, 8] if "hacked" in first[1] else [8, 3]
    return f'One is all markup.\n{{"grades": {grades}}}'


def prefers_the_first(body: dict[str, Any]) -> str:
    return '{"grades": [9, 2]}'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    judged_run(folder)
    return folder


WIDE = Pairing(length_ratio=3)


def judged(run: Path, out: Path, server: FakeServer, pairing: Pairing = WIDE) -> dict[str, int]:
    endpoint = Endpoint(base_url=server.url, model="fake")
    with JudgeClient(endpoint, temperature=1.0) as client:
        return make_pairs(run, client, out, pairing)


def test_pairs_with_a_clear_preference_are_kept(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    with FakeServer(answer=prefers_the_plain) as server:
        assert judged(run, out, server) == {"kept": 6}
        orders = {body["messages"][1]["content"].index("hacked") for body in server.bodies}
        assert len(server.bodies) == 4 * 6
        assert len(orders) > 1, "both orders were asked"
        assert all(body["temperature"] == 1.0 for body in server.bodies)
        assert not any("<think>" in body["messages"][1]["content"] for body in server.bodies)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["margin"] for row in rows} == {5.0}
    for row in rows:
        assert "hacked" in row["rejected"]
        assert "hacked" not in row["chosen"]
        assert row["chosen"].startswith("<think>")
        assert row["prompt"][-1]["role"] == "user"


def test_comparisons_are_not_repeated(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    with FakeServer(answer=prefers_the_plain) as server:
        judged(run, out, server)
        written = out.read_bytes()
        asked = len(server.bodies)
        compared = tmp_path / "pairs.jsonl.compared.jsonl"
        lines = compared.read_text().splitlines(keepends=True)
        compared.write_text("".join(lines[:4]) + lines[4][:9])  # killed in the middle of a line
        judged(run, out, server)
        assert len(server.bodies) == asked + 2 * 4
    assert out.read_bytes() == written


def test_a_judge_with_position_bias_keeps_no_pair(run: Path, tmp_path: Path) -> None:
    with FakeServer(answer=prefers_the_first) as server:
        assert judged(run, tmp_path / "pairs.jsonl", server) == {"close": 6}


def test_replies_that_cannot_be_read_are_counted(run: Path, tmp_path: Path) -> None:
    with FakeServer(answer=lambda body: "I like both.") as server:
        assert judged(run, tmp_path / "pairs.jsonl", server) == {"unread": 6}
    assert (tmp_path / "pairs.jsonl").read_text() == ""


def test_a_run_without_pairs_is_an_error_with_a_reason(run: Path, tmp_path: Path) -> None:
    with FakeServer() as server, pytest.raises(RunError, match="two samples of one prompt"):
        judged(run, tmp_path / "pairs.jsonl", server, Pairing(length_ratio=1))
