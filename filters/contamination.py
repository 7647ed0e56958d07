"""Drops samples of prompts that share an n-gram with an evaluation set.

Only the prompt is compared, so all samples of a prompt get the same verdict. `Index.find`
(filters/ngrams.py) does the same before sampling.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from factory.core.errors import SourceError
from factory.core.nouns import fingerprint
from filters.base import Filter, Rule
from filters.limits import Share
from filters.ngrams import NGRAM, Index

COLUMNS = ("problem", "question", "prompt", "text")
"""Columns in which an evaluation set's questions are searched, unless `column` is given."""


BUILDERS = {".parquet": "parquet", ".jsonl": "json", ".csv": "csv"}
"""Suffixes of `files` → the builder of the `datasets` library."""


class EvaluationSet(BaseModel):
    """One evaluation set: a Hub id or a file (.txt with one text per line; .jsonl; .parquet; .npz).

    In a recipe a plain string is a file if it has one of these suffixes, otherwise a Hub id. An
    .npz file has hashes of n-grams.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path | None = Field(None, description="Path of a file.")
    hub: str | None = Field(None, description="Hub id of a data set.")
    config: str | None = Field(None, description="Configuration of the data set.")
    split: str = Field("test", description="Split of the data set.")
    revision: str | None = Field(None, description="Branch, tag or commit of the data set.")
    files: str | None = Field(
        None,
        description="Glob of the data set's files to read (.jsonl, .parquet or .csv), for a set "
        "with a loading script, which is never run.",
    )
    column: str | None = Field(None, description=f"Column of the texts. Default: one of {COLUMNS}.")
    name: str | None = Field(None, description="Name in reports. Default: file name or Hub id.")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"path" if Path(given).suffix in READERS else "hub": given}
        return given

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler(core)]}

    @model_validator(mode="after")
    def _require_one_source(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give either `path` (a file) or `hub` (id of a data set)")
        if self.path is not None and self.path.suffix not in READERS:
            raise ValueError(f"{self.path} must end in one of {', '.join(READERS)}")
        if self.files and (self.hub is None or Path(self.files).suffix not in BUILDERS):
            raise ValueError(f"files needs `hub`, and a name that ends in {', '.join(BUILDERS)}")
        return self

    @model_serializer(mode="wrap")
    def _dump(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = dump(self)
        if self.files is None:
            del found["files"]  # it came later: stored metrics of other sets stay valid
        return found

    @property
    def title(self) -> str:
        return self.name or (self.path.stem if self.path else str(self.hub))

    def texts(self) -> Iterator[str]:
        """Yield the questions of the set. Raises SourceError if it can't be read."""
        if self.path is None:
            yield from self._from_hub()
            return
        try:
            yield from READERS[self.path.suffix](self)
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{self.path}: cannot read this evaluation set: {error}") from error

    def index(self, n: int, boilerplate: int | None = None) -> Index:
        """Return the n-grams of the set, loaded from hashes or computed from its texts."""
        if self.path is not None and self.path.suffix == ".npz":
            index = Index.load(self.path)
            if index.n != n:
                raise SourceError(
                    f"{self.path} has hashes of {index.n}-grams, not {n}-grams; "
                    f"set ngram: {index.n} or create it again"
                )
            return index
        return Index.build({self.title: self.texts()}, n, boilerplate=boilerplate)

    def content_hash(self) -> str:
        """Return a hash of the set: of the file's bytes, or of the data set's id and revision."""
        if self.path is None:
            return fingerprint(self.model_dump(mode="json"))
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise SourceError(f"{self.path}: cannot read this evaluation set: {error}") from error

    def stamp(self) -> tuple[int, int] | None:
        """Return size and modification time, which change with the file. Cheaper than a hash."""
        if self.path is None or not self.path.exists():
            return None
        status = self.path.stat()
        return status.st_size, status.st_mtime_ns

    def pick(self, columns: Sequence[str]) -> str:
        """Return the column of the texts."""
        for column in (self.column,) if self.column else COLUMNS:
            if column in columns:
                return column
        raise SourceError(
            f"{self.path or self.hub}: no column {self.column or ' or '.join(COLUMNS)}; "
            f"it has {', '.join(columns)}; set one with `column:`"
        )

    def _root(self) -> str:
        if Path(str(self.hub)).is_dir():
            return str(self.hub)
        return f"hf://datasets/{self.hub}" + (f"@{self.revision}" if self.revision else "")

    def _from_hub(self) -> Iterator[str]:
        import datasets
        import httpx

        try:
            if self.files:
                rows = datasets.load_dataset(
                    BUILDERS[Path(self.files).suffix],
                    data_files={self.split: f"{self._root()}/{self.files}"},
                    split=self.split,
                    streaming=True,
                )
            else:
                rows = datasets.load_dataset(
                    self.hub, self.config, split=self.split, revision=self.revision, streaming=True
                )
            for row in rows:
                yield str(row[self.pick(list(row))])
        except (OSError, ValueError, httpx.TransportError) as error:
            raise SourceError(
                f"{self.hub}: cannot load this evaluation set: {error}; go online, or use a local "
                "file"
            ) from error


