from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from factory.core.errors import EngineError
from factory.core.nouns import Message
from filters.base import Filter
from filters.correctness import METRICS, Correctness

FIVE = json.dumps({"kind": "math", "answer": "5"})
WORDS = json.dumps({"kind": "text", "answer": "the Nile"})

Rows = Callable[..., pl.DataFrame]
Reasons = Callable[[Filter, pl.DataFrame], list[str | None]]

TEXTS = [
    (FIVE, r"<think>t</think>\boxed{5}", None),
    (FIVE, r"<think>\boxed{5}</think>\boxed{6}", "wrong"),
    (FIVE, r"<think>t</think>\boxed{5", "no_answer"),
    (FIVE, r"<think>\boxed{5}", "no_answer"),
    (FIVE, r"\boxed{5}", "no_answer"),
    (FIVE, r"<think>t</think>\boxed{9^{9^9}}", "unparseable"),
    (json.dumps({"kind": "math", "answer": ""}), r"<think>t</think>\boxed{5}", "bad_reference"),
    (None, "<think>t</think>Hello", "unverifiable"),
    ('{"kind": "poetry"}', "<think>t</think>Hello", "unverifiable"),
    (WORDS, "<think>t</think><answer>Nile</answer>", None),
    (WORDS, "<think>t</think><answer>Congo</answer>", "wrong"),
    (FIVE, r"<think>\boxed{6}</think>\boxed{5}", None),  # the response counts, not the reasoning
    (FIVE, r"<think>t</think>\boxed{6}, no: \boxed{5}", None),  # the last box
    (FIVE, r"<think>t</think>\boxed{5}, no: \boxed{6}", "wrong"),
    (FIVE, r"<think>t</think>\boxed{x = 5}", None),
    (FIVE, r"<think>t</think>\boxed{}", "no_answer"),
    (FIVE, "<think>t</think>", "no_answer"),
]


def test_reasons(rows: Rows, reasons: Reasons) -> None:
    frame = rows([text for _, text, _ in TEXTS], verifier=[verifier for verifier, _, _ in TEXTS])
    assert reasons(Correctness(), frame) == [reason for _, _, reason in TEXTS]


def test_decisions_tell_wrong_from_unknown(rows: Rows) -> None:
    frame = rows([text for _, text, _ in TEXTS], verifier=[verifier for verifier, _, _ in TEXTS])
    judge = Correctness()
    verdicts = judge.decide(judge.measure(frame))
    decided = {r: d for d, r in verdicts.select("decision", "reason").iter_rows()}
    assert decided == {
        None: "keep",
        "wrong": "drop",
        "no_answer": "drop",
        "unparseable": "drop",
        "bad_reference": "undecided",
        "unverifiable": "undecided",
    }


@pytest.mark.parametrize(
    ("choice", "decision"), [("keep", "keep"), ("drop", "drop"), ("undecided", "undecided")]
)
def test_rows_that_nothing_verifies_pass_only_if_the_recipe_says_so(
    rows: Rows, choice: Any, decision: str
) -> None:
    judge = Correctness(unverifiable=choice)
    frame = rows(["<think>t</think>Hello"])
    assert judge.decide(judge.measure(frame))["decision"].to_list() == [decision]


def test_a_think_section_may_be_optional(rows: Rows, reasons: Reasons) -> None:
    frame = rows([r"\boxed{5}"], verifier=FIVE)
    assert reasons(Correctness(think="optional"), frame) == [None]


UNEXPLAINED = (
    pl.lit("symbolic").alias("correctness_method"),
    pl.lit(None).alias("correctness_detail"),
)

REPAIRS = [
    ("correct", None, "keep", None),
    ("no_answer", "no_patch: there is none", "drop", "no_patch"),
    ("wrong", "patch_rejected: malformed: no path", "drop", "patch_rejected"),
    ("wrong", "edits_tests: conftest.py", "drop", "edits_tests"),
    ("wrong", "build_failed: no test ran", "drop", "build_failed"),
    ("wrong", "f2p_failed: 1 of 2", "drop", "f2p_failed"),
    ("wrong", "p2p_broken: 1 of 2", "drop", "p2p_broken"),
    ("wrong", "tampered: a record is forged", "drop", "tampered"),
    ("timeout", "timeout: over 2 s", "undecided", "timeout"),
    ("error", "flaky: 1 of 2", "undecided", "flaky"),
    ("error", "suspicious: imports sys", "undecided", "suspicious"),
    ("error", "the box is gone", "undecided", "verifier_error"),
    ("unverifiable", "no environment: image x", "undecided", "unverifiable"),
]


@pytest.mark.parametrize(("state", "detail", "decision", "reason"), REPAIRS)
def test_repairs_are_dropped_by_the_reason_of_their_verifier(
    state: str, detail: str | None, decision: str, reason: str | None
) -> None:
    measured = pl.DataFrame(
        {
            "sample_id": ["a"],
            "correctness_state": [state],
            "correctness_judge": pl.Series([None], dtype=pl.String),
            "correctness_method": ["repository"],
            "correctness_detail": pl.Series([detail], dtype=pl.String),
        }
    )
    (verdict,) = Correctness().decide(measured).rows(named=True)
    assert (verdict["decision"], verdict["reason"]) == (decision, reason)


