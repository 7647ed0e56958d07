"""A build with a store: locks it, goes on from what it has, and keeps it equal to the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from factory.core.errors import FactoryError, StoreError
from factory.core.run_dir import RunDir, sample_parts
from factory.stores.fetch import fetch
from factory.stores.layout import MANIFEST, State, is_kept
from factory.stores.lock import FOLDER, StoreLock
from factory.stores.mirror import Mirror
from factory.stores.objects import Objects

if TYPE_CHECKING:
    from rich.console import Console

    from factory.stores.options import Store

MB = 1e6


@contextmanager
def keep_in_store(
    store: Store | None, run: Path, console: Console
) -> Iterator[Callable[[], None] | None]:
    """Keep `run` in a store while the block runs. Yields a check that raises once it is lost.

    Before the block: the store is tried and locked, and `run` gets what it lacks. After it, the
    store has everything. Raises StoreError if the store can't be used, RunLocked if another build
    uses it, RunError if `run` and the store went separate ways.
    """
    if store is None:
        yield None
        return

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    _refuse_nested(store, run)
    objects = open_store(store)
    lock = StoreLock(objects, exclusive=store.lock)
    try:
        lock.acquire(say)
        mirror = _catch_up(run, objects, lock, say)
        mirror.start()
        try:
            yield mirror.check
        except BaseException:
            _close_quietly(mirror, say)
            raise
        mirror.close()
        if mirror.written:
            say(f"store {store.url} has the whole run; {mirror.written:,} files were written")
    finally:
        try:
            lock.release()
        except StoreError as error:
            say(f"{error} Its lock was not given back; the next build waits a minute.")


def open_store(store: Store) -> Objects:
    """Try a store: write, read and delete an object.

    Raises StoreError if it can't be used, or if what it has is no run.
    """
    objects = Objects(store.url)
    objects.refuse_unusable()
    _refuse_foreign(objects)
    if store.lock and not objects.has_conditional_writes():
        raise StoreError(
            f"store {store.url} ignores conditional writes (If-None-Match), so it cannot be "
            "locked: two builds would overwrite each other. Use a store that has them (S3 does), "
            "or set store.lock: false and see to it that only one build uses it."
        )
    return objects


def _refuse_nested(store: Store, run: Path) -> None:
    """Raise StoreError for a folder that holds `run` or lies in it: it would copy itself."""
    protocol, _, folder = store.url.partition("://")
    if protocol not in ("file", "local"):
        return
    kept, own = Path(folder).resolve(), run.resolve()
    if kept.is_relative_to(own) or own.is_relative_to(kept):
        raise StoreError(
            f"store {store.url} and the run directory {own} are in one another. A store is a copy: "
            "name a folder elsewhere, on another disk or machine."
        )


def _refuse_foreign(objects: Objects) -> None:
    """Raise StoreError if there are files, but none that a build with a store begins with.

    A build replaces and deletes files of its names.
    """
    names = objects.list()
    if MANIFEST in names or any(name.startswith(f"{FOLDER}/") for name in names):
        return
    others = sorted(name for name in names if is_kept(name))
    if others:
        listing = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise StoreError(
            f"store {objects.url} is not empty and has no run; it has {listing}. A build would "
            "replace and delete files there: name a prefix of its own for this run."
        )


def _catch_up(run: Path, objects: Objects, lock: StoreLock, say: Callable[[str], None]) -> Mirror:
    """Bring to `run` what the store has, and note that this driver goes on from there."""
    with RunDir(run):  # seals what a killed process left, so that it can be compared
        state = State(run, objects.url)
        others_wrote = lock.previous is not None and lock.previous != state.driver
        found = fetch(run, objects, state, newer=others_wrote)
        state.driver = lock.token
        state.save()
    if found.files:
        say(
            f"store {objects.url}: fetched {found.files:,} files, {found.parts:,} of them parts of "
            f"samples ({found.bytes / MB:,.1f} MB); {len(sample_parts(run)):,} parts in {run}"
        )
    return Mirror(run, objects, lock, state, say)


def _close_quietly(mirror: Mirror, say: Callable[[str], None]) -> None:
    """Write what is left although the build failed. Its own error is what the user must see."""
    try:
        mirror.close()
    except FactoryError as error:
        say(str(error))
