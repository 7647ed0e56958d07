"""Judging while sampling, in another process: the engine's loop never waits for a verifier.

The judge keeps the metrics it measures until their part is sealed and then saves them beside it, so
that nothing is measured twice. Whatever it did not get to is measured when sampling ends.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

import polars as pl

from factory.core.nouns import Judged, Sample
from factory.core.parallel import spawning
from factory.judging.metrics import (
    base_frame,
    input_frame,
    inputs_key,
    measured_frame_of,
    prompt_frame,
    save_metrics,
)
from factory.judging.verdicts import all_filters, decide, early_filters
from factory.recipe.build import recipe_of_run
from filters.base import Filter

BATCH = 256
"""Samples judged together at most; the first of a batch never waits for more to come."""


class LiveJudge:
    """A process that judges samples as they finish, by the recipe its run directory holds.

    Its death loses nothing but early verdicts.
    """

    def __init__(self, run: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_judge_loop, args=(theirs, run), name="judge", daemon=False
        )
        with spawning(POLARS_MAX_THREADS="1", OMP_NUM_THREADS="1"):
            self._process.start()
        theirs.close()
        self._sealed: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._batch: list[Sample] = []
        self._sent: list[str] = []  # sample ids of batches not yet answered, oldest first
        self._asked = 0
        self.error: str | None = None

    @property
    def outstanding(self) -> int:
        """Samples put in and not yet judged."""
        return len(self._batch) + self._asked

    def put(self, sample: Sample) -> None:
        self._batch.append(sample)

    def sealed(self, part: str) -> None:
        """A part became durable: its metrics can be saved. May be called from any thread."""
        self._sealed.put(part)

    def collect(self, wait: float = 0.0) -> list[Judged]:
        """Verdicts that are ready; waits up to `wait` seconds for the first."""
        if self._batch and not self._asked:
            batch, self._batch = self._batch[:BATCH], self._batch[BATCH:]
            self._sent = [sample.sample_id for sample in batch]
            self._asked = len(batch)
            self._send(("judge", [asdict(sample) for sample in batch]))
        self._tell_sealed()
        if not self._asked or not self._ready(wait):
            return []
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            self.error = self.error or "the judging process died"
            answer = None
        if isinstance(answer, str):
            self.error, answer = answer, None
        self._asked = 0
        if answer is None:
            return [Judged(name, "undecided", "judge_error") for name in self._sent]
        return [Judged(*row) for row in answer]

    def close(self) -> None:
        """Let it save what it holds and end."""
        self._tell_sealed()
        self._send(None)
        self._process.join(timeout=60)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()

    def _tell_sealed(self) -> None:
        while not self._sealed.empty():
            self._send(("sealed", self._sealed.get()))

    def _ready(self, wait: float) -> bool:
        return self._pipe.poll(wait) or not self._process.is_alive()

    def _send(self, message: object) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            self.error = self.error or "the judging process died"


def _judge_loop(pipe: Connection, run: Path) -> None:
    # Ctrl-C goes to the whole group; the build decides when its judge ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)
    filters = early_filters(all_filters(recipe_of_run(run)))
    prompts = prompt_frame(run)
    held = _Held(run, prompts, filters)
    while True:
        try:
            message = pipe.recv()
        except EOFError:
            return  # the build is gone, however it went
        if message is None:
            return
        kind, content = message
        if kind == "sealed":
            held.unsaved.append(content)
            held.save()
            continue
        try:
            rows = input_frame(pl.DataFrame(content), prompts)
            metrics = {name: judge.measure(rows) for name, judge in filters.items()}
            # A prompt's pass rate is known only once sampling has ended.
            measured = measured_frame_of(rows, metrics).with_columns(
                pass_rate=pl.lit(None, dtype=pl.Float64)
            )
            verdicts = decide(measured, filters)
            pipe.send(verdicts.select("sample_id", "decision", "reason").rows())
        except Exception:
            # A filter of the user's own may raise anything. Sampling goes on; the final judging
            # meets the same error with nothing at stake, and reports it.
            pipe.send(traceback.format_exc(limit=-3))
            continue
        held.add(metrics)
        held.save()


class _Held:
    """Metrics measured and not yet saved, and the parts they wait for."""

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
