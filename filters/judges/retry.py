"""HTTP POST with retries for temporary errors."""

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
    """Post `body` as JSON and return the reply, or None if all attempts failed.

    Overload (429), server errors and lost connections are retried with increasing pauses, or the
    pause that the server requests. Any other error (a wrong key, URL or model) is an EngineError;
    `blame` names the server and what to check.
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
            time.sleep(read_retry_after(response.headers, LONGEST_PAUSE_SECONDS) or pause)
            continue
        if response.is_error:
            who, what = blame
            raise EngineError(
                f"{who} at {url} answered {response.status_code}: {response.text[:200]!r}; "
                f"check {what}"
            )
        return response
    return None


def read_retry_after(headers: httpx.Headers, longest: float) -> float | None:
    """Return the seconds in the Retry-After header, at most `longest`, or None without one.

    A date is compared with the server's Date header, so that the local clock has no effect.
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
