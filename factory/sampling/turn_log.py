"""The turns of episodes that are not finished: a killed run continues them.

`samples/turns.jsonl` has one record per turn, each with a checksum as in the journal. It is written
at once, so that a killed process loses none, and synced once a second. A finished episode goes to
the journal as a sample with all its turns, and its records here are dropped when the file is
written again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, NamedTuple

from factory.core.files import write_chunks
from factory.core.journal import read_records
from factory.core.nouns import Turn, sample_id
from factory.sampling.append_log import AppendLog, encode_record, open_append

FILE = "turns.jsonl"

REWRITE_BYTES = 64 << 20
"""Size from which the records of finished episodes are dropped during a run."""


class First(NamedTuple):
    """What the first assistant turn says of its sample."""

    prompt_text: str
    n_prompt_tokens: int
    model: str
    params_fp: str


class TurnLog(AppendLog):
    """The unfinished episodes of a run. `drawn` has the ids of its samples, which are finished.

    `damaged` counts records that can't be read; an episode continues before its first such record.
    """

    def __init__(self, folder: Path, drawn: Collection[str]) -> None:
        self._path = folder / FILE
        self._records: dict[str, list[dict[str, Any]]] = {}
        self._finished: dict[str, list[dict[str, Any]]] = {}  # their samples may not be synced yet
        self.damaged = 0
        if self._path.exists():
            self._read(drawn)
        super().__init__(self._path, self._write_again())

    def take(self, name: str) -> tuple[list[Turn], First | None]:
        """Return the recorded turns of an episode, and what its first assistant turn says."""
        records = self._records.get(name, [])
        first = next((record["first"] for record in records if record["first"]), None)
        turns = [Turn.from_row(record["turn"]) for record in records]
        return turns, None if first is None else First(**first)

    def append(
        self, prompt_id: str, index: int, number: int, turn: Turn, first: First | None
    ) -> None:
        """Record a turn. Raises StorageError if the disk fails."""
        record = {
            "prompt_id": prompt_id,
            "index": index,
            "number": number,
            "turn": asdict(turn),
            "first": None if first is None else first._asdict(),
        }
        self._records.setdefault(sample_id(prompt_id, index), []).append(record)
        self.write(record)

    def _written(self) -> None:
        if self._stream.tell() > REWRITE_BYTES + self._kept_bytes:
            self._stream.close()
            self._stream = self._write_again()

    def forget(self, name: str) -> None:
        """Drop an episode: it is finished, or it is drawn again. It stays in the file until the
        file is written again for the second time: by then its sample is in the journal."""
        if name in self._records:
            self._finished[name] = self._records.pop(name)

    def close(self) -> None:
        """Close the file, and delete it if no episode is left. Call it once samples are sealed."""
        if not self.stop():
            return
        self._finished.clear()
        if self._records:
            self._write_again().close()
        else:
            self._path.unlink(missing_ok=True)
        self._raise_error()

    def _read(self, drawn: Collection[str]) -> None:
        broken: set[str] = set()
        for record in read_records(self._path):
            if record is None:
                self.damaged += 1
                continue
            name = sample_id(record["prompt_id"], record["index"])
            known = self._records.setdefault(name, [])
            if record["number"] < len(known):  # it was drawn again
                del known[record["number"] :]
                broken.discard(name)
            if record["number"] != len(known):
                broken.add(name)
            elif name not in broken:
                known.append(record)
        for name in drawn:
            self._records.pop(name, None)

    def _write_again(self) -> IO[bytes]:
        """Write the file with the unfinished episodes only. Returns it, open for more."""
        kept = (*self._finished.values(), *self._records.values())
        write_chunks(self._path, (encode_record(record) for records in kept for record in records))
        self._finished.clear()
        opened = open_append(self._path)
        self._kept_bytes = opened.tell()
        return opened
