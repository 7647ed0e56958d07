"""Filtering again: a finished run with other limits, or a data set this project did not make."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from rich.console import Console

from factory.build.build import assemble, begin, refuse_mixing
from factory.core.errors import RunError, SourceError
from factory.core.files import write_atomic, write_parquet
from factory.core.parallel import cores, spread
from factory.core.run_dir import RunDir, read_manifest
from factory.core.think import split_think_exprs
from factory.judging.funnel import Funnel, load_funnel
from factory.judging.metrics import SPREAD_BYTES, measured_frame_of
from factory.judging.verdicts import decide, load_verdicts
from factory.recipe.build import Recipe
from filters.base import INPUT_COLUMNS, Filter
from filters.language_id.scripts import normalized_language

COMPRESSION = 3
"""About how many times smaller text is in a Parquet file than in memory."""

BATCH_ROWS = 1024  # five batches and more are in memory at once


@dataclass(frozen=True)
class Change:
    """What a re-filtering changed: the samples that newly pass or drop, by their new reason."""

    before: Funnel
    after: Funnel
    moved: pl.DataFrame  # sample_id, was, now: "keep" or a reason

    def lines(self, examples: int = 3) -> Iterator[str]:
        """The change in words, with examples to look at."""
        gain = self.after.kept.samples - self.before.kept.samples
        yield f"kept {self.before.kept.samples:,} -> {self.after.kept.samples:,} ({gain:+,})"
        groups = self.moved.group_by("was", "now").agg(pl.len().alias("n"), pl.col("sample_id"))
        for was, now, count, names in groups.sort("n", "was", "now", descending=True).rows():
            yield f"  {count:,} {was} -> {now}: {', '.join(sorted(names)[:examples])}"


def filter_run(recipe: Recipe, run: Path, console: Console) -> Change:
    """Judge a run's samples by `recipe` and make its corpus anew. Starts no engine.

    Raises RunError where the recipe's samples would be others than the run's.
    """
    if not read_manifest(run):
        raise RunError(f"{run} has no run.json; `factory build` makes one")
    before, old = load_funnel(run), _words(run)
    with RunDir(run) as directory:
        refuse_mixing(recipe, directory)
        begin(recipe, directory)
        after = assemble(recipe, directory, console)
    moved = (
        old.join(_words(run), on="sample_id", how="full", coalesce=True, suffix="_now")
        .rename({"word": "was", "word_now": "now"})
        .filter(pl.col("was").ne_missing(pl.col("now")))
        .with_columns(pl.col("was", "now").fill_null("absent"))
    )
    return Change(before, after, moved)


def _words(run: Path) -> pl.DataFrame:
    word = pl.when(pl.col("decision") == "keep").then(pl.lit("keep")).otherwise("reason")
    return load_verdicts(run).select("sample_id", word=word).collect()


@dataclass(frozen=True)
class Columns:
    """Where a foreign data set keeps what the filters read. All but `text` may be absent."""

    text: str = "text"
    prompt: str | None = None
    language: str | None = None
    id: str | None = None


class Judged(NamedTuple):
    """How many rows got each verdict, and named each language that is not known here."""

    verdicts: dict[str, int]
    unknown_languages: Counter[str]


def filter_file(file: Path, out: Path, filters: Mapping[str, Filter], columns: Columns) -> Judged:
    """Judge every row of a Parquet or JSONL file; write id, metrics, verdict and reason a row.

    `out` is Parquet unless its name ends in .jsonl.
    Raises SourceError where the file or its text column cannot be read.
    """
    unknown: Counter[str] = Counter()
    batches = _counted(_batches(file, columns), unknown)
    written = list(_judged(file.stat().st_size, batches, filters))
    table = pl.concat(written, how="vertical_relaxed")
    if out.suffix == ".jsonl":
        rows = table.iter_rows(named=True)
        write_atomic(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    else:
        write_parquet(out, table.to_arrow())
    return Judged(dict(table["verdict"].value_counts().iter_rows()), unknown)


Batch = tuple[pl.DataFrame, pl.DataFrame]
"""Each row's `sample_id` and own `id`; and the rows as `INPUT_COLUMNS`."""


