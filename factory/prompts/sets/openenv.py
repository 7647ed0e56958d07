"""Episodes of an OpenEnv server as prompts: each prompt is one episode, drawn by its seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from factory.core.environment import allow_places
from factory.core.nouns import Prompt
from factory.prompts.source import BadRow, Row, Source

QUESTION = "Act in the following environment. Answer each message with your next action alone."


class OpenEnv(Source):
    """The environment of an OpenEnv server, begun with `size` seeds. Its verifier is `state`."""

    DOMAIN = "general"

    kind: Literal["openenv"] = "openenv"
    url: str = Field(pattern=r"^(http|ws)s?://", description="URL of the server.")
    size: int = Field(100, ge=1, description="Number of prompts: seeds of the environment.")
    action: str | None = Field(
        None,
        description="Field of an action that takes the model's text. Default: the model writes the "
        "action as JSON.",
    )
    observation: str | None = Field(
        None, description="Field of an observation to show. Default: all of it, as JSON."
    )
    reset: dict[str, Any] = Field(
        default_factory=dict, description="Further arguments of the server's reset."
    )
    question: str = Field(
        QUESTION, min_length=1, description="What stands before the first observation."
    )
    win: float = Field(1.0, description="The least sum of rewards that counts as correct.")

    @model_validator(mode="after")
    def _names_its_server(self) -> OpenEnv:
        allow_places({"kind": self.kind, "url": self.url})
        return self

    def read(self) -> Iterator[tuple[str, Row | BadRow]]:
        for number in range(self.size):
            yield f"{self.url}[{number}]", {"seed": self.seed * 1_000_000 + number}

    def prompt(self, row: Row) -> Prompt:
        options = {
            "url": self.url,
            "action": self.action,
            "observation": self.observation,
            "reset": self.reset or None,
        }
        given = {key: value for key, value in options.items() if value is not None}
        environment = {"kind": "openenv", **given, **row}
        return self.make(
            self.question, {"kind": "state", "reward": self.win}, environment=environment
        )
