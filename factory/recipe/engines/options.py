"""The recipe's `model` and `engine` sections, and teachers: models and engines to choose among."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from factory.core.plugins import find_class, is_known, known_names, suggest
from factory.core.trust import require_model
from factory.recipe.parsing import NAME_PATTERN, Strict

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,80}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OWN_HEADERS = frozenset({"content-type", "content-length", "transfer-encoding", "connection"})
_SECRET = re.compile(
    r"token|secret|passw|credential|authorization|cookie|signature|(^|[-_])(api[-_]?)?key|^sig$|^code$",
    re.IGNORECASE,
)
"""Names of headers and query parameters whose values are secrets. Azure's `sig` and `code` too."""


class ServerOptions(BaseModel):
    """One or more endpoints that serve one model (vLLM, SGLang, hosted APIs)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    urls: tuple[str, ...] = Field(
        (),
        description="Base URLs such as http://gpu1:8000/v1. If a URL has no path, /v1 is added. A "
        "query string such as ?api-version=… is sent with every request. All endpoints must serve "
        "the recipe's model. Only `kind: batch` may leave it out, which works with files alone.",
    )
    api: Literal["completions", "chat"] = Field(
        "completions",
        description="`completions`: the prompt is rendered locally, as in the embedded engine. "
        "`chat`: messages are sent and the server renders them (`template: chat` only).",
    )
    model: str | None = Field(
        None, description="Name of the model on the servers. Default: the recipe's model id."
    )
    api_key_env: str | None = Field(
        None,
        description="Environment variable with the API key. The key itself is never written. "
        "Default: no key is sent.",
    )
    headers: dict[str, str] = Field(
        default_factory=dict,
        description="Extra headers of every request, such as `HTTP-Referer`. They are published "
        "with the recipe, so nothing secret may be in them.",
    )
    headers_env: dict[str, str] = Field(
        default_factory=dict,
        description="Extra headers whose values are secret: header → environment variable, such as "
        "`{api-key: AZURE_OPENAI_API_KEY}`. The values are never written.",
    )
    dialect: Literal["auto", "vllm", "openai"] = Field(
        "auto",
        description="`vllm` (also for SGLang) supports top_k, min_p, repetition_penalty and more. "
        "`openai` gets standard fields only, since hosted APIs refuse others. `auto` reads the "
        "owner of the model from each endpoint's /models.",
    )
    stream: bool | None = Field(
        None,
        description="Stream replies, which keeps the text of aborted samples. Default: true with "
        "vLLM, in chunks of 16 tokens; false elsewhere, where each token would be one message.",
    )
    request_seeds: bool = Field(
        False,
        description="Send a different seed with each request, so that servers started with equal "
        "seeds don't generate equal samples. Crashes vLLM's CPU backend. `factory serve` gives "
        "each server its own seed instead.",
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict,
        description="Fields added unchanged to every request, such as reasoning_effort or "
        "chat_template_kwargs.",
    )
    max_concurrency: int = Field(
        256, ge=1, description="Maximum number of concurrent requests per endpoint."
    )
    timeout_s: float = Field(1800, gt=0, description="Time limit of one request in seconds.")
    max_retries: int = Field(
        5, ge=0, description="Maximum number of retries of a failed request, on any endpoint."
    )
    health_s: float = Field(
        15,
        gt=0,
        description="Seconds without a finished request after which an endpoint is checked.",
    )
    lost_after_s: float = Field(
        45, gt=0, description="Seconds with all endpoints down until the run stops; exit code 3."
    )

    @field_validator("urls")
    @classmethod
    def _base_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        cleaned = []
        for url in urls:
            parts = urlsplit(url)
            if parts.username or parts.password:  # checked first: other messages would show it
                raise ValueError("a URL contains a user or password; use api_key_env")
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"{url!r} is not an http:// or https:// URL")
            path = parts.path.rstrip("/") or "/v1"
            secret = [name for name, _ in parse_qsl(parts.query) if _SECRET.search(name)]
            if secret:
                raise ValueError(
                    f"a URL's query has {secret[0]}, which looks like a secret; use headers_env"
                )
            cleaned.append(parts._replace(path=path, fragment="").geturl())
        if len(set(cleaned)) < len(cleaned):
            raise ValueError("the same URL is listed twice")
        return tuple(cleaned)

    @field_validator("headers", "headers_env")
    @classmethod
    def _plain_headers(cls, headers: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        for name, value in headers.items():
            if not _HEADER.fullmatch(name) or name.lower() in _OWN_HEADERS:
                raise ValueError(f"{name!r} is no name of a header that can be added")
            if info.field_name == "headers_env":
                if not _VARIABLE.fullmatch(value):
                    raise ValueError(f"{name}: give the name of an environment variable")
            elif _SECRET.search(name):
                raise ValueError(
                    f"{name} looks like a secret; use headers_env: {{{name}: VARIABLE}}"
                )
            elif not value.isascii() or not value.isprintable():
                raise ValueError(f"{name}: its value has characters that no header can carry")
        return headers

    @field_validator("extra_body")
    @classmethod
    def _refuse_reserved(cls, body: dict[str, Any]) -> dict[str, Any]:
        reserved = {"model", "prompt", "messages", "n", "stream", "stream_options", "stop", "seed"}
        used = sorted(reserved.intersection(body))
        if used:
            raise ValueError(f"{', '.join(used)}: set by other sections of the recipe")
        return body

    @property
    def key_source(self) -> str | None:
        """The environment variables with the keys, or None if no key is sent."""
        names = [self.api_key_env, *self.headers_env.values()]
        return ", ".join(name for name in names if name) or None

    def identity(self) -> dict[str, Any]:
        """Return the settings that change a sample."""
        return {"api": self.api, "model": self.model, "extra_body": self.extra_body}


class BatchOptions(BaseModel):
    """Batches of requests that a provider answers within hours, at a lower price."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_requests: int = Field(
        50_000, ge=1, le=50_000, description="Maximum number of requests per batch."
    )
    max_batches: int = Field(
        8, ge=1, description="Maximum number of batches that are with the provider at once."
    )
    window: str = Field("24h", description="The provider's `completion_window`.")
    poll_s: float = Field(30.0, gt=0, description="Seconds between two looks at open batches.")
    fill_s: float = Field(
        10.0,
        ge=0,
        description="Seconds without a new request after which a batch that is not full is sent.",
    )
    wait: bool = Field(
        True,
        description="Wait for the results. False: end with exit code 3 once everything is sent; "
        "the same command takes up the results later.",
    )


