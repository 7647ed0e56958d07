"""One trainer's run, whatever its kind: from the newest checkpoint, logged, stoppable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from factory.core.errors import Stopped
from factory.core.stop_signals import interrupts

if TYPE_CHECKING:
    from rich.console import Console

    from factory.train.directory import TrainDir


def fit(trainer: Any, run: TrainDir, console: Console) -> dict[str, Any]:
    """Train to the end. Returns the trainer's closing metrics.

    Raises TrainError for a loss that is no number, and Stopped on Ctrl-C: a checkpoint is left.
    """
    from transformers.trainer_callback import PrinterCallback

    from factory.train.callbacks import Complete, Log, StopOnSignal, Tell

    newest = run.resume()
    if newest is not None and run.is_main:
        console.print(f"going on from {newest}", highlight=False, markup=False)
    trainer.remove_callback(PrinterCallback)
    if run.is_main:
        trainer.add_callback(Tell(console))
    with interrupts(first_only=True) as caught:
        trainer.add_callback(StopOnSignal(caught))
        trainer.add_callback(Log(run))  # after whatever may ask for a checkpoint
        try:
            output = trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
        except Complete:
            return {}
    if caught:
        raise Stopped(run.path)
    return dict(output.metrics)
