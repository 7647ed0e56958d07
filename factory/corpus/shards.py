"""Writes rows in any order as sharded Parquet, sorted by place, in bounded memory.

A shuffle in two passes. First each row goes to the bucket of its range of places: in memory up to
`MEMORY_BYTES`, and compressed on disk beyond that. Then each shard sorts its buckets one by one.
The bytes written depend on the rows and their places only.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from polars.datatypes import DataTypeClass

from factory.core.checksums import digest_folder, folder_digests_path
from factory.core.files import storage_error, sync_dir, write_atomic

BUCKET_ROWS = 2048
"""Rows per bucket, which are sorted, compressed and written at once as a row group."""

MEMORY_BYTES = 1 << 30
"""Bytes of rows in memory. Older ones go to disk: a small corpus never does."""

SPILL_BYTES = 64 << 20
"""Bytes of rows that go to disk at once."""

WRITERS = 2
"""Shards written at once. Each has one bucket in memory."""

PLACE = "place"


def write_shards(
    rows: Iterable[pa.Table],
    splits: Mapping[str, int],
    target: Path,
    schema: pa.Schema,
    *,
    shard_rows: int,
    shard_bytes: int | None = None,
    dictionary: Sequence[str] = (),
) -> list[Path]:
    """Write `rows` to `target`/<split>-00000-of-000NN.parquet and return the files.

    Tables have `schema` and the column `place`, which numbers the rows of all `splits` in order,
    from 0. `splits` maps each split to its number of rows. `dictionary` names the columns to
    encode with a dictionary. The old content of `target` is replaced at the end.
    """
    scratch = target.with_name(target.name + ".partial")
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        (scratch / "buckets").mkdir(parents=True)
        sizes = np.zeros(sum(splits.values()) if shard_bytes else 0, np.int64)
        with ThreadPoolExecutor(1) as spiller:
            buckets = _Buckets(scratch / "buckets", spiller)
            for table in rows:
                if shard_bytes:
                    sizes[_places(table)] = row_bytes(table)
                buckets.append(table)
            buckets.close()
        cuts = {
            split: _shard_bounds(start, stop, shard_rows, shard_bytes, sizes)
            for split, (start, stop) in _ranges(splits)
        }
        shards = [
            _Shard(scratch / f"{split}-{number:05d}-of-{len(cuts[split]):05d}.parquet", *bounds)
            for split in cuts
            for number, bounds in enumerate(cuts[split])
        ]
        options = {"compression": "zstd", "use_dictionary": list(dictionary)}
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(lambda shard: _write_shard(shard, buckets, schema, options), shards))
        shutil.rmtree(scratch / "buckets")
        digests = digest_folder(scratch)
        folder_digests_path(target).unlink(missing_ok=True)
        _replace(target, scratch)
        write_atomic(folder_digests_path(target), digests)
    except OSError as error:
        raise storage_error(target, error) from error
    return sorted(target.glob("*.parquet"))


def _replace(target: Path, scratch: Path) -> None:
    old = target.with_name(target.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    sync_dir(scratch)
    if target.exists():
        target.rename(old)
    scratch.rename(target)
    sync_dir(target.parent)
    shutil.rmtree(old, ignore_errors=True)


class _Shard(NamedTuple):
    """One file and its range of places."""

    file: Path
    start: int
    stop: int


def _ranges(splits: Mapping[str, int]) -> Iterator[tuple[str, tuple[int, int]]]:
    start = 0
    for split, rows in splits.items():
        yield split, (start, start + rows)
        start += rows


def _shard_bounds(
    start: int, stop: int, shard_rows: int, shard_bytes: int | None, sizes: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Return each shard's range of places: at most `shard_rows` and `shard_bytes`, never empty."""
    bounds = []
    while start < stop:
        end = min(start + shard_rows, stop)
        if shard_bytes:
            fitting = int(np.searchsorted(np.cumsum(sizes[start:end]), shard_bytes, side="right"))
            end = start + max(fitting, 1)
            end = min(end, stop)
        bounds.append((start, end))
        start = end
    return bounds


