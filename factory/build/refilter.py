"""Filtering without sampling: a finished run with other limits, or a foreign data set."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import polars as pl
from rich.console import Console

from factory.build.build import assemble, record_start, refuse_mixing
from factory.core.errors import RunError, SourceError
from factory.core.files import write_atomic, write_parquet
from factory.core.parallel import cores, spread
from factory.core.run_dir import RunDir, read_manifest
from factory.core.think import split_think_exprs
from factory.judging.funnel import Funnel, load_funnel
from factory.judging.metrics import SPREAD_BYTES, join_metrics
from factory.judging.verdicts import decide, load_verdicts
from factory.prompts.readers import parse_object
from factory.recipe.build import Recipe
from filters.base import INPUT_COLUMNS, Filter, measure_rows, null_turns
from filters.language_id.scripts import normalized_language

COMPRESSION = 3
"""About how many times smaller text is in a Parquet file than in memory."""

BATCH_ROWS = 1024  # five or more batches are in memory at once


@dataclass(frozen=True)
class Change:
    """The effect of filtering again: both funnels and the samples whose outcome changed."""

    before: Funnel
    after: Funnel
    moved: pl.DataFrame  # sample_id, was, now: "keep" or a reason

    def facts(self) -> dict[str, Any]:
        """Return the change as plain values."""
        moved = self.moved.select("sample_id", "was", "now").rows(named=True)
        return {"before": self.before, "after": self.after, "moved": moved}

    def lines(self, examples: int = 3) -> Iterator[str]:
        """Format the change, with example sample ids."""
        gain = self.after.kept.samples - self.before.kept.samples
        yield f"kept {self.before.kept.samples:,} -> {self.after.kept.samples:,} ({gain:+,})"
        groups = self.moved.group_by("was", "now").agg(pl.len().alias("n"), pl.col("sample_id"))
        for was, now, count, names in groups.sort("n", "was", "now", descending=True).rows():
            yield f"  {count:,} {was} -> {now}: {', '.join(sorted(names)[:examples])}"


def filter_run(recipe: Recipe, run: Path, console: Console) -> Change:
    """Judge a run's samples by `recipe` and write its corpus again. Starts no engine.

    Raises RunError if the recipe's sampling settings differ from the run's.
    """
    if not read_manifest(run):
        raise RunError(f"{run} has no run.json; create the run with `factory build`")
    before, old = load_funnel(run), _read_outcomes(run)
    with RunDir(run) as directory:
        refuse_mixing(recipe, directory)
        record_start(recipe, directory)
        after = assemble(recipe, directory, console)
    moved = (
        old.join(_read_outcomes(run), on="sample_id", how="full", coalesce=True, suffix="_now")
        .rename({"outcome": "was", "outcome_now": "now"})
        .filter(pl.col("was").ne_missing(pl.col("now")))
        .with_columns(pl.col("was", "now").fill_null("absent"))
    )
    return Change(before, after, moved)


def preview_run(recipe: Recipe, run: Path, console: Console) -> Change:
    """Return what `filter_run` would change. Works on a scratch copy and writes nothing into the
    run."""
    with TemporaryDirectory(prefix="factory-preview-") as scratch:
        return filter_run(recipe, copy_run(run, Path(scratch)), console)


def copy_run(run: Path, folder: Path) -> Path:
    """Copy a run into a folder, to try something out. Its Parquet files are linked."""
    copy = folder / run.name
    skipped = shutil.ignore_patterns("report*", "corpus", "run.lock")
    shutil.copytree(run, copy, ignore=skipped, copy_function=link_or_copy)
    return copy


def link_or_copy(source: str, target: str) -> str:
    """Link a Parquet file, which is only ever replaced as a whole; copy one that may be appended
    to."""
    if source.endswith(".parquet"):
        Path(target).symlink_to(Path(source).absolute())
        return target
    return str(shutil.copy2(source, target))


def _read_outcomes(run: Path) -> pl.DataFrame:
    outcome = pl.when(pl.col("decision") == "keep").then(pl.lit("keep")).otherwise("reason")
    return load_verdicts(run).select("sample_id", outcome=outcome).collect()


@dataclass(frozen=True)
class Columns:
    """The columns of a foreign data set that the filters read. Only `text` is required."""

    text: str = "text"
    prompt: str | None = None
    language: str | None = None
    id: str | None = None


class FileVerdicts(NamedTuple):
    """Rows per verdict, and rows per language code that the filters don't know."""

    verdicts: dict[str, int]
    unknown_languages: Counter[str]


