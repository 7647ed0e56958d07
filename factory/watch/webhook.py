"""A webhook: one JSON document, by POST, when a run ends or is in trouble.

    {"text": "sums (build) is done: 1,200 rows", "run": "sums", "kind": "build", "state": "done",
     "trouble": null, "exit_code": 0, "message": "", "directory": "/runs/sums", "host": "node7",
     "at": 1767225600.0, "metrics": {"result/rows": 1200.0, …}}

The address may hold a secret, so no message shows more of it than scheme and host.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

ATTEMPTS = 4
FIRST_WAIT_S = 0.5
TIMEOUT_S = 4.0

_WORTH_A_RETRY = (408, 425, 429)


def post(url: str, document: Mapping[str, Any]) -> str | None:
    """Send the document, in at most `ATTEMPTS` attempts. Returns why it failed, or None.

    Connection errors, 5xx and rate limits are tried again, after waits that double. Redirects are
    not followed: the document is for the named host.
    """
    import httpx

    why = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
        try:
            status = httpx.post(url, json=document, timeout=TIMEOUT_S).status_code
        except httpx.TransportError as error:
            why = f"no answer ({type(error).__name__})"  # its text may repeat the address
            continue
        except (httpx.InvalidURL, ValueError):
            return "it is no address"
        if status < 300:
            return None
        why = f"it answered {status}"
        if status < 500 and status not in _WORTH_A_RETRY:
            return f"{why}; check the address"
    return f"{why}, {ATTEMPTS} times"


def shorten(url: str) -> str:
    """Return scheme and host of an address, without what may be secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}/…"
