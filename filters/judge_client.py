"""A judge behind any OpenAI-compatible endpoint."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from factory.errors import EngineError
from factory.types import Message

if TYPE_CHECKING:
    import httpx

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class Endpoint(BaseModel):
    """Where a judge is and how it is asked; the key itself is only ever in the environment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str
    model: str
    api_key_env: str = "JUDGE_API_KEY"
    concurrency: int = Field(default=16, ge=1)
    timeout_s: float = Field(default=120.0, gt=0)
    attempts: int = Field(default=5, ge=1)
    max_tokens: int = Field(default=512, ge=16)


class JudgeClient:
    """Asks an endpoint: `client(conversations)` gives replies in order (see `filters.judge.Ask`).

    Overload (429), server errors and lost connections are retried with growing pauses, or the pause
    the server names; a reply that never comes is "", which a judge reads as no opinion. What a
    retry cannot mend (a wrong key, URL or model) is an EngineError.
    """

    def __init__(
        self, endpoint: Endpoint, *, pause_s: float = 0.5, temperature: float = 0.0
    ) -> None:
        import httpx

        self.endpoint = endpoint
        self._pause_s = pause_s
        self._temperature = temperature
        key = os.environ.get(endpoint.api_key_env)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._lost = httpx.TransportError
        self._client = httpx.Client(headers=headers, timeout=endpoint.timeout_s)
        self._url = endpoint.base_url.rstrip("/") + "/chat/completions"

    def __call__(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        with ThreadPoolExecutor(self.endpoint.concurrency) as threads:
            return list(threads.map(self._reply, conversations))

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _reply(self, conversation: Sequence[Message]) -> str:
        body = {
            "model": self.endpoint.model,
            "messages": list(conversation),
            "temperature": self._temperature,
            "max_tokens": self.endpoint.max_tokens,
        }
        for attempt in range(self.endpoint.attempts):
            pause = self._pause_s * 2**attempt * (0.5 + random.random())
            try:
                response = self._client.post(self._url, json=body)
            except self._lost:
                time.sleep(pause)
                continue
            if response.status_code in RETRIED:
                time.sleep(named_pause(response) or pause)
                continue
            if response.is_error:
                raise EngineError(
                    f"the judge at {self._url} answered {response.status_code}: "
                    f"{response.text[:200]!r}; check judge.base_url, judge.model and the key in "
                    f"the environment variable {self.endpoint.api_key_env}"
                )
            return _content(response)
        return ""


def named_pause(response: httpx.Response) -> float | None:
    """The seconds a server asks us to wait, at most a minute."""
    named = response.headers.get("retry-after", "")
    return min(float(named), 60.0) if named.replace(".", "", 1).isdigit() else None


def _content(response: httpx.Response) -> str:
    try:
        reply: Any = response.json()["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return ""
    return reply if isinstance(reply, str) else ""
