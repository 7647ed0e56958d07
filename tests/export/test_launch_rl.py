"""The export of a GRPO recipe for verl: the files, and verl's own code reading them."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from factory.core.errors import CapacityError, RecipeError, RunError, SourceError
from factory.prompts.templates import R1_ZERO
from factory.prompts.tools import EnvironmentOptions
from factory.recipe.engines.options import Model
from factory.recipe.grpo import Grpo
from factory.train.train import load_training
from factory.train.verl import IDENTITY_TEMPLATE, build_config, export_grpo
from tests.export.tokenizers import CHATML, write_tokenizer

CHECK = Path(__file__).parent / "in_trainer" / "verl_rl_check.py"
QUESTION = "What is 3 + 4?"


def recipe(folder: Path, **changes: Any) -> Grpo:
    """A recipe with two questions, one of them without a verifier, and only a tokenizer."""
    maths, talk = folder / "maths.jsonl", folder / "talk.jsonl"
    maths.write_text(json.dumps({"question": QUESTION, "answer": "7"}) + "\n")
    talk.write_text(json.dumps({"question": "Write a line."}) + "\n")
    model = folder / "model"
    write_tokenizer(model, CHATML)
    (model / "config.json").write_text("{}")
    data: dict[str, Any] = {
        "kind": "grpo",
        "name": "handed-over",
        "model": str(model),
        "sources": [
            {"kind": "files", "name": "m", "path": str(maths), "verifier": {"kind": "math"}},
            {"kind": "files", "name": "t", "path": str(talk)},
        ],
        "rewards": {"accuracy": {"prompts": "verified"}, "format": {"weight": 0.5}},
        "rollouts": {"max_tokens": 64, "batches": 2},
        "max_length": 2000,
        "samples": 4,
        "batch": 8,
        "steps": 20,
        "beta": 0.001,
        "reference_every": 10,
        "epsilon": 10,
        "optimizer": {"warmup": 5, "max_grad_norm": 0.5},
        **changes,
    }
    file = folder / "grpo.yaml"
    file.write_text(yaml.safe_dump(data))
    made = load_training(file)
    assert isinstance(made, Grpo)
    return made


def rows_of(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(out / "data" / "train.parquet").to_pylist()
    return found


def test_the_files_hold_what_verl_asks_for(tmp_path: Path) -> None:
    out = export_grpo(recipe(tmp_path), tmp_path / "out")
    row = rows_of(out)[0]
    assert row["prompt"] == [{"role": "user", "content": QUESTION}]
    assert row["ability"] == "math"
    assert row["reward_model"]["style"] == "rule"
    assert json.loads(row["reward_model"]["ground_truth"])["answer"] == "7"
    config = yaml.safe_load((out / "grpo.yaml").read_text())
    actor = config["actor_rollout_ref"]["actor"]
    assert config["data"]["train_batch_size"] == 4, "questions of a rollout"
    assert actor["ppo_mini_batch_size"] == 2, "questions of a step"
    assert (actor["clip_ratio_high"], actor["kl_loss_coef"]) == (10, 0.001)
    assert actor["clip_ratio_c"] > 11, "nothing clips before R1's range does"
    assert actor["loss_agg_mode"] == "seq-mean-token-mean"
    optimizer = {"lr": 3e-6, "lr_scheduler_type": "constant", "lr_warmup_steps": 5}
    assert actor["optim"].items() >= optimizer.items()
    assert actor["grad_clip"] == actor["optim"]["clip_grad"] == 0.5
    assert config["trainer"]["total_training_steps"] == 10, "verl's step is a rollout"
    assert "is not exported" in (out / "grpo.yaml").read_text()


PROMPTS: list[tuple[dict[str, Any], str]] = [
    ({"template": "r1_zero"}, R1_ZERO.format(question=QUESTION)),
    (
        {"template": "chat", "prefill": "<think>\n"},
        f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n<think>\n",
    ),
]


@pytest.mark.parametrize(("prompting", "expected"), PROMPTS)
def test_a_rendered_prompt_is_passed_on_unchanged(
    prompting: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    out = export_grpo(recipe(tmp_path, prompting=prompting), tmp_path / "out")
    assert rows_of(out)[0]["prompt"][0]["content"] == expected
    model = yaml.safe_load((out / "grpo.yaml").read_text())["actor_rollout_ref"]["model"]
    assert model["custom_chat_template"] == IDENTITY_TEMPLATE


SCORES: list[tuple[int, str, float]] = [
    (0, "<think>\nWell.\n</think>\n\n\\boxed{7}", 1.5),
    (0, "<think>\nWell.\n</think>\n\n\\boxed{8}", 0.5),
    (0, "\\boxed{7}", 0.0),
    (1, "<think>\nWell.\n</think>\n\nA line.", 0.5),  # accuracy does not apply
]


def test_the_reward_file_gives_the_scores_of_a_training(tmp_path: Path) -> None:
    out = export_grpo(recipe(tmp_path), tmp_path / "out")
    compute_score = runpy.run_path(str(out / "compute_score.py"))["compute_score"]
    rows = rows_of(out)
    for place, text, expected in SCORES:
        row = rows[place]
        result = compute_score(
            row["data_source"], text, row["reward_model"]["ground_truth"], row["extra_info"]
        )
        assert result["score"] == expected
        assert result.keys() == {"score", "accuracy", "format", "undecided"}


def test_stages_determine_the_order_of_rows(tmp_path: Path) -> None:
    out = export_grpo(
        recipe(tmp_path, unverified_from=17, beta=0, reference_every=None), tmp_path / "out"
    )
    verified = [bool(row["reward_model"]["ground_truth"]) for row in rows_of(out)]
    assert len(verified) == 20 * 2
    assert all(verified[: 16 * 2])
    assert not all(verified[16 * 2 :])
    assert yaml.safe_load((out / "grpo.yaml").read_text())["data"]["shuffle"] is False


def test_adapters_are_exported_and_what_verl_lacks_is_refused(tmp_path: Path) -> None:
    lora = {"rank": 8, "targets": ["q_proj"]}
    made = recipe(tmp_path, lora=lora, reference_every=None)
    export_grpo(made, tmp_path / "out")
    model = yaml.safe_load((tmp_path / "out" / "grpo.yaml").read_text())["actor_rollout_ref"][
        "model"
    ]
    assert model["lora_rank"] == 8
    assert model["target_modules"] == ["q_proj"]
    with pytest.raises(RecipeError, match="scale_rewards is batch"):
        export_grpo(recipe(tmp_path, scale_rewards="batch"), tmp_path / "other")


def test_episodes_are_played_only_here(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    first = made.sources[0].model_copy(
        update={"environment": EnvironmentOptions(kind="calculator")}
    )
    with pytest.raises(RecipeError, match="whose episodes only this trainer plays"):
        export_grpo(made.model_copy(update={"sources": (first,)}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_and_no_partial_output_is_left(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    export_grpo(made, tmp_path / "out")
    with pytest.raises(RunError, match="is not empty"):
        export_grpo(made, tmp_path / "out")
    with pytest.raises(SourceError):
        export_grpo(recipe(tmp_path, max_length=70), tmp_path / "other")
    assert sorted(path.name for path in tmp_path.glob("o*")) == ["out"]


@pytest.mark.real(group="export")
@pytest.mark.parametrize("template", ["chat", "r1_zero"])
def test_verl_reads_the_launch(template: str, tmp_path: Path) -> None:
    """Hydra loads the config; verl's RLHF data set and reward function work with it."""
    python = os.environ.get("VERL_PYTHON")
    if python is None:
        pytest.skip("VERL_PYTHON is not set")
    out = export_grpo(recipe(tmp_path, prompting={"template": template}), tmp_path / "out")
    done = subprocess.run(
        [python, CHECK],
        cwd=out,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert lines[-2:] == ["rollouts 4", "rows 2"]
    scores = [line for line in lines if line.startswith("score")]
    assert scores in ([], ["score 1.5", "score 0.5"])


def test_a_model_with_experts_is_divided_by_megatron(tmp_path: Path) -> None:
    made = recipe(tmp_path, rollouts={"max_tokens": 16384, "batches": 2}, max_length=20000)
    v3 = made.model_copy(update={"model": Model(id="deepseek-ai/DeepSeek-V3-Base")})
    config = build_config(v3, True, 512, gpus=256)
    assert config["defaults"] == ["ppo_megatron_trainer", "_self_"]
    assert (config["trainer"]["nnodes"], config["trainer"]["n_gpus_per_node"]) == (32, 8)
    actor = config["actor_rollout_ref"]["actor"]
    sizes = actor["megatron"]
    stages = sizes["pipeline_model_parallel_size"]
    assert 256 % (stages * sizes["expert_model_parallel_size"]) == 0
    each = -(-61 // stages)
    last = sizes["override_transformer_config"].get("num_layers_in_last_pipeline_stage", each)
    assert (stages - 1) * each + last == 61, "every layer is in one stage"
    assert actor["optim"]["lr_decay_style"] == "constant"
    assert config["actor_rollout_ref"]["rollout"]["tensor_model_parallel_size"] == 32
    with pytest.raises(CapacityError, match="--gpus"):
        build_config(v3, True, 512, gpus=16)
    assert "megatron" not in build_config(made, True, 512, gpus=16)["actor_rollout_ref"]["actor"]
