"""What was asked in batches, and where each batch stands. It outlives the process.

`RUN/batches/` has three files per batch: `00001.requests.jsonl` in OpenAI's batch format,
`00001.json` with its state, and, once it is answered, `00001.results.jsonl`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from factory.core.errors import RunError
from factory.core.files import read_json, write_atomic, write_chunks

BATCHES = "batches"
"""The folder in a run directory."""

MAX_BYTES = 190_000_000
"""Largest request file. OpenAI takes 200 MB."""


@dataclass
class Batch:
    """One batch. `refused` means that no request of it was answered; they are asked again."""

    number: int
    requests: int
    model: str
    state: str = "written"  # written, submitted, answered, refused
    file_id: str | None = None
    batch_id: str | None = None
    asked: bool = False  # the provider may have it, even if its answer was lost
    done: int = 0  # requests that are answered so far, as the provider counts them

    @property
    def name(self) -> str:
        return f"batch {self.number}"


class Ledger:
    """The batches in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.batches: list[Batch] = []
        for path in sorted(folder.glob("[0-9]*.json")):
            self.batches.append(_load(path))

    def requests_path(self, batch: Batch) -> Path:
        return self.folder / f"{batch.number:05d}.requests.jsonl"

    def results_path(self, batch: Batch) -> Path:
        return self.folder / f"{batch.number:05d}.results.jsonl"

    def add(self, model: str, lines: list[bytes]) -> Batch:
        """Write a new batch. `lines` are its requests, one JSON object each."""
        number = self.batches[-1].number + 1 if self.batches else 1
        batch = Batch(number, len(lines), model)
        write_chunks(self.requests_path(batch), lines)
        self.save(batch)
        self.batches.append(batch)
        return batch

    def save(self, batch: Batch) -> None:
        path = self.folder / f"{batch.number:05d}.json"
        write_atomic(path, json.dumps(asdict(batch), indent=1) + "\n")

    def request_ids(self, batch: Batch) -> list[str]:
        """Return the `custom_id` of each request."""
        return [str(record.get("custom_id")) for _, record in self._records(batch, results=False)]

    def results(self, batch: Batch) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the results that can be read, each with the place of its line."""
        return self._records(batch, results=True)

    def result_at(self, batch: Batch, place: int) -> dict[str, Any]:
        """Return the result whose line starts at `place`."""
        with open(self.results_path(batch), "rb") as stream:
            stream.seek(place)
            record: dict[str, Any] = json.loads(stream.readline())
        return record

    def _records(self, batch: Batch, *, results: bool) -> Iterator[tuple[int, dict[str, Any]]]:
        path = self.results_path(batch) if results else self.requests_path(batch)
        if not path.is_file():
            raise RunError(
                f"{path} is missing. Put it back, or remove "
                f"{path.with_name(f'{batch.number:05d}.json')} to ask for its samples again."
            )
        place = 0
        with open(path, "rb") as stream:
            for line in stream:
                with suppress(ValueError, RecursionError):  # a damaged line is a missing result
                    record = json.loads(line)
                    if isinstance(record, dict):
                        yield place, record
                place += len(line)


def list_asked(folder: Path) -> list[str]:
    """Return the `custom_id` of each request of a run's batches that is answered or will be."""
    ledger = Ledger(folder)
    found = dict[str, None]()
    for batch in ledger.batches:
        if batch.state == "answered":
            records = ledger.results(batch)
            found |= dict.fromkeys(str(one.get("custom_id")) for _, one in records if _is_good(one))
        elif batch.state != "refused":
            found |= dict.fromkeys(ledger.request_ids(batch))
    return list(found)


def _is_good(result: dict[str, Any]) -> bool:
    response = result.get("response")
    return isinstance(response, dict) and response.get("status_code", 200) == 200


def _load(path: Path) -> Batch:
    found = read_json(path)
    try:
        batch = Batch(**(found or {}))
    except TypeError as error:
        raise RunError(
            f"{path} is damaged ({error}). Remove it to ask for the samples of that batch again."
        ) from error
    return batch
