"""Checksums of files that must not change: written next to a file, checked before it is believed.

`part-00007.parquet` has its digest in `part-00007.parquet.xxh3`: one line, the file's size in bytes
and its XXH3-128. The digest is durable before the file gets its name, so a file without one was
written by version 0.1.0, or is not finished.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import xxhash

State = Literal["sound", "damaged", "unknown"]

CHUNK_BYTES = 1 << 20


def digest_path(file: Path) -> Path:
    """Where a file's digest is kept."""
    return file.with_name(f"{file.name}.xxh3")


def digest(file: Path) -> str:
    """A file's size in bytes and its XXH3-128, as one line. Reads all of it."""
    hasher, size = xxhash.xxh3_128(), 0
    with open(file, "rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            hasher.update(chunk)
            size += len(chunk)
    return f"{size} {hasher.hexdigest()}\n"


def check(file: Path) -> State:
    """Whether a file is still what was written; `unknown` where it has no digest.

    Raises OSError where the file cannot be read.
    """
    try:
        expected = digest_path(file).read_bytes()
    except FileNotFoundError:
        return "unknown"
    # Compare the size first: one `stat` detects a truncated file.
    size = expected.partition(b" ")[0]
    if size != str(file.stat().st_size).encode():
        return "damaged"
    return "sound" if digest(file).encode() == expected else "damaged"