class _Buckets:
    """Rows by bucket. The latest rows are in memory, those before them in files."""

    def __init__(self, folder: Path, spiller: Executor) -> None:
        self._folder = folder
        self._spiller = spiller
        self._spilling: Future[None] | None = None
        self._tables: deque[pa.Table] = deque()
        self._held = 0
        self._sorted: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def append(self, table: pa.Table) -> None:
        """Add rows. If memory is full, `spiller` appends the oldest ones to files meanwhile."""
        self._tables.append(table)
        self._held += table.nbytes
        if self._held > MEMORY_BYTES:
            oldest = []
            size = 0
            while self._tables and size < SPILL_BYTES:
                oldest.append(self._tables.popleft())
                size += oldest[-1].nbytes
            self._held -= size
            self._wait()
            self._spilling = self._spiller.submit(self._spill, oldest)

    def close(self) -> None:
        """End the first pass: no more rows come."""
        self._wait()
        orders = (np.argsort(_places(table)) for table in self._tables)
        self._sorted = [
            (_places(table)[order], order)
            for table, order in zip(self._tables, orders, strict=True)
        ]

    def _wait(self) -> None:
        if self._spilling is not None:
            self._spilling.result()
            self._spilling = None

    def _spill(self, tables: list[pa.Table]) -> None:
        rows = _sort_rows(tables)
        buckets = _places(rows) // BUCKET_ROWS
        starts = np.flatnonzero(np.diff(buckets, prepend=-1))
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        for start, stop in zip(starts, [*starts[1:], len(buckets)], strict=True):
            with (
                open(self._file(int(buckets[start])), "ab") as stream,
                pa.ipc.new_stream(stream, rows.schema, options=options) as writer,
            ):
                writer.write_table(rows.slice(start, stop - start))

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:06d}.arrows"

    def read(self, number: int) -> pa.Table:
        """Return a bucket's rows, sorted. Its file is a sequence of Arrow streams."""
        tables = []
        file = self._file(number)
        if file.exists():
            with pa.OSFile(str(file), "rb") as stream:
                while stream.tell() < stream.size():
                    with pa.ipc.open_stream(stream) as reader:
                        tables.append(reader.read_all())
        bounds = [number * BUCKET_ROWS, (number + 1) * BUCKET_ROWS]
        for table, (places, order) in zip(self._tables, self._sorted, strict=True):
            start, stop = np.searchsorted(places, bounds)
            tables.append(table.take(order[start:stop]))
        return _sort_rows(tables)


def _sort_rows(tables: Sequence[pa.Table]) -> pa.Table:
    table = pa.concat_tables(tables).combine_chunks()
    return table.take(pc.sort_indices(table[PLACE]))


def _places(table: pa.Table) -> NDArray[np.int64]:
    # Arrow's own `to_numpy` imports pandas if it is installed, which takes a second.
    places: NDArray[np.int64] = pl.Series(table[PLACE]).to_numpy()
    return places


def _write_shard(
    shard: _Shard, buckets: _Buckets, schema: pa.Schema, options: Mapping[str, Any]
) -> None:
    with open(shard.file, "wb") as stream:
        with pq.ParquetWriter(stream, schema, **options) as writer:
            for number in range(shard.start // BUCKET_ROWS, (shard.stop - 1) // BUCKET_ROWS + 1):
                rows = buckets.read(number)
                first = max(shard.start - number * BUCKET_ROWS, 0)  # the bucket is complete by now
                last = min(shard.stop - number * BUCKET_ROWS, BUCKET_ROWS)
                writer.write_table(rows.drop_columns([PLACE]).slice(first, last - first))
        stream.flush()
        os.fsync(stream.fileno())


def row_bytes(table: pa.Table) -> pl.Series:
    """Return the size of each row in memory, in bytes."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    sizes = (_size(pl.col(name), kind) for name, kind in frame.schema.items())
    return frame.select(pl.sum_horizontal(sizes)).to_series()


def _size(value: pl.Expr, kind: pl.DataType | DataTypeClass) -> pl.Expr:
    match kind:
        case pl.String():
            size = value.str.len_bytes().cast(pl.Int64)
        case pl.List():
            size = value.list.eval(_size(pl.element(), kind.inner)).list.sum()
        case pl.Struct():
            fields = (_size(value.struct.field(field.name), field.dtype) for field in kind.fields)
            size = pl.sum_horizontal(fields)
        case _:
            return pl.lit(8, pl.Int64)
    return size.fill_null(0)
