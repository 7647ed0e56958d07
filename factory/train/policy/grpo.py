"""`kind: grpo`: questions → rollouts → rewards → a better policy (R1 §2.2.1).

A killed training goes on from its newest checkpoint with its steps, optimizer, random state and
reference model. What vLLM samples from there is another draw: with rollouts of kind `none` the
whole training is the same again, with vLLM its course is, its texts are not.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

from factory.core.errors import Problem, RecipeError, SourceError
from factory.core.nouns import Prompt, fingerprint
from factory.core.run_dir import save_prompts
from factory.prompts.chain_of_thought import unmarked
from factory.prompts.load import load_prompts
from factory.prompts.references import sound_prompts
from factory.prompts.templates import Rendered
from factory.train.policy.rollouts import check_rollouts, generation_backend, rollout_arguments
from factory.train.scoring import Rewarder, Scoring, dead_parts, not_judged
from factory.train.tokenizer import training_tokenizer

if TYPE_CHECKING:
    from rich.console import Console

    from factory.recipe.grpo import Grpo
    from factory.train.directory import TrainDir


def train_grpo(recipe: Grpo, run: TrainDir, console: Console) -> dict[str, Any]:
    """Train a policy. Returns the closing metrics.

    Raises TrainError where the policy collapses or the rollouts die; what is wrong with questions,
    rewards, model or versions is told before an engine starts.
    """
    check_rollouts(recipe)
    tokenizer = training_tokenizer(recipe)
    tokenizer.padding_side = "left"
    questions = load_questions(recipe, run, tokenizer, console)
    prompts = [question.prompt for question in questions]
    scoring = Scoring(
        recipe.rewards,
        prompts,
        prefills={question.prompt.id: question.asked.prefill for question in questions},
        stop=not_judged(recipe.prompting),
    )
    refuse_dead_parts(recipe, scoring, prompts)
    trainer = make_trainer(recipe, run, tokenizer, questions, scoring)
    from factory.train.loop import fit

    newest = run.newest_checkpoint()
    if newest is not None:
        trainer.load_reference(newest)
    try:
        metrics = fit(trainer, run, console)
    finally:
        trainer.close_engine()
    from factory.train.weights import save_causal_lm

    save_causal_lm(trainer, recipe, run, tokenizer)
    if run.is_main:
        from factory.train.curves import write_curves

        write_curves(run.path)
    return metrics


class Question(NamedTuple):
    """A prompt, and how it is put to the policy."""

    prompt: Prompt
    asked: Rendered

    @property
    def text(self) -> str:
        """What the policy continues."""
        return self.asked.prompt_text + self.asked.prefill


def load_questions(recipe: Grpo, run: TrainDir, tokenizer: Any, console: Console) -> list[Question]:
    """The questions, without those that leave no room to answer."""
    from factory.prompts.load import describe

    loaded = load_prompts(recipe.sources)
    for count in loaded.counts if run.is_main else []:
        console.print(describe(count), highlight=False, markup=False)
    prompts = loaded.prompts
    if any(part.kind == "accuracy" for part in recipe.rewards.values()):
        prompts = sound_prompts(prompts, run.path)
    cot = recipe.prompting.cot
    prompts = cot.mark(prompts) if cot else [unmarked(one) for one in prompts]
    asked = [Question(one, recipe.prompting.render(one, tokenizer)) for one in prompts]
    room = (recipe.max_length or tokenizer.model_max_length) - recipe.rollouts.max_tokens
    texts = [question.text for question in asked]
    lengths = [len(ids) for ids in tokenizer(texts)["input_ids"]] if texts else []
    fitting = [one for one, length in zip(asked, lengths, strict=True) if length <= room]
    if not fitting:
        raise SourceError(
            f"not one of {len(loaded.prompts)} questions can be trained on: "
            f"{len(loaded.prompts) - len(prompts)} have a reference that fails its own verifier, "
            f"{len(prompts)} leave no room for rollouts.max_tokens ({recipe.rollouts.max_tokens}) "
            f"within {recipe.max_length or tokenizer.model_max_length} tokens (max_length)"
        )
    if len(fitting) < len(prompts) and run.is_main:
        left = f"{len(prompts) - len(fitting):,} questions left out: no room for an answer"
        console.print(left, highlight=False, markup=False)
    if run.is_main:
        save_prompts(run.path, [question.prompt for question in fitting])
    return fitting


def refuse_dead_parts(recipe: Grpo, scoring: Scoring, prompts: list[Prompt]) -> None:
    """A part that says nothing of any question is a mistake in the recipe: told before training."""
    dead = dead_parts(scoring, prompts)
    if dead:
        what = "applies to none of the questions tried; see its `prompts`, and their verifiers"
        raise RecipeError([Problem(f"rewards.{name}", what) for name in dead])


def make_trainer(
    recipe: Grpo,
    run: TrainDir,
    tokenizer: Any,
    questions: list[Question],
    scoring: Scoring,
) -> Any:
    """The trainer with its policy, its reference model and its engine."""
    from datasets import Dataset

    from factory.train.arguments import accumulation, arguments, one_cpu_process
    from factory.train.weights import load_causal_lm, lora_config

    rows = [{"prompt": one.text, "prompt_id": one.prompt.id} for one in questions]
    if recipe.unverified_from is not None:
        rows = in_stages(recipe, rows, [one.prompt.verifier is not None for one in questions])
    per_rollout = recipe.batch // recipe.samples * recipe.rollouts.batches
    if len(rows) < per_rollout:
        what = f"a rollout takes {per_rollout} questions, and there are {len(rows)}"
        raise RecipeError([Problem("batch", f"{what}: lower it, or give more sources")])
    from trl import GRPOConfig

    own = rollout_arguments(recipe) | {
        "num_generations": recipe.samples,
        "steps_per_generation": accumulation(recipe) * recipe.rollouts.batches,
        "num_iterations": recipe.iterations,
        "loss_type": recipe.loss,
        "scale_rewards": recipe.scale_rewards,
        "beta": recipe.beta,
        "epsilon": recipe.epsilon,
        "epsilon_high": recipe.epsilon_high,
        "reward_weights": list(scoring.weights.values()),
        "sync_ref_model": recipe.reference_every is not None,
        "ref_model_sync_steps": recipe.reference_every or 1,
        "ref_model_mixup_alpha": 1.0,  # replaced, not mixed
        "shuffle_dataset": recipe.unverified_from is None,
    }
    config = arguments(recipe, GRPOConfig, run, **own)
    model = load_causal_lm(recipe)
    if one_cpu_process():
        from factory.train.policy.cpu_log_probs import CpuPolicyTrainer as Trainer
    else:
        from factory.train.policy.trainer import PolicyTrainer as Trainer
    # An engine that starts again with its old seed draws its old tokens again.
    seed = int(fingerprint([recipe.seed, str(run.newest_checkpoint())], 7), 16)
    with generation_backend(recipe, seed):
        return Trainer(
            recipe,
            run,
            Rewarder(scoring, recipe.rollouts.max_tokens),
            special_tokens=recipe.prompting.template != "chat",
            model=model,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=lora_config(recipe.lora),
        )


def in_stages(recipe: Grpo, rows: list[Any], verified: list[bool]) -> list[Any]:
    """Every question of every step, in order: shuffled passes over those with a verifier, then,
    from `unverified_from` on, over all. Raises RecipeError where there is none of either."""
    assert recipe.steps is not None
    assert recipe.unverified_from is not None
    reasoning = [row for row, known in zip(rows, verified, strict=True) if known]
    if len(reasoning) in (0, len(rows)):
        what = "needs questions with a verifier and others without one"
        raise RecipeError([Problem("unverified_from", what)])
    shuffle = random.Random(recipe.seed)
    each = recipe.batch // recipe.samples
    stages = [
        (reasoning, each * (min(recipe.unverified_from, recipe.steps + 1) - 1)),
        (rows, each * max(0, recipe.steps + 1 - recipe.unverified_from)),
    ]
    ordered: list[Any] = []
    for pool, wanted in stages:
        end = len(ordered) + wanted
        while len(ordered) < end:
            ordered += shuffle.sample(pool, len(pool))[: end - len(ordered)]
    return ordered