class RayOptions(BaseModel):
    """Engine replicas on a Ray cluster, one actor per replica."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str | None = Field(
        None,
        description="`auto`, HOST:PORT or ray://HOST:PORT. Default: RAY_ADDRESS, or else a new "
        "cluster on this machine.",
    )
    replicas: int | None = Field(
        None,
        ge=1,
        description="Number of engine replicas. Default: as many as fit on the cluster, including "
        "nodes that join later.",
    )
    gpus: int | None = Field(
        None,
        ge=0,
        description="GPUs per replica. Default: the product of tensor, pipeline and data "
        "parallelism in engine.args if the cluster has GPUs, otherwise 0.",
    )
    cpus: int = Field(
        1, ge=1, description="CPUs per replica; without a GPU also its OpenMP threads."
    )
    patience_s: float = Field(
        600.0,
        gt=0,
        description="Retry timeout: seconds without a loaded replica, after one died, until the "
        "run stops; exit code 3. A large model loads for minutes. A lost head is noticed in 30 s.",
    )


class Model(Strict):
    """The model. A plain string in the recipe is its `id`."""

    id: str = Field(description="`demo`, a Hub id, or a local folder.")
    revision: str | None = Field(None, description="Branch, tag or commit of a Hub id.")
    tokenizer: str | None = Field(None, description="Tokenizer to use instead of the model's own.")
    trust_remote_code: bool = Field(
        False,
        description="Run Python code from the model's repository. It must be trusted, like a class "
        "of your own.",
    )

    @model_validator(mode="after")
    def _is_trusted(self) -> Self:
        if self.trust_remote_code and (why := require_model(self.id, self.revision)):
            raise ValueError(why)
        return self


SAMPLE_ENGINE_ARGS = frozenset({"dtype", "quantization", "kv_cache_dtype", "hf_overrides"})
"""Engine arguments that change samples. The others only change the speed."""


ENGINES = {
    "vllm": "factory.sampling.engines.vllm:open_engine",
    "server": "factory.sampling.engines.server:open_engine",
    "ray": "factory.sampling.engines.ray_host:open_engine",
    "transformers": "factory.sampling.engines.plain:open_engine",
    "replay": "factory.sampling.engines.replay:open_engine",
    "batch": "factory.sampling.engines.batches.engine:open_engine",
}
"""Engine kind → the function that opens it from (spec, run directory, start)."""

EMBEDDED = frozenset({"vllm", "ray", "transformers"})
"""Kinds that load the recipe's model themselves."""

