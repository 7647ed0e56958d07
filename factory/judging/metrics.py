"""What filters measure of a run's samples, kept beside them part by part.

Measuring is dear and is done once: what a part's metrics were measured of is written into them, and
a filter's folder is named by what `measure` reads of the filter.
"""

from __future__ import annotations

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
from filters.base import BASE_COLUMNS, INPUT_COLUMNS, Ask, Filter

_INPUTS = b"factory.inputs"
_SAMPLED = ["prompt_id", "index", "text", "finish_reason", "n_tokens"]

SPREAD_BYTES = 16 << 20
"""Compressed text from which starting processes pays: one takes two seconds, a part some five."""

SLICE_ROWS = 1024
"""Samples of a part measured at once: their texts are copied several times over on the way."""

BATCH_PARTS = 32
"""Parts decided at once: a call costs about as much for a hundred thousand rows as for four."""


def prompt_frame(run: Path, *, verifiers: bool = True) -> pl.DataFrame:
    """What judging needs: prompt_id, question, domain, source, language, verifier, cot.

    Without `verifiers` that column is null: a prompt's tests can be many times its text.
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
    return (
        pl.scan_parquet(run / "prompts.parquet")
        .select(
            *("domain", "source", "language", verifier),
            prompt_id="id",
            question=last_user,
            cot=pl.col("meta").str.json_path_match("$.cot.asked") == "true",
        )
        .collect()
    )


def sample_key() -> pl.Expr:
    return pl.format("{}-{}", "prompt_id", "index").alias("sample_id")


def input_frame(samples: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
    """Sampled rows as filters are given them. Samples of prompts no longer asked for drop out."""
    if "cot" not in prompts.columns:
        prompts = prompts.with_columns(cot=pl.lit(None, dtype=pl.Boolean))
    return (
        samples.select(_SAMPLED)
        .join(prompts, on="prompt_id", how="inner", maintain_order="left")
        .with_columns(sample_key(), **split_think_exprs())
        .select(INPUT_COLUMNS)
    )


def base_frame(part: Path, prompts: pl.DataFrame) -> pl.DataFrame:
    """The narrow columns of a part that rules may read; no text is touched."""
    return narrow_rows([part], prompts).select(BASE_COLUMNS)


def narrow_rows(parts: Sequence[Path], prompts: pl.DataFrame) -> pl.DataFrame:
    """`base_frame` of several parts, and the `part` of each row: its file's name."""
    narrow = prompts.lazy().select("prompt_id", "domain", "source", "language")
    return (
        pl.scan_parquet(list(parts), include_file_paths="part")
        .select("prompt_id", "index", "finish_reason", "n_tokens", "part")
        .join(narrow, on="prompt_id", how="inner", maintain_order="left")
        .with_columns(sample_key(), pl.col("part").str.split("/").list.last())
        .select(*BASE_COLUMNS, "part")
        .collect()
    )


def by_part(rows: pl.DataFrame, parts: Sequence[Path]) -> dict[Path, pl.DataFrame]:
    """Rows by their `part`; none of a part is no reason to leave it out."""
    found = rows.partition_by("part", as_dict=True, include_key=False)
    return {part: found.get((part.name,), rows.clear().drop("part")) for part in parts}


def batches(parts: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(parts), BATCH_PARTS):
        yield parts[start : start + BATCH_PARTS]


def metrics_folder(run: Path, name: str, judge: Filter) -> Path:
    """Where the metrics of one filter are kept. Its key may read files: ask once for all parts."""
    return run / "metrics" / f"{name}-{judge.cache_key()}"


def metrics_file(run: Path, name: str, judge: Filter, part: str) -> Path:
    """Where the metrics of one filter over one part of the samples are kept."""
    return metrics_folder(run, name, judge) / f"{part}.parquet"


def inputs_key(base: pl.DataFrame) -> str:
    """Names what a part's metrics were measured of: its samples, and their prompts' columns.

    A source that changes its language or gains a prompt makes just the parts it touches stale.
    """
    row = pl.concat_str(pl.col("sample_id", "domain", "source", "language"), separator="\t")
    lines = base.select(row.fill_null("-").sort()).to_series()
    return xxhash.xxh3_64_hexdigest("\n".join(lines).encode())


