"""What a file or folder holds, in a few bytes: to know it again without reading all of it."""

from __future__ import annotations

from pathlib import Path

import xxhash

from factory.core.errors import SourceError

BLOCK = 64 << 10
BLOCKS = 64
"""At most so many blocks of a file are read: 4 MB of a shard of any size."""


def sketch(path: Path) -> str:
    """A hash of names, sizes and evenly spread blocks. Raises SourceError where nothing is.

    Weights that were trained differ everywhere and a Parquet file's footer knows of every column
    chunk, so blocks suffice to tell two apart; they would not detect a flipped bit.
    """
    if not path.exists():
        raise SourceError(f"{path} is not there; check the path, or build it first")
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
