"""One way to ask a server that may be busy: what a pause mends is tried again, the rest is told."""

from __future__ import annotations

import random
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from factory.core.errors import EngineError

if TYPE_CHECKING:
    import httpx

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0


def post(
    client: httpx.Client,
    url: str,
    body: Any,
    *,
    attempts: int,
    blame: tuple[str, str],
    pause_s: float = FIRST_PAUSE_SECONDS,
) -> httpx.Response | None:
    """The reply; None where the server stayed away.

    Overload (429), server errors and lost connections are tried again with growing pauses, or the
    pause the server names. Any other refusal (a wrong key, URL or model) is an EngineError, in the
    words of `blame`: who answered, and what to check.
    """
    import httpx

    for attempt in range(attempts):
        pause = pause_s * 2**attempt * (0.5 + random.random())
        try:
            response = client.post(url, json=body)
        except httpx.TransportError:
            time.sleep(pause)
            continue
        if response.status_code in RETRIED:
            time.sleep(named_pause(response.headers, LONGEST_PAUSE_SECONDS) or pause)
            continue
        if response.is_error:
            who, what = blame
            raise EngineError(
                f"{who} at {url} answered {response.status_code}: {response.text[:200]!r}; "
                f"check {what}"
            )
        return response
    return None


def named_pause(headers: httpx.Headers, longest: float) -> float | None:
    """The seconds that Retry-After names, at most `longest`.

    A date is read against the server's own Date, so that a wrong clock here changes nothing.
    """
    named = headers.get("retry-after", "").strip()
    try:
        seconds = float(named)
    except ValueError:
        try:
            until, now = (parsedate_to_datetime(t) for t in (named, headers.get("date", "")))
            seconds = (until - now).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), longest) if seconds == seconds else None
