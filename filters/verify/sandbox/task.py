"""What to run in the sandbox, under which limits, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

_MIB = 1 << 20

Mode = Literal["script", "call", "load", "binary", "compile", "tests"]
"""What `Task.code` is:

script   a Python program, run with `argv`
call     JSON {program, starter, name}: one function is called with the JSON in `arguments`
load     Python starter code, run as it would be before a call
binary   an executable
compile  nothing: `argv` is a compiler's command line, `stdin` the source, `result` the binary
tests    JSON of what `inside.tests` runs over the box's tree, with `files` laid over it; `result`
         is what came through a pipe, which can be written to and never rewritten
"""

End = Literal["ok", "exit", "signal", "time_limit", "output_limit"]
"""How a program ended: with status 0, another one, by a signal, or over a limit."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use. CPU time decides; the wall clock only ends a program that waits."""

    time_s: float = 5.0
    memory_mb: int = 512  # address space, beyond what the interpreter itself maps
    output_mb: int = 4  # of any one file, standard output included
    files_mb: int = 16  # of the private /tmp
    processes: int = 32  # threads, that is: no program under test can fork
    wait_s: float | None = None  # the wall clock's limit, where it is to be another

    @property
    def wall_s(self) -> float:
        """Generous, so that a crowded machine makes no program late."""
        return 3 * self.time_s + 4 if self.wait_s is None else self.wait_s


@dataclass(frozen=True, slots=True)
class Task:
    """One program to run once."""

    mode: Mode
    code: bytes
    stdin: bytes = b""
    arguments: bytes = b""
    argv: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)  # put in the working directory
    limits: Limits = Limits()

    def header(self) -> dict[str, Any]:
        """What the zygote needs to know besides the file descriptors."""
        return {
            "mode": self.mode,
            "argv": self.argv,
            "cpu_s": self.limits.time_s,
            "wall_s": self.limits.wall_s,
            "memory_bytes": self.limits.memory_mb * _MIB,
            "output_bytes": self.limits.output_mb * _MIB,
            "files_mb": self.limits.files_mb,
            "processes": self.limits.processes,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a task. `status` is the exit status, or minus the signal's number."""

    end: End
    status: int
    stdout: bytes
    stderr: bytes  # the last few kilobytes
    result: bytes  # what a call returned, the compiled binary, or the records of tests
    cpu_s: float
    wall_s: float
    peak_mb: float
