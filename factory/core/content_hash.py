"""A content hash of a file or folder from a part of its bytes."""

from __future__ import annotations

from pathlib import Path

import xxhash

from factory.core.errors import SourceError

BLOCK = 64 << 10
BLOCKS = 64
"""Maximum blocks read per file: 4 MB of a file of any size."""


def content_hash(path: Path) -> str:
    """Return a hash of names, sizes and evenly spaced blocks. Raises SourceError if none exists.

    Trained weights differ everywhere, and a Parquet footer lists every column chunk. So blocks are
    enough to distinguish two versions. They do not detect a single flipped bit.
    """
    if not path.exists():
        raise SourceError(f"{path} does not exist; check the path, or build it first")
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    digest = xxhash.xxh3_128()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.relative_to(path)}\0{size}\0".encode())
        with open(file, "rb") as stream:
            for number in range(min(BLOCKS, -(-size // BLOCK))):
                last = max(0, size - BLOCK)
                stream.seek(
                    number * BLOCK if size <= BLOCKS * BLOCK else number * last // (BLOCKS - 1)
                )
                digest.update(stream.read(BLOCK))
    return digest.hexdigest()
