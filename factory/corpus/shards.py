"""Writes rows in any order as sharded Parquet, sorted by place, in bounded memory.

A shuffle on disk in two passes. First each row is appended, compressed, to the bucket of its range
of places. Then each shard sorts its buckets one by one. Memory holds a few buckets, whatever the
size of the corpus. The bytes written depend on the rows and their places only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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

SPREAD_BYTES = 64 << 20
"""Bytes of rows buffered before they are appended to the buckets."""

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
        _distribute(rows, scratch / "buckets", sizes)
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
            list(pool.map(lambda shard: _write_shard(shard, schema, options), shards))
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


def _distribute(rows: Iterable[pa.Table], folder: Path, sizes: NDArray[np.int64]) -> None:
    """Append every row to its bucket. Fills `sizes` with row sizes in bytes unless it is empty.

    One thread appends rows while the next ones are read.
    """
    pending: list[pa.Table] = []
    held = 0
    with ThreadPoolExecutor(1) as appender:
        appending: Future[None] | None = None
        for table in rows:
            if sizes.size:
                sizes[_places(table)] = row_bytes(table)
            pending.append(table)
            held += table.nbytes
            if held >= SPREAD_BYTES:
                if appending is not None:
                    appending.result()
                appending = appender.submit(_append, pending, folder)
                pending, held = [], 0
        if appending is not None:
            appending.result()
        if pending:
            _append(pending, folder)


def _append(tables: list[pa.Table], folder: Path) -> None:
    table = pa.concat_tables(tables).combine_chunks()
    table = table.take(pc.sort_indices(table[PLACE]))
    buckets = _places(table) // BUCKET_ROWS
    starts = np.flatnonzero(np.diff(buckets, prepend=-1))
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    for start, stop in zip(starts, [*starts[1:], len(buckets)], strict=True):
        with (
            open(_bucket_file(folder, int(buckets[start])), "ab") as stream,
            pa.ipc.new_stream(stream, table.schema, options=options) as writer,
        ):
            writer.write_table(table.slice(start, stop - start))


def _places(table: pa.Table) -> NDArray[np.int64]:
    # Arrow's own `to_numpy` imports pandas if it is installed, which takes a second.
    places: NDArray[np.int64] = pl.Series(table[PLACE]).to_numpy()
    return places


def _bucket_file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.arrows"


def _read_bucket(folder: Path, number: int) -> pa.Table:
    """Read a bucket and sort its rows. The file is a sequence of Arrow streams."""
    tables = []
    with pa.OSFile(str(_bucket_file(folder, number)), "rb") as file:
        while file.tell() < file.size():
            with pa.ipc.open_stream(file) as stream:
                tables.append(stream.read_all())
    table = pa.concat_tables(tables).combine_chunks()
    return table.take(pc.sort_indices(table[PLACE]))


def _write_shard(shard: _Shard, schema: pa.Schema, options: Mapping[str, Any]) -> None:
    with open(shard.file, "wb") as stream:
        with pq.ParquetWriter(stream, schema, **options) as writer:
            for number in range(shard.start // BUCKET_ROWS, (shard.stop - 1) // BUCKET_ROWS + 1):
                rows = _read_bucket(shard.file.parent / "buckets", number)
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
