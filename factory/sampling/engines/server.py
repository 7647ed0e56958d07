"""Sampling from one or more OpenAI-compatible servers, behind the engine protocol.

The engine's methods never wait for the network. An asyncio loop in a second thread does. The two
threads exchange only requests and results.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.core.errors import EngineError, Problem, RecipeError
from factory.core.models import DEMO, DEMO_NAME, load_tokenizer
from factory.core.nouns import Failure, FinishReason, Sample
from factory.core.resources import cache_dir
from factory.prompts.conversation import (
    continue_episode,
    find_tools,
    list_messages,
    split_opening,
)
from factory.recipe.engine import ServerOptions
from factory.sampling.early_stop import make_watch
from factory.sampling.engine import Engine, Request, Worker
from factory.sampling.engines.connections import ConnectionPool
from factory.sampling.engines.endpoint import Endpoint
from factory.sampling.engines.endpoint_pool import EndpointPool
from factory.sampling.engines.jobs import Job, Refusal
from factory.sampling.engines.openai_api import RenderedRequest, Wire, check_api_options
from factory.sampling.engines.replies import Reply

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec

_WAIT_S = 0.05
_AT_ONCE = 1024
_BYTES_PER_TOKEN = 4


class ServerEngine:
    """Endpoints of one model. Raises EngineError if none has answered for `lost_after_s`."""

    def __init__(self, spec: EngineSpec, options: ServerOptions, log: Path) -> None:
        check_api_options(spec.prompting, spec.sampling, options)
        self._spec, self._options, self._log = spec, options, log
        self._tokenizer = _load_tokenizer(spec, options)
        self._model_name = DEMO_NAME if spec.model.id == DEMO else spec.model.id
        self._rendered_for, self._rendered = "", RenderedRequest("")
        self._open = 0  # submitted and not yet returned
        self._ended: queue.SimpleQueue[Sample | Failure | BaseException] = queue.SimpleQueue()
        self._dead: BaseException | None = None
        self._closing = False
        self._wire = Wire(spec.prompting, spec.sampling, options)
        self._levels: dict[int, tuple[str | None, str]] = {}
        headers, secrets = _read_headers(options)
        own = _served_names(spec, options)
        others = self._wire.other_models
        endpoints = [
            Endpoint(url, ConnectionPool(headers, secrets), self._wire, options, own, others)
            for url in options.urls
        ]
        self._pool = EndpointPool(
            endpoints, self._wire, options, self._done, self._ended.put, self._note
        )
        self.capacity = self._compute_capacity()
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="server-engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        rendered, early_stop = self._render(request), self._spec.sampling.early_stop
        watch = (
            partial(make_watch, early_stop, request.prompt, rendered.prefill)
            if early_stop
            else None
        )
        job = Job(request, rendered, watch=watch)
        self._open += 1
        self._call(self._pool.add, job)

    def completed(self) -> Iterator[Sample | Failure]:
        self.capacity = self._compute_capacity()
        wait = _WAIT_S if self._open else 0.0
        for _ in range(_AT_ONCE):
            try:
                outcome = self._ended.get(timeout=wait) if wait else self._ended.get_nowait()
            except queue.Empty:
                self._check_thread()
                break
            wait = 0.0
            if isinstance(outcome, BaseException):
                self._dead = outcome
                break
            self._open -= 1
            yield outcome
        if self._dead is not None:
            raise self._dead

    def abort(self, sample_ids: Iterable[str]) -> None:
        self._call(self._pool.abort, list(sample_ids))

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: its thread has ended
            self._loop.call_soon_threadsafe(self._stop.set)
        self._closing = True
        self._thread.join()

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function in the thread of the loop. Raises what ended it, once it has ended."""
        if self._dead is not None:  # also while the loop is still closing
            raise self._dead
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed; if its error is queued, `completed` raises it
            self._check_thread()

    def _check_thread(self) -> None:
        if not self._closing and not self._thread.is_alive() and self._ended.empty():
            self._dead = self._dead or _died("no error was reported")
            raise self._dead

    def workers(self) -> list[Worker]:
        return [endpoint.as_worker() for endpoint in self._pool.endpoints]

    def wait_ready(self) -> None:
        """Block until one endpoint has generated a token. Raises the error if none can."""
        while not any(endpoint.up for endpoint in self._pool.endpoints):
            for _ in self.completed():
                raise AssertionError("a result before any request")
            time.sleep(_WAIT_S)

    def _compute_capacity(self) -> int:
        """Return slightly more than the servers' limits, so that a free slot is filled at once."""
        limits = sum(endpoint.concurrency.limit for endpoint in self._pool.endpoints)
        return self._spec.engine.max_in_flight or limits + max(8, limits // 4)

    def _render(self, request: Request) -> RenderedRequest:
        """Render a request. The last prompt is cached, as a prompt's samples come in a row."""
        if request.turns:
            self._rendered, self._rendered_for = self._render_episode(request), ""
        elif self._rendered_for != request.prompt.id:
            prompting = self._spec.prompting
            if self._options.api == "chat":
                messages = tuple(prompting.messages_for(request.prompt))
                prefill = prompting.prefill_for(request.prompt)
                tools = request.prompt.tools
                self._rendered = RenderedRequest("", prefill, messages=messages, tools=tools)
            else:
                text, prefill, special = prompting.render(request.prompt, self._tokenizer)
                self._rendered = RenderedRequest("", prefill, text, special)
            self._rendered_for = request.prompt.id
        model, _ = self._level(request.level)
        return dataclasses.replace(
            self._rendered,
            sample_id=request.sample_id,
            level=request.level,
            model=model,
            max_tokens=request.max_tokens,
        )

    def _render_episode(self, request: Request) -> RenderedRequest:
        """Render the next turn of an episode."""
        prompting, prompt, turns = self._spec.prompting, request.prompt, request.turns or ()
        if self._options.api != "chat":
            found = continue_episode(prompting, prompt, turns, self._tokenizer)
            return RenderedRequest("", found.prefill, found.text, False, opening=found.opening)
        messages = [*prompting.messages_for(prompt)]
        first = RenderedRequest(
            "",
            prompting.prefill_for(prompt),
            messages=(*messages, *list_messages(split_opening(turns)[0])),
            tools=find_tools(prompt, turns),
        )
        tool_format = self._spec.sampling.episode.tool_format
        shown = (*messages, *list_messages(turns, tool_format))
        return dataclasses.replace(first, messages=shown, opening=first.prompt_text)

    def _level(self, level: int) -> tuple[str | None, str]:
        """Return an escalation level's model (None: the recipe's) and its settings' fingerprint."""
        if level not in self._levels:
            model = self._spec.sampling.escalate[level - 1].model if level else None
            self._levels[level] = model, self._spec.params_fp(level)
        return self._levels[level]

    # In the thread of the asyncio loop -----------------------------------------------------------

    def _serve(self) -> None:
        # A callback that raises is a bug: end the run instead of only logging it.
        self._loop.set_exception_handler(
            lambda _, context: self._ended.put(
                context.get("exception") or RuntimeError(context["message"])
            )
        )
        try:
            self._loop.run_until_complete(self._run_until_stopped())
        except BaseException as error:  # whatever it is, the run must hear of it
            self._ended.put(error if isinstance(error, Exception) else _died(error))
        finally:
            self._loop.close()

    async def _run_until_stopped(self) -> None:
        self._pool.start()
        await self._stop.wait()
        await self._pool.close()

    def _done(self, job: Job, outcome: Reply | Refusal | None) -> None:
        if isinstance(outcome, Refusal):
            self._ended.put(_failure(job, outcome))
        elif outcome is None:
            self._ended.put(self._sample(job, job.reply, "abort"))
        elif outcome.n_tokens == 0 and outcome.reason == "length" and not outcome.has_text:
            # vLLM clamps max_tokens to what the context leaves, down to nothing.
            detail = f"the prompt's {outcome.n_prompt_tokens} tokens fill the whole context"
            self._ended.put(_failure(job, Refusal("prompt_too_long", detail)))
        else:
            self._ended.put(self._sample(job, outcome, outcome.reason))

    def _sample(self, job: Job, reply: Reply, reason: FinishReason) -> Sample:
        prompt_text = job.rendered.prompt_text
        n_tokens, n_prompt = reply.n_tokens, reply.n_prompt_tokens
        model, params_fp = self._level(job.request.level)
        if n_tokens is None:
            n_tokens = self._count_tokens("".join([*reply.reasoning, *reply.content]))
        return Sample(
            prompt_id=job.request.prompt.id,
            index=job.request.index,
            text=self._wire.text(job.rendered, reply),
            prompt_text=prompt_text,
            finish_reason=reason,
            n_tokens=n_tokens,
            n_prompt_tokens=self._count_tokens(prompt_text) if n_prompt is None else n_prompt,
            model=model or self._model_name,
            params_fp=params_fp,
            created_at=time.time_ns() // 1_000_000,
        )

    def _count_tokens(self, text: str) -> int:
        """Count tokens if the server did not: with the tokenizer, or as an estimate from bytes."""
        if self._tokenizer is not None:
            return len(self._tokenizer.encode(text, add_special_tokens=False))
        return math.ceil(len(text.encode("utf-8", "replace")) / _BYTES_PER_TOKEN)

    def _note(self, event: str, **facts: Any) -> None:
        line = json.dumps({"event": event, "at": round(time.time(), 3), **facts})
        # A full disk is reported by the run directory.
        with contextlib.suppress(OSError), open(self._log, "a", encoding="utf-8") as log:
            log.write(line + "\n")


def connect(spec: EngineSpec, options: ServerOptions, run: Path) -> ServerEngine:
    """Open an engine and wait until at least one endpoint has generated a token."""
    run.mkdir(parents=True, exist_ok=True)
    engine = ServerEngine(spec, options, run / "engine.log")
    try:
        engine.wait_ready()
    except BaseException:
        engine.close()
        raise
    return engine


def open_engine(spec: EngineSpec, run: Path, start: int) -> Engine:
    """Open the `server` engine of a recipe."""
    assert spec.engine.server is not None  # the schema requires it
    return connect(spec, spec.engine.server, run)


def _died(why: object) -> EngineError:
    return EngineError(
        f"the thread that talks to the servers died ({why!r}). All samples so far are saved; run "
        "the same command to continue."
    )


def _served_names(spec: EngineSpec, options: ServerOptions) -> list[str]:
    """Return the names a server may use for the recipe's model."""
    if options.model:
        return [options.model]
    if spec.model.id != DEMO:
        return [spec.model.id]
    return [DEMO_NAME, DEMO, str(cache_dir() / "models" / DEMO_NAME)]


def _failure(job: Job, refusal: Refusal) -> Failure:
    prompt, index = job.request.prompt, job.request.index
    return Failure(prompt.id, index, refusal.kind, refusal.detail, refusal.transient)


def _read_headers(options: ServerOptions) -> tuple[dict[str, str], list[str]]:
    """Return the headers of every request, and the secrets among their values.

    Raises RecipeError for a variable that is not set or holds what no header can carry.
    """
    named = {f"headers_env.{name}": variable for name, variable in options.headers_env.items()}
    if options.api_key_env is not None:
        named["api_key_env"] = options.api_key_env
    values, problems = {}, []
    for place, variable in named.items():
        value = os.environ.get(variable, "").strip()
        if not value:
            what = f"names {variable}, which is not set in the environment; export it"
            problems.append(Problem(f"engine.server.{place}", what))
        elif not value.isascii() or not value.isprintable():
            what = f"names {variable}, which holds characters that no header can carry"
            problems.append(Problem(f"engine.server.{place}", what))
        values[place] = value
    if problems:
        raise RecipeError(problems)
    headers = {**options.headers}
    if "api_key_env" in values:
        headers["Authorization"] = f"Bearer {values['api_key_env']}"
    headers |= {name: values[f"headers_env.{name}"] for name in options.headers_env}
    return headers, list(values.values())


def _load_tokenizer(spec: EngineSpec, options: ServerOptions) -> Any:
    """Load the model's tokenizer if prompts are rendered here; otherwise return None."""
    if options.api == "chat" or not spec.prompting.is_chat:
        return None
    model = spec.model
    return load_tokenizer(
        model.tokenizer or model.id,
        needed_for=f"rendering `template: {spec.prompting.template}`",
        remedy=", or let the server render prompts with engine.server.api: chat",
        revision=model.revision,
        trust_remote_code=model.trust_remote_code,
    )
