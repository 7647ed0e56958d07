"""An OpenAI-compatible server on loopback that answers correctly or with any known fault.

A real HTTP server on a real socket. It can be killed (connections reset, port closed) and brought
back on its port, as a process can.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Self

Body = dict[str, Any]

FAULTS = (
    "500",
    "502",
    "503",
    "hang",
    "close_at_once",
    "close_mid_body",
    "html",
    "empty",
    "empty_choices",
    "error_in_200",
    "interrupted",
    "malformed_json",
    "not_an_object",
    "no_finish",
    "slow_drip",
    "429",
    "429_retry_after",
    "429_retry_date",
)
"""What `fault` may return for a request that may succeed later; None is a good answer. The others:
every key of ERRORS; `wrong_type` and `slow_events`, which are good answers; and `crash`, which
resets every connection, as a server that dies does."""

ERRORS: dict[str, tuple[str, str]] = {
    "400_too_long": ("the maximum context length is 2048", ""),
    "400_no_model": ("Model Not Exist", "invalid_request_error"),
    "404_no_model": ("The model `fake` does not exist", "model_not_found"),
    "402": ("Insufficient Balance", ""),
    "403": ("Your account is not active", ""),
    "429_quota": ("You exceeded your current quota", "insufficient_quota"),
}
"""Refusals: fault → message and code. Any other status has the message `as you wish`."""

HEADERS = {
    "429_retry_after": "Retry-After: 1",
    "429_forever": "Retry-After: 99999999",
    "503_until_2999": "Date: Mon, 30 Nov 2026 12:00:00 GMT\r\n"
    "Retry-After: Mon, 30 Dec 2999 12:00:00 GMT",
    # The date is a second after the server's own, an hour off everybody else's.
    "429_retry_date": f"Date: {formatdate(0, usegmt=True)}\r\n"
    f"Retry-After: {formatdate(1, usegmt=True)}",
}

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}
CANARY = "1 + 1 ="


@dataclass(eq=False)
class FakeServer:
    """Completes with `answer(body)` after `delay_s`, unless `fault(body, number)` gives a fault."""

    model: str = "fake"
    owner: str = "vllm"
    fault: Callable[[Body, int], str | None] = lambda body, number: None
    answer: Callable[[Body], str] = lambda body: "<think>\nwell\n</think>\n\n\\boxed{2}"
    delay_s: float = 0.0
    context: int | None = 2048  # as vLLM's /models gives it
    slots: int = 10_000  # served side by side; more of them wait, as in vLLM
    refuse_over: int = 10_000  # in flight; more of them are answered 429
    key: str | None = None
    key_header: str = "authorization"  # without it the key is a Bearer token
    base: str = "/v1"  # the path of the API, with its query string if it needs one
    refused: frozenset[str] = frozenset()  # fields of a body that are answered 400
    has_models: bool = True
    stalled: bool = False  # accepts connections and says nothing any more
    usage: bool = True
    choice: Mapping[str, Any] = field(default_factory=dict)  # fields laid over the choice
    message: Mapping[str, Any] = field(default_factory=dict)  # fields laid over a chat's message
    pieces: int = 4  # streamed messages an answer

    heads: list[dict[str, str]] = field(default_factory=list)  # headers of every request
    bodies: list[Body] = field(default_factory=list)  # of every real request, in order of arrival
    canaries: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    hung_up: int = 0  # requests whose client went away before their answer
    held: bool = False  # while it is, a request waits for its answer
    host: str = "127.0.0.1"  # or an address of another machine's network
    waits: Callable[[Body], bool] = lambda body: False  # while it says so, this request does
    port: int = 0

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-server")
        self._thread.start()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._free = asyncio.Semaphore(self.slots)
        self._socket = _bind(self.host, 0)
        self.port = self._socket.getsockname()[1]
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._socket.close()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}{self.base}"

    def start(self) -> None:
        """Listen, on the old port if it was killed."""
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    def kill(self) -> None:
        """As kill -9 does: nobody listens and every connection is reset.

        The port stays reserved, so that no other process is given it meanwhile.
        """
        asyncio.run_coroutine_threadsafe(self._kill(), self._loop).result()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, sock=self._socket)

    async def _kill(self) -> None:
        self._server.close()
        self._socket = _bind(self.host, self.port)
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client hung up, or this server was killed
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (h.partition(":") for h in head)
        }
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        if self.stalled:
            self.bodies += [json.loads(content)] * bool(content)
            await asyncio.Event().wait()
        self.heads.append(headers)
        base, _, query = self.base.partition("?")
        path, _, queried = path.partition("?")
        wanted = f"Bearer {self.key}" if self.key_header == "authorization" else self.key
        if queried != query:
            await self._send(writer, 404, _error(f"expected ?{query}, not ?{queried}"))
        elif self.key is not None and headers.get(self.key_header) != wanted:
            key = headers.get(self.key_header, "nothing")
            await self._send(writer, 401, _error(f"Incorrect API key provided: {key}"))
        elif method == "GET" and path == f"{base}/models" and self.has_models:
            card: Body = {"id": self.model, "owned_by": self.owner}
            if self.context is not None:
                card["max_model_len"] = self.context
            await self._send(writer, 200, json.dumps({"data": [card]}).encode())
        elif method == "POST" and path in (f"{base}/completions", f"{base}/chat/completions"):
            return await self._complete(json.loads(content), path, reader, writer)
        else:
            await self._send(writer, 404, _error("no such route"))
        return True

    async def _complete(
        self, body: Body, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if is_canary(body):
            self.canaries += 1
        else:
            self.bodies.append(body)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        work = asyncio.ensure_future(self._work(body, path, writer))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.hung_up += 1
                return False
            return await work
        finally:
            self.in_flight -= 1
            for task in (work, gone):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                    await task

    async def _work(self, body: Body, path: str, writer: asyncio.StreamWriter) -> bool:
        refused = sorted(self.refused.intersection(body))
        if refused:
            message = f"Unsupported parameter: {refused[0]!r} is not supported with this model."
            return await self._send(writer, 400, _error(message, "unsupported_parameter"))
        fault = self.fault(body, len(self.bodies))
        if fault is None and self.in_flight > self.refuse_over:
            fault = "429"
        if fault is not None and fault[0].isdigit():
            await self._refuse(fault, writer)
            return True
        if fault == "close_at_once":
            return False
        if fault == "crash":
            for other in self._writers:
                other.transport.abort()
            return False
        if fault == "hang":
            await asyncio.Event().wait()
        async with self._free:
            await asyncio.sleep(self.delay_s if not is_canary(body) else 0)
            while (self.held or self.waits(body)) and not is_canary(body):
                await asyncio.sleep(0.01)
            payloads = self._payloads(body, path)
            if body.get("stream"):
                return await self._stream(payloads, fault, writer)
            return await self._whole(payloads[0], fault, writer)

    async def _refuse(self, fault: str, writer: asyncio.StreamWriter) -> None:
        message, code = ERRORS.get(fault, ("as you wish", ""))
        extra = HEADERS.get(fault, "X-Fake: 1")
        await self._send(writer, int(fault[:3]), _error(message, code), extra=extra)

    def _payloads(self, body: Body, path: str) -> list[Body]:
        """The answer as response bodies: one, or as many as are streamed."""
        text, chat = self.answer(body), "chat" in path
        count = self.pieces if body.get("stream") else 1
        step = max(1, -(-len(text) // count))
        parts = [text[at : at + step] for at in range(0, len(text), step)] or [""]
        payloads: list[Body] = []
        for number, part in enumerate(parts, 1):
            choice: Body = {"index": 0, "finish_reason": None}
            if chat:
                choice["delta" if body.get("stream") else "message"] = {
                    "content": part,
                    **self.message,
                }
            else:
                choice["text"] = part
            if number == len(parts):
                choice |= {"finish_reason": "stop", "stop_reason": None, **self.choice}
            payload: Body = {"model": self.model, "choices": [choice]}
            if self.usage:
                payload["usage"] = {"prompt_tokens": 7, "completion_tokens": number}
            payloads.append(payload)
        return payloads

    async def _whole(self, payload: Body, fault: str | None, writer: asyncio.StreamWriter) -> bool:
        kind = "application/json"
        if fault == "empty_choices":
            payload["choices"] = []
        if fault == "no_finish":
            payload["choices"][0]["finish_reason"] = None
        if fault == "interrupted":  # DeepSeek
            payload["choices"][0]["finish_reason"] = "insufficient_system_resource"
        if fault == "error_in_200":  # OpenRouter
            payload = {"error": {"code": 502, "message": "Provider returned error"}}
        content = json.dumps(payload).encode()
        if fault == "html":
            kind, content = "text/html", b"<html><body>It works!</body></html>"
        if fault == "empty":
            content = b""
        if fault == "malformed_json":
            content = content[: len(content) // 2]
        if fault == "not_an_object":
            content = b"[1, 2]"
        if fault == "wrong_type":
            kind = "text/plain"
        return await self._send(writer, 200, content, kind, fault)

    async def _stream(
        self, payloads: list[Body], fault: str | None, writer: asyncio.StreamWriter
    ) -> bool:
        if fault in ("html", "wrong_type", "not_an_object", "empty"):
            return await self._whole({}, fault, writer)
        if fault == "empty_choices":
            payloads = [{**payload, "choices": []} for payload in payloads]
        if fault == "no_finish":
            payloads = payloads[:-1]
        if fault == "interrupted":
            payloads[-1]["choices"][0]["finish_reason"] = "insufficient_system_resource"
        if fault == "error_in_200":  # in the middle of a stream, as OpenRouter does
            payloads[-1] = {"error": {"code": 502, "message": "Provider returned error"}}
        events = [f"data: {json.dumps(payload)}\n\n" for payload in payloads]
        if fault == "malformed_json":
            events[0] = 'data: {"choices": [\n\n'
        content = "".join([": a comment\n\n", *events, "data: [DONE]\n\n"]).encode()
        return await self._send(writer, 200, content, "text/event-stream", fault)

    async def _send(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        content: bytes,
        kind: str = "application/json",
        fault: str | None = None,
        extra: str = "X-Fake: 1",
    ) -> bool:
        head = (
            f"HTTP/1.1 {status} {REASONS.get(status, 'Error')}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(content)}\r\n{extra}\r\n\r\n"
        )
        writer.write(head.encode())
        if fault == "close_mid_body":
            writer.write(content[: len(content) // 2])
            await writer.drain()
            return False
        if fault == "slow_drip":
            for at in range(len(content)):
                writer.write(content[at : at + 1])
                await writer.drain()
                await asyncio.sleep(0.1)
        elif fault == "slow_events":
            for event in content.splitlines(keepends=True):
                writer.write(event)
                await writer.drain()
                await asyncio.sleep(0.05)
        else:
            writer.write(content)
        await writer.drain()
        return True


def _bind(host: str, port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, port))
    return bound


def is_canary(body: Body) -> bool:
    """Whether a request is a health check."""
    return CANARY in (body.get("prompt"), (body.get("messages") or [{}])[-1].get("content"))


def _error(message: str, code: str = "") -> bytes:
    return json.dumps({"error": {"message": message, "type": "fake", "code": code}}).encode()
