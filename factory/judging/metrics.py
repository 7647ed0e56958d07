"""The metrics that filters measure on a run's samples, cached per part.

Measuring is expensive and is done once. Each metrics file stores a key of its inputs. The folder
name of a filter has a hash of the options that `measure` reads.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from polars.selectors import Selector

from factory.core.checksums import check
from factory.core.errors import RunError
from factory.core.files import write_parquet
from factory.core.parallel import cores, spread
from factory.core.think import split_think_exprs
from factory.judging.own_words import use_own_words
from filters.base import (
    BASE_COLUMNS,
    INPUT_COLUMNS,
    Ask,
    Filter,
    Rule,
    measure_rows,
    turns_type,
)

_INPUTS = b"factory.inputs"
_SAMPLED = ("prompt_id", "index", "text", "finish_reason", "n_tokens")
_TURNS = "turns"

SPREAD_BYTES = 16 << 20
"""Compressed text from which starting processes pays off: a start takes 2 s, a part about 5 s."""

SLICE_ROWS = 1024
"""Samples of a part measured at once. Bounds memory, as texts are copied several times."""

BATCH_PARTS = 32
"""Parts decided at once: a call costs about the same for 100,000 rows as for four."""


class TextHash(Filter):
    """Hash of the text, to find exact duplicates. It drops nothing itself."""

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        digests = [xxhash.xxh3_64_intdigest(text.encode()) for text in samples["text"]]
        return samples.select("sample_id", text_hash=pl.Series(digests, dtype=pl.UInt64))

    def rules(self) -> list[Rule]:
        return []


def prompt_frame(run: Path, *, verifiers: bool = True) -> pl.DataFrame:
    """Return the prompts of a run, as `describe_prompts` does."""
    return describe_prompts(pl.scan_parquet(run / "prompts.parquet"), verifiers=verifiers)


def describe_prompts(prompts: pl.LazyFrame, *, verifiers: bool = True) -> pl.DataFrame:
    """Return prompt_id, question, domain, source, language, verifier, cot and tools of prompts.

    Without `verifiers` that column is null: a prompt's tests can be much larger than its text.
    """
    messages = pl.col("messages")
    last_user = (
        messages.list.eval(
            pl.element().struct.field("content").filter(pl.element().struct.field("role") == "user")
        )
        .list.last()
        .fill_null("")
    )
    verifier = pl.col("verifier") if verifiers else pl.lit(None, pl.String).alias("verifier")
    if "tools" not in prompts.collect_schema():  # written by 0.1.0
        prompts = prompts.with_columns(tools=pl.lit(None, pl.String))
    return prompts.select(
        *("domain", "source", "language", verifier, "tools"),
        prompt_id="id",
        question=last_user,
        cot=pl.col("meta").str.json_path_match("$.cot.asked") == "true",
    ).collect()


def sample_key() -> pl.Expr:
    return pl.format("{}-{}", "prompt_id", "index").alias("sample_id")


def input_frame(samples: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
    """Return samples as filters get them. Samples of prompts not in `prompts` are left out."""
    absent = {"cot": pl.Boolean, "tools": pl.String}
    prompts = prompts.with_columns(
        pl.lit(None, dtype=kind).alias(name)
        for name, kind in absent.items()
        if name not in prompts.columns
    )
    if _TURNS not in samples.columns:
        samples = samples.with_columns(pl.lit(None, turns_type()).alias(_TURNS))
    return use_own_words(
        samples.select(*_SAMPLED, pl.col(_TURNS).cast(turns_type()))
        .join(prompts, on="prompt_id", how="inner", maintain_order="left")
        .with_columns(sample_key(), **split_think_exprs())
        .select(INPUT_COLUMNS)
    )


def scan_samples(parts: Sequence[Path], include_file_paths: str | None = None) -> pl.LazyFrame:
    """Scan the columns that every part of the samples has; only some have turns."""
    return pl.scan_parquet(
        list(parts),
        include_file_paths=include_file_paths,
        missing_columns="insert",
        extra_columns="ignore",
    )


def scan_whole_samples(parts: Sequence[Path]) -> pl.LazyFrame:
    """Scan all columns; `turns` is null in parts that have none, and absent if no part has any."""
    return pl.concat([pl.scan_parquet(part) for part in parts], how="diagonal")


def base_frame(part: Path, prompts: pl.DataFrame) -> pl.DataFrame:
    """Return the narrow columns of a part that rules may read. Reads no text."""
    return narrow_rows([part], prompts).select(BASE_COLUMNS)


def narrow_rows(parts: Sequence[Path], prompts: pl.DataFrame) -> pl.DataFrame:
    """Return `base_frame` of several parts, with the file name of each row as `part`."""
    narrow = prompts.lazy().select("prompt_id", "domain", "source", "language")
    return (
        scan_samples(parts, include_file_paths="part")
        .select("prompt_id", "index", "finish_reason", "n_tokens", "part")
        .join(narrow, on="prompt_id", how="inner", maintain_order="left")
        .with_columns(sample_key(), pl.col("part").str.split("/").list.last())
        .select(*BASE_COLUMNS, "part")
        .collect()
    )


def split_by_part(rows: pl.DataFrame, parts: Sequence[Path]) -> dict[Path, pl.DataFrame]:
    """Split rows by `part`. Parts without rows get an empty frame."""
    found = rows.partition_by("part", as_dict=True, include_key=False)
    return {part: found.get((part.name,), rows.clear().drop("part")) for part in parts}


def batches(parts: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(parts), BATCH_PARTS):
        yield parts[start : start + BATCH_PARTS]


def metrics_folder(run: Path, name: str, filter_: Filter) -> Path:
    """Return the folder of a filter's metrics. The cache key may read files: call it once."""
    return run / "metrics" / f"{name}-{filter_.cache_key()}"


