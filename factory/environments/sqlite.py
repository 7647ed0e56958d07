"""An SQLite database that the prompt brings: the model queries it, and may change it."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from factory.core.nouns import Prompt
from factory.environments.tools import ToolEnvironment, ToolError

CPU_S = 5.0
"""CPU seconds of one statement."""

MAX_ROWS = 50
"""Rows that one answer shows."""

MAX_STATE_ROWS = 500
"""Rows of a table in the state. Of a larger table it has the number of rows."""

_STEPS = 10_000
_MAX_BYTES = 1 << 20

_DENIED = frozenset({sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH})
_FUNCTIONS = frozenset({"load_extension", "random", "randomblob"})
"""What would reach outside, or give another answer each time."""


class Sqlite(ToolEnvironment):
    """Offers `query`. `setup` is the SQL that makes the database; with `read_only` it stays so.

    The state has all tables, by name, as lists of rows. The episode ends with the first answer
    without a call.
    """

    def __init__(self, setup: str, read_only: bool = False) -> None:
        self._setup, self._read_only = setup, read_only

    def begin(self, prompt: Prompt) -> None:
        self._database = sqlite3.connect(":memory:", isolation_level=None)
        self._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_BYTES)
        self._database.executescript(self._setup)
        if self._read_only:
            self._database.execute("PRAGMA query_only = on")
        self._database.set_authorizer(_authorize)
        self._database.set_progress_handler(self._is_late, _STEPS)
        self._deadline = float("inf")

    def state(self) -> dict[str, Any]:
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        found = sorted(name for (name,) in self._database.execute(names))
        return {"tables": {name: self._read_table(name) for name in found}}

    def query(self, sql: str) -> str:
        """Run one SQL statement on the database and return its rows.

        sql: an SQLite statement
        """
        self._deadline = time.process_time() + CPU_S
        try:
            cursor = self._database.execute(str(sql))
            rows = cursor.fetchmany(MAX_ROWS + 1)
        except (sqlite3.Error, sqlite3.Warning, UnicodeError) as error:
            why = f"it ran for more than {CPU_S:g} s" if self._is_late() else str(error)
            raise ToolError(why) from None
        finally:
            self._deadline = float("inf")
        if cursor.description is None:
            return f"{max(cursor.rowcount, 0)} rows changed"
        lines = [" | ".join(column[0] for column in cursor.description)]
        lines += [" | ".join(map(_format, row)) for row in rows[:MAX_ROWS]]
        if len(rows) > MAX_ROWS:
            lines.append(f"(more than {MAX_ROWS} rows; the rest is left out)")
        return "\n".join(lines) if rows else f"{lines[0]}\n(no rows)"

    def _read_table(self, name: str) -> Any:
        quoted = '"' + name.replace('"', '""') + '"'
        (count,) = self._database.execute(f"SELECT count(*) FROM {quoted}").fetchone()
        if count > MAX_STATE_ROWS:
            return {"rows": count}
        rows = self._database.execute(f"SELECT * FROM {quoted}").fetchall()
        return [[_plain(value) for value in row] for row in rows]

    def _is_late(self) -> bool:
        return time.process_time() > self._deadline


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action in _DENIED:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and str(second).lower() in _FUNCTIONS:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_PRAGMA and second is not None:  # asking is fine, setting is not
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _format(value: Any) -> str:
    return "NULL" if value is None else str(_plain(value))
