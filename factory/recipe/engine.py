"""The recipe's `engine.server:` section: where servers are and how they are asked."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator


class ServerOptions(BaseModel):
    """One or many endpoints of one model (vLLM, SGLang, hosted APIs)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    urls: tuple[str, ...] = Field(
        min_length=1,
        description="Base URLs such as http://gpu1:8000/v1; without a path, /v1 is added. All of "
        "them serve the recipe's model.",
    )
    api: Literal["completions", "chat"] = Field(
        "completions",
        description="`completions`: the prompt is rendered here, as the embedded engine does it. "
        "`chat`: the messages are sent and the server renders them (`template: chat` only).",
    )
    model: str | None = Field(
        None, description="The name the servers know the model by. Default: the recipe's model id."
    )
    api_key_env: str | None = Field(
        None,
        description="The environment variable that holds the key. The key itself is never written "
        "anywhere; without this, none is sent.",
    )
    dialect: Literal["auto", "vllm", "openai"] = Field(
        "auto",
        description="`vllm` (SGLang too) knows top_k, min_p, repetition_penalty and more; `openai` "
        "is sent standard fields only, since hosted APIs refuse others. `auto` asks each "
        "endpoint's /models who owns the model.",
    )
    stream: bool | None = Field(
        None,
        description="Streaming keeps what an aborted sample had so far. Default: yes with vLLM, in "
        "chunks of 16 tokens; no elsewhere, where every token would be a message.",
    )
    request_seeds: bool = Field(
        False,
        description="Send each request a seed of its own, which keeps servers that were started "
        "with equal seeds from drawing equal samples. Crashes vLLM's CPU backend. `factory serve` "
        "gives every server its own seed instead.",
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict,
        description="Fields added to every request as they are, such as reasoning_effort or "
        "chat_template_kwargs.",
    )
    max_concurrency: int = Field(
        256, ge=1, description="Requests an endpoint is given at once, at most."
    )
    timeout_s: float = Field(
        1800, gt=0, description="Seconds until one request is given up on this endpoint."
    )
    max_retries: int = Field(
        5, ge=0, description="How often a request that failed is sent again, to whichever endpoint."
    )
    health_s: float = Field(
        15, gt=0, description="An endpoint that finished nothing for so long is asked if it lives."
    )
    lost_after_s: float = Field(
        45, gt=0, description="With every endpoint down for so long, the run stops; exit code 3."
    )

    @field_validator("urls")
    @classmethod
    def _base_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        cleaned = []
        for url in urls:
            parts = urlsplit(url)
            if parts.username or parts.password:  # before any message that would show it
                raise ValueError("a URL holds a user or password; use api_key_env")
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"{url!r} is no http:// or https:// URL")
            path = parts.path.rstrip("/") or "/v1"
            cleaned.append(parts._replace(path=path, query="", fragment="").geturl())
        if len(set(cleaned)) < len(cleaned):
            raise ValueError("the same URL stands there twice")
        return tuple(cleaned)

    @field_validator("extra_body")
    @classmethod
    def _not_ours(cls, body: dict[str, Any]) -> dict[str, Any]:
        ours = {"model", "prompt", "messages", "n", "stream", "stream_options", "stop", "seed"}
        taken = sorted(ours.intersection(body))
        if taken:
            raise ValueError(f"{', '.join(taken)}: set by the recipe's other sections")
        return body

    def identity(self) -> dict[str, Any]:
        """The settings that change a sample; the rest change only how it is fetched."""
        return {"api": self.api, "model": self.model, "extra_body": self.extra_body}
