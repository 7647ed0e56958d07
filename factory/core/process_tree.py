"""`python -m factory.core.process_tree PARENT COMMAND…`: no process outlives its command.

Engines and launchers put their processes into sessions of their own, where no signal to a group
finds them. So this process adopts every orphan below it (PR_SET_CHILD_SUBREAPER) and ends them all
when the command has ended, or when PARENT has, however it did. The exit code is the command's.

SIGINT is passed on to the command; SIGTERM ends everything at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def leashed(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` on a leash held by this process."""
    return [sys.executable, "-m", "factory.core.process_tree", str(os.getpid()), *command]


def hold(parent: int, command: Sequence[str]) -> int:
    """Run a command to its end; returns its exit code, 128 + N where signal N ended it."""
    running: list[int] = []

    def pass_on(number: int, _: object) -> None:
        if not running:
            sys.exit(128 + number)
        os.kill(running[0], signal.SIGKILL if number == signal.SIGTERM else number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before it could be watched
        return 128 + signal.SIGTERM
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_end_with_parent)
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr)
        return 127
    running.append(process.pid)
    for pid, status in _endings():
        if pid == process.pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # it ends anyway
        if process.returncode is not None:
            _end_children()
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _endings() -> Iterator[tuple[int, int]]:
    """Every child's end, adopted ones included, until there is none left."""
    with contextlib.suppress(ChildProcessError):
        while True:
            yield os.wait()


def _end_children() -> None:
    """Kill all direct children; theirs come to us then, and their end brings us here again."""
    own = os.getpid()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            # The name, in parentheses, may hold anything: the fields are counted from its end.
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == own and state != "Z":
                os.kill(int(stat.parent.name), signal.SIGKILL)


def _end_with_parent() -> None:
    """In the command's process: a leash that is killed leaves no command behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(hold(int(sys.argv[1]), sys.argv[2:]))
