"""Published sets of mathematics problems, with their known defects handled.

Known rows without a verifiable answer (proofs, missing answers) are left out and counted. They do
not count as malformed.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field

from factory.core.nouns import Prompt
from factory.prompts import verifier_spec
from factory.prompts.sets.base import NamedSet, parse_number
from factory.prompts.source import BadRow, Row, Unwanted


class MathSet(NamedSet):
    """The base of the mathematics sets: a problem, an answer, the mathematics verifier."""

    DOMAIN = "math"

    def problem(self, question: Any, answer: Any, **meta: Any) -> Prompt:
        if not isinstance(question, str):
            raise BadRow("no_question", f"the problem is {question!r:.80}")
        if answer is None or not str(answer).strip():
            raise Unwanted("no_answer")
        return self.make(question, verifier_spec.math(answer), meta=meta)


class Gsm8k(MathSet):
    """GSM8K: word problems of school. An answer is a solution that ends in `#### 18`.

    The number after the mark is the reference; the solution is not kept.
    """

    LANGUAGE = "en"
    LICENSE = "MIT"

    kind: Literal["gsm8k"] = "gsm8k"
    dataset: str = Field("openai/gsm8k", description="Id on the Hub, or a local copy.")
    config: str | None = Field("main", description="`main`, or `socratic` with sub-questions.")

    def read_row(self, row: Row) -> Prompt:
        _, mark, final = row["answer"].rpartition("####")
        if not mark or not final.strip():
            raise BadRow("no_answer", f"no `#### number` ends the answer {row['answer'][-80:]!r}")
        return self.problem(row["question"], final.strip())


class NuminaMath(MathSet):
    """NuminaMath 1.5. Proofs, rows without an answer, and invalid rows are left out."""

    LICENSE = "Apache-2.0"

    kind: Literal["numina_math"] = "numina_math"
    dataset: str = Field("AI-MO/NuminaMath-1.5", description="Id on the Hub, or a local copy.")

    def read_row(self, row: Row) -> Prompt:
        answer = row["answer"]
        if row.get("question_type") == "proof" or answer == "proof":
            raise Unwanted("proof")
        if answer is None or answer in ("", "notfound"):
            raise Unwanted("no_answer")
        if row.get("problem_is_valid") != "Yes" or row.get("solution_is_valid") != "Yes":
            raise Unwanted("flagged_invalid")
        return self.problem(
            row["problem"],
            answer,
            problem_type=row.get("problem_type"),
            question_type=row.get("question_type"),
            origin=row.get("source"),
        )


class DeepScaler(MathSet):
    """DeepScaleR's 40k competition problems. A few have no answer and are left out."""

    LICENSE = "MIT"

    kind: Literal["deepscaler"] = "deepscaler"
    dataset: str = Field(
        "agentica-org/DeepScaleR-Preview-Dataset", description="Id on the Hub, or a local copy."
    )

    def read_row(self, row: Row) -> Prompt:
        return self.problem(row["problem"], row["answer"])


DAPO_WRAPPER = re.compile(
    r"\ASolve the following math problem step by step\..{0,200}?is the answer to the problem\.\s*"
    r"|\s*Remember to put your answer on its own line after \"Answer:\"\.?\s*\Z",
    re.DOTALL,
)


class DapoMath(MathSet):
    """DAPO-Math-17k. The published file has each of about 17.4k problems about 100 times.

    Repeats become one prompt. Each problem is wrapped in instructions for an `Answer:` line, which
    contradict a boxed answer and are removed.
    """

    LICENSE = "Apache-2.0"

    kind: Literal["dapo_math"] = "dapo_math"
    dataset: str = Field(
        "BytedTsinghua-SIA/DAPO-Math-17k", description="Id on the Hub, or a local copy."
    )

    def read_row(self, row: Row) -> Prompt:
        question = DAPO_WRAPPER.sub("", row["prompt"][-1]["content"])
        answer = row["reward_model"]["ground_truth"]
        return self.problem(question, answer, origin=row.get("data_source"))


class BigMath(MathSet):
    """Big-Math. Gated: accept its terms on the Hub and set HF_TOKEN.

    6,783 of its rows are repeats, which become one prompt. The solve rate of Llama-3.1-8B, a
    measure of difficulty, is kept in the meta.
    """

    LICENSE = "Apache-2.0"

    kind: Literal["big_math"] = "big_math"
    dataset: str = Field(
        "SynthLabsAI/Big-Math-RL-Verified", description="Id on the Hub, or a local copy."
    )

    def read_row(self, row: Row) -> Prompt:
        return self.problem(
            row["problem"],
            row["answer"],
            solve_rate=row.get("llama8b_solve_rate"),
            topics=row.get("domain"),
            origin=row.get("source"),
        )


class OpenR1Math(MathSet):
    """OpenR1-Math-220k. Rows with an empty answer are left out.

    The configuration `all` contains `default` and `extended`. The generations, most of the bytes,
    are not downloaded.
    """

    LICENSE = "Apache-2.0"
    COLUMNS = ("problem", "answer", "problem_type", "question_type", "source", "uuid")

    kind: Literal["openr1_math"] = "openr1_math"
    dataset: str = Field("open-r1/OpenR1-Math-220k", description="Id on the Hub, or a local copy.")
    config: str | None = Field("all", description="default, extended, or all (both).")

    def read_row(self, row: Row) -> Prompt:
        if row.get("question_type") == "proof":
            raise Unwanted("proof")
        return self.problem(
            row["problem"],
            row["answer"],
            problem_type=row.get("problem_type"),
            origin=row.get("source"),
            uuid=row.get("uuid"),
        )


class OpenMathReasoning(MathSet):
    """NVIDIA's OpenMathReasoning. Each row is a solution, so a problem occurs up to 32 times.

    Repeats become one prompt. Proofs turned into questions (`converted_proof`) are left out. The
    pass rate is text, "n/a" if unknown. The solutions are not downloaded.
    """

    LICENSE = "CC-BY-4.0"
    COLUMNS = ("problem", "expected_answer", "problem_type", "pass_rate_72b_tir")

    kind: Literal["open_math_reasoning"] = "open_math_reasoning"
    dataset: str = Field("nvidia/OpenMathReasoning", description="Id on the Hub, or a local copy.")
    split: str = Field("cot", description="cot, tir or additional_problems.")

    def read_row(self, row: Row) -> Prompt:
        if row.get("problem_type") == "converted_proof":
            raise Unwanted("proof")
        return self.problem(
            row["problem"],
            row["expected_answer"],
            problem_type=row.get("problem_type"),
            pass_rate=parse_number(row.get("pass_rate_72b_tir")),
        )


class DeepMath(MathSet):
    """DeepMath-103K: hard problems, graded by difficulty.

    Its three R1 solutions per problem are not downloaded.
    """

    LICENSE = "MIT"
    COLUMNS = ("question", "final_answer", "difficulty", "topic")

    kind: Literal["deep_math"] = "deep_math"
    dataset: str = Field("zwhe99/DeepMath-103K", description="Id on the Hub, or a local copy.")

    def read_row(self, row: Row) -> Prompt:
        return self.problem(
            row["question"],
            row["final_answer"],
            difficulty=row.get("difficulty"),
            topic=row.get("topic"),
        )
