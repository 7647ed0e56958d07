"""Snapshots of repositories: files by the hash of their content, unpacked once and shared.

    ~/.cache/r1-factory/repositories/HASH.tar.gz     what a prompt names
    ~/.cache/r1-factory/repositories/HASH-TOOLS/     unpacked, with its tests compiled

An archive holds regular files alone, with fixed owners and times, so that the same files have the
same hash on every machine.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from factory.core.resources import cache_dir

MAX_BYTES = 64 << 20
"""Of a repository's files together."""
_TIME = 1_000_000_000
_NOBODY = 65534
_HASH = re.compile(r"[0-9a-f]{64}")
_LEFT_OUT = frozenset(
    {".git", ".hg", ".svn", ".tox", ".nox", ".venv", "venv", "__pycache__", "node_modules"}
)


class SnapshotError(ValueError):
    """Files that cannot be put into the store or got out of it; says which and what to do."""


def store_folder() -> Path:
    return cache_dir() / "repositories"


def pack_folder(folder: Path) -> str:
    """Put a project's files into the store; returns their hash.

    Links, hidden folders of version control, environments and compiled files are left out. Raises
    SnapshotError for a folder over MAX_BYTES, OSError for one that cannot be read.
    """
    files: dict[str, bytes] = {}
    size = 0
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
        for name in sorted(names):
            path = Path(root, name)
            if path.is_symlink() or not path.is_file() or name.endswith((".pyc", ".pyo")):
                continue
            size += path.stat().st_size
            if size > MAX_BYTES:
                raise SnapshotError(
                    f"{folder} holds over {MAX_BYTES >> 20} MB; name the folder of one project, "
                    "or remove what its tests do not need"
                )
            files[path.relative_to(folder).as_posix()] = path.read_bytes()
    return pack_files(files)


def pack_files(files: Mapping[str, bytes]) -> str:
    """Put files by path into the store; returns their hash."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(files):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode, entry.mtime = len(files[path]), 0o644, _TIME
            archive.addfile(entry, io.BytesIO(files[path]))
    whole = buffer.getvalue()
    name = hashlib.sha256(whole).hexdigest()
    target = _archive(name)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
            file.write(gzip.compress(whole, mtime=0))
        os.replace(file.name, target)
    return name


def read_snapshot(name: str) -> dict[str, bytes]:
    """The files of a snapshot by path. Raises SnapshotError where it is not there or damaged."""
    if not _HASH.fullmatch(name):
        raise SnapshotError(f"{name[:80]!r} is no name of a snapshot: 64 hexadecimal digits")
    try:
        whole = gzip.decompress(_archive(name).read_bytes())
    except FileNotFoundError:
        raise SnapshotError(
            f"the snapshot {name[:12]} is not in {store_folder()}: load the source of the prompt "
            "again here, or copy the folder from the machine that made it"
        ) from None
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise SnapshotError(f"{_archive(name)} cannot be read: {error}") from None
    if hashlib.sha256(whole).hexdigest() != name:
        raise SnapshotError(f"{_archive(name)} is damaged; remove it and load its source again")
    files = {}
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            if content is not None:
                files[entry.name] = content.read()
    return files


def unpack_snapshot(name: str, tools: str, compile_tree: Callable[[Path], None]) -> Path:
    """The folder with a snapshot's files. Made once, then `compile_tree` runs in it.

    `tools`: the versions that what it compiles is made for. Raises SnapshotError.
    """
    digest = hashlib.sha256(tools.encode()).hexdigest()[:12]
    target = store_folder() / f"{name}-{digest}"
    if target.is_dir():
        return target
    files = read_snapshot(name)
    made = Path(tempfile.mkdtemp(dir=store_folder(), prefix="unpacking-"))
    try:
        for path, content in files.items():
            if Path(path).is_absolute() or ".." in Path(path).parts:
                raise SnapshotError(f"the snapshot {name[:12]} names a file outside of it: {path}")
            file = made / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            os.utime(file, (_TIME, _TIME))
        _hand_over(made)
        compile_tree(made)
        made.chmod(0o755)
        os.replace(made, target)
    except OSError:
        if not target.is_dir():  # another process was faster
            raise
    finally:
        if made.is_dir():
            shutil.rmtree(made, ignore_errors=True)
    return target


def _hand_over(folder: Path) -> None:
    """Give a tree to nobody, whom root becomes in the sandbox."""
    folder.chmod(0o755)
    if os.geteuid() != 0:
        return
    for root, folders, names in os.walk(folder):
        for name in (".", *folders, *names):
            os.chown(os.path.join(root, name), _NOBODY, _NOBODY)


def _archive(name: str) -> Path:
    return store_folder() / f"{name}.tar.gz"
