"""Checksums of files that must not change: stored next to a file and checked before it is used.

`part-00007.parquet` has its digest in `part-00007.parquet.xxh3`: one line, the file's size in bytes
and its XXH3-128. The digest is durable before the file gets its name. So a file without a digest
was written by version 0.1.0 or is incomplete.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import xxhash

from factory.core.errors import RunError

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


def known_digest(file: Path) -> str:
    """Return the digest stored next to a file, or compute it for a file that has none."""
    with suppress(FileNotFoundError):
        return digest_path(file).read_text(encoding="ascii")
    return digest(file)


def folder_digests_path(folder: Path) -> Path:
    """Where the digests of a whole folder are kept: outside it, where no trainer reads data."""
    return folder.with_name(f"{folder.name}.digests.json")


def digest_folder(folder: Path) -> str:
    """The digests of a folder's Parquet files, as the text of `folder_digests_path`."""
    digests = {file.name: digest(file).strip() for file in sorted(folder.glob("*.parquet"))}
    return json.dumps(digests, indent=2) + "\n"


def _expected(file: Path) -> bytes | None:
    """The digest that a file must have: its own, or that of its folder."""
    with suppress(FileNotFoundError):
        return digest_path(file).read_bytes()
    with suppress(OSError, ValueError, KeyError, TypeError):
        digests = json.loads(folder_digests_path(file.parent).read_text(encoding="utf-8"))
        return f"{digests[file.name]}\n".encode()
    return None


def check(file: Path) -> State:
    """Compare a file with its digest. Returns `unknown` if it has no digest.

    Raises OSError if the file can't be read.
    """
    expected = _expected(file)
    if expected is None:
        return "unknown"
    # Compare the size first: one `stat` detects a truncated file.
    size = expected.partition(b" ")[0]
    if size != str(file.stat().st_size).encode():
        return "damaged"
    return "sound" if digest(file).encode() == expected else "damaged"


def refuse_resized(files: Iterable[Path]) -> None:
    """Raise RunError for a file of another size than its digest says. Reads none of them."""
    for file in files:
        expected = _expected(file)
        if expected is not None and expected.split()[:1] != [str(file.stat().st_size).encode()]:
            raise RunError(f"{file} is damaged: its size differs. {_REMEDY}")


_REMEDY = "`factory repair RUN` moves it away and keeps what can be read of it"


def find_damage(file: Path) -> str | None:
    """Return what is wrong with a Parquet file, or None. Reads the whole file.

    A file without a digest is checked by the checksums of its pages, if it has any.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    state = check(file)
    if state == "damaged":
        return "is damaged"
    if state == "unknown":
        try:
            with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
                for number in range(parquet.num_row_groups):
                    parquet.read_row_group(number)
        except (OSError, ValueError, pa.ArrowException) as error:
            return f"cannot be read ({error})"
    return None


def refuse_damaged(files: Iterable[Path]) -> None:
    """Raise RunError for the first damaged file: its rows may be other than those written."""
    for file in files:
        problem = find_damage(file)
        if problem is not None:
            raise RunError(
                f"{file} {problem}. If a run made it, `factory repair RUN` removes it and "
                "`factory build` makes it again; otherwise copy or download it again."
            )
