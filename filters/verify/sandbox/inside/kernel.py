"""The system calls Python has no function for, through the C library."""

from __future__ import annotations

import ctypes
import os
import secrets
import signal

CLONE_NEWNS = 0x0002_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND = 1, 2, 4, 32, 4096

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38

_CAPABILITY_VERSION_3 = 0x2008_0522
# PyDLL keeps the interpreter lock across a call, which a fork must.
_libc = ctypes.PyDLL(None, use_errno=True)


def _checked(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def fork_into_namespaces(clone_number: int) -> int:
    """Fork a child that is pid 1 of a new PID namespace, in new user, mount and IPC namespaces.

    One fork, where `unshare` takes two, and forks are most of what a test costs. It goes around
    Python's own bookkeeping of forks, which matters in threaded programs only, and around glibc's,
    which would correct the cached thread id; as pid 1 the caller's is 1, and so is the child's.
    """
    flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWPID | signal.SIGCHLD
    zeros = (ctypes.c_ulong(0) for _ in range(4))
    child: int = _libc.syscall(ctypes.c_long(clone_number), ctypes.c_ulong(flags), *zeros)
    if child < 0:
        _checked(child, "clone")
    return child


def mount_tmpfs(target: str, options: str) -> None:
    mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, options)


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    names = (text.encode() for text in (source, target, kind))
    call = _libc.mount(*names, ctypes.c_ulong(flags), options.encode())
    _checked(call, f"mount {target}")


def prctl(option: int, first: int, second: int = 0) -> None:
    """`second` may be the address of a structure."""
    arguments = (ctypes.c_ulong(value) for value in (first, second, 0, 0))
    _checked(_libc.prctl(option, *arguments), f"prctl {option}")


def place_at_random(text: bytes) -> int:
    """Copy a C string to a random address, which nobody can guess; returns the address."""
    page, private_anonymous, read_write = 4096, 0x22, 3
    hint = secrets.randbelow(1 << 33) * page + (1 << 33)
    _libc.mmap.restype = ctypes.c_void_p
    address: int | None = _libc.mmap(
        ctypes.c_void_p(hint),
        ctypes.c_size_t(page),
        read_write,
        private_anonymous,
        -1,
        ctypes.c_long(0),
    )
    if address is None or address == ctypes.c_void_p(-1).value:
        _checked(-1, "mmap")
    assert address is not None
    ctypes.memmove(address, text + b"\0", len(text) + 1)
    return address


def execve(path_at: int, name: bytes) -> None:
    """Become the program whose path is at an address, without arguments or an environment."""
    arguments = (ctypes.c_char_p * 2)(name, None)
    environment = (ctypes.c_char_p * 1)(None)
    _checked(_libc.execve(ctypes.c_void_p(path_at), arguments, environment), "execve")


def set_environment(name: str, value: str) -> None:
    """Set a variable for C libraries alone: `os.environ` is a copy made when Python started."""
    _checked(_libc.setenv(name.encode(), value.encode(), 1), "setenv")


def drop_capabilities() -> None:
    """Empty the effective, permitted and inheritable sets."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _checked(_libc.capset(header, nothing), "capset")