REMOTE = frozenset({"server", "batch", "replay"})
"""Kinds that load no model here, so that several of them may be open at once."""

REPLICAS = "factory.sampling.engines.process_host:open_engine"
"""Opens several `vllm` engines on this machine."""

GROUP = "factory.engines"
"""Installed packages add engines as entry points of this group."""


class Engine(Strict):
    """The engine that generates samples."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    kind: str = Field(
        "vllm",
        description="`vllm`: an engine in this process. `server`: OpenAI-compatible endpoints. "
        "`batch`: batches of requests, which a provider or `vllm run-batch` answers later. `ray`: "
        "replicas on a Ray cluster. `transformers`: without vLLM, for small models. `replay`: "
        "recorded samples. Or the name of an engine that an installed package adds.",
    )
    reference: str | None = Field(
        None,
        alias="class",
        description="One of your own: `path/to/file.py:Class`, run as code. With `kind: ray` each "
        "replica is one, and every node needs the file at the same path.",
    )
    args: dict[str, Any] = Field(
        default_factory=dict,
        description="vLLM engine arguments (tensor_parallel_size, max_model_len, …), passed "
        "on and checked against the installed vLLM. `transformers`: `batch`, the samples generated "
        "at once (256), and `dtype`. Or what an engine of your own takes.",
    )
    replicas: int = Field(
        1,
        ge=1,
        description="`vllm` only: number of engines on this machine. Each is a process with its "
        "own seed and its own GPUs (tensor_parallel_size times pipeline_parallel_size), or without "
        "GPUs its share of the cores.",
    )
    replay: Path | None = Field(
        None, description="`replay` only: run directory with the recorded samples."
    )
    server: ServerOptions | None = Field(
        None, description="`server` and `batch` only: the endpoints and their settings."
    )
    batch: BatchOptions = Field(
        BatchOptions(), description="`batch` only: size, number and waiting time of batches."
    )
    ray: RayOptions | None = Field(
        None, description="`ray` only: the cluster and the resources per replica."
    )
    max_in_flight: int | None = Field(
        None,
        ge=1,
        description="Maximum number of requests in the engine. Default: twice max_num_seqs.",
    )
    max_restarts: int = Field(
        3, ge=0, description="Engine deaths by single requests in a row until the run stops."
    )

    @model_validator(mode="before")
    @classmethod
    def _own(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("class") is not None:
            if data.get("kind", "own") not in ("own", "ray"):
                raise ValueError("kind and class both name the engine; keep one")
            return {"kind": "own", **data}
        return data

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind != "own" and not is_known(ENGINES, kind, GROUP):
            known = known_names(ENGINES, GROUP)
            listing = f"{', '.join(known)}, or give a `class`{suggest(kind, known)}"
            raise ValueError(f"it must be one of {listing}")
        return kind

    @field_validator("reference")
    @classmethod
    def _loads(cls, reference: str | None) -> str | None:
        if reference is not None:
            find_class({}, reference, object, GROUP)
        return reference

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kind == "own" and self.reference is None:
            raise ValueError("kind: own needs a class: path/to/file.py:Class")
        if (self.kind == "replay") != (self.replay is not None):
            raise ValueError("kind: replay and the key replay: RUN go together")
        if (self.kind in ("server", "batch")) != (self.server is not None):
            raise ValueError("kind: server (or batch) and the key server: go together")
        if self.kind == "server" and not (self.server and self.server.urls):
            raise ValueError("kind: server needs server.urls")
        if self.kind == "batch" and self.server is not None:
            if self.server.api != "chat":
                raise ValueError("kind: batch needs server.api: chat")
            if len(self.server.urls) > 1:
                raise ValueError("kind: batch takes one of server.urls, or none to work with files")
        if self.kind != "batch" and "batch" in self.model_fields_set:
            raise ValueError("the key batch: needs kind: batch")
        if self.ray is not None and self.kind != "ray":
            raise ValueError("the key ray: needs kind: ray")
        if self.replicas > 1 and self.kind != "vllm":
            raise ValueError("replicas needs kind: vllm; for a Ray cluster set engine.ray.replicas")
        return self

    @property
    def is_own(self) -> bool:
        """Whether the engine that generates is not a shipped one."""
        return self.reference is not None or self.kind not in ENGINES

    @property
    def is_embedded(self) -> bool:
        """Whether it loads the recipe's model itself."""
        return self.kind in EMBEDDED and not self.is_own

    def own_identity(self) -> dict[str, Any]:
        """What changes a sample of an engine that is not shipped: its class, version and `args`.

        A class that changes its samples raises its `VERSION`.
        """
        found = find_class({}, self.reference or self.kind, object, GROUP)
        version = getattr(found, "VERSION", 1)
        return {"name": found.__name__, "version": version, "args": self.args}


