"""Machines of one's own: network namespaces that a switch connects, each with its own processes.

A `Machine` has an address, a name, a process table, /dev/shm and a folder for Ray. It shares the
disk with the others. Its link can be cut, and killing it ends every process on it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

SUBNET = "10.77.0"
PATIENCE_S = 400.0  # a loaded machine takes minutes to start Ray


def why_not() -> str | None:
    """Return why this machine can have no machines of its own, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "unshare", "nsenter"):
        if shutil.which(tool) is None:
            return f"there is no `{tool}` (iproute2, util-linux)"
    name = f"fh-try-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if tried.returncode:
        return f"this kernel makes no network namespaces: {tried.stderr.strip()}"
    veth = ["ip", "-n", name, "link", "add", "name", "a", "type", "veth", "peer", "name", "b"]
    made = subprocess.run(veth, capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", name], check=False)
    return f"this kernel makes no veth pairs: {made.stderr.strip()}" if made.returncode else None


class Machine:
    """One host of a `Network`."""

    def __init__(self, network: Network, number: int) -> None:
        self.network, self.number = network, number
        self.name, self.address = f"machine{number}", f"{SUBNET}.{number}"
        self.space, self._port = f"{network.prefix}-{number}", f"port{number}"
        self.processes: list[subprocess.Popen[str]] = []
        _ip("netns", "add", self.space)
        _ip("link", "add", "eth0", "netns", self.space, "type", "veth",
            "peer", "name", self._port, "netns", network.switch)  # fmt: skip
        _ip("-n", network.switch, "link", "set", self._port, "master", "br0", "up")
        _ip("-n", self.space, "addr", "add", f"{self.address}/24", "dev", "eth0")
        _ip("-n", self.space, "link", "set", "eth0", "up")
        _ip("-n", self.space, "link", "set", "lo", "up")
        setup = (
            f"hostname {self.name} && mount --bind {network.names} /etc/hosts && "
            f"mount -t tmpfs tmpfs /dev/shm && mount -t tmpfs tmpfs {network.scratch} && "
            "echo up && exec sleep infinity"
        )
        apart = ("--uts", "--mount", "--pid", "--ipc", "--fork", "--mount-proc", "--kill-child")
        self._holder = subprocess.Popen(
            ["ip", "netns", "exec", self.space, "unshare", *apart, "sh", "-c", setup],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "up\n", f"{self.name} did not start"
        (first,) = _children(self._holder.pid)  # the first process of its own process table
        self._enter = ["nsenter", "-t", str(first), "-n", "-m", "-p", "-u", "-i", "--"]

    def start(
        self, command: Sequence[object], log: Path, variables: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a command on the machine. Its output goes to a file."""
        with open(log, "w") as stream:
            started = subprocess.Popen(
                self.inside(*command),
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, **(variables or {})},
            )
        self.processes.append(started)
        return started

    def inside(self, *command: object) -> list[str]:
        """Return the command line that runs a command on the machine."""
        return [*self._enter, *map(str, command)]

    def lay_over(self, folder: Path, target: Path) -> None:
        """Show the files of `folder` in `target` too, on this machine alone."""
        layers = f"lowerdir={folder}:{target}"
        mount = self.inside("mount", "-t", "overlay", "overlay", "-o", layers, target)
        subprocess.run(mount, check=True)

    def hide(self, folder: Path) -> None:
        """Cover a folder of the shared disk: this machine sees an empty one there."""
        subprocess.run(self.inside("mount", "-t", "tmpfs", "tmpfs", folder), check=True)

    def cut(self) -> None:
        """Take its link down, as if somebody pulled the cable."""
        _ip("-n", self.network.switch, "link", "set", self._port, "down")

    def connect(self) -> None:
        """Take its link up again."""
        _ip("-n", self.network.switch, "link", "set", self._port, "up")

    def kill(self) -> None:
        """End every process on it at once. Its link stays up, and its address answers nothing."""
        self._holder.send_signal(signal.SIGKILL)
        self._holder.wait()
        for started in self.processes:
            started.wait()

    def remove(self) -> None:
        if self._holder.poll() is None:
            self.kill()
        if self._holder.stdout is not None:
            self._holder.stdout.close()
        _ip("netns", "del", self.space)


class Network:
    """A switch and the machines on it. Leaves no namespace, process or file behind."""

    def __enter__(self) -> Self:
        self.prefix = f"fh-{os.getpid()}"
        self.switch = f"{self.prefix}-switch"
        self.machines: list[Machine] = []
        self._folder = Path(tempfile.mkdtemp(prefix="fh-", dir="/tmp"))  # a socket's path is short
        self.scratch, self.names = self._folder / "ray", self._folder / "hosts"
        self.scratch.mkdir()
        lines = [f"{SUBNET}.{number} machine{number}\n" for number in range(1, 16)]
        self.names.write_text("".join(["127.0.0.1 localhost\n", *lines]))
        try:
            _ip("netns", "add", self.switch)
            _ip("-n", self.switch, "link", "add", "br0", "type", "bridge")
            _ip("-n", self.switch, "link", "set", "br0", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for machine in self.machines:
            with contextlib.suppress(subprocess.CalledProcessError):
                machine.remove()
        subprocess.run(["ip", "netns", "del", self.switch], check=False, capture_output=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self) -> Machine:
        """Add a machine, with the next address."""
        machine = Machine(self, len(self.machines) + 1)
        self.machines.append(machine)
        return machine


def wait_for(met: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
