"""One box: a bubblewrap with a warm Python in it, and the socket to that Python."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

from filters.verify.sandbox import mounts
from filters.verify.sandbox.inside import seccomp
from filters.verify.sandbox.library import PACKAGES, PROGRAMS, Library
from filters.verify.sandbox.task import End, Limits, Outcome, Task

_START_S = 120.0
"""Importing a library takes seconds, and many on a crowded machine."""
_GRACE_S = 10.0
"""How long after a program's last moment a report may still come; then the box is stuck."""
_IDLE_SHARE = 0.1
"""Where the kernel does not say how long a program stood in the queue: one over its wall time that
used less CPU than this was waiting, one that used more was kept waiting by a crowded machine."""
_STDERR_KEPT = 4096
_STATUS_BYTES = 1 << 16
_RECORDS_BYTES = 1 << 20


class SandboxFailure(Exception):
    """The sandbox, not the program in it, failed. `stuck`: it did not answer in time."""

    def __init__(self, reason: str, *, stuck: bool = False) -> None:
        super().__init__(reason)
        self.stuck = stuck


class SandboxUnavailable(SandboxFailure):
    """There can be no sandbox here; the message says why and what to do."""


class Box:
    """Runs one task at a time. Dies with the process, and the thread, that opened it.

    That is so because bubblewrap asks for a parent-death signal and the zygote hangs up when its
    host does.
    """

    def __init__(self, *, isolate: bool = True, library: Library = PROGRAMS) -> None:
        absent = library.missing()
        if absent is not None:
            raise SandboxUnavailable(f"{absent} is not installed")
        self.deadline = float("inf")
        self._files: dict[str, int] = {}
        self._task: Task | None = None
        self._records: int | None = None  # the end of a pipe that tests write to
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._workspace = None if isolate else tempfile.TemporaryDirectory(prefix="unsafe-")
        self._zygote: int | None = None
        talk = os.memfd_create("box-stderr")
        heard, info = os.pipe()
        try:
            with theirs:
                self._process = self._launch(theirs, talk, info, library)
            self._await_ready(talk, heard)
        except SandboxUnavailable:
            self._socket.close()
            raise
        except OSError as error:
            self._socket.close()
            raise SandboxUnavailable(_explain(str(error))) from None
        finally:
            for descriptor in (talk, heard, info):
                os.close(descriptor)

    def _launch(
        self, control: socket.socket, talk: int, info: int, library: Library
    ) -> subprocess.Popen[bytes]:
        settings = {"control": control.fileno(), "preload": library.preload, "packages": PACKAGES}
        settings |= {"without": library.without}
        if self._workspace is not None:
            settings |= {"workspace": self._workspace.name}
            settings |= {"packages": _link(library, self._workspace.name)}
        zygote = [mounts.interpreter(), "-S", "-s", "-m", "inside.zygote", json.dumps(settings)]
        if self._workspace is None:
            zygote = [*bwrap_command(library), "--info-fd", str(info), "--", *zygote]
        return subprocess.Popen(
            zygote,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=talk,
            pass_fds=[control.fileno(), info],
            start_new_session=True,
            cwd=mounts.INSIDE.parent,
            # One order of sets, one verdict; threads would escape the zygote's own filter.
            env={"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )

    def _await_ready(self, talk: int, heard: int) -> None:
        self._socket.settimeout(_START_S)
        try:
            reply = self._socket.recv(_STATUS_BYTES)
        except OSError:
            reply = b""
        if reply != b"ready":
            self.close()
            if reply:
                raise SandboxUnavailable(f"in the sandbox, {reply.decode(errors='replace')}")
            said = os.pread(talk, 2000, 0).decode(errors="replace").strip()
            raise SandboxUnavailable(_explain(said or "it did not start"))
        if self._workspace is None:
            self._zygote = os.pidfd_open(json.loads(os.read(heard, 4096))["child-pid"])

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def start(self, task: Task) -> None:
        """Hand over a task. Its outcome is there once the box is readable."""
        self._task = task
        try:
            self._hand_over(task)
        except OSError as error:
            raise SandboxFailure(f"the box could not take a task ({error})") from None

    def _hand_over(self, task: Task) -> None:
        self._files = {"code": _memory_file(task.code), "stdin": _memory_file(task.stdin)}
        if task.mode == "call":
            self._files["arguments"] = _memory_file(task.arguments)
        if task.files:
            self._files["files"] = _memory_file(json.dumps(dict(task.files)).encode())
        if task.mode in ("call", "compile"):
            self._files["result"] = _memory_file(b"")
        if task.mode == "tests":
            self._records, self._files["result"] = _pipe()
        for stream in ("stdout", "stderr"):
            self._files[stream] = _memory_file(b"")
        header = {**task.header(), "fds": list(self._files)}
        self.deadline = time.monotonic() + task.limits.wall_s + _GRACE_S
        socket.send_fds(self._socket, [json.dumps(header).encode()], list(self._files.values()))
        if self._records is not None:  # or its end would never be reached
            os.close(self._files.pop("result"))

    def finish(self) -> Outcome:
        """The outcome of the task that was started; waits for it until the deadline."""
        assert self._task is not None
        self._socket.settimeout(max(0.0, self.deadline - time.monotonic()))
        try:
            message = self._socket.recv(_STATUS_BYTES)
        except (TimeoutError, BlockingIOError):
            raise SandboxFailure("the box is stuck", stuck=True) from None
        except OSError as error:
            raise SandboxFailure(f"the box is gone ({error})") from None
        if not message:
            raise SandboxFailure("the box is gone")
        report = json.loads(message)
        if "failure" in report:
            raise SandboxFailure(report["failure"])
        try:
            records = b"" if self._records is None else _read_pipe(self._records)
            return _outcome(report, self._files, self._task.limits, records)
        finally:
            self._forget_task()

    def _forget_task(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        if self._records is not None:
            os.close(self._records)
        self._files, self._task, self.deadline = {}, None, float("inf")
        self._records = None

    def close(self) -> None:
        """Kill the box with everything in it."""
        self._socket.close()
        if self._zygote is not None:
            # Killing bwrap alone is not enough: a parent-death signal is sent with the parent's
            # rights, and root without capabilities may not signal nobody.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._zygote, signal.SIGKILL)
            os.close(self._zygote)
            self._zygote = None
        self._process.kill()
        self._process.wait()
        self._forget_task()
        if self._workspace is not None:
            self._workspace.cleanup()

    def abandon(self) -> None:
        """In a forked copy of the owner: let go of the descriptors, leave the box alone."""
        self._socket.close()
        if self._zygote is not None:
            os.close(self._zygote)
        self._forget_task()
        self._process.returncode = 0  # or Popen warns that it is still running


def bwrap_command(library: Library = PROGRAMS) -> list[str]:
    """The command that opens a box. What `jail.drop_root` says of root is why it differs."""
    found = shutil.which("bwrap")
    if found is None:
        raise SandboxUnavailable(
            "bubblewrap is not installed: install the package `bubblewrap` (it brings `bwrap`)"
        )
    command = [found, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    command += ["--unshare-cgroup-try", "--die-with-parent", "--as-pid-1"]
    if os.geteuid() == 0:
        command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    return [*command, *mounts.arguments(library)]


def _link(library: Library, workspace: str) -> str:
    """A folder of links to a library's files, for a box without bubblewrap."""
    folder = os.path.join(workspace, ".packages")
    os.mkdir(folder)
    for name, path in library.files().items():
        os.symlink(path, os.path.join(folder, name))
    return folder


def _memory_file(content: bytes) -> int:
    descriptor = os.memfd_create("sandbox")
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _pipe() -> tuple[int, int]:
    """Both ends of a pipe that holds as much as the system lets it."""
    reading, writing = os.pipe()
    with contextlib.suppress(OSError):  # a user may have used up what all pipes may hold
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _RECORDS_BYTES)
    os.set_blocking(reading, False)
    return reading, writing


def _read_pipe(descriptor: int) -> bytes:
    """What is in a pipe whose writers have ended."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while chunk := os.read(descriptor, 1 << 16):
            found.append(chunk)
    return b"".join(found)


def _outcome(
    report: dict[str, Any], files: dict[str, int], limits: Limits, records: bytes = b""
) -> Outcome:
    outputs = [name for name in ("stdout", "stderr", "result") if name in files]
    sizes = {name: os.fstat(files[name]).st_size for name in outputs}
    status, cpu_s = report["status"], report["cpu_s"]
    if report["late"] == "wall" and not _slept(report, limits):
        raise SandboxFailure(f"got {cpu_s:.1f} s of CPU in {limits.wall_s:.1f} s", stuck=True)
    end: End = "ok" if status == 0 else "exit" if status > 0 else "signal"
    if report["late"] or cpu_s > limits.time_s:
        end = "time_limit"
    elif max(sizes.values()) >= limits.output_mb << 20:
        end = "output_limit"
    kept = min(sizes["stderr"], _STDERR_KEPT)
    return Outcome(
        end=end,
        status=status,
        stdout=os.pread(files["stdout"], sizes["stdout"], 0),
        stderr=os.pread(files["stderr"], kept, sizes["stderr"] - kept),
        result=os.pread(files["result"], sizes["result"], 0) if "result" in files else records,
        cpu_s=cpu_s,
        wall_s=report["wall_s"],
        peak_mb=report["peak_kb"] / 1024,
    )


def _slept(report: dict[str, Any], limits: Limits) -> bool:
    """Whether a program over its wall time has itself to blame: it slept longer than it may run.
    One that a crowded machine kept waiting says nothing about itself."""
    cpu_s, queued_s = report["cpu_s"], report.get("queued_s")
    if queued_s is None:
        return bool(cpu_s <= _IDLE_SHARE * limits.wall_s)
    return bool(report["wall_s"] - cpu_s - queued_s > limits.time_s)


def _explain(said: str) -> str:
    advice = (
        "user namespaces may be disabled here: as root try"
        " `sysctl kernel.unprivileged_userns_clone=1` or, on Ubuntu,"
        " `sysctl kernel.apparmor_restrict_unprivileged_userns=0`; in a container, allow the calls"
        " clone, unshare and mount"
    )
    return f"the sandbox did not start: {said} ({advice})"


def available(library: Library = PROGRAMS) -> str | None:
    """None where programs can be run safely with `library`, else what is missing and what to do."""
    if sys.platform != "linux":
        return "the sandbox needs Linux"
    if not seccomp.supported(platform.machine()):
        return f"the sandbox has no system call table for {platform.machine()}"
    return _trial(library) and _trial(
        library
    )  # the second, lest a crowded machine be taken for an unfit one


def _trial(library: Library) -> str | None:
    """What goes wrong when a box is opened and a program run in it."""
    try:
        box = Box(library=library)
    except SandboxUnavailable as reason:
        return str(reason)
    try:
        box.start(Task("script", b"print(6 * 7)"))
        outcome = box.finish()
    except SandboxFailure as failure:
        return _explain(str(failure))
    finally:
        box.close()
    if outcome.stdout != b"42\n":
        return _explain(outcome.stderr.decode(errors="replace"))
    return None
