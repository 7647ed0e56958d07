"""Judging during sampling, in another process, so that the sampling loop never waits for it.

The process keeps its metrics until their part of the samples is sealed, then saves them. So nothing
is measured twice. What it has not measured is measured after sampling.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from factory.core.errors import FactoryError
from factory.core.nouns import Judged, Sample
from factory.core.parallel import cores, spawning
from factory.judging.late import Key, LateArrivals, leave_to_judges
from factory.judging.metrics import (
    describe_prompts,
    input_frame,
    join_metrics,
)
from factory.judging.unsaved import BASE, Measured, UnsavedMetrics
from factory.judging.verdicts import all_filters, decide, early_filters
from factory.recipe.build import load_run_recipe
from filters.base import Filter, measure_rows, turns_type
from filters.correctness import Correctness

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 256
BATCH_TEXT = 2 << 20
"""Maximum number of samples judged at once, and of characters that end a batch. Bounds memory: a
text is copied several times. A batch never waits for more samples."""

READY = "ready"
"""What a process sends first."""

WARM_UP = "<think>\nTwo and two make four, so we say four.\n</think>\n\nIt is \\boxed{4}."

BEHIND = 4 * BATCH
"""Samples that wait, while every process is busy, until another process is started."""


class LiveJudge:
    """Processes that judge samples as they finish, by the recipe in the run directory.

    There is one, and more of them, up to `most` (default: a process per core), while it is behind.
    The first process saves the metrics of all.

    If one dies, it is replaced once, and the new one judges the unanswered batch again. If another
    dies, `error` says so and only early verdicts are lost: all samples are judged after sampling.
    """

    def __init__(self, run: Path, prompts: pa.Table, most: int | None = None) -> None:
        self._run, self._prompts, self._most = run, prompts, most or cores()
        self._sealed: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._waiting: deque[_Asked] = deque()
        self._skipped: list[str] = []
        self._to_save: list[tuple[str, object]] = []  # for the process that saves, in this order
        self._replaced = False
        self.error: str | None = None
        self.notices: list[str] = []
        self._late = LateArrivals(run, load_run_recipe(run).filters)
        self._workers = [_Worker(run, saves=True)]

    def expect(self, keys: Mapping[str, Key]) -> None:
        """Wait for late verdicts of samples that an earlier process drew."""
        self._late.expect(keys)

    def put(self, sample: Sample, prompt: int) -> None:
        """Queue a finished sample of the prompt with this number."""
        self._waiting.append(_Asked(sample, prompt))

    def skip(self, sample: Sample) -> None:
        """Note a sample that is judged after sampling, with its whole part."""
        self._skipped.append(sample.sample_id)

    def notify_sealed(self, part: str) -> None:
        """Note that a part is durable, so that its metrics can be saved. Thread-safe."""
        self._sealed.put(part)

    def collect(self, wait: float = 0.0) -> list[Judged]:
        """Return the verdicts that are ready. Waits up to `wait` seconds for the first one.

        A sample that is pending gets a second one once its late verdict has come.
        """
        self._queue_sealed()
        if self._workers[0].is_idle:  # else a full pipe could block the sampling loop
            self._send_to_save()
        self._hand_out()
        busy = [worker for worker in self._workers if worker.batch or not worker.ready]
        ready = wait_for([one for worker in busy for one in worker.signs()], wait) if busy else []
        found = self._late.collect()
        for worker in busy:
            if any(sign in ready for sign in worker.signs()):
                found += self._receive(worker)
        return found

    def close(self) -> None:
        """Let the processes save their metrics and end."""
        self._queue_sealed()
        self._send_to_save()
        for worker in self._workers:
            worker.close()

    def _hand_out(self) -> None:
        """Give each idle process a batch. Start another one if all are busy and much waits."""
        for worker in self._workers:
            if worker.is_idle and self._waiting:
                batch = self._next_batch()
                worker.judge(batch, self._rows_of(batch))
        behind = len(self._waiting) >= BEHIND and all(worker.ready for worker in self._workers)
        if behind and len(self._workers) < self._most and not self.error:
            self._workers.append(_Worker(self._run, saves=False))

    def _next_batch(self) -> list[_Asked]:
        """Take what is judged at once from the samples that wait."""
        batch, size = list[_Asked](), 0
        while self._waiting and len(batch) < BATCH and size < BATCH_TEXT:
            batch.append(self._waiting.popleft())
            size += len(batch[-1].sample.text)
        return batch

    def _rows_of(self, batch: Sequence[_Asked]) -> pa.Table:
        """Return the prompts of a batch: a process needs no others, with their tests."""
        import pyarrow as pa

        numbers = dict.fromkeys(one.prompt for one in batch)
        rows = [self._prompts.slice(number, 1) for number in numbers]
        return pa.concat_tables(rows).combine_chunks()  # a slice alone is sent with the whole

    def _receive(self, worker: _Worker) -> list[Judged]:
        """Return the verdicts of a process that has answered or died."""
        try:
            answer, metrics, keys = worker.pipe.recv()
        except (EOFError, OSError):
            if self._replace(worker):
                return []
            answer, metrics, keys = None, None, {}
        if isinstance(answer, _Unsaved):
            self.notices.append(f"{answer.why}; the samples are measured again after sampling")
            return []
        if not worker.ready:
            worker.ready = True
            if answer == READY:
                return []
        batch, worker.batch = worker.batch, []
        if metrics is not None:
            self._to_save.append(("metrics", metrics))
        if keys:
            self._late.expect(keys)
        if isinstance(answer, str):
            self.error, answer = answer, None
        if answer is None:
            names = [one.sample.sample_id for one in batch]
            self._skipped += names
            return [Judged(name, "undecided", "judge_error") for name in names]
        return [Judged(*row) for row in answer]

    def _replace(self, worker: _Worker) -> bool:
        """Start another process for one that died. Returns False if that one died too."""
        worker.process.join(timeout=5)
        died = f"the judging process died ({_describe_exit(worker.process.exitcode)})"
        if self._replaced:
            self.error = self.error or f"{died}, as the one before it did"
            return False
        self._replaced = True
        worker.pipe.close()
        self._waiting.extendleft(reversed(worker.batch))
        worker.start()
        self.notices.append(f"{died}; another one judges its samples again")
        return True

    def _queue_sealed(self) -> None:
        if self._skipped:  # before the part that has them
            self._to_save.append(("skipped", self._skipped))
            self._skipped = []
        while not self._sealed.empty():
            self._to_save.append(("sealed", self._sealed.get()))

    def _send_to_save(self) -> None:
        for message in self._to_save:
            self._workers[0].send(message)
        self._to_save.clear()


class _Asked(NamedTuple):
    """A sample that waits for its verdict, and the number of its prompt."""

    sample: Sample
    prompt: int


class _Worker:
    """One judging process, and the batch that it has not answered yet."""

    def __init__(self, run: Path, *, saves: bool) -> None:
        self._run, self._saves = run, saves
        self.start()

    def start(self) -> None:
        self.batch: list[_Asked] = []
        self.ready = False  # nothing is sent before: a full pipe would block the sampling loop
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_run_judge, args=(theirs, self._run, self._saves), name="judge", daemon=False
        )
        with spawning(POLARS_MAX_THREADS="1", OMP_NUM_THREADS="1"):
            self.process.start()
        theirs.close()

    @property
    def is_idle(self) -> bool:
        """Whether it reads its pipe at once."""
        return self.ready and not self.batch

    def signs(self) -> tuple[Connection, int]:
        """Return what becomes ready when it answers or dies."""
        return self.pipe, self.process.sentinel

    def judge(self, batch: list[_Asked], prompts: pa.Table) -> None:
        self.batch = batch
        self.send(("judge", ([asdict(one.sample) for one in batch], prompts)))

    def send(self, message: object) -> None:
        # A dead process is found when its answer is read.
        with suppress(OSError):
            self.pipe.send(message)

    def close(self) -> None:
        self.send(None)
        self.process.join(timeout=60)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _sample_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Return samples as a frame; their first rows may have no turns, and later ones some."""
    return pl.DataFrame(rows, schema_overrides={"turns": turns_type()})


