"""Checksums of files that must not change: stored next to a file and checked before it is used.

`part-00007.parquet` has its digest in `part-00007.parquet.xxh3`: one line, the file's size in bytes
and its XXH3-128. The digest is durable before the file gets its name. So a file without a digest
was written by version 0.1.0 or is incomplete.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import xxhash

State = Literal["sound", "damaged", "unknown"]

CHUNK_BYTES = 1 << 20


def digest_path(file: Path) -> Path:
    """Return the path of a file's digest."""
    return file.with_name(f"{file.name}.xxh3")


def digest(file: Path) -> str:
    """Compute a file's size in bytes and its XXH3-128, as one line. Reads the whole file."""
    hasher, size = xxhash.xxh3_128(), 0
    with open(file, "rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            hasher.update(chunk)
            size += len(chunk)
    return f"{size} {hasher.hexdigest()}\n"


def check(file: Path) -> State:
    """Compare a file with its digest. Returns `unknown` if it has no digest.

    Raises OSError if the file can't be read.
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