def save_metrics(
    run: Path, name: str, judge: Filter, part: str, metrics: pl.DataFrame, inputs: str
) -> None:
    table = metrics.to_arrow().replace_schema_metadata({_INPUTS: inputs.encode()})
    write_parquet(metrics_file(run, name, judge, part), table)


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
    """Measure what is not yet measured; returns how many parts each filter had to.

    Much text is spread over processes; what is not `PARALLEL` is measured here.
    """
    measured = Counter[str]()
    missing = unmeasured(run, parts, prompts, filters)
    textual = {name: judge for name, judge in filters.items() if judge.PARALLEL}
    stale = [part for part in parts if missing[part] & textual.keys()]
    if len(stale) > 1 and cores() > 1 and sum(p.stat().st_size for p in stale) >= SPREAD_BYTES:
        for names in spread(_measure, stale, _begin_measuring, run, textual):
            measured.update(names)
        missing = {part: left - textual.keys() for part, left in missing.items()}
    for part, left in missing.items():
        here = {name: judge for name, judge in filters.items() if name in left}
        measured.update(measure_part(run, part, prompts, here, ask) if here else ())
    return measured


def unmeasured(
    run: Path, parts: Sequence[Path], prompts: pl.DataFrame, filters: Mapping[str, Filter]
) -> dict[Path, set[str]]:
    """Each part's filters that have yet to measure it."""
    folders = {name: metrics_folder(run, name, judge) for name, judge in filters.items()}
    missing = {}
    for some in batches(parts):
        rows = by_part(narrow_rows(some, prompts), some)
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
    """Measure what is not yet measured of a part, reading its text once; returns which filters.

    `ask` reaches the run's own engine, for a filter that has it judge.
    """
    inputs = inputs_key(base_frame(part, prompts))
    missing = {
        name: judge
        for name, judge in filters.items()
        if not _is_measured(metrics_file(run, name, judge, part.stem), inputs)
    }
    found: dict[str, list[pl.DataFrame]] = {name: [] for name in missing}
    samples = pl.read_parquet(part, columns=_SAMPLED) if missing else pl.DataFrame()
    for some in samples.iter_slices(SLICE_ROWS):
        rows = input_frame(some, prompts)
        for name, judge in missing.items():
            found[name].append(judge.measure_with(rows, ask))
    for name, metrics in found.items():
        whole = pl.concat(metrics, how="vertical_relaxed")
        save_metrics(run, name, missing[name], part.stem, whole, inputs)
    return list(missing)


_measuring: tuple[Path, pl.DataFrame, dict[str, Filter]]
"""What a measuring process was begun with."""


def _begin_measuring(run: Path, filters: dict[str, Filter]) -> None:
    global _measuring
    _measuring = run, prompt_frame(run, verifiers=False), filters


def _measure(part: Path) -> list[str]:
    run, prompts, filters = _measuring
    return measure_part(run, part, prompts, filters)


def measured_frame(
    run: Path, part: Path, prompts: pl.DataFrame, filters: Mapping[str, Filter]
) -> pl.DataFrame:
    """A part's base columns and every metric, joined by sample id."""
    metrics = {
        name: read_metrics(metrics_folder(run, name, judge), [part], pl.all())
        for name, judge in filters.items()
    }
    return measured_frame_of(base_frame(part, prompts), metrics)


def read_metrics(folder: Path, parts: Sequence[Path], columns: pl.Expr | Selector) -> pl.DataFrame:
    """Some columns of a filter's metrics over some parts."""
    scans = [pl.scan_parquet(folder / part.name).select(columns) for part in parts]
    try:
        return pl.concat(pl.collect_all(scans), how="vertical_relaxed")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(
            f"the metrics in {folder} cannot be read ({error}); delete that folder and build again "
            "to measure them anew"
        ) from error


def measured_frame_of(base: pl.DataFrame, metrics: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Base columns and metrics as one frame, joined by sample id."""
    frame = base.select(BASE_COLUMNS)
    for measured in metrics.values():
        frame = frame.join(measured, on="sample_id", how="left", maintain_order="left")
    return frame
