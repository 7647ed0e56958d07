"""Published sets of solutions with labelled steps, read as prompts: their questions and references.

As rows for a process reward model the same files are read by `factory.prompts.steps.labels`.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from factory.core.nouns import Prompt
from factory.prompts.sets.math_sets import MathSet
from factory.prompts.source import BadRow, Row, Unwanted
from factory.prompts.steps.labels import read_math_shepherd

FINAL_ANSWER = re.compile(r"(?:The answer is:|####)\s*(?P<answer>\S.*?)\s*\Z", re.DOTALL)
"""How a solution of Math-Shepherd ends."""


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
    right, so that answer is the reference; rows of wrong solutions are left out.
    """

    LANGUAGE = "en"

    kind: Literal["math_shepherd"] = "math_shepherd"
    dataset: str = Field("peiyi9979/Math-Shepherd", description="Id on the Hub, or a local copy.")

    def read_row(self, row: Row) -> Prompt:
        read = read_math_shepherd(row["input"], row["label"])
        if read["labels"][-1] != 1.0:
            raise Unwanted("wrong_solution")
        found = FINAL_ANSWER.search(read["steps"][-1])
        if found is None:
            raise BadRow("no_answer", f"no answer ends the last step {read['steps'][-1][-80:]!r}")
        return self.problem(read["question"], found["answer"], origin=row.get("task"))
