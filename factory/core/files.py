"""Durable files: atomic writes, append-only JSON lines, versioned manifests.

What appears under its name is whole. Every failure to write is a StorageError with a remedy.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from factory.core.checksums import digest, digest_path
from factory.core.errors import RunError, StorageError

if TYPE_CHECKING:
    import pyarrow as pa


def encode_line(row: dict[str, Any]) -> bytes:
    # A lone surrogate in a model's text has no UTF-8 form; it becomes "?" rather than an error.
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


def append_line(path: Path, row: dict[str, Any]) -> None:
    """Append one JSON line; a torn last line of an earlier process is cut off first."""
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


def write_parquet(path: Path, table: pa.Table, *, row_group_rows: int | None = None) -> None:
    """Write a Parquet file that is either whole under its name or not there at all.

    Its pages carry checksums, and its digest is kept next to it (factory.core.checksums).
    """
    import pyarrow.parquet as pq

    scratch = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest_path(path).unlink(missing_ok=True)  # of an earlier file under this name
        with open(scratch, "wb") as stream:
            pq.write_table(
                table,
                stream,
                compression="zstd",
                row_group_size=row_group_rows,
                write_page_checksum=True,
            )
            sync_stream(stream)
        write_atomic(digest_path(path), digest(scratch))
        os.replace(scratch, path)
        sync_dir(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error


def write_atomic(path: Path, text: str) -> None:
    """Write a text file that is either the old one or the new one, never half of it."""
    scratch = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(scratch, "w", encoding="utf-8") as stream:
            stream.write(text)
            sync_stream(stream)
        os.replace(scratch, path)
        sync_dir(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error


def read_versioned(path: Path, layout: int, remedy: str) -> dict[str, Any]:
    """A directory's manifest of this layout, or an empty mapping where there is none yet.

    Raises RunError for any other layout, and, with the remedy, where it cannot be read.
    """
    if not path.exists():
        return {}
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}). {remedy}") from error
    if manifest.get("format") != layout:
        raise RunError(
            f"{path} has layout {manifest.get('format')}, this version reads {layout}. Use the "
            "version of the factory that made it, or another run directory."
        )
    return manifest


def sync_dir(path: Path) -> None:
    """Make a rename in `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_stream(stream: IO[Any]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder to write into; it takes the place of `target` whole, or not at all.

    Raises StorageError where it cannot be written.
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


def storage_error(path: Path, error: OSError) -> StorageError:
    remedy = (
        "Free some space and run the same command again"
        if error.errno in (errno.ENOSPC, errno.EDQUOT)
        else "Check the path and its permissions, then run the same command again"
    )
    return StorageError(
        f"{path} cannot be written: {error.strerror or error}. {remedy}; everything written before "
        "is safe."
    )
