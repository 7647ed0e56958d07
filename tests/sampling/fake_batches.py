"""An OpenAI-compatible batch API on loopback that answers correctly or with a fault."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Line = dict[str, Any]

ANSWER = "<think>\nwell\n</think>\n\n\\boxed{2}"


def answer(line: Line, text: str = ANSWER) -> Line:
    """A good result of a request line, as OpenAI writes it."""
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": text},
    }
    usage = {"prompt_tokens": 7, "completion_tokens": 11}
    body = {"choices": [choice], "usage": usage, "model": line["body"]["model"]}
    response = {"status_code": 200, "request_id": "r", "body": body}
    return {"id": "b", "custom_id": line["custom_id"], "response": response, "error": None}


def error(line: Line, status: int, message: str) -> Line:
    response = {"status_code": status, "body": {"error": {"message": message}}}
    return {"id": "b", "custom_id": line["custom_id"], "response": response, "error": None}


@dataclass(eq=False)
class FakeBatches:
    """Batches end when they have been looked at `looks` times.

    `solve` gives the results of the request lines, `status` the end of a batch; `fault(method,
    path)` gives an HTTP status in place of an answer, or "lost": done, but not answered.
    """

    solve: Callable[[Line], Line | None] = answer
    status: str = "completed"
    errors: list[dict[str, Any]] = field(default_factory=list)
    looks: int = 1
    fault: Callable[[str, str], int | str | None] = lambda method, path: None

    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    def __enter__(self) -> Self:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.handle(self, "GET")

            def do_POST(self) -> None:
                fake.handle(self, "POST")

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def asked(self) -> list[Line]:
        """Every request of every batch that was started, in order."""
        return [
            json.loads(line)
            for batch in self.batches.values()
            for line in self.files[batch["input_file_id"]].splitlines()
        ]

    def handle(self, handler: BaseHTTPRequestHandler, method: str) -> None:
        path = handler.path.removeprefix("/v1").partition("?")[0]
        content = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.calls.append((method, path))
        self.keys.add(handler.headers.get("Authorization", ""))
        fault = self.fault(method, path)
        if isinstance(fault, int):
            self.reply(handler, fault, {"error": {"message": "as you wish"}})
            return
        body = self.answer(method, path, content, handler.headers.get("Content-Type", ""))
        if fault == "lost":
            handler.close_connection = True
            return
        self.reply(handler, 200 if body is not None else 404, body if body is not None else {})

    def reply(self, handler: BaseHTTPRequestHandler, status: int, body: Any) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def answer(self, method: str, path: str, content: bytes, kind: str) -> Any:
        if (method, path) == ("POST", "/files"):
            name = f"file-{len(self.files)}"
            self.files[name] = read_part(content, kind)
            return {"id": name, "purpose": "batch"}
        if (method, path) == ("POST", "/batches"):
            name = f"batch-{len(self.batches)}"
            self.batches[name] = {"id": name, "status": "in_progress", "looks": self.looks}
            self.batches[name] |= json.loads(content)
            return self.batches[name]
        if (method, path) == ("GET", "/batches"):
            return {"data": list(self.batches.values())}
        if found := re.fullmatch(r"/batches/([\w-]+)/cancel", path):
            self.batches[found[1]]["status"] = "cancelled"
            return self.batches[found[1]]
        if found := re.fullmatch(r"/batches/([\w-]+)", path):
            return self.look(self.batches[found[1]])
        if found := re.fullmatch(r"/files/([\w-]+)/content", path):
            return self.files[found[1]]
        return None

    def look(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch["looks"] -= 1
        if batch["status"] == "in_progress" and batch["looks"] <= 0:
            batch["status"], batch["errors"] = self.status, {"data": self.errors}
            if self.status != "failed":
                lines = [json.loads(n) for n in self.files[batch["input_file_id"]].splitlines()]
                solved = [result for line in lines if (result := self.solve(line)) is not None]
                name = f"file-{len(self.files)}"
                self.files[name] = b"\n".join(json.dumps(result).encode() for result in solved)
                batch["output_file_id"] = name
        return batch


def read_part(content: bytes, kind: str) -> bytes:
    """The file of a multipart form."""
    head = f"Content-Type: {kind}\r\nMIME-Version: 1.0\r\n\r\n".encode()
    form = BytesParser(policy=HTTP).parsebytes(head + content)
    for part in form.iter_parts():  # type: ignore[attr-defined]
        if part.get_filename():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            return payload
    raise AssertionError("no file in the form")
