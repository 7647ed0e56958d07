"""What a failed request says: whose fault it is, and what to do about it. Pure: no network here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, Literal

import httpx

from factory.core.nouns import FailureKind
from factory.sampling.engines.replies import BLOCKED, STOPPED, TRUNCATED, Reply
from filters.judges.retry import read_retry_after

Blame = Literal["request", "load", "endpoint", "setup", "unknown"]
"""The cause of a failed request, which decides how it is handled:

request   it can't succeed on any endpoint: it becomes a permanent Failure, once a check has shown
          that the endpoint takes other requests
load      the endpoint is overloaded: its limit falls, and the request waits
endpoint  the endpoint doesn't work: it is disabled until it answers again
setup     the key, the account's credit or the model is wrong: waiting helps nobody
unknown   any of these: the request is retried a limited number of times, elsewhere if possible
"""

_TOO_LONG = ("context length", "context_length", "maximum length", "too long", "max_model_len")
_NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_NO_MODEL = re.compile(
    r"model_not_found|DeploymentNotFound|(unknown|invalid|no such) model\b|not a valid model\b"
    r"|model\b.{0,120}\b(not found|not exist|no longer available|decommissioned)",
    re.IGNORECASE,
)


class Fault(Exception):
    """A request failed. `pause_s` is how long the server asks to wait, uncapped."""

    def __init__(
        self, kind: FailureKind, blame: Blame, detail: str, pause_s: float | None = None
    ) -> None:
        super().__init__(detail)
        self.kind, self.blame, self.detail, self.pause_s = kind, blame, detail, pause_s


def read_fault(
    status: int,
    content: bytes,
    headers: httpx.Headers,
    key_env: str | None,
    redact: Callable[[str], str],
) -> Fault | None:
    """Return the Fault of an HTTP status, or None for success.

    `redact` removes secrets, which some servers repeat; `key_env` names the variable of the key.
    """
    if 200 <= status < 300:
        return None
    message, codes = _read_error(content)
    detail = f"HTTP {status}: {clean_message(redact(message))}"
    pause = read_retry_after(headers, math.inf)
    if status == 402 or (status == 429 and codes & _NO_CREDIT):
        remedy = "the account has no credit left; add credit, or use another key"
        return Fault("bad_request", "setup", f"{detail}; {remedy}")
    if status == 429 or (status == 503 and pause is not None):
        return Fault("engine", "load", detail, pause)
    if status in (401, 403):
        key = f"the key in {key_env}" if key_env else "engine.server.api_key_env, which is not set"
        # Some APIs answer 403 to a single prompt that their moderation flags.
        blame: Blame = "setup" if status == 401 else "request"
        return Fault("bad_request", blame, f"{detail}; check {key}")
    too_long = status == 413 or any(words in detail.lower() for words in _TOO_LONG)
    if status in (400, 404, 422) and not too_long and _NO_MODEL.search(" ".join([message, *codes])):
        remedy = "check engine.server.model (by default the recipe's model)"
        return Fault("bad_request", "request", f"{detail}; {remedy}")
    if status in (400, 413, 422):
        return Fault("prompt_too_long" if too_long else "bad_request", "request", detail)
    if status in (408, 409, 425) or status >= 500:
        kind: FailureKind = "timeout" if status in (408, 504) else "engine"
        return Fault(kind, "unknown", detail)
    return Fault("bad_request", "endpoint", f"{detail}; check engine.server.urls and api")


def check_finish(reply: Reply) -> None:
    """Raise the Fault of a reply that is not complete."""
    if reply.halt is not None or reply.finish in STOPPED or reply.finish in TRUNCATED:
        return
    if reply.is_called:
        return
    if reply.finish is None:
        raise Fault("engine", "unknown", "the reply ended without a finish_reason")
    if reply.finish in BLOCKED:
        raise Fault("empty", "request", "the server's content filter cut the reply off")
    # `abort`, `error`, DeepSeek's `insufficient_system_resource`. A text that ended for a reason
    # unknown here may be cut off.
    reason = clean_message(reply.finish)
    raise Fault("engine", "unknown", f"the reply ended with finish_reason {reason!r}")


def clean_message(text: str) -> str:
    """Return a server's message as one short line without control characters."""
    text = text.encode("utf-8", "replace").decode()
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= 300 else line[:299] + "…"


def _read_error(content: bytes) -> tuple[str, frozenset[str]]:
    """Return the message of an error body, and its code and type; of anything else, its text."""
    text = content[: 1 << 20].decode("utf-8", "replace")
    try:
        answer: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text or "(an empty reply)", frozenset()
    inner = answer.get("error", answer) if isinstance(answer, dict) else answer
    if not isinstance(inner, dict):
        return str(inner), frozenset()
    codes = (inner.get("code"), inner.get("type"))
    return str(inner.get("message", inner)), frozenset(c for c in codes if isinstance(c, str))