def filter_file(
    file: Path, out: Path, filters: Mapping[str, Filter], columns: Columns
) -> FileVerdicts:
    """Judge every row of a Parquet or JSONL file. Writes id, metrics, verdict and reason per row.

    `out` is Parquet unless its name ends in .jsonl.
    Raises SourceError if the file or its text column cannot be read.
    """
    unknown: Counter[str] = Counter()
    batches = _count_unknown_languages(_batches(file, columns), unknown)
    written = list(_judge_batches(file.stat().st_size, batches, filters))
    table = pl.concat(written, how="vertical_relaxed")
    if out.suffix == ".jsonl":
        rows = table.iter_rows(named=True)
        write_atomic(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    else:
        write_parquet(out, table.to_arrow())
    return FileVerdicts(dict(table["verdict"].value_counts().iter_rows()), unknown)


Batch = tuple[pl.DataFrame, pl.DataFrame]
"""A frame with `sample_id` and the data set's own `id`, and one with `INPUT_COLUMNS`."""


def _count_unknown_languages(batches: Iterator[Batch], unknown: Counter[str]) -> Iterator[Batch]:
    """Pass the batches on and count unknown language codes in `unknown`."""
    for ids, rows in batches:
        for language, count in rows["language"].drop_nulls().value_counts().iter_rows():
            if language and normalized_language(language) is None:
                unknown[language] += count
        yield ids, rows


def filter_frame(
    rows: pl.DataFrame, filters: Mapping[str, Filter], columns: Columns
) -> pl.DataFrame:
    """Judge rows in memory: id, verdict, reason, filter and the metrics, in the rows' order."""
    numbered = rows.with_row_index("sample_id").cast({"sample_id": pl.String})
    batches = (
        (some.select("sample_id", id=columns.id or "sample_id"), _as_input(some, columns))
        for some in numbered.iter_slices(BATCH_ROWS)
    )
    size = int(rows[columns.text].estimated_size())
    return pl.concat(_judge_batches(size // COMPRESSION, batches, filters), how="vertical_relaxed")


def _judge_batches(
    size: int, batches: Iterator[Batch], filters: Mapping[str, Filter]
) -> Iterator[pl.DataFrame]:
    """Yield verdicts and metrics of each batch in order. Much text is spread over processes."""
    textual = all(filter_.PARALLEL for filter_ in filters.values())
    if textual and cores() > 1 and size >= SPREAD_BYTES:
        return spread(_judge_in_worker, batches, _init_worker, filters)
    return (_judge_batch(batch, filters) for batch in batches)


def _judge_batch(batch: Batch, filters: Mapping[str, Filter]) -> pl.DataFrame:
    ids, rows = batch
    metrics = {name: measure_rows(filter_, rows) for name, filter_ in filters.items()}
    measured = join_metrics(rows, metrics)
    verdicts = decide(measured, filters).select(
        "sample_id", verdict="decision", reason="reason", filter="filter"
    )
    names = [name for frame in metrics.values() for name in frame.columns[1:]]
    return (
        ids.join(verdicts, on="sample_id", maintain_order="left")
        .join(measured.select("sample_id", *names), on="sample_id", maintain_order="left")
        .drop("sample_id")
    )


_filters: dict[str, Filter] = {}  # the filters of a worker process


def _init_worker(filters: Mapping[str, Filter]) -> None:
    _filters.update(filters)


def _judge_in_worker(batch: Batch) -> pl.DataFrame:
    return _judge_batch(batch, _filters)


def _batches(file: Path, columns: Columns) -> Iterator[Batch]:
    """Read the file in batches."""
    named = {option: name for option, name in vars(columns).items() if name is not None}
    start = 0
    reader = READERS.get(file.suffix)
    if reader is None:
        raise SourceError(f"{file} is neither .parquet nor .jsonl; convert it to one of them")
    for rows in reader(file, named):
        # Ids of a data set may repeat, so rows are joined by their number.
        numbered = rows.with_row_index("sample_id", offset=start).cast({"sample_id": pl.String})
        start += rows.height
        yield (
            numbered.select("sample_id", id=columns.id or "sample_id"),
            _as_input(numbered, columns),
        )
    if not start:
        raise SourceError(f"{file} has no rows")


def _parquet(file: Path, named: Mapping[str, str]) -> Iterator[pl.DataFrame]:
    try:
        scan = pl.scan_parquet(file)
        schema = scan.collect_schema()
        _check(file, named, schema.names())
        for option, name in named.items():
            kind = schema[name]
            if kind.is_nested() or kind == pl.Binary:
                problem = f"column {name!r} (--{option}) is {kind}; name one of plain text"
                raise SourceError(f"{file}: {problem}")
        narrow = scan.select(pl.col(name).cast(pl.String) for name in sorted({*named.values()}))
        yield from (rows for rows in narrow.collect_batches(chunk_size=BATCH_ROWS) if rows.height)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SourceError(f"{file} cannot be read as a Parquet file: {error}") from error


def _json_lines(file: Path, named: Mapping[str, str]) -> Iterator[pl.DataFrame]:
    """Read JSON Lines with Python's json module: other readers fail at lone surrogates."""
    schema = dict.fromkeys(sorted({*named.values()}), pl.String)
    try:
        with file.open("rb") as stream:
            lines = ((n, line) for n, line in enumerate(stream, 1) if line.strip())
            for number, batch in enumerate(iter(lambda: [*islice(lines, BATCH_ROWS)], [])):
                rows = [parse_object(line, f"{file}:{n}") for n, line in batch]
                if number == 0:
                    _check(file, named, sorted({key for row in rows for key in row}))
                values = [
                    [_as_text(row.get(name), f"{file}:{n}: {name}") for name in schema]
                    for (n, _), row in zip(batch, rows, strict=True)
                ]
                yield pl.DataFrame(values, schema=schema, orient="row")
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error}") from error


Reader = Callable[[Path, Mapping[str, str]], Iterator[pl.DataFrame]]
READERS: dict[str, Reader] = {
    ".parquet": _parquet,
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), _json_lines),
}
"""Readers by file suffix. Files named .json are JSON Lines in most data sets."""