class Overrides(BaseModel):
    """Sampling settings in place of the recipe's. Keys that are left out stay the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float | None = Field(None, gt=0, le=2, description="As `sampling.temperature`.")
    top_p: float | None = Field(None, gt=0, le=1, description="As `sampling.top_p`.")
    top_k: int | None = Field(None, ge=0, description="As `sampling.top_k`.")
    min_p: float | None = Field(None, ge=0, le=1, description="As `sampling.min_p`.")
    max_tokens: int | None = Field(
        None, ge=1, description="As `sampling.max_tokens`; higher for answers that were cut off."
    )

    def overrides(self) -> dict[str, Any]:
        """Return the sampling keys that it sets."""
        return self.model_dump(exclude_none=True, include=set(Overrides.model_fields))


class TokenPrices(BaseModel):
    """What the tokens of one teacher cost. It changes no sample."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per_million_tokens: float = Field(
        gt=0,
        description="Price of one million generated tokens. For GPUs of your own: the price of an "
        "hour, divided by the millions of tokens they generate in it.",
    )
    per_million_prompt_tokens: float = Field(
        0.0, ge=0, description="Price of one million tokens of prompts."
    )

    def cost(self, tokens: float, prompt_tokens: float) -> float:
        """Return the price of a sample, in millionths of the currency."""
        return tokens * self.per_million_tokens + prompt_tokens * self.per_million_prompt_tokens


def _by_id(value: Any) -> Any:
    return {"id": value} if isinstance(value, str) else value


class Teacher(Overrides):
    """One of several models, or engines, that a run samples from."""

    name: str = Field(pattern=NAME_PATTERN, description="Its name in reports and in the corpus.")
    model: Annotated[Model, BeforeValidator(_by_id, json_schema_input_type=Model | str)] | None = (
        Field(None, description="Default: the recipe's `model`.")
    )
    engine: Engine | None = Field(
        None,
        description="`kind: server`, `batch` or `replay`. Default: the recipe's `engine`.",
    )
    prices: TokenPrices = Field(description="What its tokens cost.")

    @model_validator(mode="after")
    def _runs_elsewhere(self) -> Self:
        if self.engine is not None and self.engine.kind not in REMOTE:
            raise ValueError(
                f"engine.kind {self.engine.kind}: a teacher's own engine must be one of "
                f"{', '.join(sorted(REMOTE))}; the one that loads a model here is the recipe's "
                "`engine`"
            )
        return self