def _lines(source: EvaluationSet) -> Iterator[str]:
    assert source.path is not None
    with source.path.open(encoding="utf-8") as file:
        yield from file


def _json_lines(source: EvaluationSet) -> Iterator[str]:
    for number, line in enumerate(_lines(source), 1):
        try:
            row = json.loads(line)
            yield str(row[source.pick(list(row))])
        except (json.JSONDecodeError, TypeError) as error:
            raise SourceError(f"{source.path}:{number}: not a JSON object: {error}") from error


def _parquet(source: EvaluationSet) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert source.path is not None
    try:
        with pq.ParquetFile(source.path) as file:
            column = source.pick(file.schema_arrow.names)
            for batch in file.iter_batches(columns=[column]):
                yield from (str(text) for text in batch.column(0).to_pylist() if text is not None)
    except pa.ArrowInvalid as error:
        raise SourceError(f"{source.path}: not a Parquet file: {error}") from error


def _no_texts(source: EvaluationSet) -> Iterator[str]:
    raise SourceError(f"{source.path} has hashes only; its texts are not available")


READERS = {".txt": _lines, ".jsonl": _json_lines, ".parquet": _parquet, ".npz": _no_texts}


class Contamination(Filter):
    """Drops samples whose prompt overlaps with an evaluation set. Reports the matching words."""

    # R1 dropped texts with a 10-gram of its evaluation sets (v2 supplement); GPT-3 used 13 words,
    # PaLM 8. In Chinese and Japanese each character is a word: use 13 or more there.
    ngram: int = Field(NGRAM, ge=5, le=50, description="Length of the n-grams in words.")
    against: tuple[EvaluationSet, ...] = Field((), description="The evaluation sets.")
    boilerplate: int | None = Field(
        None,
        ge=1,
        description="Ignore n-grams that occur in more than this number of a set's questions.",
    )
    # 0 is R1's rule: one n-gram is enough to drop a sample.
    max_share: Share = Field(0.0, description="Maximum share of the prompt's n-grams that match.")

    MEASURED: ClassVar[frozenset[str]] = frozenset({"ngram", "against", "boilerplate"})

    def index(self) -> Index:
        """Return the n-grams of all sets."""
        stamps = tuple(source.stamp() for source in self.against)
        return _index(self.against, self.ngram, self.boilerplate, stamps)

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        if not self.against:
            absent = pl.lit(None, dtype=pl.String)
            return samples.select(
                "sample_id",
                contamination_share=pl.lit(0.0),
                contamination_set=absent,
                contamination_matched=absent,
            )
        questions = samples["question"].unique()
        found = self.index().find(questions).select(pl.all().name.prefix("contamination_"))
        return (
            samples.select("sample_id", "question")
            .join(
                found.with_columns(question=questions),
                on="question",
                how="left",
                nulls_equal=True,
                maintain_order="left",
            )
            .drop("question")
        )

    def rules(self) -> Sequence[Rule]:
        return [
            Rule(
                "contaminated",
                pl.col("contamination_share") > self.max_share,
                "contamination_matched",
                f"at most {self.max_share} of the prompt's {self.ngram}-grams in an evaluation set",
            )
        ]

    def cache_key(self) -> str:
        contents = [source.content_hash() for source in self.against]
        return fingerprint([super().cache_key(), contents], 12)


@lru_cache(maxsize=4)
def _index(
    against: tuple[EvaluationSet, ...],
    ngram: int,
    boilerplate: int | None,
    stamps: tuple[object, ...],  # a part of the cache key: changed files are read again
) -> Index:
    return Index.merge([source.index(ngram, boilerplate) for source in against])
