"""A tracker of a run, in a process of its own: whatever it does, nobody waits for it.

What it prints goes to watch/NAME.log in the run directory, without secrets. What it needs to
continue the same run later, and the last step it has, are kept in watch/NAME.json.
"""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from factory.core.errors import StorageError
from factory.core.files import read_json, write_atomic
from factory.watch.readings import Reading

FOLDER = "watch"
"""The folder in a run directory that belongs to those who watch. No step of the run reads it."""

WAITING = 100_000
"""Readings that may wait for a tracker. More are dropped."""

SLOW_S = 60.0
"""Seconds without an answer until it is said that a tracker hangs."""

LOG_BYTES = 1 << 20
"""A tracker's log gets no longer than this."""

_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|(^|_)(API_?)?KEY(_|$)", re.IGNORECASE)
_USERINFO = re.compile(rb"(://)[^/\s:@]+(:[^/\s@]*)?@")


class Tracker:
    """One tracker of the run in `run`. `say` is called once, if it fails, hangs or is missing.

    `begin` has the run's name, id and settings. All methods return at once, `close` within
    `seconds`.
    """

    def __init__(
        self, name: str, run: Path, begin: Mapping[str, Any], say: Callable[[str], None]
    ) -> None:
        self.name, self._say = name, say
        self._folder = run / FOLDER
        self._memory = self._folder / f"{name}.json"
        known = read_json(self._memory) or {}
        self._known, self._last = str(known.get("known", "")), int(known.get("step", -1))
        self._continues_after = self._last
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(WAITING)
        self._asked: float | None = None  # since when an answer is awaited
        self._answered = threading.Semaphore(1)
        self._said = self._ended = False
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start(begin)
        except (OSError, StorageError) as error:
            self._report(f"can't be started: {error}")

    def put(self, reading: Reading) -> None:
        """Queue a reading. One that the tracker has from an earlier start is left out."""
        if reading.step <= self._continues_after or self._process is None:
            return
        with suppress(queue.Full):  # it hangs, which is said
            self._queue.put_nowait({"step": reading.step, "metrics": reading.metrics})

    def check(self) -> None:
        """Say it if the tracker has died or hangs."""
        if self._process is None or self._ended:
            return
        if self._process.poll() is not None:
            self._report(f"ended with exit code {self._process.returncode}{self._last_line()}")
        elif self._asked is not None and time.monotonic() - self._asked > SLOW_S:
            self._report(f"has not answered for {SLOW_S:.0f} s")

    def finish(self, summary: Mapping[str, float], state: str) -> None:
        """Queue the end of the run."""
        with suppress(queue.Full):
            self._queue.put_nowait({"summary": dict(summary), "state": state})

    def close(self, deadline: float) -> None:
        """Wait until the end has arrived, at most until `deadline`, then end the process."""
        if self._process is None:
            return
        while not self._ended and self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
            self.check()
        if not self._ended:
            self.check()
            self._report("did not take up the end of the run in time; it is cut off")
        with suppress(queue.Full):
            self._queue.put_nowait(None)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0 if self._ended else 0.1)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._logger.join(2.0)

    def _start(self, begin: Mapping[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        variable = f"{self.name.upper()}_PYTHON"
        python = os.environ.get(variable) or sys.executable
        script = Path(__file__).with_name("tracker_worker.py")
        self._process = subprocess.Popen(
            [python, str(script), self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        first = {**begin, "known": self._known, "folder": str(self._folder)}
        self._queue.put_nowait(first)
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        work = (self._feed, self._listen, self._copy_log)
        threads = [
            threading.Thread(target=target, args=(pipe,), daemon=True)
            for target, pipe in zip(work, pipes, strict=True)
        ]
        self._logger = threads[-1]
        for thread in threads:
            thread.start()

    def _feed(self, pipe: IO[bytes]) -> None:
        """Write what is queued, one line after another's answer."""
        while (line := self._queue.get()) is not None:
            self._answered.acquire()
            self._asked = time.monotonic()
            try:
                pipe.write(json.dumps(line).encode() + b"\n")
                pipe.flush()
            except OSError:  # it has died, which `check` says
                return

    def _listen(self, pipe: IO[bytes]) -> None:
        """Note what the tracker has, so that a later start continues there."""
        for line in pipe:
            try:
                answer = json.loads(line)
            except ValueError:
                continue
            self._asked = None
            if answer.get("done") == "end":
                self._ended = True
            elif "known" in answer:
                self._known = str(answer["known"])
            else:
                self._last = max(self._last, int(answer["done"]))
            with suppress(StorageError):
                memory = {"known": self._known, "step": self._last}
                write_atomic(self._memory, json.dumps(memory) + "\n")
            self._answered.release()

    def _copy_log(self, pipe: IO[bytes]) -> None:
        """Copy what the tracker prints to its log, without the values of secret variables."""
        secrets = [
            value.encode()
            for key, value in os.environ.items()
            if _SECRET.search(key) and len(value) >= 8
        ]
        try:
            with open(self._folder / f"{self.name}.log", "wb") as log:
                for line in pipe:
                    for secret in secrets:
                        line = line.replace(secret, b"***")
                    if log.tell() < LOG_BYTES:
                        log.write(_USERINFO.sub(rb"\1***@", line))
                        log.flush()
        except OSError:
            pipe.close()

    def _last_line(self) -> str:
        self._logger.join(1.0)
        try:
            text = (self._folder / f"{self.name}.log").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        last = text.strip().rpartition("\n")[2][:300]
        return f": {last}" if last else ""

    def _report(self, what: str) -> None:
        if not self._said:
            self._said = True
            remedy = f"{self._folder / (self.name + '.log')} has what it printed."
            if "No module named" in what:
                remedy = (
                    f"Install it, or name the interpreter of an environment that has it by the "
                    f"environment variable {self.name.upper()}_PYTHON."
                )
            what = what.rstrip(".")
            self._say(f"the tracker {self.name} {what}. The run goes on without it. {remedy}")
