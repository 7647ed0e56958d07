"""What verifying an answer returns, and what a verifier is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

State = Literal[
    "correct",
    "wrong",
    "no_answer",
    "unparseable",
    "bad_reference",
    "timeout",
    "error",
    "unverifiable",
    "pending",
    "judge_correct",
    "judge_wrong",
    "consensus",
    "dissent",
]
"""What is known of an answer:

correct        it equals the reference, passes every test, scores 1.0
wrong          it was read, and it does not
no_answer      the response holds no final answer (none given, cut off, think section not closed)
unparseable    there is an answer that the verifier cannot read
bad_reference  the prompt's own reference or tests cannot be used
timeout        the deadline passed, twice, the second time in a fresh worker
error          the verifier failed, twice
unverifiable   nothing here can verify it (no verifier, no sandbox)
pending        a verdict is still to come: a judge has items of a rubric to answer, or
               `correctness.later` lets it come later
judge_correct  a judge model called it correct
judge_wrong    a judge model called it wrong
consensus      it equals the answer that most samples gave, which stands in for a reference
dissent        it was read, and it does not
"""

CONSENSUS = "consensus"
"""Key of a verifier mapping whose answer is a vote and no reference. Nobody knows if it is right.
So its verdicts are states of their own: they are never `correct` or `wrong`."""

VOTED_AS = "voted_as"
"""Key of such a prompt's meta: its id in the run that voted."""

LATER = "later"
"""The method of a pending verdict that `factory judge` is to give."""

RETRYABLE: frozenset[State] = frozenset({"timeout", "error"})
"""Says nothing about the answer: tried once more, then undecided; never counted as wrong."""


@dataclass(frozen=True, slots=True)
class Verification:
    """One answer's verdict. `method` names what decided (fast, symbolic, choice, tests, judge…).

    `version` is the verifier's, and `input` the hash of the mapping and the response it was given:
    the same two give the same verdict, and another version's verdicts can be distinguished.
    """

    state: State
    extracted: str | None
    method: str
    ms: float = 0.0
    detail: str | None = None
    version: str | None = None
    input: str | None = None


class Verifier(Protocol):
    """Judges answers of one kind of prompt. Never raises on any response or reference."""

    VERSION: int

    def verify(self, items: Sequence[tuple[Mapping[str, Any], str]]) -> list[Verification]:
        """Verdicts of (prompt's verifier mapping, response) pairs, in the same order.

        A response is what follows the closed think section.
        """

    def check(self, specs: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """What is wrong with each prompt's own reference; None where it passes its own verifier."""

    def close(self) -> None:
        """End every process this verifier started."""
