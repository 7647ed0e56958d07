"""A GRPO recipe as a launch of verl: questions, a Hydra config, and the factory's own rewards.

verl and the factory pin different versions of the same packages, so what is handed over is files.
Its reward workers import the factory, without torch or vLLM of its own: install it beside verl with
`pip install --no-deps r1-factory polars math-verify numba …` or put it on PYTHONPATH.

Not carried over: `reference_every` (verl keeps the first policy as reference model; the config says
so), stop strings (a text is judged up to the first of them) and `rollouts.correction`.
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
from factory.core.files import whole_folder
from factory.core.models import model_path
from factory.core.nouns import Prompt
from factory.export.trainer_configs import GPUS, verl_warmup

if TYPE_CHECKING:
    from factory.recipe.grpo import Grpo
    from factory.recipe.training import Lora
    from factory.train.policy.grpo import Question

NO_CLIP = 1e9
"""verl clips a bad completion's ratio a second time, at 3 unless told; R1's range ends at 11."""

AS_IT_IS = "{{ messages[0]['content'] }}"
"""A chat template for prompts that are rendered already."""

LOSSES = {"grpo": "seq-mean-token-mean", "dapo": "token-mean", "dr_grpo": "seq-mean-token-sum-norm"}
"""The recipe's losses by verl's names for how they are averaged."""

_COMPUTE_SCORE = '''\
"""What verl calls for every completion: the rewards of recipe.yaml, by the factory's verifiers."""

from pathlib import Path

from factory.train.verl import score

RECIPE = Path(__file__).with_name("recipe.yaml")


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    return score(RECIPE, solution_str, extra_info)
'''


def export_rl(recipe: Grpo, out: Path) -> Path:
    """Write OUT: data/train.parquet, grpo.yaml, compute_score.py, recipe.yaml. Returns OUT.

    Raises RunError where OUT holds something, RecipeError for what verl has no setting for,
    SourceError and ModelError as a training would.
    """
    from rich.console import Console

    from factory.train.directory import TrainDir
    from factory.train.policy.grpo import in_stages, load_questions
    from factory.train.tokenizer import training_tokenizer

    if out.exists() and any(out.iterdir()):
        raise RunError(f"{out} holds something already; name another folder")
    if recipe.scale_rewards == "batch":
        what = "is batch, which verl does not have; use group or none, or train it here"
        raise RecipeError([Problem("scale_rewards", what)])
    tokenizer = training_tokenizer(recipe)
    with whole_folder(out) as scratch:
        with TrainDir(scratch / "questions") as folder:
            questions = load_questions(recipe, folder, tokenizer, Console(quiet=True))
        shutil.rmtree(scratch / "questions")
        plain = recipe.prompting.template != "chat" or any(one.asked.prefill for one in questions)
        begin = _begin(recipe, tokenizer)
        rows = [_row(recipe, one, begin + one.text if plain else None) for one in questions]
        if recipe.unverified_from is not None:
            verified = [one.prompt.verifier is not None for one in questions]
            rows = in_stages(recipe, rows, verified)
        _write_parquet(scratch / "data" / "train.parquet", rows)
        config = verl_config(recipe, plain, _longest(tokenizer, questions))
        (scratch / "grpo.yaml").write_text(_header(recipe) + _yaml(config), encoding="utf-8")
        (scratch / "compute_score.py").write_text(_COMPUTE_SCORE, encoding="utf-8")
        (scratch / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    return out


def score(recipe: Path, text: str, extra_info: dict[str, Any]) -> dict[str, float]:
    """One completion's reward in sum and by part; parts that do not apply count as 0, and so does
    a completion that nothing could decide (`undecided`), since verl has no such state."""
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
    from factory.train.scoring import not_judged
    from factory.train.train import load_training

    recipe = load_training(path)
    assert isinstance(recipe, Grpo)
    return dict(recipe.rewards), not_judged(recipe.prompting)


def verl_config(recipe: Grpo, plain: bool, prompt_tokens: int) -> dict[str, Any]:
    """verl's PPO trainer with GRPO's advantages; a batch of its own counts questions."""
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
                "custom_chat_template": AS_IT_IS if plain else None,
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
            "total_training_steps": recipe.steps and math.ceil(recipe.steps / rollouts.batches),
            "n_gpus_per_node": GPUS,
            "nnodes": 1,
            "save_freq": recipe.checkpoint.every,
            "test_freq": -1,
            "val_before_train": False,
            "logger": ["console"],
        },
    }


def _adapters(lora: Lora) -> dict[str, Any]:
    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    return {"lora_rank": lora.rank, "lora_alpha": lora.alpha, "target_modules": targets}


def _row(recipe: Grpo, question: Question, text: str | None) -> dict[str, Any]:
    """`extra_info.prompt` is the whole question: rewards read its language, domain and verifier."""
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
            "prefill": question.asked.prefill,
        },
    }


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")


def _begin(recipe: Grpo, tokenizer: Any) -> str:
    """The token a tokenizer puts before a plain text; a chat template's text already holds it."""
    if recipe.prompting.template == "chat" or tokenizer.bos_token is None:
        return ""
    first = tokenizer("a")["input_ids"][0]
    return str(tokenizer.bos_token) if first == tokenizer.bos_token_id else ""


def _longest(tokenizer: Any, questions: list[Question]) -> int:
    return max(len(ids) for ids in tokenizer([one.text for one in questions])["input_ids"])


def _header(recipe: Grpo) -> str:
    lines = [
        'python -m verl.trainer.main_ppo --config-path "$PWD" --config-name grpo',
        "(with the factory importable: see compute_score.py)",
    ]
    if recipe.reference_every:
        told = f"reference_every: {recipe.reference_every} is not carried over"
        lines.append(f"{told}: verl keeps the first policy as its reference")
    return "".join(f"# {line}\n" for line in lines)


def _yaml(config: dict[str, Any]) -> str:
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