def metrics_file(run: Path, name: str, filter_: Filter, part: str) -> Path:
    """Return the file of a filter's metrics on one part of the samples."""
    return metrics_folder(run, name, filter_) / f"{part}.parquet"


def inputs_key(base: pl.DataFrame) -> str:
    """Return a hash of what a part's metrics depend on: its samples and their prompts' columns.

    If a source changes its language or gains a prompt, only the parts with its samples are stale.
    """
    row = pl.concat_str(pl.col("sample_id", "domain", "source", "language"), separator="\t")
    lines = base.select(row.fill_null("-").sort()).to_series()
    return xxhash.xxh3_64_hexdigest("\n".join(lines).encode())


def save_metrics(
    run: Path, name: str, filter_: Filter, part: str, metrics: pl.DataFrame, inputs: str
) -> None:
    table = metrics.to_arrow().replace_schema_metadata({_INPUTS: inputs.encode()})
    write_parquet(metrics_file(run, name, filter_, part), table)


def _is_measured(path: Path, inputs: str) -> bool:
    try:
        metadata = pq.read_schema(path).metadata or {}
        return bool(metadata.get(_INPUTS) == inputs.encode()) and check(path) != "damaged"
    except (OSError, pa.ArrowException):
        return False  # absent or damaged: measured again


def measure_parts(
    run: Path,
    parts: Sequence[Path],
    prompts: pl.DataFrame,
    filters: Mapping[str, Filter],
    ask: Ask | None = None,
) -> Counter[str]:
    """Measure what is not measured yet. Returns the number of parts that each filter measured.

    Large amounts of text are spread over processes. Filters that are not `PARALLEL` run here.
    """
    measured = Counter[str]()
    missing = find_unmeasured(run, parts, prompts, filters)
    textual = {name: filter_ for name, filter_ in filters.items() if filter_.PARALLEL}
    stale = [part for part in parts if missing[part] & textual.keys()]
    if len(stale) > 1 and cores() > 1 and sum(p.stat().st_size for p in stale) >= SPREAD_BYTES:
        for names in spread(_measure_in_worker, stale, _init_worker, run, textual):
            measured.update(names)
        missing = {part: left - textual.keys() for part, left in missing.items()}
    for part, left in missing.items():
        here = {name: filter_ for name, filter_ in filters.items() if name in left}
        measured.update(measure_part(run, part, prompts, here, ask) if here else ())
    return measured


def find_unmeasured(
    run: Path, parts: Sequence[Path], prompts: pl.DataFrame, filters: Mapping[str, Filter]
) -> dict[Path, set[str]]:
    """Return for each part the filters that have not measured it."""
    folders = {name: metrics_folder(run, name, filter_) for name, filter_ in filters.items()}
    missing = {}
    for some in batches(parts):
        rows = split_by_part(narrow_rows(some, prompts), some)
        for part in some:
            inputs = inputs_key(rows[part])
            missing[part] = {
                name
                for name, folder in folders.items()
                if not _is_measured(folder / part.name, inputs)
            }
    return missing


