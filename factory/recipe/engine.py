"""The recipe's `model` and `engine` sections, and all that an engine needs to know of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from factory.core.nouns import fingerprint
from factory.prompts.templates import Prompting
from factory.recipe.parsing import Strict
from factory.recipe.sampling import Sampling


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


class RayOptions(BaseModel):
    """Engine replicas over a Ray cluster, one actor each."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str | None = Field(
        None,
        description="`auto`, HOST:PORT or ray://HOST:PORT. Default: RAY_ADDRESS, else a cluster on "
        "this machine alone.",
    )
    replicas: int | None = Field(
        None,
        ge=1,
        description="Engine replicas. Default: as many as the cluster holds, nodes that join later "
        "included.",
    )
    gpus: int | None = Field(
        None,
        ge=0,
        description="GPUs a replica. Default: what tensor, pipeline and data parallelism in "
        "engine.args come to where the cluster has GPUs, else none.",
    )
    cpus: int = Field(
        1, ge=1, description="CPUs a replica; its OpenMP threads where it has no GPU."
    )
    patience_s: float = Field(
        45.0, gt=0, description="Seconds without any live replica until the run stops; exit code 3."
    )


class Model(Strict):
    """Which model samples. A plain string in the recipe is its `id`."""

    id: str = Field(description="`demo`, a Hub id, or a local folder.")
    revision: str | None = Field(None, description="Branch, tag or commit of a Hub id.")
    tokenizer: str | None = Field(None, description="Another tokenizer than the model's own.")
    trust_remote_code: bool = Field(
        False, description="Run Python code that the model's repository holds. Off unless you say."
    )


SAMPLE_ENGINE_ARGS = frozenset({"dtype", "quantization", "kv_cache_dtype", "hf_overrides"})
"""Engine arguments that change what is sampled; the rest change only how fast."""


class Engine(Strict):
    """Where samples come from."""

    kind: Literal["vllm", "server", "ray", "replay"] = Field(
        "vllm",
        description="`vllm`: an engine in this process. `server`: OpenAI-compatible endpoints. "
        "`ray`: replicas over a Ray cluster. `replay`: recorded samples.",
    )
    args: dict[str, Any] = Field(
        default_factory=dict,
        description="vLLM's own engine arguments (tensor_parallel_size, max_model_len, …), passed "
        "on and checked against the installed vLLM.",
    )
    replicas: int = Field(
        1,
        ge=1,
        description="`vllm` only: engines on this machine, each a process with its own GPUs "
        "(tensor_parallel_size times pipeline_parallel_size of them) and its own seed; without "
        "GPUs, with its share of the cores.",
    )
    replay: Path | None = Field(
        None, description="`replay` only: a run directory whose samples are played back."
    )
    server: ServerOptions | None = Field(
        None, description="`server` only: the endpoints and how they are asked."
    )
    ray: RayOptions | None = Field(
        None, description="`ray` only: the cluster and what a replica takes of it."
    )
    max_in_flight: int | None = Field(
        None, ge=1, description="Requests the engine holds at once. Default: twice max_num_seqs."
    )
    max_restarts: int = Field(
        3, ge=0, description="Lone deaths in a row before the engine is given up."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.kind == "replay") != (self.replay is not None):
            raise ValueError("kind: replay and the key replay: RUN go together")
        if (self.kind == "server") != (self.server is not None):
            raise ValueError("kind: server and the key server: go together; it needs urls")
        if self.ray is not None and self.kind != "ray":
            raise ValueError("the key ray: needs kind: ray")
        if self.replicas > 1 and self.kind != "vllm":
            raise ValueError("replicas needs kind: vllm; a Ray cluster's are engine.ray.replicas")
        return self


@dataclass(frozen=True)
class EngineSpec:
    """All that an engine knows of a recipe: the model, how it runs, is prompted and sampled."""

    model: Model
    engine: Engine
    prompting: Prompting
    sampling: Sampling

    def identity(self, level: int = 0) -> dict[str, Any]:
        """Everything that changes what a sample is, as flat readable keys.

        `level` counts the escalations that apply; 0 is the recipe as written.
        """
        parts: dict[str, Mapping[str, Any]] = {
            "model": self.model.model_dump(mode="json"),
            "prompting": self.prompting.identity(),
            "sampling": self.sampling.at(level).identity(),
            "engine.args": {
                key: value for key, value in self.engine.args.items() if key in SAMPLE_ENGINE_ARGS
            },
        }
        if self.engine.server is not None:
            parts["engine.server"] = self.engine.server.identity()
        if level and self.sampling.escalate[level - 1].model is not None:
            parts["escalation"] = {"model": self.sampling.escalate[level - 1].model}
        return {
            f"{part}.{key}": value for part, keys in parts.items() for key, value in keys.items()
        }

    def params_fp(self, level: int = 0) -> str:
        """Fingerprint of the settings that a sample was drawn with."""
        return fingerprint(self.identity(level), 12)

    def params(self) -> dict[str, dict[str, Any]]:
        """Fingerprint → settings of every escalation level, the recipe as written first."""
        levels = range(1 + len(self.sampling.escalate))
        return {self.params_fp(level): self.identity(level) for level in levels}
