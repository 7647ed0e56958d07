"""What the sets known by name share."""

from __future__ import annotations

import re
from typing import Any

from factory.core.nouns import Prompt
from factory.prompts.hub import HubSource
from factory.prompts.source import BadRow, Row


class NamedSet(HubSource):
    """A published set whose columns are known. A subclass gives `of_row`."""

    def of_row(self, row: Row) -> Prompt:
        """The prompt of a row of this set's shape; what a row of another raises is caught here."""
        raise NotImplementedError

    def prompt(self, row: Row) -> Prompt:
        try:
            return self.of_row(row)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            what = f"{type(error).__name__}: {error}"
            raise BadRow(
                "bad_shape", f"not a row of {self.kind} ({what}); its columns: {', '.join(row)}"
            ) from None


def number_in(value: Any) -> float | None:
    """The first number in a text such as "2.0 seconds"; None where there is none ("n/a")."""
    found = re.search(r"\d+(\.\d+)?", str(value))
    return float(found[0]) if found else None
