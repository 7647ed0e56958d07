"""One endpoint: what it serves, how it does, how much it is given; and every way it can fail."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from factory.core.nouns import FailureKind
from factory.recipe.engine import ServerOptions
from factory.sampling.engine import Worker
from factory.sampling.engines.concurrency import Concurrency
from factory.sampling.engines.connections import Lanes
from factory.sampling.engines.openai_api import Ask, Dialect, Malformed, Reply, Served, Wire
from filters.judges.retry import named_pause

_PROBE_S = 10.0
_CANARY_S = 60.0
_LONGEST_PAUSE_S = 600.0
_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 30.0
_JSON = {"Content-Type": "application/json"}
_EXTENDED = frozenset({"vllm", "sglang"})
_TOO_LONG = ("context length", "context_length", "maximum length", "too long", "max_model_len")

Blame = Literal["request", "load", "endpoint", "unknown"]
"""Whose fault a failed request is, which decides what is done about it:

request   it will never work here or elsewhere: it becomes a Failure
load      the endpoint has too much to do: it is given less, and the request waits
endpoint  nothing can work there now: the endpoint is taken out until it answers again
unknown   either: the request is tried again, a limited number of times, elsewhere if possible
"""


class Fault(Exception):
    """A request that brought no reply."""

    def __init__(
        self, kind: FailureKind, blame: Blame, detail: str, pause_s: float | None = None
    ) -> None:
        super().__init__(detail)
        self.kind, self.blame, self.detail, self.pause_s = kind, blame, detail, pause_s


@dataclass(slots=True)
class Stats:
    """What an endpoint has done so far."""

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
    """One server. Its state is changed by the fleet that owns it, in one thread."""

    def __init__(
        self,
        url: str,
        lanes: Lanes,
        wire: Wire,
        options: ServerOptions,
        own: Sequence[str],
        others: Collection[str] = (),
    ) -> None:
        self.url, self._lanes, self._wire, self._options = url, lanes, wire, options
        self._own, self._others = own, frozenset(others)
        self.served: Served | None = None  # None until it said so
        self.up = False
        self.why = "has not answered yet"
        self.unfit = False  # reached, but it has another model, another address or another key
        self.concurrency = Concurrency(options.max_concurrency, time.monotonic())
        self.in_flight = 0
        self.suspects = 0  # in flight, and known to have failed several times
        self.paused_until = 0.0
        self.throttled_since: float | None = None
        self.faults_in_row = 0
        self.answered_at = 0.0
        self.stats = Stats()

    async def close(self) -> None:
        await self._lanes.close()

    def as_worker(self) -> Worker:
        stats, limit = self.stats, self.concurrency.limit
        done = stats.samples, stats.tokens, round(stats.seconds, 3)
        return Worker(self.url, self.up, limit, self.in_flight, *done, dict(stats.faults))

    def takes(self, model: str | None, now: float) -> bool:
        """Can it be given a request for a model (None: the recipe's own) now?"""
        free = self.in_flight < self.concurrency.limit and now >= self.paused_until
        return self.up and free and self.has(model)

    def has(self, model: str | None) -> bool:
        return self.served is not None and self.served.name(model) is not None

    async def ask(self, ask: Ask, reply: Reply) -> None:
        """Have one sample generated, into `reply`. Raises Fault."""
        assert self.served is not None  # the fleet asks only endpoints that are up
        body = self._wire.body(ask, self.served)
        if self._wire.streams(self.served):
            await self._stream(body, reply)
        else:
            await self._fetch(body, reply)
        if reply.finish is None and reply.halt is None:
            raise Fault("engine", "unknown", "the reply ended without a finish_reason")
        if reply.finish == "abort":
            raise Fault("engine", "unknown", "the server gave the request up")
        if reply.finish == "content_filter":
            raise Fault("empty", "request", "the server's content filter cut the reply off")

    async def identify(self) -> Served:
        """Ask what it serves. Cheap, and it says that something is there. Raises Fault."""
        async with _as_faults(_PROBE_S), self._lanes.one() as client:
            response = await client.get(f"{self.url}/models")
        if response.status_code in (404, 405):  # not every API lists its models
            return Served(self._dialect(""), self._own[0], self._others)
        self._refuse(response.status_code, response.content, response.headers)
        try:
            models = {str(card["id"]): dict(card) for card in response.json()["data"]}
        except (ValueError, LookupError, TypeError) as error:
            raise Fault("engine", "endpoint", f"GET /models is no list: {error}") from None
        own = next((name for name in self._own if name in models), None)
        others = self._others.intersection(models)
        if own is None and not others:
            raise Fault(
                "bad_request",
                "endpoint",
                f"serves {', '.join(models) or 'no model'}, not {self._own[0]}; set "
                "engine.server.model if that is the same model under another name",
            )
        wanted = {name: models[name] for name in {own, *others} if name is not None}
        lengths = {name: card.get("max_model_len") for name, card in wanted.items()}
        contexts = {name: most for name, most in lengths.items() if isinstance(most, int)}
        owner = str(next(iter(wanted.values())).get("owned_by", ""))
        return Served(self._dialect(owner), own, others, contexts)

    async def check(self) -> Served:
        """Have one token generated. What a server says of its health is worth less than that.

        Raises Fault. A `request` blame means that it refuses the recipe's own settings.
        """
        served = await self.identify()
        if not self._wire.unsupported(served.dialect):
            body = self._wire.canary(served)
            await self._fetch(body, Reply(), min(_CANARY_S, self._options.timeout_s))
        return served

    def _dialect(self, owner: str) -> Dialect:
        if self._options.dialect != "auto":
            return self._options.dialect
        return "vllm" if owner.lower() in _EXTENDED else "openai"

    async def _fetch(self, body: dict[str, Any], reply: Reply, timeout_s: float = 0) -> None:
        url, limit = self.url + self._wire.path, timeout_s or self._options.timeout_s
        async with _as_faults(limit), self._lanes.one() as client:
            response = await client.post(url, content=_encoded(body), headers=_JSON)
        self._refuse(response.status_code, response.content, response.headers)
        self._take(response.content, reply, response.headers)
        if not reply.choices:
            raise Fault("empty", "unknown", "the reply has no choices")

    async def _stream(self, body: dict[str, Any], reply: Reply) -> None:
        url = self.url + self._wire.path
        async with (
            _as_faults(self._options.timeout_s),
            self._lanes.one() as client,
            client.stream("POST", url, content=_encoded(body), headers=_JSON) as response,
        ):
            if response.is_error or response.has_redirect_location:
                await response.aread()
                self._refuse(response.status_code, response.content, response.headers)
            kind = response.headers.get("content-type", "")
            if not kind.startswith("text/event-stream"):
                raise Fault("engine", "unknown", f"a stream of {kind or 'unnamed type'}")
            async for line in response.aiter_lines():
                data = line.removeprefix("data:").strip()
                # Otherwise a comment, a blank line or another field of the event. After the end
                # mark it reads on: a stream left early costs its connection.
                if data and data != line.strip() and data != "[DONE]":
                    self._take(data, reply, response.headers)
                if reply.halt is not None:
                    break  # the connection goes, and with it the generation
        if not reply.choices:
            raise Fault("empty", "unknown", "the reply has no choices")

    @staticmethod
    def _take(data: str | bytes, reply: Reply, headers: httpx.Headers) -> None:
        try:
            reply.add(json.loads(data))
        except Malformed as error:
            raise Fault("engine", "unknown", f"the reply is malformed: {error}") from None
        except (ValueError, RecursionError):
            kind = headers.get("content-type", "of no type")
            raise Fault("engine", "unknown", f"the reply is {kind}, not valid JSON") from None

    def _refuse(self, status: int, content: bytes, headers: httpx.Headers) -> None:
        """Raise the Fault that a status means; none for success."""
        if 200 <= status < 300:
            return
        detail = f"HTTP {status}: {self._said(content)}"
        pause = named_pause(headers, _LONGEST_PAUSE_S)
        if status == 429:
            raise Fault("engine", "load", detail, pause)
        if status in (401, 403):
            key = self._options.api_key_env
            where = f"the key in {key}" if key else "engine.server.api_key_env, which is not set"
            raise Fault("bad_request", "endpoint", f"{detail}; check {where}")
        if status == 503 and pause is not None:
            raise Fault("engine", "load", detail, pause)
        if status in (400, 413, 422):
            too_long = status == 413 or any(words in detail.lower() for words in _TOO_LONG)
            raise Fault("prompt_too_long" if too_long else "bad_request", "request", detail)
        if status in (408, 409, 425) or status >= 500:
            kind: FailureKind = "timeout" if status in (408, 504) else "engine"
            raise Fault(kind, "unknown", detail, pause)
        raise Fault("bad_request", "endpoint", f"{detail}; check engine.server.urls and api")

    def _said(self, content: bytes) -> str:
        """A server's own words, shortened, and without the key that some of them repeat."""
        text = content.decode("utf-8", "replace")
        try:
            told = json.loads(text)
            inner = told.get("error", told)
            text = str(inner.get("message", inner) if isinstance(inner, dict) else inner)
        except (ValueError, AttributeError):
            pass  # not JSON, or not an object: its text will do
        return " ".join(self._lanes.hide(text).split())[:300]


def backoff(attempt: int) -> float:
    """Seconds before attempt number `attempt`: doubling, jittered so that retries do not march."""
    pause = _FIRST_BACKOFF_S * 2.0 ** (attempt - 1)
    return min(_LONGEST_BACKOFF_S, pause) * random.uniform(0.5, 1.0)


def _encoded(body: dict[str, Any]) -> bytes:
    """ASCII JSON: a prompt with half a surrogate pair in it is the server's to refuse."""
    return json.dumps(body).encode()


@asynccontextmanager
async def _as_faults(seconds: float) -> AsyncIterator[None]:
    """A time limit over a whole exchange, and httpx's errors sorted by whose fault they are."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        words = str(error) or type(error).__name__
        raise Fault("engine", "endpoint", f"cannot be reached: {words}") from None
    except (TimeoutError, httpx.TimeoutException):
        raise Fault("timeout", "unknown", f"no reply in {seconds:g} s") from None
    except (httpx.TransportError, httpx.DecodingError) as error:
        words = str(error) or type(error).__name__
        raise Fault("engine", "unknown", f"the connection broke: {words}") from None
