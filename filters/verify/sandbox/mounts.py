"""What the box's file system holds: /usr, the interpreter, the zygote's own code; all read-only."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from filters.verify.sandbox.library import LAYER, PACKAGES, REPOSITORY, TREE, Library

INSIDE = Path(__file__).parent / "inside"
_TOP_LEVEL = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_SCRATCH_BYTES = 64 << 20
"""Of /tmp, where a library may write while it is imported. Each program gets its own instead."""
_ETC = ("/etc/ld.so.cache", "/etc/alternatives")  # the second: g++ is often a link through it


def interpreter() -> str:
    """The real Python behind this one: in a virtual environment, the one it was made from."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


@cache
def arguments(library: Library) -> tuple[str, ...]:
    """bubblewrap's arguments for the file system."""
    binds = {"/usr": "/usr", **{path: path for path in _interpreter_paths()}}
    links = []
    for path in _TOP_LEVEL:
        if os.path.islink(path):
            links += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            binds[path] = path
    binds |= {path: path for path in _ETC if os.path.exists(path)}
    binds["/box/inside"] = str(INSIDE)
    binds |= {f"{PACKAGES}/{name}": str(path) for name, path in library.files().items()}
    places = {f"{PACKAGES}/x", "/tmp/x", "/dev/x"}
    if library.tree is not None:
        places |= {f"{TREE}/x", f"{REPOSITORY}/x", f"{LAYER}/x"}
    found = [*_folders({*binds, *places}), *links]
    for target, path in sorted(binds.items()):
        found += ["--ro-bind", path, target]
    for device in _DEVICES:
        found += ["--dev-bind", device, device]
    if library.tree is not None:
        found += ["--bind" if library.compiling else "--ro-bind", str(library.tree), TREE]
    found += ["--perms", "0777", "--size", str(_SCRATCH_BYTES), "--tmpfs", "/tmp"]
    return (*found, "--proc", "/proc", "--remount-ro", "/", "--chdir", "/box")


def _folders(paths: Iterable[str]) -> list[str]:
    """The folders above `paths`. Those that bubblewrap adds by itself only its user can enter."""
    parents = {str(parent) for path in paths for parent in Path(path).parents}
    made = []
    for parent in sorted(parents - {"/"}):
        made += ["--perms", "0755", "--dir", parent]
    return made


def _interpreter_paths() -> set[str]:
    """The interpreter's files and libraries that are not under /usr or the like anyway."""
    bases = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    standard = sysconfig.get_paths(vars=bases)
    wanted = {interpreter(), standard["stdlib"], standard["platstdlib"], *_libraries()}
    system = ("/usr/", "/lib/", "/lib64/")
    return {
        path
        for path in wanted
        if os.path.exists(path) and not os.path.realpath(path).startswith(system)
    }


def _libraries() -> list[str]:
    """The shared libraries of the interpreter and of its extension modules, as `ldd` finds them."""
    extensions = sysconfig.get_config_var("DESTSHARED")
    modules = sorted(Path(extensions).glob("_[cd]*.so")) if extensions else []
    listing = subprocess.run(
        ["ldd", interpreter(), *map(str, modules)], capture_output=True, text=True, check=False
    ).stdout
    return re.findall(r"(?:=> |^\s+)(/\S+) \(0x", listing, re.MULTILINE)
