"""A file of records that is appended to at once and synced once a second."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import IO, Any

from factory.core.errors import FactoryError
from factory.core.files import encode_line, storage_error
from factory.core.journal import SYNC_SECONDS, add_checksum


def encode_record(record: dict[str, Any]) -> bytes:
    """Return a record as a line with its checksum, as in the journal."""
    return add_checksum(encode_line(record)[:-1])


class AppendLog:
    """Appends records to an open file. A thread syncs it, so that no sample waits for the disk."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path, self._stream = path, stream
        self._error: OSError | None = None
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._sync, name="append-log", daemon=True)
        self._thread.start()

    def write(self, record: dict[str, Any]) -> None:
        """Append a record. Raises StorageError if the disk fails."""
        self._raise_error()
        try:
            with self._lock:
                self._stream.write(encode_record(record))
                self._written()
        except OSError as error:
            raise storage_error(self._path, error) from error
        self._dirty.set()

    def _written(self) -> None:
        """Called after each record, with the lock held."""

    def stop(self) -> bool:
        """Sync and close the file. Returns False if it is closed already."""
        if self._closing.is_set():
            return False
        self._closing.set()
        self._dirty.set()
        self._thread.join()
        self._stream.close()
        return True

    def _sync(self) -> None:
        while not self._closing.wait(SYNC_SECONDS / 2) or self._dirty.is_set():
            if not self._dirty.is_set():
                continue
            self._dirty.clear()
            try:
                with self._lock:
                    os.fsync(self._stream.fileno())
            except OSError as error:
                self._error = error
                return

    def _raise_error(self) -> None:
        if isinstance(self._error, OSError):
            error: FactoryError = storage_error(self._path, self._error)
            raise error from self._error


def open_append(path: Path) -> IO[bytes]:
    """Open a file to append to. Raises StorageError if the disk fails."""
    try:
        opened: IO[bytes] = open(path, "ab", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise storage_error(path, error) from error
    return opened
