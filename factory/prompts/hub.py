"""Prompts from a Hugging Face data set, streamed; also the base of the named sets."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from factory.core.errors import SourceError, is_hub_error, is_transport_error
from factory.prompts.mapping import Mapped
from factory.prompts.source import BadRow, Row, Source

HUB_TRIES = 3
HUB_WAIT_S = 10.0
"""Seconds that the Hub has for its first answer, each time that it is tried."""

BUILDERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv"}

NO_COLUMNS = "doesn't have a 'columns' key"
"""What `datasets` answers where the files are of a format that is always read whole."""


class HubSource(Source):
    """A data set that the `datasets` library reads. Code of the data set is never run."""

    COLUMNS: ClassVar[tuple[str, ...] | None] = None
    """Columns to download from Parquet files; None: all. The others may be most of the bytes."""

    dataset: str = Field(description="Id on the Hub, or local directory with the same files.")
    config: str | None = Field(None, description="Configuration (subset) of the data set.")
    split: str = Field("train", description="Split of the data set.")
    revision: str | None = Field(
        None, description="Branch, tag or commit. A commit makes the prompts reproducible."
    )
    files: str | None = Field(
        None,
        description="Glob of the files to read in the data set, with `{split}` replaced; for sets "
        "with a loading script, which `datasets` no longer runs.",
    )

    @property
    def label(self) -> str:
        return self.name or self.kind

    def read(self) -> Iterator[tuple[str, Row | BadRow]]:
        place = f"{self.dataset} ({self.split})"
        rows = iter(self._open())
        number = 0
        while True:
            number += 1
            try:
                row = next(rows)
            except StopIteration:
                return
            except Exception as error:  # Arrow, fsspec, HTTP and decoders raise many types
                raise SourceError(
                    f"{place}: reading stopped at row {number}: {error}; run again, or load a "
                    "local copy by setting `dataset:` to its directory"
                ) from error
            yield f"{place}:{number}", row

    def _open(self) -> Iterable[Row]:
        try:
            if not self.dataset.startswith(("/", ".", "~")) and not Path(self.dataset).is_dir():
                _call_hub()
            try:
                stream = self._stream(**({"columns": [*self.COLUMNS]} if self.COLUMNS else {}))
            except ValueError as error:
                if NO_COLUMNS not in str(error):
                    raise
                stream = self._stream()
        except Exception as error:
            if not is_hub_error(error):
                raise
            raise SourceError(self._explain(error)) from error
        if self.shuffle:  # shuffle the shards too: the buffer covers only the first ones
            stream = stream.shuffle(seed=self.seed, buffer_size=1)
        rows: Iterable[Row] = stream
        return rows

    def _stream(self, **options: Any) -> Any:
        from datasets import load_dataset

        if not self.files:
            return load_dataset(
                self.dataset,
                self.config,
                split=self.split,
                revision=self.revision,
                streaming=True,
                **options,
            )
        pattern = self.files.replace("{split}", self.split)
        return load_dataset(
            BUILDERS.get(Path(pattern).suffix, "parquet"),
            data_files={self.split: f"{self._root()}/{pattern}"},
            split=self.split,
            streaming=True,
            **options,
        )

    def _root(self) -> str:
        if Path(self.dataset).is_dir():
            return self.dataset
        return f"hf://datasets/{self.dataset}" + (f"@{self.revision}" if self.revision else "")

    def _explain(self, error: Exception) -> str:
        """Return why the set could not be opened, and the remedy."""
        from datasets.exceptions import DatasetNotFoundError

        place, message = f"{self.kind}: {self.dataset}", str(error).partition("\n")[0]
        if "gated" in message.lower():
            return f"{place}: is gated; accept its terms on the Hub, then set HF_TOKEN ({message})"
        if isinstance(error, DatasetNotFoundError):
            return (
                f"{place}: no such data set; check the spelling (owner/name), "
                f"or set HF_TOKEN if it is private ({message})"
            )
        if isinstance(error, FileNotFoundError) or "data_files are invalid" in message:
            return f"{place}: no data files; check dataset, revision and files ({message})"
        if isinstance(error, OSError) or is_transport_error(error):
            return (
                f"{place}: the Hub cannot be reached; go online, use a set that was downloaded "
                f"before with HF_HUB_OFFLINE=1, or give a local directory as `dataset:` ({message})"
            )
        if "scripts are no longer supported" in message:
            return (
                f"{place}: needs a loading script, which is never run; try the Hub's conversion, "
                f"`revision: refs/convert/parquet`, or list its files with `files:`"
            )
        return f"{place}: config {self.config}, split {self.split}: {message}"


def _call_hub() -> None:
    """Raise the client's own error if the Hub does not answer at all.

    The libraries repeat every one of their requests for about a minute before they say so.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return
    for tries_left in reversed(range(HUB_TRIES)):
        try:
            get_session().head(constants.ENDPOINT, timeout=HUB_WAIT_S)
            return
        except Exception as error:
            if not tries_left or not is_transport_error(error):
                raise
            time.sleep(1)


class Hub(HubSource, Mapped):
    """Any data set on the Hugging Face Hub, with a column mapping."""

    kind: Literal["hub"] = "hub"

    @property
    def label(self) -> str:
        return self.name or self.dataset
