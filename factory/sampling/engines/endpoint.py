"""One endpoint of an OpenAI-compatible API: its models, its state, its load and its faults."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import httpx

from factory.recipe.engines.options import ServerOptions
from factory.sampling.engine import Worker
from factory.sampling.engines.concurrency import Concurrency
from factory.sampling.engines.connections import ConnectionPool, route
from factory.sampling.engines.faults import Fault, check_finish, clean_message, read_fault
from factory.sampling.engines.openai_api import Dialect, RenderedRequest, Served, Wire
from factory.sampling.engines.replies import ErrorReply, Malformed, Reply, read_count

_PROBE_S = 10.0
_CANARY_S = 60.0
_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 30.0
_JSON = {"Content-Type": "application/json"}
_EXTENDED = frozenset({"vllm", "sglang"})
_LISTED = 6  # models named in a message


@dataclass(slots=True)
class Stats:
    """Totals of an endpoint so far."""

    samples: int = 0
    tokens: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    began: float | None = None
    ended: float = 0.0

    def count(self, tokens: int, now: float) -> None:
        self.samples += 1
        self.tokens += tokens
        self.ended = now

    @property
    def seconds(self) -> float:
        """From the first request to the last reply."""
        return self.ended - self.began if self.began and self.samples else 0.0


class Endpoint:
    """One server. Only the EndpointPool that owns it changes its state, in one thread."""

    def __init__(
        self,
        url: str,
        pool: ConnectionPool,
        wire: Wire,
        options: ServerOptions,
        own: Sequence[str],
        others: Collection[str] = (),
    ) -> None:
        self.url, self._pool, self._wire, self._options = url, pool, wire, options
        self._own, self._others = own, frozenset(others)
        self.served: Served | None = None  # None until identified
        self.up = False
        self.why = "has not answered yet"
        self.unfit = False  # reachable, but with a wrong model, address or key, or no credit
        self.asked_s = 0.0  # the pause it asked for last, capped
        self.concurrency = Concurrency(options.max_concurrency, time.monotonic())
        self.in_flight = 0
        self.suspects = 0  # requests in flight that failed several times
        self.paused_until = 0.0
        self.throttled_since: float | None = None  # since then every request was refused
        self.faults_in_row = 0
        self.answered_at = 0.0
        self.stats = Stats()

    async def close(self) -> None:
        await self._pool.close()

    def as_worker(self) -> Worker:
        stats, limit = self.stats, self.concurrency.limit
        done = stats.samples, stats.tokens, round(stats.seconds, 3)
        return Worker(self.url, self.up, limit, self.in_flight, *done, dict(stats.faults))

    def can_take(self, model: str | None, now: float) -> bool:
        """Return whether a request for a model (None: the recipe's own) can be sent now."""
        free = self.in_flight < self.concurrency.limit and now >= self.paused_until
        return self.up and free and self.serves(model)

    def serves(self, model: str | None) -> bool:
        return self.served is not None and self.served.name(model) is not None

    async def generate(self, rendered: RenderedRequest, reply: Reply) -> None:
        """Generate one sample into `reply`. Raises Fault."""
        assert self.served is not None  # only endpoints that are up get requests
        body = self._wire.body(rendered, self.served)
        if self._wire.streams(self.served):
            await self._stream(body, reply)
        else:
            await self._fetch(body, reply)
        check_finish(reply)

    async def identify(self) -> Served:
        """List the models it serves; also a cheap sign of life. Raises Fault."""
        async with _as_faults(_PROBE_S), self._pool.acquire() as client:
            response = await client.get(route(self.url, "/models"))
        if response.status_code in (404, 405):  # not every API lists its models
            return Served(self._dialect(""), self._own[0], self._others)
        self._raise_for_status(response.status_code, response.content, response.headers)
        try:
            models = {str(card["id"]): dict(card) for card in response.json()["data"]}
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise Fault(
                "engine", "endpoint", f"GET /models did not return a list of models: {error}"
            ) from None
        own = next((name for name in self._own if name in models), None)
        others = self._others.intersection(models)
        if own is None and not others:
            raise Fault(
                "bad_request",
                "setup",
                f"serves {_list_models(self._own[0], models)}, not {self._own[0]}; set "
                "engine.server.model if that is the same model under another name",
            )
        wanted = {name: models[name] for name in {own, *others} if name is not None}
        lengths = {name: read_count(card, "max_model_len") for name, card in wanted.items()}
        contexts = {name: most for name, most in lengths.items() if most}
        owner = str(next(iter(wanted.values())).get("owned_by", ""))
        return Served(self._dialect(owner), own, others, contexts)

    async def check(self) -> Served:
        """Generate one token, which is a better check than a health endpoint.

        Raises Fault. A `request` blame means that the server refuses the recipe's own settings.
        """
        served = await self.identify()
        if not self._wire.find_unsupported(served.dialect):
            body = self._wire.canary(served)
            await self._fetch(body, Reply(), min(_CANARY_S, self._options.timeout_s))
        return served

    def _dialect(self, owner: str) -> Dialect:
        if self._options.dialect != "auto":
            return self._options.dialect
        return "vllm" if owner.lower() in _EXTENDED else "openai"

    async def _fetch(self, body: dict[str, Any], reply: Reply, timeout_s: float = 0) -> None:
        url, limit = route(self.url, self._wire.path), timeout_s or self._options.timeout_s
        async with _as_faults(limit), self._pool.acquire() as client:
            response = await client.post(url, content=_encode(body), headers=_JSON)
        self._raise_for_status(response.status_code, response.content, response.headers)
        self._parse(response.content, reply, response.headers)
        if not reply.choices:
            raise Fault("empty", "unknown", "the reply has no choices")

    async def _stream(self, body: dict[str, Any], reply: Reply) -> None:
        url = route(self.url, self._wire.path)
        async with (
            _as_faults(self._options.timeout_s),
            self._pool.acquire() as client,
            client.stream("POST", url, content=_encode(body), headers=_JSON) as response,
        ):
            if response.is_error or response.has_redirect_location:
                await response.aread()
                self._raise_for_status(response.status_code, response.content, response.headers)
            kind = response.headers.get("content-type", "")
            if not kind.startswith("text/event-stream"):
                raise Fault(
                    "engine",
                    "unknown",
                    f"expected an event stream, not {kind or 'a reply without content type'}",
                )
            async for line in response.aiter_lines():
                data = line.removeprefix("data:").strip()
                # Other lines are comments, blank, or another field of the event. Read on after
                # [DONE]: leaving a stream early costs its connection.
                if data and data != line.strip() and data != "[DONE]":
                    self._parse(data, reply, response.headers)
                if reply.halt is not None:
                    break  # closes the connection, which aborts the generation
        if not reply.choices:
            raise Fault("empty", "unknown", "the reply has no choices")

    def _parse(self, data: str | bytes, reply: Reply, headers: httpx.Headers) -> None:
        try:
            reply.add(json.loads(data))
        except ErrorReply as error:
            if error.code:  # the status that the HTTP reply should have had
                content = json.dumps({"error": {"message": error.message}}).encode()
                self._raise_for_status(error.code, content, headers)
            detail = clean_message(self._pool.redact(str(error)))
            raise Fault("engine", "unknown", detail) from None
        except Malformed as error:
            raise Fault("engine", "unknown", f"the reply is malformed: {error}") from None
        except (ValueError, RecursionError):
            kind = clean_message(headers.get("content-type", "of no type"))
            raise Fault("engine", "unknown", f"the reply is {kind}, not valid JSON") from None

    def _raise_for_status(self, status: int, content: bytes, headers: httpx.Headers) -> None:
        """Raise the Fault of an HTTP status; returns for success."""
        key = self._options.key_source
        fault = read_fault(status, content, headers, key, self._pool.redact)
        if fault is not None:
            raise fault


def backoff(attempt: int) -> float:
    """Return the pause before a retry in seconds: doubling, with jitter."""
    pause = _FIRST_BACKOFF_S * 2.0 ** (attempt - 1)
    return min(_LONGEST_BACKOFF_S, pause) * random.uniform(0.5, 1.0)


def _list_models(wanted: str, models: Collection[str]) -> str:
    """List what an endpoint serves, the names like the wanted one first."""
    names = list(dict.fromkeys([*get_close_matches(wanted, models, _LISTED), *models]))
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return clean_message(", ".join(names[:_LISTED]) + more) if names else "no model"


def _encode(body: dict[str, Any]) -> bytes:
    """Encode as ASCII JSON, so that lone surrogates reach the server, which refuses them."""
    return json.dumps(body).encode()


@asynccontextmanager
async def _as_faults(seconds: float) -> AsyncIterator[None]:
    """Limit a whole HTTP exchange in time and turn httpx errors into Faults."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        reason = str(error) or type(error).__name__
        raise Fault("engine", "endpoint", f"cannot be reached: {reason}") from None
    except (TimeoutError, httpx.TimeoutException):
        raise Fault("timeout", "unknown", f"no reply in {seconds:g} s") from None
    except (httpx.TransportError, httpx.DecodingError) as error:
        reason = str(error) or type(error).__name__
        raise Fault("engine", "unknown", f"the connection broke: {reason}") from None
