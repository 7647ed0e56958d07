"""A real S3 server on this machine (moto's, in a process), and a proxy that makes faults."""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from tests.ports import free_ports


@contextmanager
def run_server() -> Iterator[int]:
    """Yield the port of moto's server."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _answers(port):
            assert process.poll() is None, "the server ended"
            time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/moto-api/")
        return connection.getresponse().status < 500
    except OSError:
        return False
    finally:
        connection.close()


class Call(NamedTuple):
    """A request as the proxy sees it."""

    method: str
    path: str
    headers: dict[str, str]


class Answer(NamedTuple):
    """What the proxy answers itself, without asking the server."""

    status: int
    code: str

    @property
    def body(self) -> bytes:
        text = f"<Error><Code>{self.code}</Code><Message>{self.code}</Message></Error>"
        return b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.encode()


LOST = "lost"
"""The server does what it is asked, and nobody hears of it."""

Fault = Answer | str | float | None
"""An answer, LOST, seconds of delay, or nothing."""


class Proxy:
    """Forwards to a server. `fault` decides what goes wrong with a call; it may change one too."""

    def __init__(self, server_port: int) -> None:
        self.fault: Callable[[Call], Fault] = lambda call: None
        self.calls: list[Call] = []
        self.server_port = server_port
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                call = Call(self.command, self.path, dict(self.headers))
                with proxy._lock:
                    proxy.calls.append(call)
                    fault = proxy.fault(call)
                if isinstance(fault, Answer):
                    self.reply(fault.status, {"Content-Type": "application/xml"}, fault.body)
                    return
                if isinstance(fault, float):
                    time.sleep(fault)
                connection = http.client.HTTPConnection("127.0.0.1", server_port, timeout=60)
                connection.request(call.method, call.path, body, call.headers)
                response = connection.getresponse()
                found = response.read()
                connection.close()
                if fault == LOST:
                    self.close_connection = True
                    self.connection.shutdown(2)
                    return
                kept = {
                    name: value
                    for name, value in response.getheaders()
                    if name.lower() not in ("connection", "transfer-encoding", "content-length")
                }
                length = response.getheader("Content-Length")
                self.reply(response.status, kept, found, length)

            def reply(
                self, status: int, headers: dict[str, str], body: bytes, length: str | None = None
            ) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                is_head = self.command == "HEAD" and length is not None
                self.send_header("Content-Length", length if is_head and length else str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    with suppress(OSError):
                        self.wfile.write(body)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
