"""Compiling C++ in the sandbox, once for each source: binaries are kept in the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from factory.core.resources import cache_dir
from filters.verify.sandbox import Limits, Task

FLAGS = ("-O2", "-std=gnu++17", "-w", "-fmax-errors=1")
_LIMITS = Limits(time_s=30.0, memory_mb=2048, output_mb=64, files_mb=128, processes=32)
_CACHE_BYTES = 1 << 30
_DIGEST_BYTES = 32


def compiler_missing() -> str | None:
    """Why C++ cannot be compiled here, or None."""
    found = shutil.which("g++")
    if found is None:
        return "g++ is not installed: install the package `g++`"
    if not found.startswith(("/usr/", "/bin/")):
        return f"g++ is {found}, which the sandbox does not hold; install it under /usr"
    return None


def compile_task(source: str) -> Task:
    """Compile `source`; the outcome's `result` is the binary."""
    command = ("/usr/bin/g++", *FLAGS, "-x", "c++", "-")
    return Task("compile", b"", stdin=source.encode(errors="replace"), argv=command, limits=_LIMITS)


class BinaryCache:
    """Compiled programs by the hash of compiler, flags and source."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or cache_dir() / "cpp"

    def get(self, source: str) -> bytes | None:
        path = self._path(source)
        try:
            kept = path.read_bytes()
            os.utime(path)  # recently used
        except OSError:
            return None
        digest, binary = kept[:_DIGEST_BYTES], kept[_DIGEST_BYTES:]
        if hashlib.sha256(binary).digest() == digest:
            return binary
        with contextlib.suppress(OSError):  # damaged: a full disk, a crash of the machine
            path.unlink()
        return None

    def put(self, source: str, binary: bytes) -> None:
        """Keep `binary` with its digest. A cache that cannot be written is a slow one, not an
        error."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                file.write(hashlib.sha256(binary).digest() + binary)
                file.flush()
                os.fsync(file.fileno())
            os.replace(file.name, self._path(source))

    def prune(self, limit: int = _CACHE_BYTES) -> None:
        """Drop what was used longest ago until the rest fits in `limit` bytes."""
        with contextlib.suppress(OSError):
            entries = [(path, path.stat()) for path in self._folder.iterdir()]
            entries.sort(key=lambda entry: entry[1].st_mtime)
            excess = sum(stat.st_size for _, stat in entries) - limit
            for path, stat in entries:
                if excess <= 0:
                    return
                path.unlink()
                excess -= stat.st_size

    def _path(self, source: str) -> Path:
        key = "\0".join(["digest first", _compiler_version(), *FLAGS, source])
        return self._folder / hashlib.sha256(key.encode(errors="replace")).hexdigest()


@cache
def _compiler_version() -> str:
    command = ["g++", "-dumpfullversion", "-dumpmachine"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
