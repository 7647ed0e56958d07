from __future__ import annotations

import errno
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from filters.verify import VERIFIERS, verifier_class
from filters.verify.verification import State, Verification
from filters.verify.verifiers import Item, Verifiers, read_verifier, verify_responses, versions

FIVE = {"kind": "math", "answer": "5"}


@pytest.fixture
def verifiers() -> Iterator[Verifiers]:
    with Verifiers(workers=1) as made:
        yield made


def test_kinds_are_judged_together_and_answered_in_order(verifiers: Verifiers) -> None:
    items = [
        (FIVE, r"<think>4?</think>\boxed{5}"),
        ({"kind": "choice", "answer": "B"}, "<think></think>B"),
        (None, "Hello!"),
        (FIVE, r"<think>\boxed{5}</think>\boxed{6}"),
        (FIVE, r"<think>\boxed{5}"),
        ({"kind": "poetry"}, "<think></think>B"),
        ({}, "x"),
        ({"kind": "text", "answer": "yes"}, "<think>no</think>yes"),
        (FIVE, "<think>5</think>  "),
    ]
    states = [verdict.state for verdict in verify_responses(items, verifiers=verifiers)]
    assert states == [
        "correct", "correct", "unverifiable", "wrong", "no_answer",
        "unverifiable", "unverifiable", "correct", "no_answer",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "lenient", "strict"),
    [
        (r"\boxed{5}", "correct", "no_answer"),
        (r"5</think>\boxed{5}", "correct", "correct"),
        (r"<think>5</think>\boxed{5}", "correct", "correct"),
        (r"<think>5", "no_answer", "no_answer"),
    ],
)
def test_a_think_section_may_be_required(text: str, lenient: str, strict: str) -> None:
    for required, state in ((False, lenient), (True, strict)):
        with Verifiers(require_think=required) as verifiers:
            assert verifiers.verify([Item.of(FIVE, text)])[0].state == state


def test_checks_of_references(verifiers: Verifiers) -> None:
    specs = [FIVE, None, {"kind": "math", "answer": ""}, {"kind": "poetry"}, {"kind": "choice"}]
    assert [bool(problem) for problem in verifiers.check(specs)] == [False, False, True, True, True]


def test_threads_share_verifiers(verifiers: Verifiers) -> None:
    seen: list[Verification] = []
    item = Item({"kind": "math", "answer": r"\sin(\pi/6)"}, r"\boxed{\frac12}")
    threads = [
        threading.Thread(target=lambda: seen.extend(verifiers.verify([item]))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [verdict.state for verdict in seen] == ["correct"] * 4


def test_every_kind_has_a_class_and_a_version() -> None:
    assert VERIFIERS.keys() <= versions().keys()
    assert all(verifier_class(kind).VERSION >= 1 for kind in VERIFIERS)


def test_a_row_holds_its_verifier_as_json() -> None:
    assert read_verifier('{"kind": "math", "answer": "5"}') == FIVE
    assert read_verifier(None) is None
    assert read_verifier("[]") == {"kind": None}


class Brittle:
    """A verifier with a defect: some texts raise."""

    VERSION = 1

    def verify(self, items: Sequence[tuple[Mapping[str, Any], str]]) -> list[Verification]:
        states: list[State] = ["correct" if self._read(text) else "wrong" for _, text in items]
        return [Verification(state, None, "brittle") for state in states]

    def check(self, specs: Sequence[Mapping[str, Any]]) -> list[str | None]:
        return [None if self._read(spec["answer"]) else "bad" for spec in specs]

    def close(self) -> None:
        pass

    def _read(self, text: str) -> bool:
        if text == "full":
            raise OSError(errno.ENOSPC, "no space")
        return bool({"yes": True, "no": False}[text])


@pytest.fixture
def brittle(monkeypatch: pytest.MonkeyPatch) -> Iterator[Verifiers]:
    monkeypatch.setattr("filters.verify.verifiers.verifier_class", lambda kind: Brittle)
    with Verifiers() as made:
        yield made


def test_a_defect_of_a_verifier_costs_one_verdict(brittle: Verifiers) -> None:
    found = brittle.verify([Item({"kind": "text"}, text) for text in ("yes", "odd", "no")])
    assert [verdict.state for verdict in found] == ["correct", "error", "wrong"]
    assert found[1].detail == "the verifier failed: KeyError: 'odd'"
    problems = brittle.check([{"kind": "text", "answer": text} for text in ("yes", "odd", "no")])
    assert problems == [None, "the verifier failed: KeyError: 'odd'", "bad"]


def test_a_fault_of_the_machine_is_no_verdict(brittle: Verifiers) -> None:
    with pytest.raises(OSError, match="no space"):
        brittle.verify([Item({"kind": "text"}, text) for text in ("yes", "full")])
    with pytest.raises(OSError, match="no space"):
        brittle.check([{"kind": "text", "answer": "full"}])
