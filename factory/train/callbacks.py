"""What every trainer does beside training: log, stop on a loss that is no number, and on Ctrl-C.

Imported by trainers only, once transformers is loaded anyway.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from factory.core.errors import TrainError
from factory.sampling.progress import PLAIN_SECONDS
from factory.train.directory import TrainDir

if TYPE_CHECKING:
    from rich.console import Console

NUMBERS = ("loss", "grad_norm")
"""What must be finite. A gradient that is not spoils the weights a step before the loss shows."""

RENAMED = {"num_input_tokens_seen": "tokens"}
UNTOLD = frozenset({"total_flos"})

SHOWN = ("loss", "eval_loss", "reward", "learning_rate")
"""Metrics that the console shows, where there are any."""


class Complete(Exception):
    """The checkpoint is that of the last step. transformers would train one more."""


class Log(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Writes log.jsonl and refuses to save weights that are no longer numbers."""

    def __init__(self, run: TrainDir) -> None:
        self.run = run

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= state.max_steps:
            raise Complete

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # The loss is looked at when it is logged, and logged before it is saved: so the newest
        # checkpoint is always one to go back to.
        control.should_log = control.should_log or control.should_save

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        metrics = {
            RENAMED.get(key, key): value for key, value in (logs or {}).items() if key not in UNTOLD
        }
        self.run.log(state.global_step, **_as_json(metrics))
        broken = [key for key in NUMBERS if not math.isfinite(metrics.get(key, 0.0))]
        if broken:
            checkpoint = self.run.newest_checkpoint()
            kept = (
                f"the last checkpoint is {checkpoint}" if checkpoint else "no checkpoint was made"
            )
            raise TrainError(
                f"step {state.global_step}: {broken[0]} is {metrics[broken[0]]}; {kept}. Lower "
                "optimizer.learning_rate or max_grad_norm, add warmup, or try precision: fp32, and "
                "train anew with --run DIR."
            )


class StopOnSignal(TrainerCallback):  # type: ignore[misc]
    """Ends a training at the next step, with a checkpoint, once `caught` holds a signal."""

    def __init__(self, caught: list[int]) -> None:
        self.caught = caught

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if _in_any_process(bool(self.caught), args.device):
            self.caught.append(0)  # the other processes end with the one that was told
            control.should_save = control.should_training_stop = True


class Tell(TrainerCallback):  # type: ignore[misc]
    """A line on the console every `PLAIN_SECONDS`, and for the last step."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.started = self.told = time.monotonic()
        self.first = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.started, self.first = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        now, step = time.monotonic(), state.global_step
        if now - self.told < PLAIN_SECONDS and step < state.max_steps:
            return
        self.told = now
        shown = [f"{key} {logs[key]:.4g}" for key in SHOWN if key in (logs or {})]
        left = (now - self.started) / max(1, step - self.first) * (state.max_steps - step)
        shown.append(f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left")
        line = f"step {step}/{state.max_steps}, {', '.join(shown)}"
        self.console.print(line, highlight=False, markup=False)


def _in_any_process(flag: bool, device: Any) -> bool:
    """Signals reach the processes of a launch at different steps; they must end at the same."""
    import torch
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return flag
    shared = torch.tensor(float(flag), device=device)
    distributed.all_reduce(shared, op=distributed.ReduceOp.MAX)
    return bool(shared.item())


def _as_json(metrics: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: what is not finite is written as text."""
    return {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in metrics.items()
    }