def _lazy(table: pa.Table) -> pl.LazyFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.lazy()


class _Unsaved(NamedTuple):
    """Sent where metrics could not be saved."""

    why: str


def _run_judge(pipe: Connection, run: Path, saves: bool) -> None:
    """Judge until the build ends. What the machine refuses ends the process with one line."""
    # Ctrl-C reaches the whole process group, but the build ends its judge itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)
    try:
        _judge_loop(pipe, run, saves)
    except (FactoryError, OSError) as error:
        raise SystemExit(f"judging during sampling failed: {error}") from error


def _judge_loop(pipe: Connection, run: Path, saves: bool) -> None:
    filters = early_filters(all_filters(load_run_recipe(run)))
    chosen = filters.get("correctness")
    late = isinstance(chosen, Correctness) and bool(chosen.later)
    held = UnsavedMetrics(run, filters)
    _warm_up(filters, run)
    with suppress(OSError):  # the build has died; that is found below
        pipe.send((READY, None, {}))
    while True:
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            return  # the build has ended or died
        if message is None:
            return
        kind, content = message
        if kind == "sealed":
            _save(held, pipe, content)
            continue
        if kind == "skipped":
            held.skip(content)
            continue
        if kind == "metrics":
            held.add(content)
            _save(held, pipe)
            continue
        samples, prompts = content
        try:
            rows = input_frame(_sample_frame(samples), describe_prompts(_lazy(prompts)))
            metrics = {name: measure_rows(filter_, rows) for name, filter_ in filters.items()}
            # Pass rates are known only after sampling.
            measured = join_metrics(rows, metrics).with_columns(
                pass_rate=pl.lit(None, dtype=pl.Float64)
            )
            verdicts = decide(measured, filters)
            answer: object = verdicts.select("sample_id", "decision", "reason").rows()
            keys = leave_to_judges(run, rows, metrics["correctness"]) if late else {}
            found = Measured(rows.select(BASE), metrics)
        except FactoryError as error:
            found, answer, keys = None, str(error), {}
        except Exception:
            # A user's filter may raise anything. Sampling continues; the final judging raises
            # the same error and reports it.
            found, answer, keys = None, traceback.format_exc(limit=-3), {}
        try:
            pipe.send((answer, None if saves else found, keys))
        except OSError:
            return  # the build has died
        if found is not None and saves:
            held.add(found)
            _save(held, pipe)


def _save(held: UnsavedMetrics, pipe: Connection, sealed: str | None = None) -> None:
    """Save what can be saved. A full disk does not end the judging: the build needs verdicts."""
    try:
        if sealed is not None:
            held.seal(sealed)
        held.save()
    except (FactoryError, OSError) as error:
        held.give_up()
        with suppress(OSError):
            pipe.send((_Unsaved(str(error)), None, {}))


def _warm_up(filters: Mapping[str, Filter], run: Path) -> None:
    """Measure one made-up sample while the engine loads.

    The first measurement of an installation compiles kernels, which takes up to a minute.
    """
    prompts = describe_prompts(pl.scan_parquet(run / "prompts.parquet").head(1))
    made_up = Sample(prompts["prompt_id"][0], 0, WARM_UP, "", "stop", 1, 1, "", "", 0)
    rows = input_frame(_sample_frame([asdict(made_up)]), prompts)
    for filter_ in filters.values():
        if not filter_.REFERENCE:  # a user's own is shown real samples only
            with suppress(Exception):  # the first real sample reports it
                measure_rows(filter_, rows)
