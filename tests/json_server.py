"""A real HTTP server on loopback that answers JSON by a test's function."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str, Any, int], tuple[int, Any] | None]
"""(path, body, how often its words came) → status and reply; None closes the connection."""


class JsonServer(ThreadingHTTPServer):
    """Keeps what it was sent: `bodies` in order, `keys`, and `seen` counts a body's words."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.bodies: list[Any] = []
        self.keys: set[str | None] = set()
        self.seen: Counter[str] = Counter()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(answer: Answer) -> Iterator[JsonServer]:
    """A server that runs as long as the block does."""
    with JsonServer(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def words(body: Any) -> str:
    """All that a chat request says."""
    return "\n".join(message["content"] for message in body["messages"])


class _Handler(BaseHTTPRequestHandler):
    server: JsonServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.keys.add(self.headers.get("Authorization"))
            self.server.seen[words(body)] += 1
            times = self.server.seen[words(body)]
        reply = self.server.answer(self.path, body, times)
        if reply is None:
            self.close_connection = True
            return
        data = json.dumps(reply[1]).encode()
        self.send_response(reply[0])
        if reply[0] == 429:
            self.send_header("Retry-After", "0.01")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        pass