def _check(file: Path, named: Mapping[str, str], known: Sequence[str]) -> None:
    for option, name in named.items():
        if name not in known:
            listing = ", ".join(known)
            raise SourceError(f"{file} has no column {name!r} (--{option}); it has {listing}")


def _as_text(value: Any, place: str) -> str | None:
    if isinstance(value, list | dict):
        raise SourceError(f"{place} is a {type(value).__name__}; name a column of plain text")
    # Lone surrogates can't be encoded as UTF-8. They become "?", as in sampled text.
    return None if value is None else str(value).encode("utf-8", "replace").decode()


def _as_input(rows: pl.DataFrame, columns: Columns) -> pl.DataFrame:
    def named(column: str | None, default: str | None = None) -> pl.Expr:
        return pl.lit(default, dtype=pl.String) if column is None else pl.col(column)

    return (
        rows.select(
            "sample_id",
            prompt_id="sample_id",
            index=pl.lit(0, dtype=pl.Int32),
            text=named(columns.text),
            finish_reason=pl.lit("stop"),
            n_tokens=pl.lit(None, dtype=pl.Int32),
            question=named(columns.prompt, ""),
            domain=pl.lit("general"),
            source=pl.lit("file"),
            language=named(columns.language),
            verifier=pl.lit(None, dtype=pl.String),
            cot=pl.lit(None, dtype=pl.Boolean),
        )
        .with_columns(**split_think_exprs(), **null_turns())
        .select(INPUT_COLUMNS)
    )
