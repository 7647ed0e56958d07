"""Watches one run: follows its logs, and passes them to trackers, metrics page and webhook.

`python -m factory.watch.watcher` is the process next to a run. It reads JSON lines: first an
`Order`, then `{"begin": true}` once the directory is the run's, at last `{"end": Outcome}`. If its
input ends without that, the run was killed. What it prints is for the console of the run.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from factory.core.files import read_json
from factory.core.nouns import fingerprint
from factory.watch.metrics_page import MetricsServer, format_page
from factory.watch.readings import Readings, Trouble, read_result
from factory.watch.trackers import Tracker
from factory.watch.webhook import post, shorten

POLL_S = 1.0
FLUSH_S = 20.0
"""Seconds that trackers and the webhook have at the end of a run."""

HISTORY_S = 600.0
"""The same for `follow`, whose trackers may get a whole run at once."""


@dataclass(frozen=True)
class Order:
    """What to watch, and where to report it. `notify` may hold a secret."""

    run: str
    name: str
    kind: str
    track: Sequence[str] = ()
    metrics_port: int | str | None = None
    notify: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    flush_s: float = FLUSH_S


@dataclass(frozen=True)
class Outcome:
    """How a run ended: done, failed, stopped or killed; with its exit code and its error."""

    state: str
    exit_code: int | None = None
    message: str = ""


class Watcher:
    """Watches a run; `say` takes what a person should read. Only `close` waits for anybody."""

    def __init__(self, order: Order, say: Callable[[str], None]) -> None:
        self._order, self._say = order, say
        self._run = Path(order.run)
        self._readings = Readings(self._run)
        self._trackers: list[Tracker] = []
        self._server: MetricsServer | None = None
        self._state = "running"
        self._sent: set[str] = set()
        self._posts: list[threading.Thread] = []
        self._began = False

    def begin(self) -> None:
        """Start the trackers and the page: the directory is the run's from now on."""
        self._began = True
        order = self._order
        begin = {"name": order.name, "id": _stable_id(self._run), "config": order.settings}
        self._trackers = [Tracker(name, self._run, begin, self._say) for name in order.track]
        if order.metrics_port is not None:
            labels = {"run": order.name, "kind": order.kind}
            try:
                self._server = MetricsServer(
                    order.metrics_port, lambda: format_page(labels, self._state, self._readings)
                )
            except OSError as error:
                self._say(
                    f"metrics_port: nothing can be served at {order.metrics_port} "
                    f"({error.strerror or error}). The run goes on without the page; choose "
                    "another port."
                )
        self.poll()

    def poll(self) -> None:
        """Pass on what the run has logged since."""
        if not self._began:
            return
        found, troubles = self._readings.poll()
        for tracker in self._trackers:
            for reading in found:
                tracker.put(reading)
            tracker.check()
        for trouble in troubles:
            if trouble.event not in self._sent:
                self._sent.add(trouble.event)
                self._notify(Outcome("trouble", message=trouble.what), trouble)

    def close(self, outcome: Outcome | None) -> None:
        """Report the end and stop. Waits for trackers and webhook, at most `order.flush_s`.

        Without an outcome only the watching ends, and the webhook hears nothing.
        """
        deadline = time.monotonic() + self._order.flush_s
        self.poll()
        self._state = outcome.state if outcome else "running"
        result = read_result(self._run) if self._began and self._state == "done" else {}
        self._readings.latest |= result
        for tracker in self._trackers:
            tracker.finish(result, self._state)
        if outcome is not None:
            self._notify(outcome, None)
        for tracker in self._trackers:
            tracker.close(deadline)
        for thread in self._posts:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in self._posts):
            self._say(f"{shorten(self._order.notify or '')} has not answered in time")
        if self._server is not None:
            self._server.close()

    def _notify(self, outcome: Outcome, trouble: Trouble | None) -> None:
        if self._order.notify is None:
            return
        document = describe(self._order, outcome, trouble, self._readings.latest)
        thread = threading.Thread(target=self._post, args=(document,), daemon=True)
        thread.start()
        self._posts.append(thread)

    def _post(self, document: dict[str, Any]) -> None:
        assert self._order.notify is not None
        why = post(self._order.notify, document)
        if why is not None and "webhook" not in self._sent:
            self._sent.add("webhook")
            self._say(f"notify: {shorten(self._order.notify)} did not take the message: {why}")


