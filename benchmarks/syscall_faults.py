"""Failing system calls, injected by strace into a real `factory build`: a part of faults.py.

A trial runs the command on a run whose journal a killed build left behind, so that recovery,
sampling, sealing, judging, assembly and the report all happen. One call of one class fails: only
calls on the run's own files, except for the classes that concern no file (memory, processes). The
place is drawn from a recorded trace of the same command.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from factory.core import errors
from factory.core.errors import FactoryError, RunError

Errors = tuple[str, ...]

FILE_FAULTS: dict[str, tuple[str, Errors]] = {
    "write": ("write,pwrite64,writev,pwritev", ("ENOSPC", "EIO", "EINTR", "EDQUOT")),
    "fsync": ("fsync,fdatasync", ("EIO", "ENOSPC")),
    "rename": ("rename,renameat,renameat2", ("EIO", "ENOSPC", "EACCES")),
    "open": ("openat,open,creat", ("EIO", "EMFILE", "ENOSPC", "EACCES", "EINTR")),
    "mkdir": ("mkdir,mkdirat", ("ENOSPC", "EIO", "EROFS")),
    "unlink": ("unlink,unlinkat,rmdir", ("EIO", "EROFS")),
    "read": ("read,pread64,readv,preadv", ("EIO", "EINTR")),
    "mmap": ("mmap", ("ENOMEM", "EIO")),
    "stat": ("stat,lstat,newfstatat,fstat,statx", ("EIO", "EACCES")),
    "getdents": ("getdents64", ("EIO",)),
    "truncate": ("ftruncate", ("EIO", "ENOSPC")),
    "lock": ("flock", ("ENOLCK", "EINTR")),
    "seek": ("lseek", ("EIO",)),
    "close": ("close", ("EIO",)),
}
"""Classes of calls on a run's files: the calls, and the errors that they meet."""

MACHINE_FAULTS: dict[str, tuple[str, Errors]] = {
    "fork": ("clone,clone3,fork,vfork", ("EAGAIN", "ENOMEM")),
    "execve": ("execve", ("ENOMEM", "EIO")),
    "memory": ("mmap,brk,mremap", ("ENOMEM",)),
    "pipe": ("pipe,pipe2,socketpair,socket", ("EMFILE",)),
}
"""Classes of calls on no file of the run."""

CALL_FAULTS = [*FILE_FAULTS, *MACHINE_FAULTS]

LASTING = {"write": "ENOSPC", "fsync": "EIO", "open": "EMFILE", "rename": "EROFS"}
"""Faults that also come as lasting ones: every call from the drawn one on fails."""

DOCUMENTED = {
    kind.exit_code
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, FactoryError) and kind is not FactoryError
}
CHILD = """
import sys
sys.path.insert(0, {root!r})
from factory.core import journal
journal.SEAL_ROWS, journal.SYNC_SECONDS = 256, 0.05
from factory.cli import main
main()
"""
LIMIT_S = 180.0


class Site(NamedTuple):
    """One call that is to fail."""

    call: str
    number: int  # of the calls of this name by one thread
    error: str
    lasting: bool

    def __str__(self) -> str:
        return f"{self.call} {self.number}{'+' if self.lasting else ''} {self.error}"

    @property
    def expression(self) -> str:
        when = f"{self.number}+" if self.lasting else str(self.number)
        return f"inject={self.call}:error={self.error}:when={when}"


class Ended(NamedTuple):
    """How a disturbed build ended."""

    code: int
    text: str
    injected: int
    hung: bool = False


def find_problem(ended: Ended) -> str | None:
    """Return what is wrong with the end of a disturbed build that did not succeed."""
    if ended.hung:
        return f"no end within {LIMIT_S:.0f} s"
    if ended.code < 0:
        return None  # the system or a library ended it: as good as a kill
    last = ended.text.strip().splitlines()[-1:] or [""]
    if "Traceback" in ended.text:
        return f"traceback: {last[0]}"
    if ended.code not in DOCUMENTED:
        return f"exit code {ended.code}: {last[0]}"
    return None if "error: " in ended.text else f"no message: {last[0]}"


