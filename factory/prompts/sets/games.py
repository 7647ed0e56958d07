"""Text games of textarena as prompts: each prompt is one game, drawn by its seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from factory.core.nouns import Prompt
from factory.prompts.source import BadRow, Row, Source

QUESTION = "Play the following game and win it. Answer each message with your move."


class TextArena(Source):
    """textarena's games for one player, `size` of each, offline. Their verifier is `state`."""

    DOMAIN = "logic"
    LANGUAGE = "en"
    LICENSE = "MIT"

    kind: Literal["textarena"] = "textarena"
    game: str | tuple[str, ...] = Field(description="A game, such as `GuessTheNumber-v0`, or more.")
    size: int = Field(100, ge=1, description="Number of games of each.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="The game's own settings, such as `{max_number: 50}`."
    )
    question: str = Field(
        QUESTION, min_length=1, description="What stands before the game's rules."
    )
    win: float = Field(1.0, description="The least reward that counts as correct.")

    def read(self) -> Iterator[tuple[str, Row | BadRow]]:
        games = (self.game,) if isinstance(self.game, str) else self.game
        for game in games:
            for number in range(self.size):
                yield f"{game}[{number}]", {"game": game, "seed": self.seed * 1_000_000 + number}

    def prompt(self, row: Row) -> Prompt:
        environment = {"kind": "textarena", **self.options, **row}
        verifier = {"kind": "state", "reward": self.win}
        return self.make(
            self.question, verifier, meta={"game": row["game"]}, environment=environment
        )
