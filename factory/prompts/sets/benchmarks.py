"""Benchmarks that a column mapping can't read: GPQA and LiveCodeBench."""

from __future__ import annotations

import base64
import hashlib
import pickletools
import random
import zlib
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from factory.core.nouns import Message, Prompt
from factory.prompts import verifier_spec
from factory.prompts.mapping import with_options
from factory.prompts.sets.base import NamedSet
from factory.prompts.sets.code_sets import CodeSet, parse_arguments, stdin_tests
from factory.prompts.source import BadRow, Row, Unwanted


class Gpqa(NamedSet):
    """GPQA. Gated: accept its terms on the Hub and set HF_TOKEN.

    A row has the right option and three wrong ones. They are shuffled by a hash of the question, so
    that a prompt is always the same. The authors ask not to publish the questions.
    """

    DOMAIN = "stem"
    LANGUAGE = "en"
    LICENSE = "CC-BY-4.0"
    COLUMNS = (
        "Question",
        "Correct Answer",
        "Incorrect Answer 1",
        "Incorrect Answer 2",
        "Incorrect Answer 3",
        "Subdomain",
    )

    kind: Literal["gpqa"] = "gpqa"
    dataset: str = Field("Idavidrein/gpqa", description="Id on the Hub, or a local copy.")
    config: str | None = Field(
        "gpqa_diamond", description="gpqa_diamond, gpqa_main or gpqa_extended."
    )

    def read_row(self, row: Row) -> Prompt:
        question = row["Question"].strip()
        options = [row[name].strip() for name in self.COLUMNS[1:5]]
        right = options[0]
        digest = hashlib.sha256(f"{self.seed}\n{question}".encode()).digest()
        random.Random(digest).shuffle(options)
        verifier = verifier_spec.choice(options.index(right), options)
        asked = (Message(role="user", content=question),)
        return self.make(
            with_options(asked, verifier["choices"]),
            verifier,
            meta={"subdomain": row.get("Subdomain")},
        )


class LiveCodeBench(CodeSet):
    """LiveCodeBench's light version, selected by contest date.

    Its JSON lines are read directly, since `datasets` no longer runs its loading script. Hidden
    tests are a compressed pickle of JSON text. The text is extracted without unpickling.
    """

    LANGUAGE = "en"

    kind: Literal["live_code_bench"] = "live_code_bench"
    dataset: str = Field(
        "livecodebench/code_generation_lite", description="Id on the Hub, or a local copy."
    )
    split: str = Field("test", description="Split of the data set.")
    files: str | None = Field("test*.jsonl", description="Glob of the files to read.")
    since: date | None = Field(None, description="First contest date to use.")
    until: date | None = Field(None, description="Last contest date to use.")
    max_test_bytes: int = Field(
        32_000_000, ge=1, description="Keep a problem's first tests up to this size in bytes."
    )

    @model_validator(mode="after")
    def _check_dates(self) -> Self:
        if self.since and self.until and self.since > self.until:
            raise ValueError(f"since {self.since} is after until {self.until}")
        return self

    def read_row(self, row: Row) -> Prompt:
        day = date.fromisoformat(str(row["contest_date"])[:10])
        if (self.since and day < self.since) or (self.until and day > self.until):
            raise Unwanted("other_dates")
        shown = verifier_spec.structured(row["public_test_cases"])
        cases = [*shown, *read_hidden_tests(row["private_test_cases"])]
        name = verifier_spec.structured(row["metadata"] or "{}").get("func_name")
        return self.problem(
            row["question_content"],
            _function_tests(name, cases)
            if name
            else stdin_tests((c["input"], c["output"]) for c in cases),
            starter=row.get("starter_code"),
            time_limit_s=6.0,  # as in the set's own grader
            title=row.get("question_title"),
            difficulty=row.get("difficulty"),
            platform=row.get("platform"),
            contest_date=day.isoformat(),
        )


def _function_tests(name: str, cases: Sequence[Mapping[str, Any]]) -> verifier_spec.Spec:
    """Return calls of one function. Arguments are JSON, one per line; a result is not wrapped."""
    if not cases:
        raise Unwanted("no_tests")
    calls = [
        {
            "args": parse_arguments(case["input"]),
            "expected": verifier_spec.structured(case["output"]),
        }
        for case in cases
    ]
    return {"call": {"name": name, "cases": calls}}


_TEXT_OPCODES = frozenset(
    {"PROTO", "FRAME", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "MEMOIZE", "BINPUT", "STOP"}
)


def _extract_pickled_text(data: bytes) -> str:
    """Return the single text of a pickle by reading its opcodes, without executing them.

    Raises ValueError for any other pickle.
    """
    opcodes = list(pickletools.genops(data))
    texts = [argument for _, argument, _ in opcodes if isinstance(argument, str)]
    others = {opcode.name for opcode, _, _ in opcodes} - _TEXT_OPCODES
    if others or len(texts) != 1:
        raise ValueError(f"it has more than one text: {', '.join(sorted(others)) or len(texts)}")
    return texts[0]


def read_hidden_tests(text: str) -> list[Any]:
    """Parse the hidden tests: JSON, or a compressed pickle of JSON in base64."""
    if text.lstrip().startswith("["):
        held = text
    else:
        try:
            held = _extract_pickled_text(zlib.decompress(base64.b64decode(text)))
        except (ValueError, zlib.error) as error:
            raise BadRow("bad_tests", f"the hidden tests cannot be read: {error}") from None
    tests: list[Any] = verifier_spec.structured(held)
    return tests