class Tracer:
    """Runs one command on one run directory under strace."""

    def __init__(self, root: Path, folder: Path, recipe: Path, run: Path) -> None:
        self.run, self.log = run, folder / "strace.log"
        script = folder / "build.py"
        script.write_text(CHILD.format(root=str(root)), encoding="utf-8")
        self.command = [sys.executable, str(script), "build", str(recipe), "--run", str(run)]
        self.paths: list[str] = []

    def trace(self, calls: str, *options: str) -> Ended:
        names = ",".join(f"?{name}" for name in calls.split(","))
        command = ["strace", "-f", "-qq", "-y", "-s", "300", "-o", str(self.log)]
        command += ["-e", f"trace={names}", "-e", "signal=none", *options]
        self.log.unlink(missing_ok=True)
        started = subprocess.Popen(
            [*command, *self.command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        hung = False
        try:
            _, said = started.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            hung = True
            os.killpg(started.pid, signal.SIGKILL)  # strace, and the build that it traces
            _, said = started.communicate()
        text = self.log.read_text(encoding="utf-8", errors="replace")
        # strace ends as its child did: by the same signal, or with 128 and its number.
        code = started.returncode - 256 if started.returncode > 128 else started.returncode
        return Ended(code, said, text.count("(INJECTED)"), hung)

    def learn_paths(self) -> None:
        """Record the paths of the run that a build uses."""
        calls = ",".join(names for names, _ in FILE_FAULTS.values())
        ended = self.trace(calls)
        if ended.code:
            raise SystemExit(f"the undisturbed build failed under strace: {ended.text}")
        text = self.log.read_text(encoding="utf-8", errors="replace")
        pattern = re.escape(str(self.run.parent)) + r"/\.?" + re.escape(self.run.name)
        self.paths = sorted(set(re.findall(rf'["<]({pattern}[^">]*)[">]', text)))

    def count_calls(self, calls: str, options: list[str]) -> Counter[str]:
        """Return how often the busiest thread makes each of the calls."""
        self.trace(calls, *options)
        threads: Counter[tuple[str, str]] = Counter()
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            found = re.match(r"(\d+) +(\w+)\(", line)
            if found and not found[2].startswith("syscall_"):  # one that strace cannot name
                threads[found[1], found[2]] += 1
        counts: Counter[str] = Counter()
        for (_, call), count in threads.items():
            counts[call] = max(counts[call], count)
        return counts


def draw_sites(
    kind: str, counts: Mapping[str, int], errors_: Errors, chance: random.Random
) -> Iterator[Site]:
    """Yield random sites of one class, without end."""
    lasting = LASTING.get(kind)
    number = 0
    while True:
        (call,) = chance.choices(list(counts), weights=list(counts.values()))
        last = lasting is not None and number % 3 == 2
        error = lasting if last and lasting else errors_[number % len(errors_)]
        yield Site(call, chance.randint(1, counts[call]), error, last)
        number += 1


def run_faults(
    tracer: Tracer,
    prepare: Callable[[Path], object],
    build: Callable[[Path], None],
    check: Callable[[Path], tuple[int, bool]],
    trials: int,
    chance: random.Random,
    kinds: list[str],
) -> Iterator[tuple[str, Site, Ended, int, bool, str | None]]:
    """Yield (class, site, end, samples lost, same corpus, problem) of `trials` faults per class.

    `prepare` leaves an unfinished run in a folder, `build` finishes one without faults, and `check`
    returns the samples missing or doubled, and whether the corpus is the undisturbed one.
    """
    from factory.build.repair import repair

    def renew() -> None:
        shutil.rmtree(tracer.run, ignore_errors=True)
        prepare(tracer.run)

    renew()
    tracer.learn_paths()
    for kind, (calls, errors_) in {**FILE_FAULTS, **MACHINE_FAULTS}.items():
        if kind not in kinds:
            continue
        of_files = [part for path in tracer.paths for part in ("-P", path)]
        options = of_files if kind in FILE_FAULTS else []
        renew()
        counts = tracer.count_calls(calls, options)
        if not counts:
            print(f"{kind}: the build makes no such call", flush=True)
            continue
        tried = 0
        for site in draw_sites(kind, counts, errors_, chance):
            if tried == trials:
                break
            renew()
            ended = tracer.trace(site.call, *options, "-e", site.expression)
            if not ended.injected:
                continue  # this time the threads shared the calls out in another way
            tried += 1
            if ended.code == 0:
                problem = None
            else:
                problem = find_problem(ended)
                try:
                    build(tracer.run)
                except RunError as error:
                    if "factory repair" not in str(error):
                        raise
                    repair(tracer.run)
                    build(tracer.run)
            yield kind, site, ended, *check(tracer.run), problem
