"""A verifier of your own: is a SQL query right? It is if it gives the rows the reference gives.

Every prompt brings its database as SQL text (`schema`, kept by the recipe in the prompt's meta) and
a reference query (`answer`). Both queries run on it in memory. The model's text is never trusted:
an authorizer lets it read and nothing else, and a limit on steps ends what would never end.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import Any, ClassVar

from pydantic import Field

from filters.verify.own import Asked, OwnVerifier
from filters.verify.verification import Verification

_FENCED = re.compile(r"```(?:sql|sqlite)?[ \t]*\r?\n(.*?)```", re.DOTALL | re.IGNORECASE)
_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}


class ValidSql(OwnVerifier):
    """Keeps queries that give the reference's rows; their order counts if the reference sorts."""

    VERSION: ClassVar[int] = 1  # raise it whenever verdicts change

    max_rows: int = Field(1_000, ge=1, description="Rows of a result that are compared at most.")
    max_steps: int = Field(10_000_000, ge=1, description="Steps of SQLite's machine for a query.")

    def check(self, asked: Asked) -> str | None:
        """A prompt without a database or with a reference that fails is left out of the run."""
        if not isinstance(asked.meta.get("schema"), str):
            return "there is no schema; keep its column: `keep: [schema]`"
        try:
            self._rows(asked.meta["schema"], str(asked.answer))
        except sqlite3.Error as error:
            return f"the reference query fails: {error}"
        return None

    def verify(self, asked: Asked, response: str) -> Verification:
        """Correct, wrong, or no_answer where there is no closed block of SQL."""
        blocks = _FENCED.findall(response)
        if not blocks:
            return self.verdict("no_answer", detail="no closed block of SQL")
        query = blocks[-1].strip()
        wanted = self._rows(asked.meta["schema"], asked.answer)
        try:
            given = self._rows(asked.meta["schema"], query)
        except sqlite3.Error as error:
            return self.verdict("wrong", query, str(error))
        if "order by" not in asked.answer.lower():
            wanted, given = sorted(wanted, key=repr), sorted(given, key=repr)
        return self.verdict("correct" if given == wanted else "wrong", query)

    def _rows(self, schema: str, query: str) -> list[tuple[Any, ...]]:
        """What a query gives on a fresh database. Raises sqlite3.Error, also at the step limit."""
        with closing(sqlite3.connect(":memory:")) as database:
            database.executescript(schema)
            database.set_authorizer(
                lambda action, *_: sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY
            )
            database.set_progress_handler(lambda: 1, self.max_steps)
            return database.execute(query).fetchmany(self.max_rows)
