"""A loader: questions and answers from a text file, in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from factory.core.errors import SourceError
from factory.core.nouns import Prompt
from factory.prompts.source import BadRow, Row, Source


class QuestionBlocks(Source):
    """Blocks of `Q: …` and `A: …` lines, with an empty line between two blocks.

    Its fields are its keys in a recipe, next to those of every source (name, limit, shuffle, …).
    """

    path: Path = Field(description="The text file.")

    def identity(self) -> Any:
        """What changes when the prompts do: the keys, and the file as it is now."""
        return [super().identity(), self.path.stat().st_mtime_ns]

    def read(self) -> Iterator[tuple[str, Row | BadRow]]:
        """Every row and its place. A row that cannot be read comes as a BadRow, not an error."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{self.path} cannot be read: {error}") from error
        for number, block in enumerate(filter(str.strip, text.split("\n\n")), 1):
            lines = [line.partition(":") for line in block.strip().splitlines()]
            row = {key.strip(): value.strip() for key, colon, value in lines if colon}
            yield f"{self.path.name}, block {number}", row

    def prompt(self, row: Row) -> Prompt:
        """The prompt a row holds. BadRow sets the row aside with a reason; the rest goes on."""
        if not row.get("Q"):
            raise BadRow("no_question", "the block has no line `Q: …`")
        answer = row.get("A")
        return self.make(row["Q"], {"kind": "math", "answer": answer} if answer else None)
