"""The number of concurrent requests per endpoint: measured, since no server reports it."""

from __future__ import annotations

import math

_START = 32
_RAMP_S = 2.0
_CUT = 0.7
_MIN_GAIN = 0.05
_HOLD = 8
_PROBE = 1.3


class Concurrency:
    """A limit that rises while the server's throughput rises and falls when the server refuses.

    Throughput is computed by Little's law: concurrent requests times tokens per second per request.
    So windows of short and of long requests are comparable; counting finished tokens would favour
    short requests. Too many requests queue in the server, too few leave it idle. So the limit rises
    until a doubling gains less than 5%. A refusal cuts it as in TCP, once for all requests that
    were sent before the cut.
    """

    def __init__(self, maximum: int, now: float) -> None:
        self._maximum = maximum
        self._limit = float(min(_START, maximum))
        self._moved_at = now
        self._cut_at = now
        self._cautious = False  # refused once: linear steps from now on, no doubling
        self._steady = False  # saturated once: the limit moves by probes from now on
        self._hold = 0  # windows until the next probe
        self._window = _Window()
        self._history: list[
            tuple[float, float]
        ] = []  # (requests in flight, tokens/s) of each window

    @property
    def limit(self) -> int:
        return int(self._limit)

    def record_success(self, now: float, seconds: float, tokens: int, in_flight: float) -> None:
        """Record a request that took `seconds` for `tokens`; `in_flight` includes the request."""
        self._window.add(seconds, tokens, in_flight)
        if self._window.count >= max(8, self.limit):
            self._adjust(now)
        if in_flight >= 0.9 * self.limit and not self._steady:
            self._set(now, self._limit + (1 / self._limit if self._cautious else 1))

    def record_refusal(self, now: float, sent: float) -> None:
        """Record a 429, a server error or a timeout of a request sent at `sent`."""
        if sent < self._cut_at:
            return
        self._set(now, self._limit * _CUT)
        self._cut_at = now
        self._cautious, self._steady, self._hold = True, False, 0
        self._window = _Window()
        self._history.clear()

    def tick(self, now: float, in_flight: int) -> None:
        """Raise the limit while nothing finishes or is refused, as with long generations."""
        waited = now - self._moved_at > _RAMP_S
        free = not self._cautious and not self._steady
        if waited and free and not self._window.count and in_flight >= self.limit:
            self._set(now, 2 * self._limit)

    def _set(self, now: float, limit: float) -> None:
        self._limit = max(1.0, min(float(self._maximum), limit))
        self._moved_at = now

    def _adjust(self, now: float) -> None:
        """Evaluate a full window: return to the lowest earlier limit with about the same rate."""
        in_flight, rate = self._window.in_flight, self._window.rate
        self._window = _Window()
        if self._hold:
            self._hold -= 1
            self._history = [(in_flight, rate)]
            if not self._hold:
                self._set(now, self._limit * _PROBE)
            return
        enough = [
            before
            for before, earlier in self._history
            if in_flight >= 1.25 * before
            and rate / earlier < 1 + _MIN_GAIN * math.log2(in_flight / before)
        ]
        self._history.append((in_flight, rate))
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
        self._weighted_tokens = self._weighted_seconds = 0.0

    def add(self, seconds: float, tokens: int, in_flight: float) -> None:
        self.count += 1
        self._seconds += seconds
        self._weighted_tokens += in_flight * tokens
        self._weighted_seconds += in_flight * seconds

    @property
    def rate(self) -> float:
        """Tokens per second of the whole endpoint."""
        return max(self._weighted_tokens / self._seconds, 1e-9)

    @property
    def in_flight(self) -> float:
        """Requests in flight, averaged over the requests' time."""
        return max(self._weighted_seconds / self._seconds, 1e-9)
