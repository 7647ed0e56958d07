"""Published sets of solutions with labelled steps, read as prompts: their questions and references.

As rows for a process reward model the same files are read by `factory.prompts.steps.labels`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, PrivateAttr

from factory.core.nouns import Prompt
from factory.prompts.sets.math_sets import MathSet
from factory.prompts.source import BadRow, Reject, Row, Skip, Unwanted
from factory.prompts.steps.labels import read_math_shepherd

FINAL_MARKS = ("The answer is:", "####")
"""What stands before the answer at the end of a solution of Math-Shepherd."""


class Prm800k(MathSet):
    """PRM800K's problems of MATH; the many rows of a problem become one prompt.

    Its training split has 4,500 problems of MATH's test set, but none of MATH-500, which is its
    split `test`. The label of a row is not kept.
    """

    LANGUAGE = "en"
    LICENSE = "MIT"
    COLUMNS = ("question",)

    kind: Literal["prm800k"] = "prm800k"
    dataset: str = Field("sarahpann/PRM800K", description="Id on the Hub, or a local copy.")

    def read_row(self, row: Row) -> Prompt:
        question = row["question"]
        return self.problem(question["problem"], question["ground_truth_answer"])


class MathShepherd(MathSet):
    """Math-Shepherd's questions of GSM8K and MATH; the many rows of a question become one prompt.

    The set has no references. The last step of a solution is labelled `+` where its answer is
    right, so that answer is the reference; rows of wrong solutions are left out. Where right
    solutions of a question spell the answer in several ways, the first one is kept.
    """

    LANGUAGE = "en"

    kind: Literal["math_shepherd"] = "math_shepherd"
    dataset: str = Field("peiyi9979/Math-Shepherd", description="Id on the Hub, or a local copy.")

    _references: dict[str, str] = PrivateAttr(default_factory=dict)  # by question

    def rows(self) -> Iterator[Prompt | Reject | Skip]:
        self._references.clear()
        return super().rows()

    def read_row(self, row: Row) -> Prompt:
        read = read_math_shepherd(row["input"], row["label"])
        if read["labels"][-1] != 1.0:
            raise Unwanted("wrong_solution")
        question, answer = read["question"], read_final_answer(read["steps"][-1])
        reference = self._references.setdefault(question, answer)
        return self.problem(question, reference, origin=row.get("task"))


def read_final_answer(step: str) -> str:
    """Return what follows the last mark of an answer in a step. Raises BadRow without one line.

    >>> read_final_answer("It is 6. The answer is: 6")
    '6'
    """
    ends = [place + len(mark) for mark in FINAL_MARKS if (place := step.rfind(mark)) >= 0]
    answer = step[max(ends, default=len(step)) :].strip()
    if not answer or "\n" in answer:
        raise BadRow("no_answer", f"no answer ends the last step {step[-80:]!r}")
    return answer
