"""`kind: grpo`: train a policy: questions → rollouts → rewards → a better policy (R1 §2.2.1).

A killed training resumes from its newest checkpoint with its step, optimizer, random state and
reference model. With rollouts of kind `none` the result is the same as without the interruption.
With vLLM it is equivalent but not identical: vLLM draws other texts after a restart.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from factory.core.errors import Problem, RecipeError, SourceError
from factory.core.nouns import Prompt, fingerprint
from factory.core.run_dir import save_prompts
from factory.judging.late_rewards import LateRewards
from factory.prompts.chain_of_thought import remove_mark
from factory.prompts.load import load_prompts
from factory.prompts.references import sound_prompts
from factory.prompts.templates import Rendered
from factory.recipe.exclusion import leave_out
from factory.train.policy.episodes import EpisodePlayer
from factory.train.policy.reference_model import check_sharding
from factory.train.policy.rollouts import (
    build_rollout_arguments,
    check_rollouts,
    generation_backend,
)
from factory.train.scoring import (
    Rewarder,
    Scoring,
    excluded_stops,
    find_inapplicable_parts,
    find_unrewarded,
)
from factory.train.self_evolution import label_difficulty
from factory.train.tokenizer import training_tokenizer

if TYPE_CHECKING:
    from rich.console import Console

    from factory.recipe.grpo import Grpo
    from factory.train.directory import TrainDir


def train_grpo(recipe: Grpo, run: TrainDir, console: Console) -> dict[str, Any]:
    """Train a policy. Returns the final metrics.

    Raises TrainError where the policy collapses or the rollouts fail. Problems with questions,
    rewards, model or versions are raised before an engine starts.
    """
    check_sharding(recipe.reference_every)
    check_rollouts(recipe)
    tokenizer = training_tokenizer(recipe)
    tokenizer.padding_side = "left"
    questions = load_questions(recipe, run, tokenizer, console)
    prompts = [question.prompt for question in questions]
    late = LateRewards(run.path)
    scoring = Scoring(
        recipe.rewards,
        prompts,
        await_verdicts=late,
        prefills={question.prompt.id: question.rendered.prefill for question in questions},
        stop=excluded_stops(recipe.prompting),
    )
    refuse_inapplicable_parts(scoring, prompts)
    trainer = make_trainer(recipe, run, tokenizer, questions, scoring)
    from factory.train.loop import fit

    newest = run.newest_checkpoint()
    if newest is not None:
        trainer.load_reference(newest)
    try:
        metrics = fit(trainer, run, console)
    finally:
        late.close()
        trainer.close_engine()
    from factory.train.weights import save_causal_lm

    save_causal_lm(trainer, recipe, run, tokenizer)
    if run.is_main:
        from factory.train.curves import write_curves

        write_curves(run.path)
    return metrics


class PolicyQuestion(NamedTuple):
    """A prompt, and its text for the policy."""

    prompt: Prompt
    rendered: Rendered

    @property
    def text(self) -> str:
        """The text that the policy continues."""
        return self.rendered.prompt_text + self.rendered.prefill


def plays_episodes(prompts: Sequence[Prompt]) -> bool:
    """Return whether any prompt has an environment."""
    return any(prompt.environment is not None for prompt in prompts)


def check_episodes(recipe: Grpo, prompts: Sequence[Prompt]) -> None:
    """Raise RecipeError for rollouts in which no episode can be played."""
    if not plays_episodes(prompts):
        return
    rollouts, problems = recipe.rollouts, []
    if rollouts.kind == "server":
        what = "is server, which generates for all processes at once, turn by turn for none; use"
        problems.append(Problem("rollouts.kind", f"{what} colocate for prompts with environments"))
    if rollouts.tensor_parallel > 1:
        what = "must be 1 for prompts with environments: each process plays its own episodes"
        problems.append(Problem("rollouts.tensor_parallel", what))
    if rollouts.asynchronous:
        what = "must be false for prompts with environments: tools are called during the rollout"
        problems.append(Problem("rollouts.asynchronous", what))
    if recipe.prompting.template != "chat":
        what = f"is {recipe.prompting.template}; prompts with environments need chat"
        problems.append(Problem("prompting.template", what))
    if problems:
        raise RecipeError(problems)


def load_questions(
    recipe: Grpo, run: TrainDir, tokenizer: Any, console: Console
) -> list[PolicyQuestion]:
    """Load the questions, without those that leave no room for an answer.

    Raises SourceError where no question is left.
    """
    from factory.prompts.load import describe

    loaded = load_prompts(recipe.sources)
    for count in loaded.counts if run.is_main else []:
        console.print(describe(count), highlight=False, markup=False)
    check_episodes(recipe, loaded.prompts)
    prompts, excluded, contaminated = leave_out(
        loaded.prompts, recipe.exclude, recipe.contamination
    )
    if run.is_main and (recipe.exclude or recipe.contamination.against):
        left = f"{excluded:,} questions excluded, {contaminated:,} overlap with an evaluation set"
        console.print(left, highlight=False, markup=False)
    usable = len(prompts)
    if any(part.kind == "accuracy" for part in recipe.rewards.values()):
        prompts = sound_prompts(prompts, run.path)
    domains = {one.domain for one in prompts}
    recipe.prompting.check_instructions(domains | {one.label for one in recipe.sources})
    cot = recipe.prompting.cot
    prompts = cot.mark(prompts) if cot else [remove_mark(one) for one in prompts]
    questions = [PolicyQuestion(one, recipe.prompting.render(one, tokenizer)) for one in prompts]
    room = (recipe.max_length or tokenizer.model_max_length) - recipe.rollouts.max_tokens
    texts = [question.text for question in questions]
    lengths = [len(ids) for ids in tokenizer(texts)["input_ids"]] if texts else []
    fitting = [one for one, length in zip(questions, lengths, strict=True) if length <= room]
    if not fitting:
        raise SourceError(
            f"none of the {len(loaded.prompts)} questions can be trained on: "
            f"{excluded} are excluded, {contaminated} overlap with an evaluation set, "
            f"{usable - len(prompts)} have a reference that fails its own verifier, "
            f"{len(prompts)} leave no room for rollouts.max_tokens ({recipe.rollouts.max_tokens}) "
            f"within {recipe.max_length or tokenizer.model_max_length} tokens (max_length)"
        )
    if len(fitting) < len(prompts) and run.is_main:
        left = f"{len(prompts) - len(fitting):,} questions left out: no room for an answer"
        console.print(left, highlight=False, markup=False)
    if run.is_main:
        save_prompts(run.path, [question.prompt for question in fitting])
    return fitting


def refuse_inapplicable_parts(scoring: Scoring, prompts: list[Prompt]) -> None:
    """Raise RecipeError for a part of the reward that applies to no question, and the reverse."""
    what = (
        "applies to none of the questions tried; check its prompts, sources, domains and meta, and "
        "the questions' verifiers"
    )
    problems = [
        Problem(f"rewards.{name}", what) for name in find_inapplicable_parts(scoring, prompts)
    ]
    unrewarded = find_unrewarded(scoring.rewards, prompts)
    if unrewarded:
        first = unrewarded[0]
        what = (
            f"no part applies to {len(unrewarded):,} of {len(prompts):,} questions, such as one of "
            f"source {first.source}, domain {first.domain}; add a part, or leave the source out"
        )
        problems.append(Problem("rewards", what))
    if problems:
        raise RecipeError(problems)


def make_trainer(
    recipe: Grpo,
    run: TrainDir,
    tokenizer: Any,
    questions: list[PolicyQuestion],
    scoring: Scoring,
) -> Any:
    """Create the trainer with its policy, its reference model and its engine."""
    from datasets import Dataset

    from factory.train.arguments import (
        accumulation_steps,
        build_arguments,
        is_single_cpu_process,
    )
    from factory.train.weights import load_causal_lm, lora_config

    difficulty = None
    if recipe.difficulty is not None:
        difficulty = label_difficulty([one.prompt for one in questions], recipe.difficulty)
    rows = [{"prompt": one.text, "prompt_id": one.prompt.id} for one in questions]
    if recipe.unverified_from is not None:
        rows = order_in_stages(recipe, rows, [one.prompt.verifier is not None for one in questions])
    if len(rows) < recipe.questions_per_rollout:
        what = (
            f"a rollout needs {recipe.questions_per_rollout} questions, but there are {len(rows)}"
        )
        raise RecipeError([Problem("batch", f"{what}: lower it, or add sources")])
    from trl import GRPOConfig

    own = build_rollout_arguments(recipe) | {
        "num_generations": recipe.samples,
        "steps_per_generation": accumulation_steps(recipe) * recipe.rollouts.batches,
        "num_iterations": recipe.iterations,
        "loss_type": recipe.loss,
        "scale_rewards": recipe.scale_rewards,
        "beta": recipe.beta,
        "use_bias_correction_kl": recipe.kl_bias_correction,
        "epsilon": recipe.epsilon,
        "epsilon_high": recipe.epsilon_high,
        "reward_weights": list(scoring.weights.values()),
        "sync_ref_model": recipe.reference_every is not None,
        "ref_model_sync_steps": recipe.reference_every or 1,
        "ref_model_mixup_alpha": 1.0,  # replace the reference model, don't average
        "shuffle_dataset": recipe.unverified_from is None,
    }
    config = build_arguments(recipe, GRPOConfig, run, **own)
    model = load_causal_lm(recipe)
    player = make_player(recipe, tokenizer, [question.prompt for question in questions])
    if is_single_cpu_process():
        from factory.train.policy.cpu_log_probs import CpuPolicyTrainer as Trainer
    else:
        from factory.train.policy.trainer import PolicyTrainer as Trainer
    # An engine that restarted with the same seed would draw the same tokens again.
    seed = int(fingerprint([recipe.seed, str(run.newest_checkpoint())], 7), 16)
    with generation_backend(recipe, seed):
        return Trainer(
            recipe,
            run,
            Rewarder(scoring, recipe.rollouts.max_tokens, difficulty),
            special_tokens=recipe.prompting.template != "chat",
            player=player,
            model=model,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=lora_config(recipe.lora),
        )


def make_player(recipe: Grpo, tokenizer: Any, prompts: list[Prompt]) -> EpisodePlayer | None:
    """Return what plays the episodes of a training; None if no prompt has an environment."""
    if not plays_episodes(prompts):
        return None
    return EpisodePlayer(
        recipe.episode,
        recipe.prompting,
        tokenizer,
        prompts,
        max_tokens=recipe.rollouts.max_tokens,
        room=recipe.max_length or tokenizer.model_max_length,
    )


def order_in_stages(recipe: Grpo, rows: list[Any], verified: list[bool]) -> list[Any]:
    """Return the questions of all rollouts in order.

    These are shuffled passes over the questions with a verifier, then, from the rollout of step
    `unverified_from` on, over all questions. The last rollout is whole, though the last step may
    not need all of it: TRL leaves out an incomplete one, and would begin again. Raises RecipeError
    unless there are questions of both kinds.
    """
    assert recipe.steps is not None
    assert recipe.unverified_from is not None
    reasoning = [row for row, known in zip(rows, verified, strict=True) if known]
    if len(reasoning) in (0, len(rows)):
        what = "needs questions with a verifier and questions without one"
        raise RecipeError([Problem("unverified_from", what)])
    shuffle = random.Random(recipe.seed)
    rollouts = -(-recipe.steps // recipe.steps_per_rollout)
    first = min((recipe.unverified_from - 1) // recipe.steps_per_rollout, rollouts)
    ordered: list[Any] = []
    for pool, wanted in ((reasoning, first), (rows, rollouts - first)):
        end = len(ordered) + wanted * recipe.questions_per_rollout
        while len(ordered) < end:
            ordered += shuffle.sample(pool, len(pool))[: end - len(ordered)]
    return ordered
