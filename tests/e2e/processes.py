"""Finds the processes of a build and its progress, for tests that kill one of them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from factory.core.files import read_lines

PATIENCE_S = 400.0  # a loaded machine takes minutes to load an engine


def descendants(ancestor: int, title: str = "") -> set[int]:
    """The process ids of its children, and of theirs, whose command line begins with `title`."""
    found, generation = set[int](), {ancestor}
    while generation:
        generation = {child for parent in generation for child in _children(parent)} - found
        found |= generation
    return {pid for pid in found if _command(pid).startswith(title)}


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(met: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


def first_sample(build: subprocess.Popen[str], run: Path) -> None:
    """Wait for a sample while more are to come."""
    wait_until(
        lambda: build.poll() is not None or any((run / "samples").glob("journal-*")), "a sample"
    )
    assert build.poll() is None, build.communicate()


def first_replica(run: Path) -> int:
    """Return the process id of the replica that was ready first; others may still load."""
    ready = [
        event for event in read_lines(run / "events.jsonl") if event["event"] == "replica_ready"
    ]
    return int(ready[0]["where"].split()[1])


def _children(pid: int) -> set[int]:
    found = set()
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found |= {int(child) for child in listing.read_text().split()}
        except OSError:
            continue  # the thread is gone
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
