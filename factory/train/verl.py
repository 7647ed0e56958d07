"""Export a GRPO recipe for verl: questions, a Hydra config, and the factory's rewards.

verl and the factory pin different versions of the same packages, so they exchange files. verl's
reward workers import the factory, which needs neither torch nor vLLM there: install it into verl's
environment with `pip install --no-deps r1-factory polars math-verify numba …`, or put it on
PYTHONPATH.

Not exported: `reference_every` (verl keeps the initial policy as reference model; the config says
so), stop strings (a text is scored up to the first of them) and `rollouts.correction`.
"""

from __future__ import annotations

import json
import math
import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from factory.core.errors import Problem, RecipeError, RunError
from factory.core.files import atomic_folder
from factory.core.models import model_path
from factory.core.nouns import Prompt
from factory.export.megatron import (
    divide,
    find_expert_model,
    machines,
    megatron_optimizer,
    megatron_settings,
    parallel_sizes,
)
from factory.export.trainer_configs import GPUS, verl_warmup
from factory.planning.handover_plan import find_rollout_engine
from factory.planning.machine import Machine
from factory.planning.megatron import ROLLOUT_SHARE

if TYPE_CHECKING:
    from factory.recipe.grpo import Grpo
    from factory.recipe.training import Lora
    from factory.train.policy.grpo import PolicyQuestion

NO_CLIP = 1e9
"""verl clips the ratio of a bad completion again, by default at 3; R1's range ends at 11."""

IDENTITY_TEMPLATE = "{{ messages[0]['content'] }}"
"""A chat template for prompts that are rendered already."""

LOSSES = {"grpo": "seq-mean-token-mean", "dapo": "token-mean", "dr_grpo": "seq-mean-token-sum-norm"}
"""The recipe's loss → verl's name for its aggregation."""

_COMPUTE_SCORE = '''\
"""verl calls this for every completion: the rewards of recipe.yaml, computed by the factory."""

from pathlib import Path

from factory.train.verl import score

RECIPE = Path(__file__).with_name("recipe.yaml")


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    return score(RECIPE, solution_str, extra_info)
'''


