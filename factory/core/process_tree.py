"""`python -m factory.core.process_tree PARENT COMMAND…`: runs a command and ends all it started.

Engines and launchers start processes in new sessions, which a signal to the group does not reach.
So this process adopts all orphans below it (PR_SET_CHILD_SUBREAPER). It kills them when the command
or PARENT has ended, in whatever way. The exit code is that of the command.

SIGINT is passed on to the command. SIGTERM kills everything at once.
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


def supervised_command(command: Sequence[str]) -> list[str]:
    """Return a command line that runs `command` under this module, with this process as PARENT."""
    return [sys.executable, "-m", "factory.core.process_tree", str(os.getpid()), *command]


def supervise(parent: int, command: Sequence[str]) -> int:
    """Run a command. Returns its exit code, or 128 + N if signal N ended it."""
    running: list[int] = []

    def pass_on(number: int, _: object) -> None:
        if not running:
            sys.exit(128 + number)
        os.kill(running[0], signal.SIGKILL if number == signal.SIGTERM else number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # the parent has already ended
        return 128 + signal.SIGTERM
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_end_with_parent)
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr)
        return 127
    running.append(process.pid)
    for pid, status in _wait_for_children():
        if pid == process.pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # it is ending anyway
        if process.returncode is not None:
            _end_children()
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _wait_for_children() -> Iterator[tuple[int, int]]:
    """Yield (pid, status) of each child that ends, including adopted ones, until none is left."""
    with contextlib.suppress(ChildProcessError):
        while True:
            yield os.wait()


def _end_children() -> None:
    """Kill all direct children. Their children are adopted then, and killed by the next call."""
    own = os.getpid()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # the process has just ended
            # The name, in parentheses, may contain anything: count fields from its closing one.
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == own and state != "Z":
                os.kill(int(stat.parent.name), signal.SIGKILL)


def _end_with_parent() -> None:
    """Make the command end with this process, even if that is killed. Runs in the command."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(supervise(int(sys.argv[1]), sys.argv[2:]))
