"""The lock of a store: one driver at a time, over any number of machines.

    lock/00000001.json   the first driver; released
    lock/00000002.json   the driver of today: the highest number holds the store

A driver takes the next number by a conditional write, which one of several wins. It writes its
object again every few seconds. Whoever finds an object that was not written for LEASE_SECONDS, by
their own clock, takes the next number. A driver that lost the store so sees a higher number than
its own, and stops. Numbers are never used again.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from factory.core.errors import RunLocked, StoreError
from factory.stores.objects import Objects

LEASE_SECONDS = 60.0
"""A driver that has not written its lock for so long is gone."""
BEATS = 6
"""Times that a driver writes its lock in a lease."""
POLL_SECONDS = 1.0

FOLDER = "lock"

Say = Callable[[str], None]


class StoreLock:
    """Holds a store for this process, from `acquire` to `release`.

    `exclusive` is false for a store without conditional writes, if the user says to go on: then
    the numbers only say who wrote last.
    """

    def __init__(self, objects: Objects, *, exclusive: bool) -> None:
        self.objects, self.exclusive = objects, exclusive
        self.number = 0
        """This driver's number. Later ones are higher."""
        self.previous: str | None = None
        """The token of the driver before it; None for a store that nobody used."""
        self._holder = _describe_process()
        self.token: str = self._holder["token"]
        self._lost: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="store lock", daemon=True)

    def acquire(self, say: Say) -> None:
        """Take the store. Raises RunLocked if another driver has it, StoreError for a failure."""
        number, holder = self._wait_for_free(say)
        self.number, self.previous = number + 1, holder.get("token")
        taken = self._text(0)
        if not self.exclusive:
            self.objects.write(_name(self.number), taken)
        elif not self.objects.create(_name(self.number), taken):
            raise _locked(self.objects.url, _parse(self.objects.read(_name(self.number))))
        self._thread.start()

    def check(self) -> None:
        """Ask the store whether this driver still has it. Raises RunLocked if not."""
        self._look()
        self.refuse_lost()

    def refuse_lost(self) -> None:
        """Raise RunLocked if another driver took the store, as far as is known here."""
        if self._lost is not None:
            raise RunLocked(self._lost)

    def release(self) -> None:
        """Give the store back, and delete the objects of earlier drivers."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if not self.number or self._lost is not None:
            return
        self.objects.write(_name(self.number), self._text(-1))
        for number in self._numbers():
            if number < self.number:
                self.objects.delete(_name(number))

    def _wait_for_free(self, say: Say) -> tuple[int, dict[str, Any]]:
        """Return the highest number there is and its driver, once that is gone."""
        first: bytes | None = None
        since, is_reported = time.monotonic(), False
        while True:
            number = max(self._numbers(), default=0)
            text = self.objects.read(_name(number)) if number else None
            holder = _parse(text)
            if text is None or not self.exclusive or holder.get("released") or _is_dead(holder):
                return number, holder
            if first is None:
                first, since = text, time.monotonic()
            if text != first or _is_here(holder):
                raise _locked(self.objects.url, holder)
            if time.monotonic() - since >= LEASE_SECONDS:
                return number, holder
            if not is_reported:
                is_reported = True
                say(
                    f"store {self.objects.url} was taken by {_name_holder(holder)}, which did not "
                    f"give it back; looking for {LEASE_SECONDS:.0f} s whether it is still there"
                )
            time.sleep(POLL_SECONDS)

    def _beat(self) -> None:
        count = 0
        while not self._stop.wait(LEASE_SECONDS / BEATS):
            count += 1
            with suppress(StoreError):  # uploads report what fails; the next beat tries again
                self._look()
                if self._lost is not None:
                    return
                self.objects.write(_name(self.number), self._text(count))

    def _look(self) -> None:
        highest = max(self._numbers(), default=0)
        if highest > self.number and self._lost is None:
            holder = _parse(self.objects.read(_name(highest)))
            why = "this process did not reach the store for too long"
            self._lost = (
                f"store {self.objects.url} was taken over by {_name_holder(holder)}: "
                f"{why if self.exclusive else 'it is not locked (store.lock)'}. What was sampled "
                "here since is kept in the run directory. Stop one of the two."
            )

    def _numbers(self) -> list[int]:
        names = (name.removeprefix(f"{FOLDER}/") for name in self.objects.list(FOLDER))
        return [int(name.removesuffix(".json")) for name in names if name[:-5].isdecimal()]

    def _text(self, beat: int) -> bytes:
        state = {**self._holder, "beat": beat, "released": beat < 0}
        return (json.dumps(state) + "\n").encode()


def _name(number: int) -> str:
    return f"{FOLDER}/{number:08d}.json"


def _parse(text: bytes | None) -> dict[str, Any]:
    with suppress(ValueError):
        found = json.loads(text or b"")
        if isinstance(found, dict):
            return found
    return {}


def _describe_process() -> dict[str, Any]:
    """What others need to know of this process. Its start tells it from a later one of its id."""
    return {
        "token": uuid4().hex,
        "host": socket.gethostname(),
        "machine": _identify_machine(),
        "pid": os.getpid(),
        "started": _find_start(os.getpid()),
    }


def _identify_machine() -> str | None:
    """The machine since it was started, and its space of process ids (a container has its own)."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return None


def _find_start(pid: int) -> str | None:
    """When a process of this machine was started, in the kernel's ticks; None if it is gone."""
    with suppress(OSError, IndexError):
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
        fields = after_name.split()
        return None if fields[0] == "Z" else fields[19]
    return None


def _is_here(holder: dict[str, Any]) -> bool:
    """Whether a driver runs on this machine."""
    machine = _identify_machine()
    return machine is not None and holder.get("machine") == machine


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether a driver ran on this machine and is gone."""
    pid = holder.get("pid")
    if not _is_here(holder) or not isinstance(pid, int):
        return False
    return _find_start(pid) != holder.get("started")


def _name_holder(holder: dict[str, Any]) -> str:
    pid, host = holder.get("pid", "?"), holder.get("host", "?")
    return f"process {pid} on host {str(host)[:80]}"


def _locked(url: str, holder: dict[str, Any]) -> RunLocked:
    return RunLocked(
        f"store {url} is in use by {_name_holder(holder)}. Wait for it or stop it, or name another "
        "prefix: two builds cannot share a store."
    )
