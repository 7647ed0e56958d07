"""The warm process in the box: forks a fresh, walled-in process for each test.

A program is pid 1 of its own PID namespace, so that nothing of it is left when it ends. It has no
descriptor but its streams, sees no process but itself, and cannot fork. The zygote waits until it
is gone before it reports.

The host speaks to the zygote over one SEQPACKET socket: a JSON header with the descriptors of
everything large. The answers that a program should have given never come in here.
"""

from __future__ import annotations

import fcntl
import gc
import json
import math
import os
import platform
import resource
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from . import jail, kernel, programs, seccomp, tests, tree

_WALLS_UP = b"up"
_PLACES = ("stdin", "stdout", "stderr", "result")
"""What a program finds at descriptors 0, 1, 2 and `programs.RESULT_FD`."""
_FIRST_SPARE_FD = 10
_TICK_S = 0.005
_PROFILE: dict[str, seccomp.Profile] = {"binary": "binary", "compile": "compiler"}


class Zygote:
    """Serves one host until it hangs up."""

    def __init__(
        self, control: socket.socket, *, isolate: bool, warm: tests.Warm | None = None
    ) -> None:
        self._control = control
        self._warm = warm
        self._isolate = isolate
        if isolate:
            jail.drop_root()
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        machine = platform.machine()
        self._ids = os.getuid(), os.getgid()
        self._machine = machine
        self._clone = seccomp.clone_number(machine)
        self._filters = {
            profile: seccomp.program_filter(profile, machine) for profile in ("script", "compiler")
        }
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        self._own_memory = pages * resource.getpagesize()
        seccomp.install(seccomp.zygote_filter(machine))

    def serve(self) -> None:
        self._say(b"ready")
        while True:
            message, descriptors, _, _ = socket.recv_fds(self._control, 1 << 16, 8)
            if not message:
                return
            request = json.loads(message)
            try:
                report = self._run(request, dict(zip(request["fds"], descriptors, strict=True)))
            except OSError as error:
                report = {"failure": str(error)}
            for descriptor in descriptors:
                os.close(descriptor)
            self._say(json.dumps(report).encode())

    def _say(self, message: bytes) -> None:
        os.write(self._control.fileno(), message)  # the filter knows no sendto

    def _run(self, request: dict[str, Any], fds: dict[str, int]) -> dict[str, Any]:
        heard, tell = os.pipe()
        started = time.monotonic()
        child = kernel.fork_into_namespaces(self._clone) if self._isolate else os.fork()
        if child == 0:
            self._become_program(request, fds, tell)
        os.close(tell)
        late = self._overdue(child, request["cpu_s"], request["wall_s"])
        queued_s = _queued_s(child) if late == "wall" else None
        if late is not None:
            os.kill(child, signal.SIGKILL)
        _, status, used = os.wait4(child, 0)
        said = os.read(heard, 1000)
        os.close(heard)
        if said != _WALLS_UP:
            return {"failure": f"the jail could not be built: {said.decode(errors='replace')}"}
        return {
            "status": os.waitstatus_to_exitcode(status),
            "late": late,
            "queued_s": queued_s,
            "cpu_s": used.ru_utime + used.ru_stime,
            "wall_s": time.monotonic() - started,
            "peak_kb": used.ru_maxrss,
        }

    def _overdue(self, child: int, cpu_s: float, wall_s: float) -> str | None:
        """Wait for the end of `child`; what came before it, if anything: "cpu" or "wall", its
        limits, or "host", the end of the host.

        RLIMIT_CPU is only a backstop. It counts timer ticks, and on a crowded machine those strike
        a process more often than it runs.
        """
        cpu_clock = (~child << 3) | 2  # as clock_getcpuclockid() has it; Python lacks that
        wall_end = time.monotonic() + wall_s
        process = os.pidfd_open(child)
        poller = select.poll()
        poller.register(process, select.POLLIN)
        poller.register(self._control, 0)  # a hang-up is always reported
        try:
            while True:
                cpu_left = cpu_s - time.clock_gettime(cpu_clock)
                wall_left = wall_end - time.monotonic()
                if cpu_left <= 0:
                    return "cpu"
                if wall_left <= 0:
                    return "wall"
                ready = poller.poll(1000 * min(max(cpu_left, _TICK_S), wall_left))
                if ready:
                    return None if (process, select.POLLIN) in ready else "host"
        finally:
            os.close(process)

    def _become_program(self, request: dict[str, Any], fds: dict[str, int], tell: int) -> NoReturn:
        """The end of trusted code: put up the walls from the inside, say so, run the program."""
        try:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            os.setsid()  # kill(0, …) reaches the whole process group, across PID namespaces
            if self._isolate:
                jail.furnish(request["files_mb"], *self._ids)
            content = {name: _read(fds[name]) for name in fds if name not in _PLACES}
            mode = request["mode"]
            files = json.loads(content.get("files", b"{}"))
            if mode == "tests":
                content["how"] = tree.assemble(files, request["argv"]).encode()
            else:
                for name, text in files.items():
                    Path(name).write_text(text, encoding="utf-8")
            tell = _arrange(fds, tell)
            path_at, filter_code = 0, self._filters.get(_PROFILE.get(mode, "script"), b"")
            if mode == "binary":
                path_at = kernel.place_at_random(programs.BINARY)
                filter_code = seccomp.program_filter("binary", self._machine, path_at)
            own_memory = 0 if mode == "binary" else self._own_memory
            jail.confine(
                cpu_s=2 * math.ceil(request["cpu_s"]) + 1,
                memory_bytes=request["memory_bytes"] + own_memory,
                file_bytes=request["output_bytes"],
                processes=request["processes"],
                filter_code=filter_code,
            )
            gc.enable()
            os.write(tell, _WALLS_UP)
            os.close(tell)
            if mode == "tests":
                assert self._warm is not None, "a box for tests preloads pytest"
                tests.run_tests(self._warm, content["code"], content["how"].decode())
            _start(mode, request["argv"], content, path_at)
        except BaseException as error:
            os.write(tell, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(125)


def _start(mode: str, argv: list[str], content: dict[str, bytes], path_at: int) -> NoReturn:
    if mode == "script":
        programs.run_script(content["code"], argv)
    if mode == "call":
        programs.run_call(content["code"], content["arguments"])
    if mode == "load":
        programs.load_starter(content["code"])
    if mode == "binary":
        programs.run_binary(content["code"], path_at)
    programs.run_compiler(argv)


def _queued_s(process: int) -> float | None:
    """How long the threads of a process were ready to run and had no core; None where the kernel
    does not say."""
    total = 0
    try:
        for entry in Path(f"/proc/{process}/task").glob("*/schedstat"):
            total += int(entry.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return total / 1e9 if total else None


def _read(descriptor: int) -> bytes:
    """All of a file. By `pread`: the host shares the offset."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _arrange(fds: dict[str, int], tell: int) -> int:
    """Put the program's descriptors in their places and close all others but the returned one."""
    held = [fds[name] for name in _PLACES if name in fds]
    held = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_SPARE_FD) for fd in [*held, tell]]
    tell = held.pop()
    for place, descriptor in enumerate(held):
        os.dup2(descriptor, place)
    os.closerange(len(held), tell)
    os.closerange(tell + 1, 1 << 20)
    return tell


def main() -> None:
    """The argument: JSON of the socket's descriptor `control`, the folder `packages`, the modules
    to `preload`, pytest's plugins to do `without` and, where there is no box, the `workspace`."""
    gc.disable()
    settings = json.loads(sys.argv[1])
    control = socket.socket(fileno=settings["control"])
    isolate = "workspace" not in settings
    if not isolate:
        os.chdir(settings["workspace"])
    try:
        programs.preload(settings["packages"], settings["preload"])
        warm = tests.Warm(settings["without"]) if "pytest" in settings["preload"] else None
    except Exception as error:  # whatever an installed package raises is the host's to report
        control.send(f"{type(error).__name__}: {error}".encode()[:1000])
        return
    zygote = Zygote(control, isolate=isolate, warm=warm)
    programs.open_streams()
    gc.freeze()  # a collection in a child would touch, and so copy, every page shared with it
    zygote.serve()


if __name__ == "__main__":
    main()
