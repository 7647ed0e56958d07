"""Judge models: on an OpenAI-compatible endpoint, or on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from factory.core.nouns import Message
from filters.base import LocalJudge
from filters.judges.retry import FIRST_PAUSE_SECONDS, post

if TYPE_CHECKING:
    import httpx


class Endpoint(BaseModel):
    """An OpenAI-compatible endpoint of a judge. The API key is read from the environment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = Field(description="Base URL, such as http://judge:8000/v1.")
    model: str = Field(description="Name of the model on the endpoint.")
    api_key_env: str = Field(
        "JUDGE_API_KEY",
        description="Environment variable with the API key. If it is not set, no key is sent.",
    )
    concurrency: int = Field(16, ge=1, description="Maximum number of concurrent requests.")
    timeout_s: float = Field(120.0, gt=0, description="Time limit of one request in seconds.")
    attempts: int = Field(5, ge=1, description="Maximum number of attempts per request.")
    max_tokens: int = Field(512, ge=16, description="Maximum number of generated tokens per reply.")


def _select_kind(judge: Any) -> str:
    """Return which of the three kinds a value is, so that errors concern only its own keys."""
    if isinstance(judge, str):
        return "engine"
    begins = isinstance(judge, LocalJudge) or (isinstance(judge, dict) and "base_url" not in judge)
    return "own" if begins else "endpoint"


Judge = Annotated[
    Annotated[Endpoint, Tag("endpoint")]
    | Annotated[LocalJudge, Tag("own")]
    | Annotated[Literal["engine"], Tag("engine")],
    Discriminator(_select_kind),
]
"""A judge. `engine` is the run's own model."""


class JudgeClient:
    """Queries an endpoint: `client(conversations)` returns replies in order (`filters.base.Ask`).

    Overload (429), server errors and lost connections are retried with increasing pauses, or the
    pause that the server requests. If all attempts fail, the reply is "", which counts as no
    opinion. Errors that a retry can't fix (a wrong key, URL or model) raise EngineError.
    """

    def __init__(
        self, endpoint: Endpoint, *, pause_s: float = FIRST_PAUSE_SECONDS, temperature: float = 0.0
    ) -> None:
        import httpx

        self.endpoint = endpoint
        self._pause_s = pause_s
        self._temperature = temperature
        key = os.environ.get(endpoint.api_key_env)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
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
        what = (
            "judge.base_url, judge.model and the key in the environment variable "
            f"{self.endpoint.api_key_env}"
        )
        response = post(
            self._client,
            self._url,
            body,
            attempts=self.endpoint.attempts,
            blame=("the judge", what),
            pause_s=self._pause_s,
        )
        return "" if response is None else _read_content(response)


def _read_content(response: httpx.Response) -> str:
    try:
        reply: Any = response.json()["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return ""
    return reply if isinstance(reply, str) else ""
