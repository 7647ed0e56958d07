"""Prompts made on the spot by reasoning-gym: offline, seeded, each with its own scorer.

The items are generated in a process of their own (`gym_items.py`). Five families of reasoning-gym
0.1.25 (isomorphic_strings, knight_swap, polynomial_multiplication, ransom_note, word_ladder)
iterate over sets of strings, so that one seed gives different items unless PYTHONHASHSEED is
fixed before Python starts; a resumed run would not find its prompts again.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

from pydantic import Field, field_validator

from factory.core.errors import SourceError
from factory.core.nouns import Domain, Prompt
from factory.prompts import verifier_spec
from factory.prompts.source import BadRow, Row, Source

NUMBER = re.compile(r"[-+]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?(/[1-9]\d*)?%?")
PLAIN = re.compile(r"[\w\s+\-*/%.,:;?!<>=&|^~#@]{0,100}")
BOOKKEEPING = ("source_dataset", "source_index", "difficulty")
"""Metadata about the item, not its problem: read by no scorer and kept out of the verifier, and so
out of the id, or the same problem drawn twice would be two prompts."""

DOMAINS: dict[str, Domain] = {
    "algebra": "math",
    "arithmetic": "math",
    "geometry": "math",
    "probability": "math",
    "code": "code",
}
"""reasoning-gym's category → domain; every other (puzzles, games, graphs, induction) is logic."""


class Gym(Source):
    """reasoning-gym tasks (`chain_sum`, `knights_knaves`, …), any number of problems of each."""

    LANGUAGE = "en"
    LICENSE = "Apache-2.0"  # reasoning-gym's own

    kind: Literal["gym"] = "gym"
    task: str | tuple[str, ...] = Field(description="A reasoning-gym task, or a list of them.")
    size: int = Field(100, ge=1, description="Problems of each task.")
    config: dict[str, Any] = Field(
        default_factory=dict,
        description="The task's own settings, such as `{min_terms: 2, max_terms: 3}`.",
    )
    verifier: Literal["gym", "math"] = Field(
        "gym",
        description="gym: the task's own scorer, full marks only; math: compare the final "
        "(boxed) answer as a number, for tasks with numeric answers.",
    )

    @field_validator("config")
    @classmethod
    def _settings_are_no_code(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Some generators evaluate their settings (basic_arithmetic its `operators`)."""
        for text in _texts(config):
            if not PLAIN.fullmatch(text):
                raise ValueError(
                    f"{text[:80]!r}: reasoning-gym may evaluate its settings, so that a text in "
                    "them may hold words, digits and operators, but no brackets and no quotes"
                )
        return config

    @property
    def tasks(self) -> tuple[str, ...]:
        return (self.task,) if isinstance(self.task, str) else self.task

    @property
    def label(self) -> str:
        return self.name or (self.tasks[0] if len(self.tasks) == 1 else self.kind)

    def read(self) -> Iterator[tuple[str, Row | BadRow]]:
        for item in self._items():
            bad = "reason" in item
            yield item["place"], BadRow(item["reason"], item["detail"]) if bad else item

    def _items(self) -> Iterator[dict[str, Any]]:
        settings = {"size": self.size, "seed": self.seed} | self.config
        script = Path(__file__).with_name("gym_worker.py")
        command = [sys.executable, "-P", str(script), json.dumps(self.tasks), json.dumps(settings)]
        with (
            TemporaryFile() as errors,
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | {"PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"},
            ) as child,
        ):
            assert child.stdout is not None
            try:
                for line in child.stdout:
                    item = json.loads(line)
                    if "refused" in item:
                        raise SourceError(f"gym: {item['refused']}")
                    yield item
            except BaseException:  # also the end of a reader that stops early, at its limit
                child.kill()
                raise
            if child.wait():
                errors.seek(0)
                last = errors.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
                raise SourceError(f"gym: {', '.join(self.tasks)}: reasoning-gym failed: {last}")

    def prompt(self, row: Row) -> Prompt:
        entry = row["entry"]
        metadata = {k: v for k, v in entry["metadata"].items() if k not in BOOKKEEPING}
        if self.verifier == "gym":
            item = {"question": entry["question"], "answer": entry["answer"], "metadata": metadata}
            verifier: verifier_spec.Spec = {"kind": "gym", "task": row["task"], "entry": item}
        else:
            answer = str(entry["answer"]).strip()
            if not NUMBER.fullmatch(answer):
                raise BadRow(
                    "answer_not_a_number", f"{answer[:80]!r}; leave out `verifier: math` here"
                )
            verifier = verifier_spec.math(answer)
        return self.make(
            entry["question"],
            verifier,
            domain=DOMAINS.get(row["category"], "logic"),
            meta={"task": row["task"], "difficulty": entry["metadata"].get("difficulty")},
        )


def _texts(value: Any) -> Iterator[str]:
    """Every text in a nested value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts([*value.keys(), *value.values()])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
