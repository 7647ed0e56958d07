"""The far side of `pool`: a small process that forks killable workers.

Run by exec (`python -m filters.verify.worker`), never by forking the caller: a parent that holds
threads, torch or an engine cannot be forked safely. This process has one thread, imports what the
task needs once, and then each worker costs one fork. It alone reaps its children, so a process id
it is asked to kill can never have been handed to a stranger.

Messages on the control socket: `f` with a socket attached forks a worker that serves it and
answers with its process id; `k` and a process id kills one. End of file ends everything.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

from factory.core.plugins import look_up

FORK, KILL = b"f", b"k"
MAX_MESSAGE = 256 * 2**20
_LENGTH = struct.Struct("!I")
_PID = struct.Struct("!i")
_PR_SET_PDEATHSIG = 1


def frame(value: Any) -> bytes:
    """A message: its length, then JSON. Never pickle: a worker has read model text."""
    body = json.dumps(value).encode("utf-8", "surrogatepass")
    return _LENGTH.pack(len(body)) + body


def unframe(buffer: bytearray) -> tuple[bool, Any]:
    """Whether a whole message has arrived, and the message."""
    if len(buffer) < _LENGTH.size:
        return False, None
    (length,) = _LENGTH.unpack_from(buffer)
    if length > MAX_MESSAGE:
        raise ValueError(f"a message of {length} bytes")
    if len(buffer) < _LENGTH.size + length:
        return False, None
    return True, json.loads(buffer[_LENGTH.size : _LENGTH.size + length])


def receive(channel: socket.socket) -> tuple[bool, Any]:
    """The next message; (False, None) at end of file."""
    buffer = bytearray()
    while True:
        whole, value = unframe(buffer)
        if whole:
            return True, value
        chunk = channel.recv(1 << 16)
        if not chunk:
            return False, None
        buffer += chunk


def resolve(name: str) -> Callable[[Any], Any]:
    """The function that `module:function` names."""
    found: Callable[[Any], Any] = look_up(name)
    return found


def serve(channel: socket.socket, task: Callable[[Any], Any]) -> None:
    """Answer payloads with what `task` makes of them, until the other side closes."""
    while True:
        more, payload = receive(channel)
        if not more:
            return
        try:
            reply = {"value": task(payload)}
        except MemoryError:
            reply = {"error": "out of memory"}
        except RecursionError:
            reply = {"error": "nested too deeply"}
        except Exception as error:  # the boundary: whatever a task raises is data to the caller
            reply = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
        channel.sendall(frame(reply))


def _confine(memory_mb: int) -> None:
    """What a worker may not do: outlive its parent, fill memory, write files, dump core."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_mb:
        resource.setrlimit(resource.RLIMIT_AS, (memory_mb * 2**20, memory_mb * 2**20))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _fork(control: socket.socket, channel: socket.socket, task: Any, memory_mb: int) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        control.close()
        _confine(memory_mb)
        if os.getppid() == parent:  # else it died before prctl could bind us to it
            serve(channel, task)
    finally:
        os._exit(0)


def _reap(children: set[int], *, block: bool = False) -> None:
    for pid in list(children):
        if os.waitpid(pid, 0 if block else os.WNOHANG)[0]:
            children.discard(pid)


def main(name: str, control_fd: int, memory_mb: int) -> None:
    # Ctrl-C reaches the whole foreground group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=control_fd)
    try:
        task = resolve(name)
        warm_up = getattr(sys.modules[name.partition(":")[0]], "warm_up", None)
        if warm_up is not None:
            warm_up()
    except Exception as error:  # reported to the parent, whose user it concerns
        control.sendall(frame(f"{type(error).__name__}: {error}"))
        return
    gc.freeze()  # keeps the imported modules' pages shared with every worker
    control.sendall(frame(None))
    children: set[int] = set()
    while True:
        message, fds, _, _ = socket.recv_fds(control, 1 + _PID.size, 1)
        _reap(children)
        if not message:
            break
        if message[:1] == FORK:
            with socket.socket(fileno=fds[0]) as channel:
                pid = _fork(control, channel, task, memory_mb)
            children.add(pid)
            control.sendall(_PID.pack(pid))
        else:
            (pid,) = _PID.unpack(message[1:])
            if pid in children:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                children.discard(pid)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    _reap(children, block=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
