"""The base of the named sets."""

from __future__ import annotations

import re
from typing import Any

from factory.core.nouns import Prompt
from factory.prompts.hub import HubSource
from factory.prompts.source import BadRow, Row


class NamedSet(HubSource):
    """A published set with known columns. A subclass implements `read_row`."""

    def read_row(self, row: Row) -> Prompt:
        """Return the prompt of a row. Errors from rows with other columns are caught here."""
        raise NotImplementedError

    def prompt(self, row: Row) -> Prompt:
        try:
            return self.read_row(row)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            what = f"{type(error).__name__}: {error}"
            raise BadRow(
                "bad_shape", f"not a row of {self.kind} ({what}); its columns: {', '.join(row)}"
            ) from None


def parse_number(value: Any) -> float | None:
    """Return the first number in a text such as "2.0 seconds", or None ("n/a")."""
    found = re.search(r"\d+(\.\d+)?", str(value))
    return float(found[0]) if found else None
