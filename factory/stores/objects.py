"""The objects under one prefix of a store: s3://, gs://, hf://, file://, memory://, by fsspec.

Every failure is a StoreError. Names are relative to the prefix.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import xxhash

from factory.core.errors import MissingDependency, StoreError
from factory.stores.problems import UNSUPPORTED, explain, find_code

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "hf": "hub"}
"""The extra of this package that a protocol needs."""

_SAFE = re.compile(r"[^/\0\\]+(/[^/\0\\]+)*")
_TOKENS = ("ETag", "etag", "LastModified", "last_modified", "mtime", "created", "blob_id")
_CHECK = "check"

BLOCK_BYTES = 8 << 20
"""Bytes that are read at once."""

S3_CONFIG = {
    "connect_timeout": 10,
    "read_timeout": 60,
    "retries": {"max_attempts": 3, "mode": "standard"},
    # Older stores know no checksums in requests; what is written is read back and compared.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}


def digest_bytes(data: bytes) -> str:
    """Return the digest of bytes, as `factory.core.checksums.digest` of a file."""
    return f"{len(data)} {xxhash.xxh3_128_hexdigest(data)}\n"


class Listed(NamedTuple):
    """An object as the store lists it."""

    size: int
    token: str  # changes when the object is written again; "" where the store says nothing


class Objects:
    """The objects under `url`. Thread-safe.

    Raises MissingDependency if the package for its protocol is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        protocol = url.partition("://")[0]
        options: dict[str, Any] = {"skip_instance_cache": True}
        if protocol in ("s3", "s3a"):
            options |= {"config_kwargs": S3_CONFIG, "use_listings_cache": False}
        self._is_local = protocol in ("file", "local")
        if self._is_local:
            options["auto_mkdir"] = True
        try:
            from fsspec.core import url_to_fs

            self._fs, self._root = url_to_fs(self.url, **options)
        except ImportError as error:
            needed = EXTRAS.get(protocol)
            remedy = f"pip install 'r1-factory[{needed}]'" if needed else "install fsspec's package"
            raise MissingDependency(
                f"store {self.url}: {protocol}:// needs a package that is not installed: {remedy}"
            ) from error
        except Exception as error:  # whatever a store's library raises
            raise explain(self.url, error) from None
        self._root = self._root.rstrip("/")

    def list(self, folder: str = "") -> dict[str, Listed]:
        """Return all objects, or those under `folder`, by name. An empty store has none."""
        with self._explained():
            try:
                found = self._fs.find(self._path(folder) if folder else self._root, detail=True)
            except FileNotFoundError as error:
                if find_code(error)[0] == "NoSuchBucket":
                    raise
                return {}
        listed = {}
        for path, info in found.items():
            name = str(path)[len(self._root) :].lstrip("/")
            if not _SAFE.fullmatch(name) or ".." in name.split("/"):
                continue  # no name that a run directory has
            token = next((str(info[key]) for key in _TOKENS if info.get(key)), "")
            listed[name] = Listed(int(info.get("size") or 0), token)
        return listed

    def read(self, name: str) -> bytes | None:
        """Return an object's bytes, or None if there is no such object."""
        with self._explained():
            try:
                return bytes(self._fs.cat_file(self._path(name)))
            except FileNotFoundError as error:
                if find_code(error)[0] == "NoSuchBucket":
                    raise
                return None

    def write(self, name: str, data: bytes) -> None:
        """Write an object: it is the old or the new one."""
        with self._explained(), self._target(name) as path:
            self._fs.pipe_file(path, data)

    def write_file(self, name: str, file: Path) -> None:
        """Write a file to an object, in bounded memory."""
        with self._explained(), self._target(name) as path:
            self._fs.put_file(str(file), path)

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless there is one of that name. Returns whether it has this data.

        A write whose answer was lost is repeated by the store's library and then refused: so the
        object is read back, and what has this data is ours.
        """
        with self._explained():
            try:
                if self._is_local:
                    self._create_file(Path(self._path(name)), data)
                else:
                    self._fs.pipe_file(self._path(name), data, mode="create")
            except (NotImplementedError, TypeError, ValueError) as error:
                what = f"store {self.url}: its library has no conditional writes"
                raise StoreError(what, code=UNSUPPORTED[0]) from error
            except OSError as error:
                exists = isinstance(error, FileExistsError)
                if not exists and find_code(error)[0] not in ("PreconditionFailed", "412"):
                    raise
                return self.read(name) == data
        return True

    def delete(self, name: str) -> None:
        """Delete an object, if there is one."""
        with self._explained(), suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def digest(self, name: str, expected_size: int | None = None) -> str:
        """Read an object and compute its digest, as `factory.core.checksums.digest` of a file.

        What is expected to be small is read by one request.
        """
        if expected_size is not None and expected_size <= BLOCK_BYTES:
            data = self.read(name)
            return "missing" if data is None else digest_bytes(data)
        hasher, size = xxhash.xxh3_128(), 0
        with (
            self._explained(),
            self._fs.open(self._path(name), "rb", block_size=BLOCK_BYTES) as stream,
        ):
            while chunk := stream.read(BLOCK_BYTES):
                hasher.update(chunk)
                size += len(chunk)
        return f"{size} {hasher.hexdigest()}\n"

    def download(self, name: str, file: Path) -> None:
        """Copy an object to a file, which appears whole. Its folder exists."""
        with self._explained():
            self._fs.get_file(self._path(name), str(file))

    def refuse_unusable(self) -> None:
        """Write, read and delete an object. Raises StoreError if any of it fails."""
        name, data = f"{_CHECK}/{uuid4().hex}", b"written by r1-factory to check this store\n"
        self.write(name, data)
        if self.read(name) != data:
            raise StoreError(
                f"store {self.url}: an object that was just written is read back differently. Use "
                "a store that is strongly consistent."
            )
        self.delete(name)

    def has_conditional_writes(self) -> bool:
        """Return whether a second `create` of an object is refused. Some stores ignore it."""
        name = f"{_CHECK}/{uuid4().hex}"
        try:
            first = self.create(name, b"first")
            second = self.create(name, b"second")
        except StoreError as error:
            if error.code not in UNSUPPORTED:
                raise
            return False
        finally:
            with suppress(StoreError):
                self.delete(name)
        return first and not second

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _create_file(self, path: Path, data: bytes) -> None:
        """Write a file whole, unless there is one. Raises FileExistsError then."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
        try:
            scratch.write_bytes(data)
            os.link(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)

    @contextmanager
    def _target(self, name: str) -> Iterator[str]:
        """Yield the path to write to. In a folder, a file gets its name when it is whole."""
        path = self._path(name)
        if not self._is_local:
            yield path
            return
        scratch = f"{path}.{uuid4().hex}.tmp"
        try:
            yield scratch
            os.replace(scratch, path)
        finally:
            Path(scratch).unlink(missing_ok=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # whatever a store's library raises
            raise explain(self.url, error) from None  # its own message may have a signed URL
