"""Process trees: nothing that a command started outlives it, whoever was killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from factory.core.process_tree import supervised_command

HIDDEN = """
import os, subprocess, sys, time
mark, how = sys.argv[1:]
child = [sys.executable, "-c", "import sys, time; time.sleep(600)", mark]
subprocess.Popen(child, start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, child)
    os._exit(0)
try:
    print("ready", flush=True)
    if how == "stay":
        time.sleep(600)
except KeyboardInterrupt:
    sys.exit(7)
sys.exit(int(how))
"""
"""Starts a process in a new session and an orphan; then ends as its arguments say."""


def alive(mark: str) -> list[int]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in words:
            found.append(int(file.parent.name))
    return found


def started_at(pid: int) -> tuple[int, int]:
    """When a process started, in ticks; ids are used again, so that the eldest may have any."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]), pid


@pytest.fixture
def mark(request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"leash-{os.getpid()}-{abs(hash(request.node.name))}"
    yield name
    for pid in alive(name):
        os.kill(pid, signal.SIGKILL)


def start(mark: str, how: str) -> subprocess.Popen[str]:
    command = supervised_command([sys.executable, "-c", HIDDEN, mark, how])
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ended(mark: str) -> bool:
    """Return whether no process has the mark any more."""
    while alive(mark):
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("code", [0, 3])
def test_its_exit_code_is_the_commands_and_nothing_is_left(mark: str, code: int) -> None:
    process = start(mark, str(code))
    process.communicate()
    assert process.returncode == code
    assert alive(mark) == []


def test_an_interrupt_is_the_commands_to_answer(mark: str) -> None:
    process = start(mark, "stay")
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 7
    assert alive(mark) == []


def test_a_killed_command_is_told_by_its_signal(mark: str) -> None:
    process = start(mark, "stay")
    # The eldest: what it forked may have been adopted by now, or may not have called exec yet.
    command = min((pid for pid in alive(mark) if pid != process.pid), key=started_at)
    os.kill(command, signal.SIGKILL)
    process.communicate()
    assert process.returncode == 128 + signal.SIGKILL
    assert alive(mark) == []


def test_sigterm_ends_everything(mark: str) -> None:
    process = start(mark, "stay")
    process.terminate()
    process.communicate()
    assert process.returncode == 128 + signal.SIGKILL
    assert alive(mark) == []


def test_when_its_holder_is_killed_everything_ends(mark: str) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys\nfrom factory.core.process_tree import supervised_command\n"
            "subprocess.run(supervised_command([sys.executable, '-c', *sys.argv[1:]]))",
            HIDDEN,
            mark,
            "stay",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    assert len(alive(mark)) >= 4
    holder.kill()
    holder.communicate()
    assert ended(mark)


def test_nothing_starts_for_a_holder_that_is_gone(mark: str) -> None:
    command = supervised_command([sys.executable, "-c", HIDDEN, mark, "0"])
    command[3] = "1"
    assert subprocess.run(command, check=False).returncode == 128 + signal.SIGTERM


def test_a_command_that_is_not_there_is_named() -> None:
    done = subprocess.run(
        supervised_command(["no-such-command"]), capture_output=True, text=True, check=False
    )
    assert done.returncode == 127
    assert done.stderr == "no-such-command cannot be started: No such file or directory\n"


def ancestors(pid: int) -> list[int]:
    """Return the ancestors of a process that still exist."""
    found = []
    with contextlib.suppress(OSError):
        while pid > 1:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            found.append(pid)
    return found
