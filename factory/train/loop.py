"""Run a trainer of any kind: resume from the newest checkpoint, log, stop on a signal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from factory.core.errors import Stopped
from factory.core.stop_signals import collect_signals

if TYPE_CHECKING:
    from rich.console import Console

    from factory.train.directory import TrainDir


def fit(trainer: Any, run: TrainDir, console: Console) -> dict[str, Any]:
    """Train to the end. Returns the trainer's final metrics.

    Raises TrainError for a loss that isn't finite, and Stopped on Ctrl-C after saving a checkpoint.
    """
    from transformers.trainer_callback import PrinterCallback

    from factory.train.callbacks import (
        LogWriter,
        ProgressPrinter,
        StopOnSignal,
        TrainingComplete,
    )

    newest = run.resume()
    if newest is not None and run.is_main:
        console.print(f"resuming from {newest}", highlight=False, markup=False)
    trainer.remove_callback(PrinterCallback)
    if run.is_main:
        trainer.add_callback(ProgressPrinter(console))
    with collect_signals(first_only=True) as caught:
        trainer.add_callback(StopOnSignal(caught))
        trainer.add_callback(LogWriter(run))  # after all callbacks that may request a checkpoint
        try:
            output = trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
        except TrainingComplete:
            return {}
    if caught:
        raise Stopped(run.path)
    return dict(output.metrics)
