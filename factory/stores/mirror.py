"""Keeps a store equal to a run directory while the run goes on.

A thread looks at the directory. A sealed part goes up as soon as it is there, everything else when
it changed, at most once in `PASS_SECONDS`. What was written is read back and compared. A reader of
the store sees whole files only, and a digest only next to the file that it is of.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from factory.core.checksums import digest
from factory.core.errors import FactoryError, RunLocked, StorageError, StoreError
from factory.core.files import read_json, storage_error
from factory.core.run_dir import sample_parts
from factory.stores.layout import (
    CORPUS_DIGESTS,
    DATABASE,
    DIGEST,
    MANIFEST,
    Known,
    Signature,
    State,
    is_derived,
    is_part,
    rank,
    scan,
    sign,
)
from factory.stores.lock import Say, StoreLock
from factory.stores.objects import Objects, digest_bytes

PASS_SECONDS = 60.0
"""Longest time that a changed file which is no part of samples waits."""
LOOK_SECONDS = 1.0
"""Time between two looks for new parts."""
WHOLE_BYTES = 128 << 20
"""Files up to this size are read at once, so that one that grows is a snapshot in the store."""
WRITERS = 4
RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Waits after failures that may pass; the last one repeats."""
PATIENCE_SECONDS = 120.0
"""How long the end of a build waits for a store that fails."""


class Mirror:
    """Writes the files of `run` to a store, from `start` to `close`."""

    def __init__(
        self, run: Path, objects: Objects, lock: StoreLock, state: State, say: Say
    ) -> None:
        self.run, self.objects, self.lock, self.state, self.say = run, objects, lock, state, say
        self.written = 0
        """Files written so far."""
        listed = objects.list()
        self._remote = set(listed)
        state.files = {
            name: known
            for name, known in state.files.items()
            if name in listed and listed[name].size == known.signature.size
        }
        self._ended_by: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="store", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def check(self) -> None:
        """Raise what keeps this run from the store for good. Asks nobody."""
        self.lock.refuse_lost()
        if self._ended_by is not None:
            raise self._ended_by

    def close(self) -> None:
        """Write what is not yet in the store. Raises StoreError or RunLocked if that fails.

        A failure that may pass is retried for PATIENCE_SECONDS.
        """
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        ends, failures = time.monotonic() + PATIENCE_SECONDS, 0
        while True:
            try:
                self.sync()
                return
            except StoreError as error:
                wait = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
                if not error.passing or time.monotonic() + wait > ends:
                    raise self._describe_loss(error) from error
                failures += 1
                time.sleep(wait)

    def _describe_loss(self, error: StoreError) -> StoreError:
        missing = [name for name in self._changed(scan(self.run)) if is_part(name)]
        return StoreError(
            f"{error}\nThe run is safe in {self.run}, but {len(missing):,} part(s) of samples and "
            "what was made of them are not in the store. The same command writes them."
        )

    def _follow(self) -> None:
        """Watch the directory. A failure is reported, and tried again until the end."""
        parts: set[Path] = set()
        failures, due = 0, 0.0
        while not self._stop.wait(LOOK_SECONDS):
            now = set(sample_parts(self.run))
            if time.monotonic() < due and (failures or now <= parts):
                continue
            try:
                self.sync()
            except RunLocked:
                return  # `check` raises it in the run
            except FactoryError as error:
                wait = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
                failures += 1
                due = time.monotonic() + wait
                if failures == 3:
                    self.say(f"{error} Sampling goes on; the store gets everything later.")
                continue
            except Exception as error:  # a bug must not end the uploads in silence
                self._ended_by = error
                return
            if failures >= 3:
                self.say(f"store {self.objects.url} works again")
            parts, failures, due = now, 0, time.monotonic() + PASS_SECONDS

    def sync(self) -> None:
        """Write every changed file, in an order in which the store is usable at any moment.

        Raises RunLocked if another driver took the store, StoreError for the first failure.
        """
        self.lock.check()
        try:
            local = scan(self.run)
            changed = self._changed(local)
            first, last = list[str](), list[str]()
            if MANIFEST in changed:
                is_done = (read_json(self.run / MANIFEST) or {}).get("state") == "done"
                (last if is_done else first).append(MANIFEST)
                changed.remove(MANIFEST)
            # Before any sample that was drawn with its settings, but `done` after all else.
            self._put_all(first)
            gone = [name for name in self._remote if is_derived(name) and name not in local]
            changed += self._withdraw_digests(changed, gone)
            groups: dict[tuple[int, bool], list[str]] = defaultdict(list)
            for name in sorted(set(changed)):
                groups[rank(name)].append(name)
            for _, names in sorted(groups.items()):
                self._put_all(names)
            for name in gone:
                self._delete(name)
            self._put_all(last)
        except OSError as error:
            raise storage_error(self.run, error) from error
        finally:
            self.state.save()

    def _changed(self, local: dict[str, Signature]) -> list[str]:
        return [name for name, now in local.items() if not self.state.is_same(name, now)]

    def _withdraw_digests(self, changed: Iterable[str], gone: Iterable[str]) -> list[str]:
        """Delete digests in the store of files that are about to change there. Returns their names.

        A file without a digest is read as one of unknown state, one with a wrong digest is refused.
        """
        withdrawn = {f"{name}{DIGEST}" for name in changed if name in self._remote}
        if any(name.startswith("corpus/") for name in (*changed, *gone)):
            withdrawn.add(CORPUS_DIGESTS)
        found = sorted(withdrawn & self._remote)
        for name in found:
            self._delete(name)
        return [name for name in found if (self.run / name).exists()]

    def _put_all(self, names: list[str]) -> None:
        with ThreadPoolExecutor(WRITERS) as pool:
            self.written += sum(pool.map(self._put, names))

    def _put(self, name: str) -> bool:
        """Write a file and compare what the store has then. Returns whether it has this file.

        One that is gone, or that changes while it is written, is left to the next pass.
        """
        path = self.run / name
        try:
            signature = sign(path)
            is_small = signature.size <= WHOLE_BYTES or path.suffix == DATABASE
            data = _read(path) if is_small else None
            wanted = digest(path) if data is None else digest_bytes(data)
        except FileNotFoundError:
            return False
        if data is None:
            self.objects.write_file(name, path)
        elif is_part(name) and name not in self._remote and self.lock.exclusive:
            # A driver that lost the store without knowing it must not replace anyone's samples.
            if not self.objects.create(name, data):
                self._refuse_other(name)
        else:
            self.objects.write(name, data)
        self._remote.add(name)
        if self.objects.digest(name, signature.size) == wanted:
            self.state.files[name] = Known(signature, "")
            return True
        if path.exists() and sign(path) == signature:
            raise StoreError(
                f"store {self.objects.url}: {name} is read back other than it was written. Check "
                "the store; the file on this machine is sound.",
                passing=True,
            )
        return False

    def _refuse_other(self, name: str) -> None:
        raise StoreError(
            f"store {self.objects.url}: {name} has other samples than {self.run / name}. Another "
            "driver wrote it. Build in an empty folder to go on from the store, or give this "
            "folder another store."
        )

    def _delete(self, name: str) -> None:
        self.objects.delete(name)
        self._remote.discard(name)
        self.state.files.pop(name, None)


def _read(path: Path) -> bytes:
    """Return a file's bytes; of a database, a consistent copy."""
    if path.suffix != DATABASE:
        return path.read_bytes()
    import sqlite3

    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.serialize()
    except sqlite3.Error as error:
        raise StorageError(f"{path} cannot be read: {error}. Close what writes it.") from error
    finally:
        connection.close()
