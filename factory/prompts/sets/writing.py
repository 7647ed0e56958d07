"""Prompts that ask for a short text and for instructions to follow, which a program can check.

Tasks and wording are this project's own (data/writing/tasks.jsonl); the kinds of
instructions are those of IFEval (arXiv 2311.07911) and some more. Everything is drawn by the seed,
so that the same seed gives the same prompts, and another seed gives prompts nobody has tuned on.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

from pydantic import Field

from factory.core.nouns import Prompt, fingerprint
from factory.core.resources import data_path
from factory.prompts.source import BadRow, Row, Source
from filters.verify.instructions.verifier import read_instruction

Draw = Callable[[random.Random, Mapping[str, Any]], dict[str, Any]]


class Kind(NamedTuple):
    """How an instruction is drawn, and which aspects of a text it fixes.

    Two instructions that fix the same aspect are not asked together.
    """

    aspects: frozenset[str]
    draw: Draw


def _kind(aspects: str, draw: Draw) -> Kind:
    return Kind(frozenset(aspects.split()), draw)


def _bound(rng: random.Random, low: int, high: int, step: int = 1) -> dict[str, int]:
    name = rng.choice(("at_least", "at_most", "exactly" if high <= 12 else "at_least"))
    return {name: rng.randrange(low, high + 1, step)}


KINDS: dict[str, Kind] = {
    "words": _kind("length", lambda rng, _: _bound(rng, 40, 200, 10)),
    "sentences": _kind("length", lambda rng, _: _bound(rng, 3, 9)),
    "paragraphs": _kind("length parts", lambda rng, _: _bound(rng, 2, 4)),
    "bullets": _kind("parts list", lambda rng, _: _bound(rng, 3, 6)),
    "numbered": _kind("parts list", lambda rng, _: _bound(rng, 3, 6)),
    "headings": _kind("parts marks", lambda rng, _: {"exactly": rng.randint(2, 4)}),
    "sections": _kind(
        "parts marks",
        lambda rng, _: {"exactly": rng.randint(2, 4), "mark": rng.choice(("PART", "SECTION"))},
    ),
    "title": _kind("start", lambda *_: {}),
    "highlights": _kind("marks", lambda rng, _: {"at_least": rng.randint(2, 4)}),
    "placeholders": _kind("brackets", lambda rng, _: {"at_least": rng.randint(2, 4)}),
    "postscript": _kind("end", lambda rng, _: {"mark": rng.choice(("P.S.", "P.P.S."))}),
    "responses": _kind("parts start end length", lambda *_: {"exactly": 2}),
    "json": _kind("parts list marks start end case length language brackets", lambda *_: {}),
    "keywords": _kind("words", lambda rng, task: {"include": rng.sample(task["words"], 2)}),
    "forbidden": _kind("words", lambda rng, task: {"words": rng.sample(task["words"], 2)}),
    "keyword_count": _kind(
        "words",
        lambda rng, task: {"word": rng.choice(task["words"]), "at_least": rng.randint(2, 4)},
    ),
    "letter_count": _kind(
        "letters", lambda rng, _: {"letter": rng.choice("jkqvwxz"), "at_least": rng.randint(2, 6)}
    ),
    "forbidden_characters": _kind("punctuation", lambda *_: {"characters": ","}),
    "language": _kind(
        "language words letters case start end",
        lambda rng, _: {"language": rng.choice(("de", "es", "fr", "it", "pt"))},
    ),
    "case": _kind(
        "case start end words language",
        lambda rng, _: {"case": rng.choice(("upper", "lower"))},
    ),
    "capitals": _kind("case", lambda rng, _: {"at_least": rng.randint(2, 5)}),
    "starts_with": _kind(
        "start", lambda rng, _: {"text": rng.choice(("Let me tell you this:", "In short,"))}
    ),
    "ends_with": _kind(
        "end",
        lambda rng, _: {"text": rng.choice(("That is all there is to say.", "Any questions?"))},
    ),
    "quoted": _kind("start end parts", lambda *_: {}),
}
"""A check of `filters.verify.instructions` → how it is drawn."""

Name = Literal[
    "words", "sentences", "paragraphs", "bullets", "numbered", "headings", "sections", "title",
    "highlights", "placeholders", "postscript", "responses", "json", "keywords", "forbidden",
    "keyword_count", "letter_count", "forbidden_characters", "language", "case", "capitals",
    "starts_with", "ends_with", "quoted",
]  # fmt: skip


class Writing(Source):
    """Writing tasks with instructions that a program checks, drawn by a seed."""

    LICENSE = "Apache-2.0"
    DOMAIN = "general"

    kind: Literal["writing"] = "writing"
    size: int = Field(200, ge=1, description="Number of prompts.")
    instructions: int = Field(
        3, ge=1, le=6, description="Maximum number of instructions per prompt; at least one."
    )
    checks: tuple[Name, ...] | None = Field(
        None, min_length=1, description="Which instructions to draw from. Default: all."
    )

    def identity(self) -> Any:
        return [super().identity(), fingerprint(_tasks())]

    def read(self) -> Iterator[tuple[str, Row | BadRow]]:
        for number in range(self.size):
            yield f"writing:{number + 1}", self.draw(random.Random(f"{self.seed}:{number}"))

    def draw(self, rng: random.Random) -> dict[str, Any]:
        """Draw a task, and instructions that do not contradict each other."""
        task = rng.choice(_tasks())
        wanted = rng.randint(1, self.instructions)
        names = list(self.checks or KINDS)
        rng.shuffle(names)
        fixed: set[str] = set()
        drawn: list[dict[str, Any]] = []
        for name in names:
            kind = KINDS[name]
            if len(drawn) < wanted and not kind.aspects & fixed:
                fixed |= kind.aspects
                drawn.append({"check": name, **kind.draw(rng, task)})
        return {"task": task["task"], "instructions": drawn}

    def prompt(self, row: Row) -> Prompt:
        listed: Sequence[dict[str, Any]] = row["instructions"]
        said = [read_instruction(item, "instructions").describe() for item in listed]
        question = row["task"] + "\n\n" + "\n".join(f"- {sentence}" for sentence in said)
        language = next((item["language"] for item in listed if item["check"] == "language"), "en")
        verifier = {"kind": "instructions", "instructions": list(listed)}
        return self.make(question, verifier, language=language)


@cache
def _tasks() -> list[dict[str, Any]]:
    text = data_path("writing/tasks.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]
