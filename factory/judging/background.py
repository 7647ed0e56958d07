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
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

import polars as pl

from factory.core.errors import FactoryError
from factory.core.nouns import Judged, Sample
from factory.core.parallel import spawning
from factory.judging.metrics import (
    base_frame,
    input_frame,
    inputs_key,
    join_metrics,
    prompt_frame,
    save_metrics,
)
from factory.judging.verdicts import all_filters, decide, early_filters
from factory.recipe.build import load_run_recipe
from filters.base import Filter, measure_rows

BATCH = 256
"""Maximum number of samples judged at once. A batch never waits for more samples."""


class LiveJudge:
    """A process that judges samples as they finish, by the recipe in the run directory.

    If it dies, it is replaced once, and the new one judges the unanswered batch again. If that dies
    too, `error` says so and only early verdicts are lost: all samples are judged after sampling.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._sealed: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._batch: list[Sample] = []
        self._sent: list[Sample] = []  # the batch that is not answered yet
        self._pending = 0
        self._replaced = False
        self.error: str | None = None
        self.notices: list[str] = []
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_judge_loop, args=(theirs, self._run), name="judge", daemon=False
        )
        with spawning(POLARS_MAX_THREADS="1", OMP_NUM_THREADS="1"):
            self._process.start()
        theirs.close()

    @property
    def outstanding(self) -> int:
        """Number of samples that wait for a verdict."""
        return len(self._batch) + self._pending

    def put(self, sample: Sample) -> None:
        self._batch.append(sample)

    def notify_sealed(self, part: str) -> None:
        """Note that a part is durable, so that its metrics can be saved. Thread-safe."""
        self._sealed.put(part)

    def collect(self, wait: float = 0.0) -> list[Judged]:
        """Return the verdicts that are ready. Waits up to `wait` seconds for the first one."""
        if self._batch and not self._pending:
            self._sent, self._batch = self._batch[:BATCH], self._batch[BATCH:]
            self._pending = len(self._sent)
            self._send_batch()
        self._send_sealed()
        if not self._pending or not self._ready(wait):
            return []
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            if self._replace():
                self._send_batch()
                return []
            answer = None
        if isinstance(answer, str):
            self.error, answer = answer, None
        self._pending = 0
        if answer is None:
            names = [sample.sample_id for sample in self._sent]
            return [Judged(name, "undecided", "judge_error") for name in names]
        return [Judged(*row) for row in answer]

    def close(self) -> None:
        """Let the process save its metrics and end."""
        self._send_sealed()
        self._send(None)
        self._process.join(timeout=60)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()

    def _send_batch(self) -> None:
        self._send(("judge", [asdict(sample) for sample in self._sent]))

    def _replace(self) -> bool:
        """Start another process for one that died. Returns False if that one died too."""
        self._process.join(timeout=5)
        died = f"the judging process died ({_describe_exit(self._process.exitcode)})"
        if self._replaced:
            self.error = self.error or f"{died}, as the one before it did"
            return False
        self._replaced = True
        self._pipe.close()
        self._start()
        self.notices.append(f"{died}; another one judges its samples again")
        return True

    def _send_sealed(self) -> None:
        while not self._sealed.empty():
            self._send(("sealed", self._sealed.get()))

    def _ready(self, wait: float) -> bool:
        return self._pipe.poll(wait) or not self._process.is_alive()

    def _send(self, message: object) -> None:
        # A dead process is found when its answer is read.
        with suppress(OSError):
            self._pipe.send(message)


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _judge_loop(pipe: Connection, run: Path) -> None:
    # Ctrl-C reaches the whole process group, but the build ends its judge itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)
    filters = early_filters(all_filters(load_run_recipe(run)))
    prompts = prompt_frame(run)
    held = _UnsavedMetrics(run, prompts, filters)
    while True:
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            return  # the build has ended or died
        if message is None:
            return
        kind, content = message
        if kind == "sealed":
            held.unsaved.append(content)
            held.save()
            continue
        try:
            rows = input_frame(pl.DataFrame(content), prompts)
            metrics = {name: measure_rows(filter_, rows) for name, filter_ in filters.items()}
            # Pass rates are known only after sampling.
            measured = join_metrics(rows, metrics).with_columns(
                pass_rate=pl.lit(None, dtype=pl.Float64)
            )
            verdicts = decide(measured, filters)
            answer: object = verdicts.select("sample_id", "decision", "reason").rows()
        except FactoryError as error:
            metrics, answer = {}, str(error)
        except Exception:
            # A user's filter may raise anything. Sampling continues; the final judging raises
            # the same error and reports it.
            metrics, answer = {}, traceback.format_exc(limit=-3)
        try:
            pipe.send(answer)
        except OSError:
            return  # the build has died
        if metrics:
            held.add(metrics)
            held.save()


class _UnsavedMetrics:
    """Metrics that are not saved yet, and the sealed parts they belong to."""

    def __init__(self, run: Path, prompts: pl.DataFrame, filters: Mapping[str, Filter]) -> None:
        self.run, self.prompts, self.filters = run, prompts, filters
        self.unsaved: list[str] = []
        self._metrics: dict[str, list[pl.DataFrame]] = {name: [] for name in filters}

    def add(self, metrics: Mapping[str, pl.DataFrame]) -> None:
        for name, measured in metrics.items():
            self._metrics[name].append(measured)

    def save(self) -> None:
        """Save the metrics of every sealed part whose samples have all been judged."""
        for part in list(self.unsaved):
            base = base_frame(self.run / "samples" / f"{part}.parquet", self.prompts)
            wanted = base.select("sample_id")
            whole = {name: pl.concat(frames) for name, frames in self._metrics.items() if frames}
            if any(wanted.join(m, on="sample_id", how="anti").height for m in whole.values()):
                continue
            inputs = inputs_key(base)
            for name, metrics in whole.items():
                own = metrics.join(wanted, on="sample_id", how="semi")
                save_metrics(self.run, name, self.filters[name], part, own, inputs)
                self._metrics[name] = [metrics.join(wanted, on="sample_id", how="anti")]
            self.unsaved.remove(part)
