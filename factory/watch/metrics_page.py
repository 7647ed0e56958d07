"""A run's numbers in Prometheus' text format, and the server that shows them.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from factory.recipe.watching import split_address
from factory.watch.readings import Readings

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_TOTALS = {
    "samples": "Samples that the engines finished, over all starts.",
    "tokens": "Tokens of these samples.",
    "judged": "Samples with a verdict.",
    "accepted": "Samples that were accepted.",
}
_GAUGES = {
    "samples_per_second": "Samples finished per second, lately.",
    "tokens_per_second": "Tokens of finished samples per second, lately.",
    "acceptance": "Accepted samples as a share of the judged ones.",
    "tokens_per_accepted": "Generated tokens per accepted sample.",
    "occupancy": "Share of the engine's slots in use.",
}
_WORKER = {
    "worker_up": "Whether an endpoint or replica answers.",
    "worker_in_flight": "Requests at an endpoint or replica.",
    "worker_samples": "Samples of an endpoint or replica since the start.",
    "worker_tokens": "Tokens of an endpoint or replica since the start.",
    "worker_faults": "Faults of an endpoint or replica since the start.",
}


def format_page(labels: Mapping[str, str], state: str, readings: Readings) -> str:
    """Return the page: every number of the run with `labels`, in Prometheus' text format."""
    return "".join(f"{line}\n" for line in _lines(labels, state, readings))


def _lines(labels: Mapping[str, str], state: str, readings: Readings) -> Iterator[str]:
    latest = readings.latest
    yield from _family("state", "gauge", "1 for the run's state.", [({"state": state}, 1)], labels)
    if readings.at:
        text = "When the run last logged something, in Unix time."
        yield from _family(
            "last_event_timestamp_seconds", "gauge", text, [({}, readings.at)], labels
        )
    for names, kind, end in ((_TOTALS, "counter", "_total"), (_GAUGES, "gauge", "")):
        for name, text in names.items():
            if (value := latest.get(f"sampling/{name}")) is not None:
                yield from _family(name + end, kind, text, [({}, value)], labels)
    workers = [({"worker": str(one.get("name"))}, one) for one in readings.workers]
    for name, text in _WORKER.items():
        rows = [(who, _worker_value(name.removeprefix("worker_"), one)) for who, one in workers]
        yield from _family(name, "gauge", text, rows, labels)
    others = [
        ({"metric": key}, value) for key, value in latest.items() if not key.startswith("sampling/")
    ]
    if others:
        text = "Step of the training."
        yield from _family("training_step", "gauge", text, [({}, readings.step)], labels)
    text = "Numbers of the training's last logged steps, by name."
    yield from _family("training", "gauge", text, others, labels)


def _worker_value(name: str, worker: Mapping[str, Any]) -> float:
    value = worker.get(name, 0)
    return float(sum(value.values()) if isinstance(value, Mapping) else value)


def _family(
    name: str,
    kind: str,
    text: str,
    rows: list[tuple[dict[str, str], float]],
    labels: Mapping[str, str],
) -> Iterator[str]:
    if not rows:
        return
    yield f"# HELP factory_{name} {text}"
    yield f"# TYPE factory_{name} {kind}"
    for own, value in rows:
        inside = ",".join(f'{key}="{_escape(text)}"' for key, text in {**labels, **own}.items())
        yield f"factory_{name}{{{inside}}} {value:.10g}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class MetricsServer:
    """Serves the page at `address` (a port of 127.0.0.1, or HOST:PORT) until it is closed.

    Raises OSError if it can't listen there.
    """

    def __init__(self, address: int | str, page: Callable[[], str]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.partition("?")[0] != "/metrics":
                    self.send_error(404, "the numbers are at /metrics")
                    return
                body = page().encode()
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Keep requests out of the console."""

        host, port = split_address(address)
        self._server = _server_class(host)((host, port), Handler)
        self.address = self._server.server_address[:2]
        thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), daemon=True)
        thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _server_class(host: str) -> type[ThreadingHTTPServer]:
    import socket

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hung up is no trouble of the run."""

    return Server
