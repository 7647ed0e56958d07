"""Copies a run from a store to a directory, verified: to go on with it, or to look at it."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from factory.core.checksums import check, digest
from factory.core.errors import FactoryError, RunError, RunLocked
from factory.core.files import storage_error
from factory.core.resources import cache_dir
from factory.core.run_dir import lock_directory
from factory.stores.layout import (
    CORPUS_DIGESTS,
    DATABASE,
    DATABASE_LOGS,
    DIGEST,
    MANIFEST,
    Known,
    State,
    is_derived,
    is_kept,
    is_part,
    rank,
    scan,
    sign,
)
from factory.stores.lock import Say
from factory.stores.objects import Listed, Objects

READERS = 8
FOLLOW_SECONDS = 15.0
"""Time between two looks at a store that a page follows."""
SCRATCH = ".fetched.partial"


class Fetched(NamedTuple):
    """What came from a store."""

    files: int
    parts: int
    bytes: int


def fetch(run: Path, objects: Objects, state: State, *, newer: bool) -> Fetched:
    """Copy to `run` the parts of samples that it lacks.

    `newer` says that others wrote the store since this directory was in step with it: then the
    store's version of everything else is taken too. What does not fit its digest is fetched again
    once. Raises RunError if a part here has other samples than the one in the store, StoreError for
    a failure.
    """
    listed = {name: one for name, one in objects.list().items() if is_kept(name)}
    if any(map(_is_corpus, listed)) and CORPUS_DIGESTS not in listed:  # half-written
        listed = {name: one for name, one in listed.items() if not _is_corpus(name)}
    local = scan(run)
    wanted = [name for name in listed if name not in local and (newer or _is_sample(name))]
    if newer:
        changed = [
            name
            for name, one in listed.items()
            if name in local and not _is_known(state, name, one, local[name])
        ]
        _refuse_other_samples(run, objects, filter(is_part, changed))
        wanted += [name for name in changed if not _is_sample(name)]
        if MANIFEST in listed:
            _remove_stale(run, [name for name in local if is_derived(name) and name not in listed])
    scratch = run / SCRATCH
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        groups: dict[tuple[int, bool], list[str]] = {}
        for name in sorted(wanted):
            place, is_digest = rank(name)
            groups.setdefault((place, not is_digest), []).append(name)  # digests first
        for _, names in sorted(groups.items()):
            with ThreadPoolExecutor(READERS) as pool:
                list(pool.map(lambda n: _fetch_file(run, objects, n, listed[n], state), names))
        _verify(run, objects, state, listed, wanted)
        state.save()
    except OSError as error:
        raise storage_error(run, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    sizes = sum(listed[name].size for name in wanted)
    return Fetched(len(wanted), sum(map(is_part, wanted)), sizes)


def _is_sample(name: str) -> bool:
    """Whether a file is a part of samples or its digest."""
    return is_part(name.removesuffix(DIGEST))


def _is_corpus(name: str) -> bool:
    return name.startswith("corpus/")


def _remove_stale(run: Path, names: Iterable[str]) -> None:
    """Remove files that the run elsewhere has no more, and folders that are empty then."""
    for name in names:
        (run / name).unlink(missing_ok=True)
        with suppress(OSError):
            (run / name).parent.rmdir()


def fetch_copy(url: str) -> Path:
    """Return a local copy of the run at `url`, to be read. Unchanged files are not fetched again.

    Raises RunError if there is no run, StoreError for a failure.
    """
    objects = Objects(url)
    if objects.read(MANIFEST) is None:
        raise RunError(f"{url} has no run: there is no {MANIFEST}. Check the address.")
    digest = hashlib.sha256(objects.url.encode()).hexdigest()[:16]
    run = _copies_folder() / digest / objects.url.rpartition("/")[2]
    with _lock_copy(run.parent):
        run.mkdir(exist_ok=True)
        fetch(run, objects, State(run, objects.url), newer=True)
    return run


@contextmanager
def follow_copy(url: str, say: Say) -> Iterator[None]:
    """Bring the copy of `url` up to date from time to time, from a thread. Reports failures."""
    stop = threading.Event()

    def follow() -> None:
        failing = False
        while not stop.wait(FOLLOW_SECONDS):
            try:
                fetch_copy(url)
            except FactoryError as error:
                if not failing:
                    say(f"{error} The page shows what was there before.")
                failing = True
            else:
                failing = False

    thread = threading.Thread(target=follow, name="follow store", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()


@contextmanager
def _lock_copy(folder: Path) -> Iterator[None]:
    """Let one process at a time write a copy; the others wait."""
    while True:
        try:
            lock = lock_directory(folder, lock_only=True)
        except RunLocked:
            time.sleep(0.5)
            continue
        with lock:
            yield
        return


def _copies_folder() -> Path:
    return cache_dir() / "stores"


def refuse_copy(run: Path) -> None:
    """Raise RunError for a copy of a store: what is written there would not reach the store."""
    if run.resolve().is_relative_to(_copies_folder().resolve()):
        raise RunError(
            "this is a copy of a store, to be looked at; review where the run was built, or build "
            "it here from its store (`factory build RECIPE`)"
        )


def _is_known(state: State, name: str, one: Listed, local: tuple[int, int]) -> bool:
    """Whether a file was fetched before and changed on neither side."""
    known = state.files.get(name)
    same = known is not None and known.signature == local and known.signature.size == one.size
    return same and known is not None and bool(one.token) and known.token == one.token


def _fetch_file(run: Path, objects: Objects, name: str, one: Listed, state: State) -> None:
    scratch = run / SCRATCH / name
    scratch.parent.mkdir(parents=True, exist_ok=True)
    objects.download(name, scratch)
    target = run / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == DATABASE:
        for ending in DATABASE_LOGS:  # of the one that is replaced
            target.with_name(target.name + ending).unlink(missing_ok=True)
    os.replace(scratch, target)
    state.files[name] = Known(sign(target), one.token)


def _verify(
    run: Path, objects: Objects, state: State, listed: dict[str, Listed], names: Iterable[str]
) -> None:
    """Compare fetched files with their digests. A wrong one is fetched once more.

    What can be made again is left out then. Samples stay, and the build says what to do.
    """
    for name in names:
        path = run / name
        if check(path) != "damaged":
            continue
        _fetch_file(run, objects, name, listed[name], state)
        if check(path) == "damaged" and is_derived(name):
            for file in (path, path.with_name(path.name + DIGEST)):
                file.unlink(missing_ok=True)
            state.files.pop(name, None)


def _refuse_other_samples(run: Path, objects: Objects, names: Iterable[str]) -> None:
    """Raise RunError if a part here is not the one in the store."""

    def differs(name: str) -> bool:
        stored = objects.read(name + DIGEST)
        return (objects.digest(name) if stored is None else stored.decode()) != digest(run / name)

    names = list(names)
    with ThreadPoolExecutor(READERS) as pool:
        other = [name for name, found in zip(names, pool.map(differs, names), strict=True) if found]
    if other:
        raise RunError(
            f"{run / other[0]} has other samples than {other[0]} in store {objects.url}: the run "
            "went on in two places. Build in an empty folder to go on from the store, or give this "
            "folder a store of its own; no samples are lost."
        )