def measure_part(
    run: Path,
    part: Path,
    prompts: pl.DataFrame,
    filters: Mapping[str, Filter],
    ask: Ask | None = None,
) -> list[str]:
    """Measure what is not measured yet of a part. Returns the names of the filters that ran.

    The text is read once. `ask` queries a local model for filters that need one.
    """
    inputs = inputs_key(base_frame(part, prompts))
    missing = {
        name: filter_
        for name, filter_ in filters.items()
        if not _is_measured(metrics_file(run, name, filter_, part.stem), inputs)
    }
    if missing:
        for name, metrics in measure_samples(read_sampled(part), prompts, missing, ask).items():
            save_metrics(run, name, missing[name], part.stem, metrics, inputs)
    return list(missing)


def measure_samples(
    samples: pl.DataFrame,
    prompts: pl.DataFrame,
    filters: Mapping[str, Filter],
    ask: Ask | None = None,
) -> dict[str, pl.DataFrame]:
    """Return the metrics of each filter on samples of a part, as `read_sampled` gives them."""
    found: dict[str, list[pl.DataFrame]] = {name: [] for name in filters}
    for some in samples.iter_slices(SLICE_ROWS):
        rows = input_frame(some, prompts)
        for name, filter_ in filters.items():
            found[name].append(measure_rows(filter_, rows, ask))
    return {name: pl.concat(frames, how="vertical_relaxed") for name, frames in found.items()}


def read_sampled(part: Path | bytes) -> pl.DataFrame:
    """Read what `input_frame` needs of a part: a file, or the content of one."""
    source = io.BytesIO(part) if isinstance(part, bytes) else part
    has_turns = _TURNS in pl.read_parquet_schema(source)
    return pl.read_parquet(source, columns=[*_SAMPLED, *[_TURNS] * has_turns])


_measuring: tuple[Path, pl.DataFrame, dict[str, Filter]]
"""The run, the prompts and the filters of a worker process."""


def _init_worker(run: Path, filters: dict[str, Filter]) -> None:
    global _measuring
    _measuring = run, prompt_frame(run, verifiers=False), filters


def _measure_in_worker(part: Path) -> list[str]:
    run, prompts, filters = _measuring
    return measure_part(run, part, prompts, filters)


def load_measured_frame(
    part: Path, prompts: pl.DataFrame, folders: Mapping[str, Path]
) -> pl.DataFrame:
    """Return a part's base columns and the metrics in `folders`, by filter; joined by sample id."""
    metrics = {name: read_metrics(folder, [part], pl.all()) for name, folder in folders.items()}
    return join_metrics(base_frame(part, prompts), metrics)


def read_metrics(folder: Path, parts: Sequence[Path], columns: pl.Expr | Selector) -> pl.DataFrame:
    """Read columns of a filter's metrics on several parts. Raises RunError if one is unreadable."""
    if parts and not folder.is_dir():
        run, name = folder.parent.parent, folder.name.rpartition("-")[0]
        raise RunError(
            f"{run} has no metrics of the filter {name!r} as this version and these settings "
            f"measure it (there is no {folder}); `factory filter {run}` measures the saved samples "
            "and starts no engine"
        )
    scans = [pl.scan_parquet(folder / part.name).select(columns) for part in parts]
    try:
        return pl.concat(pl.collect_all(scans), how="vertical_relaxed")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(
            f"the metrics in {folder} cannot be read ({error}); delete the folder and build again "
            "to measure them again"
        ) from error


def join_metrics(base: pl.DataFrame, metrics: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Join base columns and metrics by sample id."""
    frame = base.select(BASE_COLUMNS)
    for measured in metrics.values():
        frame = add_metrics(frame, measured)
    return frame


def add_metrics(frame: pl.DataFrame, measured: pl.DataFrame) -> pl.DataFrame:
    """Add a filter's metrics by sample id. A metric that is there already is the same: filters
    share one only where they measure it in the same way."""
    new = measured.drop(set(frame.columns) - {"sample_id"}, strict=False)
    return frame.join(new, on="sample_id", how="left", maintain_order="left")
