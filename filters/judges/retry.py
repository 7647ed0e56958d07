"""HTTP POST with retries for temporary errors."""

from __future__ import annotations

import random
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
    import tenacity

    def wait(state: tenacity.RetryCallState) -> float:
        assert state.outcome is not None
        requested = None
        if not state.outcome.failed:
            requested = read_retry_after(state.outcome.result().headers, LONGEST_PAUSE_SECONDS)
        return requested or pause_s * 2 ** (state.attempt_number - 1) * (0.5 + random.random())

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(attempts),
        wait=wait,
        retry=tenacity.retry_if_exception_type(httpx.TransportError)
        | tenacity.retry_if_result(lambda response: response.status_code in RETRIED),
        retry_error_callback=lambda state: None,
    )
    response: httpx.Response | None = retrying(client.post, url, json=body)
    if response is not None and response.is_error:
        who, what = blame
        raise EngineError(
            f"{who} at {url} answered {response.status_code}: {response.text[:200]!r}; check {what}"
        )
    return response


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