def test_timeouts_and_errors_are_never_wrong() -> None:
    measured = pl.DataFrame(
        {
            "sample_id": ["a", "b"],
            "correctness_state": ["timeout", "error"],
            "correctness_method": ["numeric"] * 2,
            "correctness_detail": ["killed at the deadline"] * 2,
            "correctness_judge": pl.Series([None, None], dtype=pl.String),
        }
    )
    verdicts = Correctness().decide(measured.with_columns(UNEXPLAINED))
    assert verdicts["decision"].to_list() == ["undecided"] * 2
    assert verdicts["reason"].to_list() == ["verifier_timeout", "verifier_error"]


def test_no_text_raises(bad_text: str | None, rows: Rows) -> None:
    frame = rows([bad_text] * 3, verifier=[FIVE, WORDS, None])
    metrics = Correctness(think="optional").measure(frame)
    assert metrics.height == 3
    assert metrics.drop("sample_id").schema == METRICS


def test_no_rows(rows: Rows) -> None:
    assert Correctness().measure(rows([])).is_empty()


def says(verdict: str) -> Callable[[Sequence[Sequence[Message]]], list[str]]:
    return lambda asked: [f'Compared.\n{{"verdict": "{verdict}"}}'] * len(asked)


RIGHT, WRONG, DULL = (r"<think></think>\boxed{5}", r"<think></think>\boxed{6}", "<think></think>")


@pytest.mark.parametrize(
    ("combine", "opinion", "expected"),
    [
        ("judge", "correct", [None, None, "no_answer"]),
        ("judge", "incorrect", ["judge_wrong", "judge_wrong", "no_answer"]),
        ("judge", "maybe", ["judge_undecided", "judge_undecided", "no_answer"]),
        ("rule_or_judge", "correct", [None, None, "no_answer"]),
        ("rule_or_judge", "incorrect", [None, "wrong", "no_answer"]),
        ("rule_or_judge", "maybe", [None, "judge_undecided", "no_answer"]),
        ("rule_and_judge", "correct", [None, "wrong", "no_answer"]),
        ("rule_and_judge", "incorrect", ["judge_wrong", "wrong", "no_answer"]),
        ("rule_and_judge", "maybe", ["judge_undecided", "wrong", "no_answer"]),
    ],
)
def test_a_rule_and_a_judge_combine(
    rows: Rows, combine: Any, opinion: str, expected: list[str | None]
) -> None:
    judge = Correctness(combine=combine, judge="engine", canaries=0)
    frame = rows([RIGHT, WRONG, DULL], verifier=FIVE)
    metrics = judge.measure_with(frame, says(opinion))
    assert judge.decide(metrics)["reason"].to_list() == expected


def test_a_judge_decides_what_the_rule_could_not() -> None:
    judge = Correctness(combine="rule_or_judge", judge="engine")
    measured = pl.DataFrame(
        {
            "sample_id": ["a", "b"],
            "correctness_state": ["timeout", "timeout"],
            "correctness_method": ["numeric"] * 2,
            "correctness_detail": ["killed at the deadline"] * 2,
            "correctness_judge": ["judge_correct", "judge_wrong"],
        }
    )
    measured = measured.with_columns(UNEXPLAINED)
    assert judge.decide(measured)["reason"].to_list() == [None, "judge_wrong"]


def test_a_judge_that_says_yes_to_anything_is_caught(rows: Rows) -> None:
    judge = Correctness(combine="rule_or_judge", judge="engine", canaries=1)
    wrong = [rf"<think></think>\boxed{{{n}}}" for n in range(6, 16)]
    for opinion, fooled in (("correct", True), ("incorrect", False)):
        metrics = judge.measure_with(rows(wrong, verifier=FIVE), says(opinion))
        assert metrics["correctness_canary"].to_list() == [fooled] * 10


def test_answers_that_say_nothing_are_not_asked_about(rows: Rows) -> None:
    asked: list[Any] = []

    def ask(conversations: Sequence[Sequence[Message]]) -> list[str]:
        asked.extend(conversations)
        return [""] * len(conversations)

    judge = Correctness(combine="rule_or_judge", judge="engine", canaries=0)
    texts = ["<think></think><answer>:</answer>", "<think></think><answer>Solution</answer>", DULL]
    judge.measure_with(rows(texts, verifier=FIVE), ask)
    assert asked == []


def test_a_judge_without_an_engine_is_an_error(rows: Rows) -> None:
    judge = Correctness(combine="judge", judge="engine")
    with pytest.raises(EngineError):
        judge.measure(rows([WRONG], verifier=FIVE))


@pytest.mark.parametrize(
    "keys", [{"combine": "judge"}, {"judge": "engine"}, {"think": "maybe"}, {"x": 1}]
)
def test_recipes_that_make_no_sense_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Correctness(**keys)


def test_only_what_is_measured_names_the_cache() -> None:
    base = Correctness().cache_key()
    assert Correctness(unverifiable="keep").cache_key() == base
    assert Correctness(think="optional").cache_key() != base
