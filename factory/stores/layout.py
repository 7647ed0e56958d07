"""Which files of a run directory a store has, in which order they are written, and what is known of
them on this machine (`stored.json`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from factory.core.files import read_json, write_atomic

STATE_FILE = "stored.json"
DIGEST = ".xxh3"
CORPUS_DIGESTS = "corpus.digests.json"
MANIFEST = "run.json"
DATABASE = ".sqlite"
DATABASE_LOGS = ("-wal", "-shm", "-journal")
"""Endings of the files that SQLite keeps next to an open database; a copy of it needs none."""

_LEFT_OUT = (
    # Of this machine and this process:
    *("run.lock", STATE_FILE, "*.log", "*.tmp", "later/leases/*", "pilot/*"),
    *("samples/journal-*.jsonl", "samples/turns.jsonl"),
    *(f"*{DATABASE}{ending}" for ending in DATABASE_LOGS),
    # Half-written folders:
    *(".*", "*/.*", "*.partial/*", "*.old/*"),
    # The store's own:
    *("lock/*", "check/*"),
)
_ORDER = ("samples/", "", "metrics/", "verdicts/", "corpus/", CORPUS_DIGESTS, MANIFEST)
"""The order of copying: first samples, which nothing can make again; last what says `done`."""

_DERIVED = ("metrics/", "verdicts/", "corpus/", "report/")
"""Folders whose files are deleted from the store when they are gone here. Samples never are."""


def is_kept(name: str) -> bool:
    """Return whether a store has this file of a run directory."""
    return not any(fnmatchcase(name, pattern) for pattern in _LEFT_OUT)


def is_part(name: str) -> bool:
    """Return whether a file is a sealed part of samples."""
    return fnmatchcase(name, "samples/part-*.parquet")


def is_derived(name: str) -> bool:
    return name.startswith(_DERIVED) or name == CORPUS_DIGESTS


def rank(name: str) -> tuple[int, bool]:
    """Return a file's place in the order of copying. A digest comes after what it is of."""
    if name in _ORDER:
        place = _ORDER.index(name)
    else:
        folder = name.partition("/")[0] + "/" if "/" in name else ""
        place = _ORDER.index(folder) if folder in _ORDER else _ORDER.index("")
    return place, name.endswith(DIGEST)


class Signature(NamedTuple):
    """A file's size and time: it is the same file while these are the same."""

    size: int
    mtime_ns: int


def scan(run: Path) -> dict[str, Signature]:
    """Return the files of a run directory that a store has, by name."""
    found = {}
    for path in _walk(run):
        name = path.relative_to(run).as_posix()
        if is_kept(name):
            with suppress(FileNotFoundError):  # it was replaced since
                found[name] = sign(path)
    return found


def sign(path: Path) -> Signature:
    facts = path.stat()
    return Signature(facts.st_size, facts.st_mtime_ns)


def _walk(folder: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in folder.iterdir():
            if entry.is_symlink():
                continue
            if entry.is_dir():
                yield from _walk(entry)
            elif entry.is_file():
                yield entry


class Known(NamedTuple):
    """A file that is the same here and in the store."""

    signature: Signature
    token: str  # of the store's object when it was fetched; "" if it was written from here


class State:
    """What this machine knows of a store: which files are the same there, and who wrote last.

    It only saves work: without it, files are read and compared again.
    """

    def __init__(self, run: Path, url: str) -> None:
        self.path, self.url = run / STATE_FILE, url
        self.driver = ""
        """The token of the last driver of this directory (factory.stores.lock)."""
        self.files: dict[str, Known] = {}
        self._saved = ""
        found = read_json(self.path) or {}
        if found.get("url") == url:
            with suppress(KeyError, TypeError, ValueError):
                files = _parse_files(found["files"])
                self.driver, self.files = str(found["driver"]), files

    def is_same(self, name: str, signature: Signature | None) -> bool:
        """Return whether a file here, with this signature, is the one in the store."""
        known = self.files.get(name)
        return known is not None and known.signature == signature

    def save(self) -> None:
        """Write what is known, if it changed."""
        files = {name: [*one.signature, one.token] for name, one in sorted(self.files.items())}
        text = json.dumps({"url": self.url, "driver": self.driver, "files": files}, indent=0)
        if text != self._saved:
            write_atomic(self.path, text + "\n")
            self._saved = text


def _parse_files(found: Mapping[str, Any]) -> dict[str, Known]:
    return {
        str(name): Known(Signature(int(size), int(mtime)), str(token))
        for name, (size, mtime, token) in found.items()
    }
