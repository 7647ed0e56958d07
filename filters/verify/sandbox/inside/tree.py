"""A repository for one attempt: its own files laid over a folder that all attempts share.

The two are stacked read-only by overlayfs, so that nothing is copied and nothing of the repository
can be written by the code under test. Afterwards both layers are hidden: the shared one holds the
files as they were before a bug was put in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from . import kernel

_SHARED, _LAYER, _WHOLE = "/box/tree", "/box/layer", "/repository"
_LAYER_OPTIONS = "size=64m,nr_inodes=8192,mode=0755"
_HIDDEN_OPTIONS = "size=4k,nr_inodes=2,mode=0555"
_COPY_OPTIONS = "size=512m,nr_inodes=65536,mode=0755"


def assemble(files: Mapping[str, str], wish: Sequence[str]) -> str:
    """Mount the repository with `files` in it and make it the working directory.

    Returns how: `overlay`; `copy`, by wish or where this kernel refuses an overlay; or by wish
    (`compile`) the shared folder `itself`, which takes no files and can be written.
    """
    if "compile" in wish:
        kernel.mount(_SHARED, _WHOLE, "", kernel.MS_BIND)
        os.chdir(_WHOLE)
        return "itself"
    kernel.mount_tmpfs(_LAYER, _LAYER_OPTIONS)
    for path, text in files.items():
        _write(path, text)
    how = "overlay" if "copy" not in wish and _stack() else "copy"
    if how == "copy":
        kernel.mount_tmpfs(_WHOLE, _COPY_OPTIONS)
        for layer in (_SHARED, _LAYER):
            _copy(layer, _WHOLE)
        read_only = kernel.MS_REMOUNT | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
        kernel.mount("tmpfs", _WHOLE, "tmpfs", read_only, _COPY_OPTIONS)
    for layer in (_LAYER, _SHARED):
        kernel.mount_tmpfs(layer, _HIDDEN_OPTIONS)
    os.chdir(_WHOLE)
    return how


def _stack() -> bool:
    options = f"lowerdir={_LAYER}:{_SHARED},userxattr"
    try:
        kernel.mount("overlay", _WHOLE, "overlay", kernel.MS_NOSUID | kernel.MS_NODEV, options)
    except OSError:
        return False
    return True


def _copy(source: str, target: str) -> None:
    """Copy the files below a folder with their times, by which Python knows what it compiled."""
    for entry in os.scandir(source):
        place = os.path.join(target, entry.name)
        if entry.is_dir(follow_symlinks=False):
            os.makedirs(place, exist_ok=True)
            _copy(entry.path, place)
            continue
        with open(entry.path, "rb") as old, open(place, "wb") as new:
            new.write(old.read())
        os.utime(place, (entry.stat().st_atime, entry.stat().st_mtime))


def _write(path: str, text: str) -> None:
    """Write one file of the layer, and empty files over what was compiled from its namesake.

    Python tells a compiled file that is out of date by the time and size of its source alone.
    """
    folder, name = os.path.split(path)
    target = os.path.join(_LAYER, folder)
    os.makedirs(target, exist_ok=True)
    with open(os.path.join(target, name), "w", encoding="utf-8", newline="") as file:
        file.write(text)
    compiled = os.path.join(_SHARED, folder, "__pycache__")
    if not os.path.isdir(compiled):
        return
    stem = name.removesuffix("py")
    for entry in os.listdir(compiled):
        if entry.startswith(stem):
            os.makedirs(os.path.join(target, "__pycache__"), exist_ok=True)
            with open(os.path.join(target, "__pycache__", entry), "wb"):
                pass
