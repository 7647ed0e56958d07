"""A GRPO recipe small enough to run in seconds, and the policy it trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from tests.export.tokenizers import CHATML, write_tokenizer

RECIPE: dict[str, Any] = {
    "kind": "grpo",
    "name": "tiny",
    "sources": [
        {
            "kind": "gym",
            "task": "chain_sum",
            "config": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1},
            "size": 12,
            "verifier": "math",
        }
    ],
    "rewards": {
        "accuracy": {},
        # Random weights never think; shorter texts give them something to learn from.
        "short": {
            "kind": "filter",
            "filter": {"length": {}},
            "metric": "length_characters",
            "zero_at": 16,
            "one_at": 0,
        },
    },
    "rollouts": {"kind": "none", "max_tokens": 8},
    "max_length": 200,
    "samples": 4,
    "batch": 8,
    "micro_batch": 8,
    "steps": 4,
    "precision": "fp32",
    "gradient_checkpointing": False,
    "optimizer": {"learning_rate": 0.01},
    "log_samples_every": 2,
    "log_samples": 2,
}


def write_policy(folder: Path, **changes: Any) -> Path:
    """Write a recipe file and, next to it, the policy that it starts from."""
    model = folder / "policy"
    if not model.exists():
        _write_model(model)
    file = folder / "grpo.yaml"
    file.write_text(yaml.safe_dump({**RECIPE, "model": str(model), **changes}))
    return file


def _write_model(folder: Path) -> None:
    """Write random weights of the smallest shape for vLLM's CPU attention: heads of 32."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    write_tokenizer(folder, CHATML)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(AutoTokenizer.from_pretrained(folder)),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def policy_trainer(folder: Path, **changes: Any) -> Any:
    """Return a trainer of the tiny policy, ready for a single loss."""
    from factory.recipe.grpo import Grpo
    from factory.train.directory import TrainDir
    from factory.train.policy.grpo import load_questions, make_trainer
    from factory.train.scoring import Scoring
    from factory.train.tokenizer import training_tokenizer
    from factory.train.train import load_training

    recipe = load_training(write_policy(folder, **changes))
    assert isinstance(recipe, Grpo)
    tokenizer = training_tokenizer(recipe)
    tokenizer.padding_side = "left"
    with TrainDir(folder / "run") as run:
        questions = load_questions(recipe, run, tokenizer, Console(quiet=True))
        scoring = Scoring(recipe.rewards, [question.prompt for question in questions])
        made = make_trainer(recipe, run, tokenizer, questions, scoring)
    made.model.train()
    made.current_gradient_accumulation_steps = 1
    return made


def batch(advantages: list[float]) -> dict[str, Any]:
    """Return padded completions of two questions in random order, one of them empty."""
    import torch

    questions, longest = (9, 5), 8
    draw = torch.Generator().manual_seed(5)
    prompts = [torch.randint(3, 200, (length,), generator=draw) for length in questions]
    lengths = [8, 1, 3, 0, 5, 8, 2, 7]
    width = max(questions)
    inputs = {
        "prompt_ids": torch.zeros(8, width, dtype=torch.long),
        "prompt_mask": torch.zeros(8, width, dtype=torch.long),
        "completion_ids": torch.randint(3, 200, (8, longest), generator=draw),
        "completion_mask": torch.zeros(8, longest, dtype=torch.long),
    }
    for row, length in enumerate(lengths):
        prompt = prompts[row % 2]
        inputs["prompt_ids"][row, width - len(prompt) :] = prompt
        inputs["prompt_mask"][row, width - len(prompt) :] = 1
        inputs["completion_mask"][row, :length] = 1
    reference = -torch.rand(8, longest, generator=draw)
    return inputs | {
        "advantages": torch.tensor(advantages),
        "num_items_in_batch": inputs["completion_mask"].sum(),
        "ref_per_token_logps": reference * inputs["completion_mask"],
    }


def log_of(run: Path) -> list[dict[str, Any]]:
    """Return the logged steps."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [row for row in rows if "loss" in row]
