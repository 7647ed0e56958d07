"""The lock of a store: one driver at a time, also when answers get lost and machines die."""

from __future__ import annotations

import subprocess
import sys
import threading
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from factory.core.errors import RunLocked, StoreError
from factory.stores import lock as locks
from factory.stores.lock import StoreLock
from factory.stores.objects import Objects
from tests.stores.s3_server import LOST, Call, Proxy


@pytest.fixture
def store() -> Objects:
    return Objects(f"memory://{uuid4().hex}/store")


def take(store: Objects, *, exclusive: bool = True) -> StoreLock:
    lock = StoreLock(store, exclusive=exclusive)
    lock.acquire(said.append)
    return lock


said: list[str] = []


def test_the_second_is_refused_until_the_first_is_done(store: Objects) -> None:
    first = take(store)
    with pytest.raises(RunLocked, match=r"memory://.* is in use by process \d+ on host .*Wait for"):
        take(store)
    first.check()
    first.release()
    second = take(store)
    assert (first.number, second.number) == (1, 2)
    assert second.previous == first.token
    second.release()
    assert list(store.list("lock")) == ["lock/00000002.json"]


def test_of_six_only_one_gets_it(bucket: str) -> None:
    stores = [Objects(bucket) for _ in range(3)] * 2
    taken: list[StoreLock] = []
    refused: list[RunLocked] = []
    barrier = threading.Barrier(6)

    def race(store: Objects) -> None:
        barrier.wait()
        try:
            taken.append(take(store))
        except RunLocked as error:
            refused.append(error)

    threads = [threading.Thread(target=race, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (1, 5)
    taken[0].check()
    taken[0].release()


def test_a_lock_whose_answer_was_lost_is_ours(s3: Proxy, bucket: str) -> None:
    lost: list[Call] = []

    def lose_first(call: Call) -> str | None:
        if "If-None-Match" not in call.headers or lost:
            return None
        lost.append(call)
        return LOST

    s3.fault = lose_first
    lock = take(Objects(bucket))
    assert lost
    lock.check()
    with pytest.raises(RunLocked):
        take(Objects(bucket))
    lock.release()


DIES = """
import os, sys
from factory.stores.lock import StoreLock
from factory.stores.objects import Objects
StoreLock(Objects(sys.argv[1]), exclusive=True).acquire(print)
os.kill(os.getpid(), 9)
"""


def test_a_driver_of_this_machine_that_died_is_seen_at_once(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store"
    died = subprocess.run([sys.executable, "-c", DIES, url], check=False)
    assert died.returncode == -9
    lock = take(Objects(url))
    assert lock.number == 2
    lock.release()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is locked from here on was locked on another machine."""
    machines = chain(["machine A"], repeat("machine B"))
    monkeypatch.setattr(locks, "_identify_machine", lambda: next(machines))


def clock(monkeypatch: pytest.MonkeyPatch, on_sleep: Any = None) -> None:
    """Time passes only when the one who waits sleeps."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if on_sleep is not None:
            on_sleep(now[0])

    monkeypatch.setattr(locks.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(locks.time, "sleep", sleep)


@pytest.mark.usefixtures("elsewhere")
def test_a_driver_elsewhere_that_is_silent_for_a_lease_is_gone(
    store: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = take(store)
    clock(monkeypatch)
    said.clear()
    lock = take(store)
    assert "looking for 60 s whether it is still there" in said[0]
    assert len(said) == 1
    with pytest.raises(RunLocked, match="was taken over by process"):
        gone.check()
    with pytest.raises(RunLocked, match="is kept in the run directory"):
        gone.refuse_lost()
    gone.release()
    lock.check()
    lock.release()


@pytest.mark.usefixtures("elsewhere")
def test_a_driver_elsewhere_that_is_alive_keeps_it(
    store: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = take(store)

    def beat(now: float) -> None:
        if now >= 10:
            store.write("lock/00000001.json", alive._text(int(now)))

    clock(monkeypatch, beat)
    with pytest.raises(RunLocked, match="is in use by"):
        take(store)
    alive.check()
    alive.release()


@pytest.mark.usefixtures("elsewhere")
def test_a_driver_elsewhere_that_ends_meanwhile_is_waited_for(
    store: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = take(store)
    clock(monkeypatch, lambda now: first.release())
    take(store).release()


def test_a_driver_writes_its_lock_again_and_again(
    store: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.06)
    lock = take(store)
    beats = set[bytes | None]()
    while len(beats) < 3:
        beats.add(store.read("lock/00000001.json"))
    lock.release()


def test_without_a_lock_the_later_one_has_it(store: Objects) -> None:
    first = take(store, exclusive=False)
    second = take(store, exclusive=False)
    second.check()
    with pytest.raises(RunLocked, match="it is not locked"):
        first.check()
    second.release()


def test_a_lock_that_is_no_json_is_watched_like_another(
    store: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("lock/00000007.json", b"\xff\x00")
    clock(monkeypatch)
    lock = take(store)
    assert lock.number == 8
    lock.release()


def test_a_store_that_fails_meanwhile_is_an_error(
    store: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = take(store)

    def fail(folder: str = "") -> None:
        raise StoreError("store x: the store fails", passing=True)

    monkeypatch.setattr(store, "list", fail)
    with pytest.raises(StoreError):
        lock.check()
    lock.refuse_lost()  # nobody took it, as far as is known
    monkeypatch.undo()
    lock.release()
