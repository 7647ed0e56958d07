"""Services that misbehave, each method in one way. Run only in the processes of episodes."""

from __future__ import annotations

import os
import time
from typing import Any


class Bad:
    def __init__(self, size: int = 0, deep: int = 0) -> None:
        self.size, self.loop, self.seen = size, [], 0
        self.large: Any = list(range(size))
        self.deep: Any = None
        for _ in range(deep):
            self.deep = [self.deep]
        self.itself = self

    def spin(self) -> str:
        """Never returns."""
        while True:
            pass

    def wait(self) -> str:
        """Returns far too late."""
        time.sleep(1000)
        return "late"

    def crash(self) -> str:
        """Ends the process."""
        os._exit(3)

    def leave(self) -> str:
        """Asks to end the process."""
        raise SystemExit(3)

    def flood(self) -> str:
        """Returns far too much."""
        return "x" * 3_000_000

    def garble(self) -> str:
        """Returns text that is no Unicode."""
        return "\udcff\udcfe"

    def odd(self) -> Any:
        """Returns what is no JSON."""
        return {"object": object, "bytes": b"\xff"}

    def grow(self) -> str:
        """Leaves a state that is too large."""
        self.large = list(range(100_000))
        return "grown"

    def keep(self, key: Any, value: Any) -> str:
        """Keep a value."""
        self.loop.append({key if isinstance(key, str | int) else "key": value})
        return "kept"


class Other:
    def keep(self) -> str:
        """Has the name of another service's method."""
        return ""
