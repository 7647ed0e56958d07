"""An engine that replays recorded samples, to run the judging again without a GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from factory.core.errors import EngineError
from factory.core.nouns import Failure, Sample
from factory.core.run_dir import sample_parts
from factory.sampling.engine import Engine, Request, Worker
from filters.verify.verification import VOTED_AS

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec


class Replay:
    """Answers each request with the recorded sample of the same prompt and index.

    A prompt that got the vote of a run as its reference has another id than in that run.
    """

    capacity = 1024

    def __init__(self, recorded: Path) -> None:
        import pyarrow.parquet as pq

        parts = sample_parts(recorded)
        if not parts:
            raise EngineError(
                f"{recorded} has no sealed samples to replay; name the directory of a finished run"
            )
        self._tables = [pq.read_table(part, memory_map=True) for part in parts]
        self._rows: dict[tuple[str, int], tuple[int, int]] = {}
        for number, table in enumerate(self._tables):
            for row, fields in enumerate(table.select(["prompt_id", "index"]).to_pylist()):
                self._rows[fields["prompt_id"], fields["index"]] = (number, row)
        self._pending: deque[Request] = deque()

    def submit(self, request: Request) -> None:
        self._pending.append(request)

    def completed(self) -> Iterator[Sample | Failure]:
        for _ in range(min(len(self._pending), 64)):
            yield self._answer(self._pending.popleft())

    def _answer(self, request: Request) -> Sample | Failure:
        asked = request.prompt.meta.get(VOTED_AS, request.prompt.id)
        found = self._rows.get((request.prompt.id, request.index))
        found = found or self._rows.get((asked, request.index))
        if found is None:
            detail = "the replayed run has no such sample"
            return Failure(request.prompt.id, request.index, "empty", detail, retryable=False)
        number, row = found
        fields = self._tables[number].slice(row, 1).to_pylist()[0]
        fields["created_at"] = round(fields["created_at"].timestamp() * 1000)
        sample = Sample.from_row(fields)
        if sample.prompt_id != request.prompt.id:
            sample = replace(sample, prompt_id=request.prompt.id)
        return sample if request.turns is None else _next_turn(sample, request)

    def abort(self, sample_ids: Iterable[str]) -> None:
        """Nothing to do: every requested sample is already there."""

    def workers(self) -> list[Worker]:
        return []

    def close(self) -> None:
        self._tables.clear()


def _next_turn(sample: Sample, request: Request) -> Sample | Failure:
    """Return the recorded assistant turn that follows the turns of a request."""
    played, recorded = request.turns or (), sample.turns or ()
    place = len(played)
    same = [(turn.role, turn.text) for turn in recorded[:place]] == [
        (turn.role, turn.text) for turn in played
    ]
    if not same or place >= len(recorded) or recorded[place].role != "assistant":
        detail = (
            "the environment showed something else than in the replayed run, so the recorded turns "
            "do not fit"
        )
        return Failure(sample.prompt_id, sample.index, "empty", detail, retryable=False)
    turn = recorded[place]
    return replace(
        sample,
        text=turn.text,
        finish_reason=turn.finish_reason or "stop",
        n_tokens=turn.n_tokens,
        created_at=turn.created_at,
        turns=(turn,),
    )


def open_engine(spec: EngineSpec, run: Path, start: int) -> Engine:
    """Open the `replay` engine of a recipe."""
    assert spec.engine.replay is not None  # the schema requires it
    return Replay(spec.engine.replay)
