"""A verifier: the answer is a list of items, in any order."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field

from filters.verify.own import Asked, OwnVerifier
from filters.verify.verification import Verification

_LAST_LINE = re.compile(r"items:([^\n]*)\s*$", re.IGNORECASE)


class SameItems(OwnVerifier):
    """Compares the items on a last line `Items: a, b, c` with the reference's, in any order."""

    VERSION: ClassVar[int] = 1  # raise it whenever verdicts change

    separator: str = Field(",", min_length=1, description="What stands between two items.")

    def check(self, asked: Asked) -> str | None:
        """What is wrong with a prompt's own reference; None if nothing."""
        return None if self._items(str(asked.answer or "")) else "the reference has no item"

    def verify(self, asked: Asked, response: str) -> Verification:
        """The verdict of a response: what follows the closed think section. It never guesses."""
        found = _LAST_LINE.search(response)
        if found is None:
            return self.verdict("no_answer", detail="no last line `Items: …`")
        items = self._items(found[1])
        same = items == self._items(str(asked.answer))
        return self.verdict("correct" if same else "wrong", ", ".join(items))

    def _items(self, text: str) -> list[str]:
        return sorted(
            item.strip().casefold() for item in text.split(self.separator) if item.strip()
        )