def describe(
    order: Order, outcome: Outcome, trouble: Trouble | None, metrics: dict[str, float]
) -> dict[str, Any]:
    """Return the document that the webhook gets."""
    detail = outcome.message
    if outcome.state == "done" and (rows := metrics.get("result/rows")) is not None:
        detail = f"{rows:,.0f} rows"
    verb = "is in" if trouble else "is" if outcome.state in ("done", "stopped") else "has"
    state = {"killed": "been killed"}.get(outcome.state, outcome.state)
    text = f"{order.name} ({order.kind}) {verb} {state}"
    return {
        "text": f"{text}: {detail}" if detail else text,
        "run": order.name,
        "kind": order.kind,
        "state": "running" if trouble else outcome.state,
        "trouble": trouble.event if trouble else None,
        "exit_code": outcome.exit_code,
        "message": outcome.message,
        "directory": order.run,
        "host": socket.gethostname(),
        "at": round(time.time(), 3),
        "metrics": metrics,
    }


def _stable_id(run: Path) -> str:
    """Return an id of the run that stays over its starts, for trackers that want one."""
    manifest = read_json(run / "run.json") or read_json(run / "train.json") or {}
    return fingerprint([str(run.resolve()), manifest.get("started_at")])


def follow(order: Order, running: Callable[[], bool], say: Callable[[str], None]) -> None:
    """Watch a run that others started, from its first log line until it ends, or Ctrl-C."""
    watcher = Watcher(replace(order, flush_s=HISTORY_S), say)
    outcome = None
    try:
        watcher.begin()
        while running():
            time.sleep(POLL_S)
            watcher.poll()
        outcome = _read_end(Path(order.run))
    finally:
        watcher.close(outcome)


def _read_end(run: Path) -> Outcome:
    manifest = read_json(run / "run.json") or read_json(run / "train.json") or {}
    if manifest.get("state") == "done":
        return Outcome("done", 0)
    return Outcome("stopped", None, "it ended before it was done; the same command continues it")


def main() -> None:
    """The process next to a run."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it ends with the run, and reports how that ended
    lines = _Lines(sys.stdin.fileno())
    first = lines.read(None)
    if first is None:
        return
    watcher = Watcher(Order(**first), _say)
    outcome = None
    while outcome is None:
        line = lines.read(POLL_S)
        if line is None and lines.ended:
            outcome = Outcome("killed", message="the process of the run was killed")
        elif line is None:
            watcher.poll()
        elif "begin" in line:
            watcher.begin()
        else:
            outcome = Outcome(**line["end"])
    watcher.close(outcome)


def _say(line: str) -> None:
    try:
        print(json.dumps(line), flush=True)
    except OSError:  # the run was killed, and its console with it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)


class _Lines:
    """JSON lines of a pipe, read with a time limit."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._held = descriptor, b""
        self.ended = False

    def read(self, seconds: float | None) -> dict[str, Any] | None:
        """Return the next line; None after `seconds`, and at the end of the pipe."""
        while b"\n" not in self._held:
            if not select.select([self._descriptor], [], [], seconds)[0]:
                return None
            more = os.read(self._descriptor, 1 << 16)
            if not more:
                self.ended = True
                return None
            self._held += more
        line, _, self._held = self._held.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found


def encode_order(order: Order) -> bytes:
    """Return the first line of the process's input."""
    return json.dumps(asdict(order)).encode() + b"\n"


if __name__ == "__main__":
    main()
