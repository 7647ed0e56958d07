"""TRL's GRPO trainer with a clock, the recipe's own rendering, samples kept, and a watch.

Imported by `factory.train.policy.grpo` only, once everything checkable was checked: it loads trl.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl import GRPOTrainer

from factory.core.errors import FactoryError, TrainError
from factory.core.files import read_lines
from factory.train.directory import checkpoint_step
from factory.train.policy.collapse import Step, Watch

if TYPE_CHECKING:
    from factory.recipe.grpo import Grpo
    from factory.train.directory import TrainDir
    from factory.train.scoring import Rewarder

REFERENCE = "reference"
"""Folder of a checkpoint that holds the reference model, once it is no longer the first policy."""

PHASES = ("rollout", "sync", "reward", "save")


class PolicyTrainer(GRPOTrainer):  # type: ignore[misc]  # TRL is untyped here
    """Trains a policy on prompts that are rendered already.

    Overrides of TRL's own methods: `_tokenize_prompts`, since a chat template's text holds its
    special tokens already; `_generate_single_turn`, `_calculate_rewards`, `_save_checkpoint` and
    `log` for the clock; the last also watches for a collapse.
    """

    def __init__(
        self,
        recipe: Grpo,
        run: TrainDir,
        rewarder: Rewarder,
        *,
        special_tokens: bool,
        **trl: Any,
    ) -> None:
        self.recipe = recipe
        self.run = run
        self.rewarder = rewarder
        self.special_tokens = special_tokens
        self.spent = dict.fromkeys(PHASES, 0.0)
        self._mark: tuple[float, int] | None = None
        parts = recipe.rewards.items()
        self._format = next((name for name, part in parts if part.kind == "format"), None)
        self._watch: Watch | None = None
        super().__init__(reward_funcs=rewarder.functions(), **trl)
        if self.use_vllm:
            sync = self.vllm_generation.sync_weights
            self.vllm_generation.sync_weights = lambda: self._timed_sync(sync)

    @contextmanager
    def clock(self, phase: str) -> Iterator[None]:
        """Count the seconds inside towards a phase, less those of another phase inside it."""
        started, inner = time.perf_counter(), sum(self.spent.values())
        try:
            yield
        finally:
            nested = sum(self.spent.values()) - inner
            self.spent[phase] += time.perf_counter() - started - nested

    def load_reference(self, checkpoint: Path) -> None:
        """Take up the reference model of a checkpoint, where it had replaced the first policy."""
        from safetensors.torch import load_file

        folder = checkpoint / REFERENCE
        if folder.is_dir() and self.ref_model is not None:
            weights = load_file(folder / "reference.safetensors")
            model = self.accelerator.unwrap_model(self.ref_model)
            model.load_state_dict(weights, strict=False)  # tied weights are held once

    def close_engine(self) -> None:
        """Let go of an engine inside this process, and of its memory."""
        if self.use_vllm and self.recipe.rollouts.kind == "colocate":
            self.vllm_generation.__dict__.clear()
            gc.collect()

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        if self._mark is None:
            self._mark = time.perf_counter(), self.state.global_step
        return super().training_step(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" not in logs:
            super().log(logs, start_time)
            return
        logs = {**logs, **self._time_split()}
        super().log(logs, start_time)  # adds the step's metrics to the mapping
        self._look_for_collapse(logs)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        ids = self._tokenizer(text=prompts, add_special_tokens=self.special_tokens)["input_ids"]
        return ids, None, {}

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        try:
            with self.clock("rollout"):
                return super()._generate_single_turn(*args, **kwargs)
        except FactoryError:
            raise
        except Exception as error:
            # An engine raises whatever its kernel, worker or connection raised: any of it means
            # that there will be no more rollouts.
            raise TrainError(
                f"step {self.state.global_step + 1}: the rollouts died: {type(error).__name__}: "
                f"{error}. {self._last_checkpoint()}; the same command goes on from there"
            ) from error

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
        with self.clock("reward"):
            return super()._calculate_rewards(*args, **kwargs)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        scored: dict[str, Any] = super()._generate_and_score_completions(inputs)
        # A rollout that feeds several steps may pass over the very step.
        if self.state.global_step % self.recipe.log_samples_every < self.recipe.rollouts.batches:
            self._keep_samples(inputs)
        return scored

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with self.clock("save"):
            every = self.recipe.reference_every
            # First: a checkpoint counts as whole by what the trainer itself writes last.
            if every and self.state.global_step >= every and self.args.should_save:
                self._save_reference()
            super()._save_checkpoint(model, trial)

    def _save_reference(self) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}" / REFERENCE
        folder.mkdir(parents=True, exist_ok=True)
        from safetensors.torch import save_model

        model = self.accelerator.unwrap_model(self.ref_model)
        save_model(model, str(folder / "reference.safetensors"))

    def _keep_samples(self, inputs: list[dict[str, Any]]) -> None:
        """A few completions of the batch, spread over it, into samples.jsonl."""
        scores = self.rewarder.last
        if scores is None or not self.recipe.log_samples:
            return
        # All processes' advantages, those of the main one first.
        everyone = len(inputs) * self.accelerator.num_processes
        advantages = list(self._logs["advantages"])[-everyone:]
        rows = scores.frame.select("prompt_id", "question", "text", "n_tokens", "finish_reason")
        stride = max(1, len(inputs) // self.recipe.log_samples)
        for place in range(0, len(inputs), stride)[: self.recipe.log_samples]:
            self.run.sample(
                self.state.global_step + 1,
                **rows.row(place, named=True),
                rewards={name: values[place] for name, values in scores.parts.items()},
                advantage=round(advantages[place], 4),
            )

    def _timed_sync(self, sync: Any) -> None:
        with self.clock("sync"):
            sync()

    def _time_split(self) -> dict[str, float]:
        """Seconds a step since the last log: all of it, and each phase's; `update` is the rest."""
        now, step = time.perf_counter(), self.state.global_step
        since, before = self._mark or (now, step)
        self._mark = now, step
        steps = max(1, step - before)
        split = {f"time/{phase}": seconds / steps for phase, seconds in self.spent.items()}
        self.spent = dict.fromkeys(PHASES, 0.0)
        whole = (now - since) / steps
        split |= {"time/step": whole, "time/update": whole - sum(split.values())}
        return {name: round(seconds, 4) for name, seconds in split.items()}

    def _look_for_collapse(self, logs: dict[str, Any]) -> None:
        """Raises TrainError once the policy has collapsed; a resumed training's past counts too."""
        if not self.run.is_main:
            return
        step = self.state.global_step
        if self._watch is None:
            best = self.rewarder.scoring.best
            self._watch = Watch(self.recipe.stop, best, self.recipe.log_every)
            for row in read_lines(self.run.path / "log.jsonl"):
                if "loss" in row and row["step"] < step:
                    self._watch.see(Step.of(row, self._format))
        collapse = self._watch.see(Step.of({**logs, "step": step}, self._format))
        if collapse is not None:
            raise TrainError(
                f"step {step}: the policy has collapsed: since step {collapse.since} "
                f"{collapse.what}. {self._last_checkpoint(collapse.since)}. "
                f"Remedy: {collapse.remedy}. The rules are under `stop:`"
            )

    def _last_checkpoint(self, before: int | None = None) -> str:
        found = [
            folder
            for folder in sorted(self.run.checkpoints.glob("checkpoint-*"), key=checkpoint_step)
            if before is None or checkpoint_step(folder) < before
        ]
        if found:
            return f"The last good checkpoint is {found[-1]}"
        kept = (
            "no checkpoint was made" if before is None else "no checkpoint from before it is kept"
        )
        return f"{kept[0].upper()}{kept[1:]}"
