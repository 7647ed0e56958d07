"""Tasks of a `verifiers` taskset as prompts. The taskset is read by a Python of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import Any, Literal

from pydantic import Field, model_validator

from factory.core.environment import allow_places, refuse_taskset, start_verifiers
from factory.core.errors import SourceError
from factory.core.nouns import Message, Prompt
from factory.core.plugins import UntrustedCode
from factory.prompts.source import BadRow, Row, Source


class Verifiers(Source):
    """The first `size` tasks of a taskset of `verifiers`, with its tools and its rewards."""

    DOMAIN = "general"

    kind: Literal["verifiers"] = "verifiers"
    python: str = Field(
        description="The interpreter of an environment in which `verifiers` and the taskset are "
        "installed. It must be trusted, like a class of the recipe."
    )
    taskset: str | dict[str, Any] = Field(
        description="The taskset's id; or a mapping with `id` and keys of its configuration."
    )
    path: str | None = Field(None, description="Folder of tasksets that are not installed.")
    size: int = Field(100, ge=1, description="Number of tasks, from the first one.")
    win: float = Field(1.0, description="The least sum of rewards that counts as correct.")
    replayable: bool = Field(
        False,
        description="Whether the same seed and the same turns give the same episode: tools, rules "
        "and rewards draw from Python's `random` alone. Then a killed build continues an episode "
        "by playing its turns again.",
    )

    @model_validator(mode="after")
    def _is_trusted(self) -> Verifiers:
        if not isinstance(self.taskset, str) and not isinstance(self.taskset.get("id"), str):
            raise ValueError("`taskset` has no `id`")
        if refusal := refuse_taskset(self._options):
            raise UntrustedCode(refusal)
        allow_places({"kind": self.kind, **self._options})
        return self

    @property
    def _options(self) -> dict[str, Any]:
        """What the environment and its server are given of the recipe."""
        options = {
            "python": os.path.abspath(self.python),
            "taskset": self.taskset,
            "path": None if self.path is None else os.path.abspath(self.path),
        }
        return {key: value for key, value in options.items() if value is not None}

    @property
    def label(self) -> str:
        taskset = self.taskset if isinstance(self.taskset, str) else self.taskset["id"]
        return self.name or str(taskset)

    def read(self) -> Iterator[tuple[str, Row | BadRow]]:
        with TemporaryFile() as errors:
            pipes = {"stdout": subprocess.PIPE, "stderr": errors}
            try:
                child = start_verifiers("list", self._options, self.size, **pipes)
            except RuntimeError as error:
                raise SourceError(f"{self.label}: {error}") from None
            with child:
                assert child.stdout is not None
                try:
                    yield from self._items(child.stdout)
                except BaseException:  # also if the reader stops early, at its limit
                    child.terminate()
                    raise
            if child.returncode:
                errors.seek(0)
                last = errors.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
                why = last or f"it ended with status {child.returncode}"
                raise SourceError(f"{self.label}: {self.python} failed: {why}")

    def _items(self, lines: Any) -> Iterator[tuple[str, Row | BadRow]]:
        for line in lines:
            if not line.endswith(b"\n"):
                return  # it was killed as it wrote
            item = json.loads(line)
            if "refused" in item:
                raise SourceError(f"{self.label}: {item['refused']}")
            bad = "reason" in item
            yield item["place"], BadRow(item["reason"], item["detail"]) if bad else item

    def prompt(self, row: Row) -> Prompt:
        messages = tuple(Message(role=m["role"], content=m["content"]) for m in row["messages"])
        environment = {"kind": "verifiers", **self._options, "idx": row["idx"], "key": row["key"]}
        if self.replayable:
            environment["replayable"] = True
        return self.make(messages, {"kind": "state", "reward": self.win}, environment=environment)
