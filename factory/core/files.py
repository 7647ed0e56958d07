"""Durable files: atomic writes, append-only JSON lines, versioned manifests.

A file is complete or absent under its name. Every failed write is a StorageError with a remedy.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from factory.core.checksums import digest, digest_path
from factory.core.errors import RunError, StorageError

if TYPE_CHECKING:
    import pyarrow as pa


def encode_line(row: dict[str, Any]) -> bytes:
    # Lone surrogates in a model's text can't be encoded as UTF-8; they become "?".
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace") + b"\n"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file. Lines that a crash damaged or tore are skipped."""
    if not path.exists():
        return []
    rows = []
    with open(path, "rb") as stream:
        for line in stream:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and line.endswith(b"\n"):
                rows.append(row)
    return rows


def read_json(path: Path) -> dict[str, Any] | None:
    """Read an optional JSON object; None where the file is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def append_line(path: Path, row: dict[str, Any]) -> None:
    """Append one JSON line. A torn last line of an earlier process is removed first."""
    try:
        with open(path, "ab+") as stream:
            end = stream.seek(0, os.SEEK_END)
            if end:
                stream.seek(-1, os.SEEK_END)
                if stream.read(1) != b"\n":
                    stream.seek(0)
                    stream.truncate(stream.read().rfind(b"\n") + 1)
            stream.write(encode_line(row))
    except OSError as error:
        raise storage_error(path, error) from error


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table as a Parquet file, as `write_row_groups` does."""
    write_row_groups(path, [table])


def write_row_groups(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write a Parquet file, a row group per table; without tables, none.

    It is either whole under its name or not there at all. If `tables` raises, it is not written.
    Its pages carry checksums, and its digest is kept next to it (factory.core.checksums).
    """
    import pyarrow.parquet as pq

    scratch = path.with_name(path.name + ".tmp")
    remaining = iter(tables)
    first = next(remaining, None)
    if first is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest_path(path).unlink(missing_ok=True)  # of an earlier file under this name
        with open(scratch, "wb") as stream:
            with pq.ParquetWriter(
                stream, first.schema, compression="zstd", write_page_checksum=True
            ) as writer:
                for table in chain([first], remaining):
                    writer.write_table(table)
            sync_stream(stream)
        write_atomic(digest_path(path), digest(scratch))
        os.replace(scratch, path)
        sync_dir(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        release_memory()


def release_memory() -> None:
    """Give memory that Arrow has freed in this thread back to the system. It keeps it otherwise."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def write_atomic(path: Path, text: str) -> None:
    """Write a text file atomically: it is the old or the new one."""
    write_chunks(path, [text.encode()])


def write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file in pieces, atomically: it is the old or the new one."""
    scratch = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(scratch, "wb") as stream:
            stream.writelines(chunks)
            sync_stream(stream)
        os.replace(scratch, path)
        sync_dir(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error


def read_versioned(path: Path, layout: int, remedy: str) -> dict[str, Any]:
    """Read a directory's manifest. Returns an empty mapping if there is none yet.

    Raises RunError for another layout, and if it can't be read, with `remedy`.
    """
    if not path.exists():
        return {}
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(manifest, dict):
            raise ValueError("no mapping")
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}). {remedy}") from error
    if manifest.get("format") != layout:
        raise RunError(
            f"{path} has layout {manifest.get('format')}, this version reads {layout}. Use the "
            "version of the factory that wrote it, or another run directory."
        )
    return manifest


def sync_dir(path: Path) -> None:
    """Make renames in the directory `path` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_stream(stream: IO[Any]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a folder to write to. At the end it replaces `target`; on an error it is removed.

    Raises StorageError if it can't be written.
    """
    scratch = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        yield scratch
        shutil.rmtree(target, ignore_errors=True)
        scratch.rename(target)
    except OSError as error:
        raise storage_error(target, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Free some space"),
    errno.ENOMEM: "Free some memory, or run fewer programs at once",
    errno.EAGAIN: "End other programs, or raise the limit of processes (ulimit -u)",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "Raise the limit of open files (ulimit -n)"),
    errno.EFBIG: "Raise the limit of file sizes (ulimit -f)",
    errno.EIO: "Check the disk",
    errno.EROFS: "Check the disk, or use a directory that is not read-only",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "Check the path and its permissions"),
    errno.EISDIR: "Move this directory away: a file belongs there",
    errno.ENOTDIR: "Check the path: a part of it is a file",
    errno.ENAMETOOLONG: "Use a shorter name",
    errno.ELOOP: "Check the symbolic links",
    errno.ENOLCK: "Use a file system with locks",
    errno.ESTALE: "Check the network file system",
}
"""Errors that come from the machine, not from a mistake in this code, and what to do."""


def storage_error(path: Path, error: OSError) -> StorageError:
    remedy = REMEDIES.get(error.errno or 0, "Check the path and its permissions")
    return StorageError(
        f"{path} cannot be written: {error.strerror or error}. {remedy}, then run the same command "
        "again; everything written before is safe."
    )
