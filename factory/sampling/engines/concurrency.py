"""How many requests an endpoint is given at once: found by trying, since no server says it."""

from __future__ import annotations

import math

_START = 32
_RAMP_S = 2.0
_CUT = 0.7
_WORTH = 0.05
_HOLD = 8
_PROBE = 1.3


class Concurrency:
    """A limit that rises while the server's throughput does and falls when the server refuses.

    Throughput comes from Little's law, requests side by side times tokens per second of each, so
    that a window of short requests says the same as a window of long ones; counting finished tokens
    would reward whatever happened to be short. Too many requests merely queue in a server, too few
    leave it idle: so the limit rises until a doubling gains less than a twentieth. A refusal cuts
    it as in TCP, once for all the requests that were sent before the cut.
    """

    def __init__(self, most: int, now: float) -> None:
        self._most = most
        self._limit = float(min(_START, most))
        self._moved_at = now
        self._cut_at = now
        self._cautious = False  # refused once: from now on one step a round, not a doubling
        self._steady = False  # saturated once: from now on the limit moves by probes
        self._hold = 0  # windows until the next probe
        self._window = _Window()
        self._history: list[tuple[float, float]] = []  # (side by side, tokens/s) of each window

    @property
    def limit(self) -> int:
        return int(self._limit)

    def finished(self, now: float, seconds: float, tokens: int, beside: float) -> None:
        """A request took `seconds` for `tokens`, with `beside` in flight (itself included)."""
        self._window.add(seconds, tokens, beside)
        if self._window.count >= max(8, self.limit):
            self._weigh(now)
        if beside >= 0.9 * self.limit and not self._steady:
            self._set(now, self._limit + (1 / self._limit if self._cautious else 1))

    def refused(self, now: float, sent: float) -> None:
        """A request sent at `sent` met a 429, a server error or a timeout."""
        if sent < self._cut_at:
            return
        self._set(now, self._limit * _CUT)
        self._cut_at = now
        self._cautious, self._steady, self._hold = True, False, 0
        self._window = _Window()
        self._history.clear()

    def tick(self, now: float, in_flight: int) -> None:
        """Long generations finish nothing for minutes: no refusal either is leave to rise."""
        waited = now - self._moved_at > _RAMP_S
        free = not self._cautious and not self._steady
        if waited and free and not self._window.count and in_flight >= self.limit:
            self._set(now, 2 * self._limit)

    def _set(self, now: float, limit: float) -> None:
        self._limit = max(1.0, min(float(self._most), limit))
        self._moved_at = now

    def _weigh(self, now: float) -> None:
        """A window is full: go back to the least that gave about as much, if that was less."""
        beside, rate = self._window.beside, self._window.rate
        self._window = _Window()
        if self._hold:
            self._hold -= 1
            self._history = [(beside, rate)]
            if not self._hold:
                self._set(now, self._limit * _PROBE)
            return
        enough = [
            before
            for before, earlier in self._history
            if beside >= 1.25 * before and rate / earlier < 1 + _WORTH * math.log2(beside / before)
        ]
        self._history.append((beside, rate))
        if enough:
            self._set(now, min(enough))
            self._hold, self._steady = _HOLD, True
        elif self._steady:
            self._set(now, self._limit * _PROBE)


class _Window:
    """Sums over the requests of one window."""

    def __init__(self) -> None:
        self.count = 0
        self._seconds = 1e-9
        self._work = self._side = 0.0

    def add(self, seconds: float, tokens: int, beside: float) -> None:
        self.count += 1
        self._seconds += seconds
        self._work += beside * tokens
        self._side += beside * seconds

    @property
    def rate(self) -> float:
        """Tokens a second of the whole endpoint."""
        return max(self._work / self._seconds, 1e-9)

    @property
    def beside(self) -> float:
        """Requests in flight, averaged over the requests' time."""
        return max(self._side / self._seconds, 1e-9)
