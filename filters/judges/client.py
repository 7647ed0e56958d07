"""Where a judge model is: behind an OpenAI-compatible endpoint, or on this machine."""

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
    """Where a judge is and how it is asked; the key itself is only ever in the environment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = Field(description="The endpoint's base URL, such as http://judge:8000/v1.")
    model: str = Field(description="The name the endpoint knows the judge by.")
    api_key_env: str = Field(
        "JUDGE_API_KEY",
        description="The environment variable that holds the key. Where it is not set, no key is "
        "sent.",
    )
    concurrency: int = Field(16, ge=1, description="Requests at once, at most.")
    timeout_s: float = Field(120.0, gt=0, description="Seconds one request may take.")
    attempts: int = Field(5, ge=1, description="How often a request is sent before it is given up.")
    max_tokens: int = Field(512, ge=16, description="Generated tokens of a reply, at most.")


def _meant(judge: Any) -> str:
    """Which of the three a recipe means, so that only its own keys are asked for."""
    if isinstance(judge, str):
        return "engine"
    begins = isinstance(judge, LocalJudge) or (isinstance(judge, dict) and "base_url" not in judge)
    return "own" if begins else "endpoint"


Judge = Annotated[
    Annotated[Endpoint, Tag("endpoint")]
    | Annotated[LocalJudge, Tag("own")]
    | Annotated[Literal["engine"], Tag("engine")],
    Discriminator(_meant),
]
"""Who is asked; `engine` is the run's own model."""


class JudgeClient:
    """Asks an endpoint: `client(conversations)` gives replies in order (`equivalence.Ask`).

    Overload (429), server errors and lost connections are retried with growing pauses, or the pause
    the server names; a reply that never comes is "", which a judge reads as no opinion. What a
    retry cannot mend (a wrong key, URL or model) is an EngineError.
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
        return "" if response is None else _content(response)


def _content(response: httpx.Response) -> str:
    try:
        reply: Any = response.json()["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return ""
    return reply if isinstance(reply, str) else ""
