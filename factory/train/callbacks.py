"""Callbacks of every trainer: write the log, stop on a loss that isn't finite, stop on Ctrl-C.

Only trainers import this module, since it loads transformers.
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

FINITE = ("loss", "grad_norm")
"""Metrics that must be finite. A bad gradient spoils the weights one step before the loss shows."""

RENAMED = {"num_input_tokens_seen": "tokens"}
OMITTED = frozenset({"total_flos"})

SHOWN = ("loss", "eval_loss", "reward", "learning_rate")
"""Metrics that the console shows if they are logged."""


class TrainingComplete(Exception):
    """The checkpoint is that of the last step. Without this, transformers trains one step more."""


class LogWriter(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Writes log.jsonl, and stops the training before broken weights are saved."""

    def __init__(self, run: TrainDir) -> None:
        self.run = run

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= state.max_steps:
            raise TrainingComplete

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # The loss is checked when it is logged, and logged before a checkpoint is saved, so the
        # newest checkpoint is always sound.
        control.should_log = control.should_log or control.should_save

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        metrics = {
            RENAMED.get(key, key): value
            for key, value in (logs or {}).items()
            if key not in OMITTED
        }
        self.run.log(state.global_step, **_to_json(metrics))
        broken = [key for key in FINITE if not math.isfinite(metrics.get(key, 0.0))]
        if broken:
            checkpoint = self.run.newest_checkpoint()
            last = (
                f"the last checkpoint is {checkpoint}" if checkpoint else "no checkpoint was made"
            )
            raise TrainError(
                f"step {state.global_step}: {broken[0]} is {metrics[broken[0]]}; {last}. Lower "
                "optimizer.learning_rate or max_grad_norm, add warmup, or try precision: fp32, and "
                "train again in another directory: --run DIR."
            )


class StopOnSignal(TrainerCallback):  # type: ignore[misc]
    """Ends a training at the next step, with a checkpoint, once `caught` contains a signal."""

    def __init__(self, caught: list[int]) -> None:
        self.caught = caught

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if _is_set_in_any_process(bool(self.caught), args.device):
            self.caught.append(0)  # all processes end together, whichever received the signal
            control.should_save = control.should_training_stop = True


class ProgressPrinter(TrainerCallback):  # type: ignore[misc]
    """Prints a line on the console every `PLAIN_SECONDS`, and for the last step."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.started = self.printed = time.monotonic()
        self.first = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.started, self.first = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        now, step = time.monotonic(), state.global_step
        if now - self.printed < PLAIN_SECONDS and step < state.max_steps:
            return
        self.printed = now
        shown = [f"{key} {logs[key]:.4g}" for key in SHOWN if key in (logs or {})]
        left = (now - self.started) / max(1, step - self.first) * (state.max_steps - step)
        shown.append(f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left")
        line = f"step {step}/{state.max_steps}, {', '.join(shown)}"
        self.console.print(line, highlight=False, markup=False)


def _is_set_in_any_process(flag: bool, device: Any) -> bool:
    """Combine a flag over all processes: signals reach them at different steps, and they must stop
    at the same one."""
    import torch
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return flag
    shared = torch.tensor(float(flag), device=device)
    distributed.all_reduce(shared, op=distributed.ReduceOp.MAX)
    return bool(shared.item())


def _to_json(metrics: dict[str, Any]) -> dict[str, Any]:
    """Convert NaN and infinity to text: JSON has neither."""
    return {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in metrics.items()
    }