def _counted(batches: Iterator[Batch], unknown: Counter[str]) -> Iterator[Batch]:
    """The batches; the languages that they name and nothing here knows are counted on the way."""
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
    return pl.concat(_judged(size // COMPRESSION, batches, filters), how="vertical_relaxed")


def _judged(
    size: int, batches: Iterator[Batch], filters: Mapping[str, Filter]
) -> Iterator[pl.DataFrame]:
    """Every batch's verdicts and metrics, in order; much text is spread over processes."""
    textual = all(judge.PARALLEL for judge in filters.values())
    if textual and cores() > 1 and size >= SPREAD_BYTES:
        return spread(_judge_elsewhere, batches, _begin, filters)
    return (_judge(batch, filters) for batch in batches)


def _judge(batch: Batch, filters: Mapping[str, Filter]) -> pl.DataFrame:
    ids, rows = batch
    metrics = {name: judge.measure(rows) for name, judge in filters.items()}
    measured = measured_frame_of(rows, metrics)
    verdicts = decide(measured, filters).select(
        "sample_id", verdict="decision", reason="reason", filter="filter"
    )
    names = [name for frame in metrics.values() for name in frame.columns[1:]]
    return (
        ids.join(verdicts, on="sample_id", maintain_order="left")
        .join(measured.select("sample_id", *names), on="sample_id", maintain_order="left")
        .drop("sample_id")
    )


_filters: dict[str, Filter] = {}  # of a process that judges batches for another


def _begin(filters: Mapping[str, Filter]) -> None:
    _filters.update(filters)


def _judge_elsewhere(batch: Batch) -> pl.DataFrame:
    return _judge(batch, _filters)


def _batches(file: Path, columns: Columns) -> Iterator[Batch]:
    """The file, a batch at a time."""
    named = {option: name for option, name in vars(columns).items() if name is not None}
    start = 0
    reader = READERS.get(file.suffix)
    if reader is None:
        raise SourceError(f"{file} is neither .parquet nor .jsonl; convert it to one of them")
    for rows in reader(file, named):
        # A data set's own ids may repeat; rows are joined by their number.
        numbered = rows.with_row_index("sample_id", offset=start).cast({"sample_id": pl.String})
        start += rows.height
        yield (
            numbered.select("sample_id", id=columns.id or "sample_id"),
            _as_input(numbered, columns),
        )
    if not start:
        raise SourceError(f"{file} holds no rows")


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
    """By Python's own reader: it lets lone surrogates through, which others end at."""
    schema = dict.fromkeys(sorted({*named.values()}), pl.String)
    try:
        with file.open("rb") as stream:
            lines = ((n, line) for n, line in enumerate(stream, 1) if line.strip())
            for number, batch in enumerate(iter(lambda: [*islice(lines, BATCH_ROWS)], [])):
                rows = [_object(line, f"{file}:{n}") for n, line in batch]
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
"""By the file's ending. What is called .json is JSON Lines in most data sets."""


def _check(file: Path, named: Mapping[str, str], known: Sequence[str]) -> None:
    for option, name in named.items():
        if name not in known:
            listing = ", ".join(known)
            raise SourceError(f"{file} has no column {name!r} (--{option}); it has {listing}")


def _object(line: bytes, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{place} is no JSON ({error}); each line must be an object: mend it or leave it out"
        ) from error
    if not isinstance(row, dict):
        raise SourceError(f"{place} is {type(row).__name__}, not an object with a key a column")
    return row


def _as_text(value: Any, place: str) -> str | None:
    if isinstance(value, list | dict):
        raise SourceError(f"{place} is a {type(value).__name__}; name a column of plain text")
    # A lone surrogate has no UTF-8 form: "?", as in sampled text.
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
        .with_columns(**split_think_exprs())
        .select(INPUT_COLUMNS)
    )