def export_grpo(recipe: Grpo, out: Path, gpus: int = GPUS) -> Path:
    """Write data/train.parquet, grpo.yaml, compute_score.py and recipe.yaml to OUT; returns OUT.

    A model with routed experts or fp8 weights gets Megatron's settings. Raises RunError where OUT
    is not empty, RecipeError for a setting that verl lacks, CapacityError where such a model can't
    be divided among so many GPUs, SourceError and ModelError as a training would.
    """
    from rich.console import Console

    from factory.train.directory import TrainDir
    from factory.train.policy.grpo import load_questions, order_in_stages, plays_episodes
    from factory.train.tokenizer import training_tokenizer

    if out.exists() and any(out.iterdir()):
        raise RunError(f"{out} is not empty; choose another folder")
    if recipe.scale_rewards == "batch":
        what = "is batch, which verl does not have; use group or none, or train it here"
        raise RecipeError([Problem("scale_rewards", what)])
    if recipe.kl_bias_correction:
        what = "is true; the exported config has R1's KL estimate. Set it to false"
        raise RecipeError([Problem("kl_bias_correction", what)])
    tokenizer = training_tokenizer(recipe)
    with atomic_folder(out) as scratch:
        with TrainDir(scratch / "questions") as folder:
            questions = load_questions(recipe, folder, tokenizer, Console(quiet=True))
        if plays_episodes([one.prompt for one in questions]):
            what = "has prompts with an environment, whose episodes only this trainer plays"
            raise RecipeError([Problem("sources", f"{what}; leave `environment` out")])
        shutil.rmtree(scratch / "questions")
        plain = recipe.prompting.template != "chat" or any(
            one.rendered.prefill for one in questions
        )
        bos = _find_bos(recipe, tokenizer)
        rows = [_build_row(recipe, one, bos + one.text if plain else None) for one in questions]
        if recipe.unverified_from is not None:
            verified = [one.prompt.verifier is not None for one in questions]
            rows = order_in_stages(recipe, rows, verified)
        _write_parquet(scratch / "data" / "train.parquet", rows)
        config = build_config(recipe, plain, _longest_prompt(tokenizer, questions), gpus)
        (scratch / "grpo.yaml").write_text(_header(recipe) + _yaml(config), encoding="utf-8")
        (scratch / "compute_score.py").write_text(_COMPUTE_SCORE, encoding="utf-8")
        (scratch / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    return out


def score(recipe: Path, text: str, extra_info: dict[str, Any]) -> dict[str, float]:
    """Return one completion's reward, in total and by part.

    verl has no state for them, so parts that don't apply and undecided completions count as 0;
    `undecided` tells them apart.
    """
    from factory.train.scoring import Scoring

    rewards, stop = _settings(recipe)
    prompt = Prompt.from_row(json.loads(extra_info["prompt"]))
    scoring = Scoring(rewards, [prompt], prefills={prompt.id: extra_info["prefill"]}, stop=stop)
    scores = scoring.score([prompt.id], [text], [len(text)], [False])
    (total,) = scores.totals(scoring.weights)
    parts = {name: values[0] or 0.0 for name, values in scores.parts.items()}
    return {"score": total or 0.0, **parts, "undecided": float(scores.undecided)}


@cache
def _settings(path: Path) -> tuple[dict[str, Any], list[str]]:
    from factory.recipe.grpo import Grpo
    from factory.train.scoring import excluded_stops
    from factory.train.train import load_training

    recipe = load_training(path)
    assert isinstance(recipe, Grpo)
    return dict(recipe.rewards), excluded_stops(recipe.prompting)


def build_config(recipe: Grpo, plain: bool, prompt_tokens: int, gpus: int = GPUS) -> dict[str, Any]:
    """Return the config of verl's PPO trainer with GRPO's advantages.

    verl counts its batch in questions. With `plain`, prompts are rendered text. Raises
    CapacityError and RecipeError as `export_grpo`.
    """
    config = _build_fsdp_config(recipe, plain, prompt_tokens, gpus)
    return _use_megatron(config, recipe, prompt_tokens, gpus)


def _use_megatron(
    config: dict[str, Any], recipe: Grpo, prompt_tokens: int, gpus: int
) -> dict[str, Any]:
    """Return the config with Megatron in place of FSDP, if the model needs it."""
    arch = find_expert_model(recipe.model.id)
    if arch is None:
        return config
    if recipe.lora is not None:
        what = "is not exported for a model with routed experts; remove it"
        raise RecipeError([Problem("lora", what)])
    layout = divide(arch, gpus, prompt_tokens + recipe.rollouts.max_tokens)
    engine = find_rollout_engine(recipe, arch, Machine(gpus=gpus))
    parts = config["actor_rollout_ref"]
    parts["actor"]["megatron"] = megatron_settings(arch, layout)
    parts["actor"]["optim"] = megatron_optimizer(recipe.optimizer)
    parts["ref"]["megatron"] = {**parallel_sizes(layout), "param_offload": True}
    parts["rollout"]["tensor_model_parallel_size"] = engine.tensor if engine else gpus
    parts["rollout"]["gpu_memory_utilization"] = ROLLOUT_SHARE
    return {**config, "defaults": ["ppo_megatron_trainer", "_self_"]}


def _build_fsdp_config(recipe: Grpo, plain: bool, prompt_tokens: int, gpus: int) -> dict[str, Any]:
    questions = recipe.batch // recipe.samples
    micro = {"log_prob_micro_batch_size_per_gpu": recipe.micro_batch}
    rollouts, optimizer = recipe.rollouts, recipe.optimizer
    return {
        "hydra": {"searchpath": ["pkg://verl.trainer.config"]},
        "defaults": ["ppo_trainer", "_self_"],
        "algorithm": {
            "adv_estimator": "grpo",
            "norm_adv_by_std_in_grpo": recipe.scale_rewards == "group",
        },
        "data": {
            "train_files": ["data/train.parquet"],
            "val_files": ["data/train.parquet"],
            "train_batch_size": questions * rollouts.batches,
            "max_prompt_length": prompt_tokens,
            "max_response_length": rollouts.max_tokens,
            "truncation": "error",  # questions that are too long were left out
            "shuffle": recipe.unverified_from is None,
            "seed": recipe.seed,
        },
        "actor_rollout_ref": {
            "model": {
                "path": model_path(recipe.model.id),
                "custom_chat_template": IDENTITY_TEMPLATE if plain else None,
                "enable_gradient_checkpointing": recipe.gradient_checkpointing,
                **(_adapters(recipe.lora) if recipe.lora else {}),
            },
            "actor": {
                "ppo_mini_batch_size": questions,
                "ppo_micro_batch_size_per_gpu": recipe.micro_batch,
                "ppo_epochs": recipe.iterations,
                "loss_agg_mode": LOSSES[recipe.loss],
                "clip_ratio": recipe.epsilon,
                "clip_ratio_low": recipe.epsilon,
                "clip_ratio_high": recipe.epsilon_high or recipe.epsilon,
                "clip_ratio_c": NO_CLIP,
                "use_kl_loss": recipe.beta > 0,
                "kl_loss_coef": recipe.beta,
                "kl_loss_type": "low_var_kl",  # k3, as R1
                "grad_clip": optimizer.max_grad_norm,
                "optim": {
                    "lr": optimizer.learning_rate,
                    "lr_scheduler_type": optimizer.schedule,
                    "min_lr_ratio": optimizer.floor,
                    **verl_warmup(optimizer.warmup),
                    "weight_decay": optimizer.weight_decay,
                    "clip_grad": optimizer.max_grad_norm,
                },
            },
            "ref": dict(micro),
            "rollout": {
                "name": "vllm",
                "n": recipe.samples,
                "temperature": rollouts.temperature,
                "top_p": rollouts.top_p,
                "top_k": rollouts.top_k or -1,
                "tensor_model_parallel_size": rollouts.tensor_parallel,
                "gpu_memory_utilization": rollouts.gpu_memory,
                **micro,
            },
        },
        "reward": {"custom_reward_function": {"path": "compute_score.py", "name": "compute_score"}},
        "trainer": {
            "project_name": recipe.name,
            "experiment_name": "grpo",
            "total_epochs": math.ceil(recipe.epochs) if recipe.steps is None else 10**6,
            "total_training_steps": recipe.steps
            and math.ceil(recipe.steps / recipe.steps_per_rollout),
            **machines(gpus),
            "save_freq": recipe.checkpoint.every,
            "test_freq": -1,
            "val_before_train": False,
            "logger": ["console"],
        },
    }


def _adapters(lora: Lora) -> dict[str, Any]:
    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    return {"lora_rank": lora.rank, "lora_alpha": lora.alpha, "target_modules": targets}


def _build_row(recipe: Grpo, question: PolicyQuestion, text: str | None) -> dict[str, Any]:
    """Build a row of verl's data. `extra_info.prompt` is the whole prompt, for the rewards."""
    prompt = question.prompt
    messages: list[Any] = [{"role": "user", "content": text}]
    if text is None:
        messages = [dict(turn) for turn in recipe.prompting.messages_for(prompt)]
    row = prompt.to_row()
    return {
        "data_source": prompt.source,
        "prompt": messages,
        "ability": prompt.domain,
        "reward_model": {"style": "rule", "ground_truth": row["verifier"] or ""},
        "extra_info": {
            "id": prompt.id,
            "prompt": json.dumps(row, ensure_ascii=False),
            "prefill": question.rendered.prefill,
        },
    }


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")


def _find_bos(recipe: Grpo, tokenizer: Any) -> str:
    """Return the BOS that a tokenizer adds to plain text; "" for chat text, which includes it."""
    if recipe.prompting.template == "chat" or tokenizer.bos_token is None:
        return ""
    first = tokenizer("a")["input_ids"][0]
    return str(tokenizer.bos_token) if first == tokenizer.bos_token_id else ""


def _longest_prompt(tokenizer: Any, questions: list[PolicyQuestion]) -> int:
    return max(len(ids) for ids in tokenizer([one.text for one in questions])["input_ids"])


def _header(recipe: Grpo) -> str:
    lines = [
        'python -m verl.trainer.main_ppo --config-path "$PWD" --config-name grpo',
        "(with the factory importable: see compute_score.py)",
    ]
    if find_expert_model(recipe.model.id) is not None:
        lines.append(
            "Megatron: in a copy of the model's config.json, remove quantization_config and"
        )
        lines.append("set num_nextn_predict_layers: 0, as verl's own example does; name it as path")
    if recipe.reference_every:
        key = f"reference_every: {recipe.reference_every}"
        lines.append(f"{key} is not exported: verl keeps the initial policy as its reference")
    if recipe.rollouts.asynchronous:
        lines.append("rollouts.asynchronous is not exported: this trainer of verl is synchronous")
    return "".join(f"# {line}\n" for line in lines)


def _yaml(config: dict[str, Any]) -> str:
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
