"""The system calls an untrusted process may make, as classic BPF programs.

Two filters, and the stricter answer counts: the zygote's, a long allowlist installed once, and each
program's, which takes back the few calls that only set-up needs.

Everything a Python or C++ program of the contest kind needs is listed; anything else is answered
with ENOSYS, so that a C library falls back to an older call where it can. Absent on purpose:
sockets, ptrace, mount, namespaces, bpf, io_uring, keys, and shared memory (`memfd_create`,
`shmget`), which would not count against the process's memory limit.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import Literal

from . import kernel

Profile = Literal["script", "binary", "compiler"]
"""script: neither fork nor exec. binary: one exec and no fork. compiler: both."""

# Name, number on x86_64, number on aarch64.
_SYSCALLS = """
read 0 63 | write 1 64 | readv 19 65 | writev 20 66 | pread64 17 67 | pwrite64 18 68
open 2 - | openat 257 56 | close 3 57 | close_range 436 436 | lseek 8 62 | fcntl 72 25
fstat 5 80 | stat 4 - | lstat 6 - | newfstatat 262 79 | statx 332 291 | access 21 -
faccessat 269 48 | faccessat2 439 439 | readlink 89 - | readlinkat 267 78
getcwd 79 17 | chdir 80 49 | fchdir 81 50 | getdents 78 - | getdents64 217 61
mkdir 83 - | mkdirat 258 34 | rmdir 84 - | unlink 87 - | unlinkat 263 35
rename 82 - | renameat 264 38 | renameat2 316 276 | link 86 - | linkat 265 37
symlink 88 - | symlinkat 266 36 | chmod 90 - | fchmod 91 52 | fchmodat 268 53
truncate 76 45 | ftruncate 77 46 | fsync 74 82 | fdatasync 75 83 | flock 73 32
utimensat 280 88 | umask 95 166 | statfs 137 43 | fstatfs 138 44 | fadvise64 221 223
dup 32 23 | dup2 33 - | dup3 292 24 | pipe 22 - | pipe2 293 59
sendfile 40 71 | copy_file_range 326 285
mmap 9 222 | munmap 11 215 | mremap 25 216 | mprotect 10 226 | madvise 28 233
brk 12 214 | mincore 27 232 | msync 26 227 | membarrier 324 283
rt_sigaction 13 134 | rt_sigprocmask 14 135 | rt_sigreturn 15 139 | rt_sigpending 127 136
rt_sigtimedwait 128 137 | rt_sigsuspend 130 133 | sigaltstack 131 132
kill 62 129 | tkill 200 130 | tgkill 234 131 | pause 34 -
alarm 37 - | getitimer 36 102 | setitimer 38 103 | nanosleep 35 101
clock_nanosleep 230 115 | clock_gettime 228 113 | clock_getres 229 114
gettimeofday 96 169 | time 201 - | times 100 153
futex 202 98 | set_robust_list 273 99 | get_robust_list 274 100 | set_tid_address 218 96
rseq 334 293 | sched_yield 24 124 | sched_getaffinity 204 123 | sched_getparam 143 121
sched_getscheduler 145 120 | sched_get_priority_max 146 125 | sched_get_priority_min 147 126
getcpu 309 168 | select 23 - | pselect6 270 72 | poll 7 - | ppoll 271 73
epoll_create 213 - | epoll_create1 291 20 | epoll_ctl 233 21 | epoll_wait 232 -
epoll_pwait 281 22 | eventfd 284 - | eventfd2 290 19
getpid 39 172 | getppid 110 173 | gettid 186 178 | getuid 102 174 | geteuid 107 175
getgid 104 176 | getegid 108 177 | getresuid 118 148 | getresgid 120 150 | getgroups 115 158
getpgrp 111 - | getpgid 121 155 | getsid 124 156
getrlimit 97 163 | setrlimit 160 164 | prlimit64 302 261 | getrusage 98 165
sysinfo 99 179 | uname 63 160 | getrandom 318 278 | arch_prctl 158 -
exit 60 93 | exit_group 231 94 | wait4 61 260 | waitid 247 95 | restart_syscall 219 128
"""
# What only the set-up of a jail needs: the zygote may, a program may not.
_SET_UP = """
clone 56 220 | mount 165 40 | capset 126 91 | prctl 157 167 | seccomp 317 277 | setsid 112 157
sendmsg 46 211 | recvmsg 47 212 | pidfd_open 434 434
"""
_EXECS = "execve 59 221 | execveat 322 281"
_FORKS = "fork 57 - | vfork 58 -"
_IOCTL = "ioctl 16 29"

_AUDIT_ARCH = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
_X32_BIT = 0x4000_0000

_CLONE_THREAD = 0x0001_0000
_CLONE_NAMESPACES = 0x7E02_0080
# Asked of every standard stream (is it a terminal?) and by Python when it marks a descriptor.
_IOCTLS = (0x5401, 0x5413, 0x5450, 0x5451)  # TCGETS TIOCGWINSZ FIONCLEX FIOCLEX

_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
_NR, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24  # offsets in struct seccomp_data; low words, little-endian

_Instruction = tuple[int, int, int, int]


def supported(machine: str) -> bool:
    return machine in _AUDIT_ARCH


def zygote_filter(machine: str) -> bytes:
    """The allowlist: what programs may do and what setting up their jails takes."""
    code: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_JUMP_EQ, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NR),
    ]
    if machine == "x86_64":  # the x32 ABI has the same calls under other numbers
        code += [(_JUMP_GE, 0, 1, _X32_BIT), (_RETURN, 0, 0, _KILL)]
    for table in (_SYSCALLS, _SET_UP, _EXECS, _FORKS):
        for number in numbers(table, machine).values():
            code += _when(number, _ALLOW)
    requests = [step for request in _IOCTLS for step in _when(request, _ALLOW)]
    refuse = (_RETURN, 0, 0, _ERRNO | errno.ENOTTY)
    code += _branch(numbers(_IOCTL, machine)["ioctl"], [(_LOAD, 0, 0, _ARG1), *requests, refuse])
    code.append((_RETURN, 0, 0, _ERRNO | errno.ENOSYS))
    return _assemble(code)


def program_filter(profile: Profile, machine: str, path_at: int = 0) -> bytes:
    """What `profile` takes back. Short, because it is installed for every test.

    A `binary` may call execve with a path at the address `path_at` alone. Its own exec discards
    that memory, so the program can't exec again without guessing the address.
    """
    code: list[_Instruction] = [(_LOAD, 0, 0, _NR)]
    set_up = numbers(_SET_UP, machine)
    clone = set_up.pop("clone")
    taken = list(set_up.values())
    execs = numbers(_EXECS, machine)
    if profile == "binary":
        code += _branch(execs.pop("execve"), _only_path_at(path_at))
    if profile != "compiler":
        taken += execs.values()
    if profile != "compiler":
        taken += numbers(_FORKS, machine).values()
    for number in taken:
        code += _when(number, _ERRNO | errno.EPERM)
    refuse = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    flags: list[_Instruction] = [(_LOAD, 0, 0, _ARG0), (_JUMP_SET, 0, 1, _CLONE_NAMESPACES), refuse]
    if profile != "compiler":
        flags += [(_JUMP_SET, 1, 0, _CLONE_THREAD), refuse]
    code += _branch(clone, [*flags, (_RETURN, 0, 0, _ALLOW)])
    code.append((_RETURN, 0, 0, _ALLOW))
    return _assemble(code)


def _only_path_at(address: int) -> list[_Instruction]:
    """Allow a call whose first argument is `address`; seccomp compares 32 bits at a time."""
    return [
        (_LOAD, 0, 0, _ARG0),
        (_JUMP_EQ, 0, 3, address & 0xFFFF_FFFF),
        (_LOAD, 0, 0, _ARG0 + 4),
        (_JUMP_EQ, 0, 1, address >> 32),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]


def clone_number(machine: str) -> int:
    return numbers(_SET_UP, machine)["clone"]


def numbers(table: str, machine: str) -> dict[str, int]:
    """The calls of `table` that exist on `machine`, by name."""
    column = 1 if machine == "x86_64" else 2
    entries = [entry.split() for entry in table.replace("\n", "|").split("|") if entry.strip()]
    return {entry[0]: int(entry[column]) for entry in entries if entry[column] != "-"}


def _when(value: int, action: int) -> list[_Instruction]:
    return _branch(value, [(_RETURN, 0, 0, action)])


def _branch(value: int, body: list[_Instruction]) -> list[_Instruction]:
    """`body` if what was loaded last equals `value`, else skip it."""
    return [(_JUMP_EQ, 0, len(body), value), *body]


def _assemble(code: list[_Instruction]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


class _SockFprog(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(code: bytes) -> None:
    """Confine this process, and what it becomes, to `code`. Needs no privilege."""
    filter_mode = 2
    program = _SockFprog(len(code) // 8, code)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_SECCOMP, filter_mode, ctypes.addressof(program))
