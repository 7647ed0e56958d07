"""TRL's GRPO trainer with timing, the recipe's rendering, stored samples and collapse detection.

Only `factory.train.policy.grpo` imports this module, after all checks, since it loads trl.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl import GRPOTrainer

from factory.core.errors import FactoryError, TrainError
from factory.core.files import read_lines
from factory.core.nouns import fingerprint
from factory.train.directory import checkpoint_step
from factory.train.policy.ahead import Lookahead, RewardsPending, Rollout
from factory.train.policy.collapse import CollapseDetector, StepStats
from factory.train.policy.episodes import EpisodePlayer, as_rollout
from factory.train.policy.reference_model import load_reference, save_reference

if TYPE_CHECKING:
    from factory.recipe.grpo import Grpo
    from factory.train.directory import TrainDir
    from factory.train.scoring import Rewarder

PHASES = ("rollout", "sync", "reward", "save")


class PolicyTrainer(GRPOTrainer):  # type: ignore[misc]  # TRL is untyped here
    """Trains a policy on rendered prompts.

    It overrides these methods of TRL: `_tokenize_prompts`, since text rendered by a chat template
    contains its special tokens; `_generate_single_turn`, `_calculate_rewards`, `_save_checkpoint`
    and `log` for the timing; `log` also detects a collapse.
    """

    def __init__(
        self,
        recipe: Grpo,
        run: TrainDir,
        rewarder: Rewarder,
        *,
        special_tokens: bool,
        player: EpisodePlayer | None = None,
        **trl: Any,
    ) -> None:
        self.recipe = recipe
        self.run = run
        self.rewarder = rewarder
        self.special_tokens = special_tokens
        self.player = player
        self._inputs: list[dict[str, Any]] = []
        self.spent = dict.fromkeys(PHASES, 0.0)
        self._mark: tuple[float, int] | None = None
        parts = recipe.rewards.items()
        self._format = next((name for name, part in parts if part.kind == "format"), None)
        self._detector: CollapseDetector | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="rewards")
        self._rollout: Rollout | None = None  # the one that is generated or taken up
        self._pending: Rollout | None = None  # the next one, generated
        self._lookahead: Lookahead | None = None
        super().__init__(reward_funcs=rewarder.functions(), **trl)
        if player is not None:
            self.rollout_func = self._play  # as an argument it would only add a warning
        if recipe.rollouts.asynchronous:
            rollout = self.args.steps_per_generation * self.num_iterations
            self._lookahead = Lookahead(rollout)
        if self.use_vllm:
            sync = self.vllm_generation.sync_weights
            self.vllm_generation.sync_weights = lambda: self._timed_sync(sync)

    @contextmanager
    def clock(self, phase: str) -> Iterator[None]:
        """Add the seconds in the block to a phase, without those of other phases in it."""
        started, inner = time.perf_counter(), sum(self.spent.values())
        try:
            yield
        finally:
            nested = sum(self.spent.values()) - inner
            self.spent[phase] += time.perf_counter() - started - nested

    def load_reference(self, checkpoint: Path) -> None:
        """Load the reference model of a checkpoint, if it has replaced the initial policy."""
        if self.ref_model is not None:
            load_reference(self.ref_model, checkpoint)

    def close_engine(self) -> None:
        """Release an engine inside this process, and its memory; and rewards not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self.player is not None:
            self.player.close()
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
        logs = {**logs, **self._split_time()}
        super().log(logs, start_time)  # adds the step's metrics to the mapping
        self._check_collapse(logs)

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
            # An engine raises any error of its kernels, workers or connections. After each of
            # them it can't generate any more.
            raise TrainError(
                f"step {self.state.global_step + 1}: the rollouts failed: {type(error).__name__}: "
                f"{error}. {self._last_checkpoint()}; the same command resumes from there"
            ) from error

    def _play(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        """Play the episodes of a rollout. Those of one question begin alike: the seed is theirs."""
        assert self.player is not None
        names = [row["prompt_id"] for row in self._inputs]
        step = self.state.global_step
        seeds = [int(fingerprint([self.args.seed, step, name], 7), 16) for name in names]
        played = self.player.play(names, seeds, self._generate_turns)
        return as_rollout(played, self.processing_class.eos_token_id)

    def _generate_turns(
        self, prompts: list[list[int]]
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        found: tuple[list[list[int]], list[list[float]] | None]
        found = self._generate_single_turn(prompts, None, {}, 1)
        return found

    def _generate(self, prompts: Any) -> Any:
        if self._rollout is None:
            return super()._generate(prompts)
        return self._rollout.once(lambda: super(PolicyTrainer, self)._generate(prompts))

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        if self._rollout is None:
            return self._compute_logps(*args, **kwargs)
        return self._rollout.once(lambda: self._compute_logps(*args, **kwargs))

    def _compute_logps(self, *args: Any, **kwargs: Any) -> Any:
        """Return log probabilities and entropies of tokens."""
        return super()._get_per_token_logps_and_entropies(*args, **kwargs)

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: list[str], completion_ids_list: Any
    ) -> Any:
        rollout = self._rollout
        if rollout is not None and rollout.scores is None:
            ids = [row["prompt_id"] for row in inputs]
            given = (completions, completion_ids_list, ids)
            rollout.scores = self._pool.submit(self.rewarder.compute, *given)
            raise RewardsPending
        with self.clock("reward"):
            if rollout is not None and rollout.scores is not None:
                self.rewarder.provide(completions, rollout.scores.result())
            return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        if self._lookahead is not None:
            epoch_iterator = self._lookahead.read(epoch_iterator, num_batches)
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if self._lookahead is None or not self.model.training:
            return self._roll_out(inputs)
        current, self._pending = self._pending or self._start(inputs), None
        # The next rollout is generated before the update on this one: one update off-policy.
        accumulated = self.args.gradient_accumulation_steps
        following = self._lookahead.peek(self._lookahead.ahead - accumulated)
        last = self.state.global_step + self.recipe.steps_per_rollout >= self.state.max_steps
        if following is not None and not last:
            self._pending = self._start(following)
        current.rewind()
        with self._handling(current):
            return self._roll_out(current.inputs)

    def _start(self, inputs: list[dict[str, Any]]) -> Rollout:
        """Generate a rollout, and begin to compute its rewards."""
        rollout = Rollout(inputs)
        with self._handling(rollout), suppress(RewardsPending):
            self._roll_out(inputs)
        return rollout

    @contextmanager
    def _handling(self, rollout: Rollout) -> Iterator[None]:
        """Within it, what is generated is that of `rollout`.

        TRL keeps the sampling policy's probabilities only for rollouts that serve several updates.
        Here the policy is updated before a rollout is used, so they are needed as the denominator
        of the importance weights; TRL is made to think that there are twice as many iterations.
        """
        self._rollout = rollout
        self.num_iterations *= 2
        try:
            yield
        finally:
            self.num_iterations //= 2
            self._rollout = None

    def _roll_out(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._inputs = inputs
        scored: dict[str, Any] = super()._generate_and_score_completions(inputs)
        # A rollout that serves several steps may skip the exact step.
        if self.state.global_step % self.recipe.log_samples_every < self.recipe.rollouts.batches:
            self._store_samples(inputs)
        return scored

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with self.clock("save"):
            every = self.recipe.reference_every
            # Before the trainer's own files: the last one of them marks the checkpoint complete.
            if every and self.state.global_step >= every:
                folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
                save_reference(self.ref_model, folder, main=self.args.should_save)
            super()._save_checkpoint(model, trial)

    def _store_samples(self, inputs: list[dict[str, Any]]) -> None:
        """Append a few completions of the batch, evenly spaced, to samples.jsonl."""
        scores = self.rewarder.last
        if scores is None or not self.recipe.log_samples:
            return
        # The advantages of all processes, those of the main process first.
        total = len(inputs) * self.accelerator.num_processes
        advantages = list(self._logs["advantages"])[-total:]
        rows = scores.frame.select("prompt_id", "question", "text", "n_tokens", "finish_reason")
        stride = max(1, len(inputs) // self.recipe.log_samples)
        for place in range(0, len(inputs), stride)[: self.recipe.log_samples]:
            self.run.sample(
                self.state.global_step + 1,
                **rows.row(place, named=True),
                **_describe_turns(scores.frame["turns"][place]),
                rewards={name: values[place] for name, values in scores.parts.items()},
                advantage=round(advantages[place], 4),
            )

    def _timed_sync(self, sync: Any) -> None:
        with self.clock("sync"):
            sync()

    def _split_time(self) -> dict[str, float]:
        """Return the seconds per step since the last log, in total and by phase.

        `update` is the remainder.
        """
        now, step = time.perf_counter(), self.state.global_step
        since, before = self._mark or (now, step)
        self._mark = now, step
        steps = max(1, step - before)
        split = {f"time/{phase}": seconds / steps for phase, seconds in self.spent.items()}
        self.spent = dict.fromkeys(PHASES, 0.0)
        whole = (now - since) / steps
        split |= {"time/step": whole, "time/update": whole - sum(split.values())}
        return {name: round(seconds, 4) for name, seconds in split.items()}

    def _check_collapse(self, logs: dict[str, Any]) -> None:
        """Raise TrainError once the policy has collapsed. Includes steps before a resume."""
        if not self.run.is_main:
            return
        step = self.state.global_step
        if self._detector is None:
            best = self.rewarder.scoring.best
            self._detector = CollapseDetector(self.recipe.stop, best, self.recipe.log_every)
            for row in read_lines(self.run.path / "log.jsonl"):
                if "loss" in row and row["step"] < step:
                    self._detector.update(StepStats.from_log(row, self._format))
        stats = StepStats.from_log({**logs, "step": step}, self._format)
        collapse = self._detector.update(stats)
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
        return "No checkpoint was made" if before is None else "No checkpoint from before it exists"


def _describe_turns(turns: Any) -> dict[str, Any]:
    """Return the turns of an episode as samples.jsonl holds them; nothing for other samples."""
    if turns is None:
        return {}
    return {"turns": [{"role": turn["role"], "text": turn["text"]} for turn in turns]}
