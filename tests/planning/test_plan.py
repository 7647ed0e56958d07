"""Plans: memory by layout, what fits, the smallest change, and that a change that is named fits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from factory.cli import cli
from factory.core.errors import CapacityError, ModelError, RecipeError
from factory.planning.amounts import expected_draws
from factory.planning.architecture import find_architecture
from factory.planning.decoding import EngineLayout, rollout_seconds
from factory.planning.machine import Machine, make_machine
from factory.planning.megatron import find_megatron_layout
from factory.planning.plan import plan_file
from factory.planning.quantities import Quantity, add_up
from factory.planning.sampling_plan import Assumptions, make_layout
from factory.planning.training_memory import TrainingShape, training_bytes
from factory.recipe.sampling import Sampling

SOURCES = [{"kind": "gym", "task": "chain_sum", "size": 100}]
BUILD: dict[str, Any] = {
    "name": "b",
    "model": "Qwen/Qwen2.5-32B",
    "sources": SOURCES,
    "engine": {"args": {"max_model_len": 32768, "tensor_parallel_size": 2}, "replicas": 4},
    "sampling": {"n": 4, "max_tokens": 16384},
    "filters": {"correctness": {}},
}
SFT: dict[str, Any] = {
    "kind": "sft",
    "name": "s",
    "model": "Qwen/Qwen2.5-7B",
    "data": "runs/none",
    "max_length": 32768,
}
GRPO: dict[str, Any] = {
    "kind": "grpo",
    "name": "g",
    "model": "Qwen/Qwen2.5-7B",
    "sources": SOURCES,
    "rewards": {"accuracy": {}},
    "rollouts": {"max_tokens": 8192},
    "max_length": 10240,
    "steps": 10,
}


def write(folder: Path, recipe: dict[str, Any], name: str = "recipe.yaml") -> Path:
    file = folder / name
    file.write_text(yaml.safe_dump(recipe))
    return file


def test_memory_of_a_7b_training_by_hand() -> None:
    """16 bytes per parameter: fp32 weights and gradients, two AdamW states; divided by FSDP."""
    arch = find_architecture("Qwen/Qwen2.5-7B")
    by_name = {
        one.name: one.value for one in training_bytes(TrainingShape(arch, 32_768), "fsdp", 8)
    }
    states = by_name["weights"] + by_name["gradients"] + by_name["optimizer"]
    assert states == pytest.approx(16 * 7_615_616_512 / 8)
    kept = 28 * 32_768 * 3584 * 2
    assert by_name["activations"] > kept
    whole = {one.name: one.value for one in training_bytes(TrainingShape(arch, 32_768), "ddp", 8)}
    assert whole["optimizer"] == 8 * by_name["optimizer"]


def test_a_weight_layout_of_vllm_by_hand() -> None:
    layout = EngineLayout(find_architecture("Qwen/Qwen2.5-32B"), tensor=2, context=32_768)
    assert layout.weights().value == pytest.approx(65.53e9 / 2, rel=1e-3)
    assert layout.kv_per_token() == 64 * 2 * 8 * 128 * 2 / 2
    eight = replace(layout, arch=find_architecture("Qwen/Qwen2.5-7B"), tensor=14)
    assert eight.kv_per_token() == 28 * 2 * 4 * 128 * 2 / 4, "four KV heads: at most four parts"


FITS = [
    (BUILD, True),
    ({**BUILD, "engine": {"args": {"max_model_len": 32768}}}, False),  # 32B on one GPU of 80 GB
    ({**BUILD, "model": "Qwen/Qwen2.5-7B", "engine": {}}, True),
    ({**BUILD, "engine": {"args": {"tensor_parallel_size": 8}, "replicas": 2}}, False),  # 16 GPUs
    (SFT, True),
    ({**SFT, "model": "meta-llama/Llama-3.3-70B-Instruct"}, False),
    ({**SFT, "model": "deepseek-ai/DeepSeek-V3-Base"}, False),
    (GRPO, True),
    ({**GRPO, "model": "Qwen/Qwen2.5-72B", "max_length": 40960}, False),
]


@pytest.mark.parametrize(("recipe", "fits"), FITS)
def test_what_fits_on_one_node(recipe: dict[str, Any], fits: bool, tmp_path: Path) -> None:
    plan = plan_file(write(tmp_path, recipe))
    assert plan.fits is fits
    (step, *_) = plan.steps
    assert step.parameters is not None
    assert all(one.formula for one in (*step.option.memory, *step.work, step.parameters))
    assert bool(step.remedies) is not fits
    if not fits:
        assert step.remedies[0] in plan.refusal()


REMEDIED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {**BUILD, "engine": {"args": {"max_model_len": 32768}}},
        {**BUILD, "engine": {"args": {"max_model_len": 32768, "tensor_parallel_size": 2},
                             "replicas": 4}},
        "tensor_parallel_size: 2 and engine.replicas: 4",
    ),
    (
        {**SFT, "model": "Qwen/Qwen2.5-1.5B", "micro_batch": 64},
        {**SFT, "model": "Qwen/Qwen2.5-1.5B", "micro_batch": 1},
        "micro_batch: 1",
    ),
    (
        {**SFT, "gradient_checkpointing": False},
        SFT,
        "gradient_checkpointing: true",
    ),
    (
        {**SFT, "model": "meta-llama/Llama-3.3-70B-Instruct"},
        {**SFT, "model": "meta-llama/Llama-3.3-70B-Instruct", "max_length": 24576},
        "max_length: 24576",
    ),
    (
        {**GRPO, "rewards": {"accuracy": {}, "m": {"kind": "model", "model": "Qwen/Qwen2.5-32B"}}},
        {**GRPO, "rewards": {"accuracy": {}, "m": {"kind": "server", "model": "m",
                                                   "base_url": "http://127.0.0.1:9/v1"}}},
        "kind: server",
    ),
    (
        {**GRPO, "model": "Qwen/Qwen2.5-32B", "rollouts": {"max_tokens": 8192, "gpu_memory": 0.5}},
        {**GRPO, "model": "Qwen/Qwen2.5-32B",
         "rollouts": {"max_tokens": 8192, "gpu_memory": 0.5, "tensor_parallel": 2}},
        "rollouts.tensor_parallel: 2",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "right", "change"), REMEDIED)
def test_a_named_change_makes_it_fit(
    wrong: dict[str, Any], right: dict[str, Any], change: str, tmp_path: Path
) -> None:
    (step,) = plan_file(write(tmp_path, wrong)).steps
    assert any(change in remedy for remedy in step.remedies), step.remedies
    assert plan_file(write(tmp_path, right)).fits


@pytest.mark.parametrize("recipe", [recipe for recipe, fits in FITS if not fits])
def test_the_number_of_gpus_that_is_named_is_the_least(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    file = write(tmp_path, recipe)
    (step,) = plan_file(file).steps
    named = [remedy for remedy in step.remedies if remedy.startswith("Take ")]
    for remedy in named:
        gpus = int(remedy.split()[1])
        changed = dict(recipe)
        if "engine" in recipe:
            tensor = remedy.partition("tensor_parallel_size: ")[2].partition(",")[0]
            stages = remedy.partition("pipeline_parallel_size: ")[2]
            args = {**recipe["engine"].get("args", {}), "tensor_parallel_size": int(tensor),
                    "pipeline_parallel_size": int(stages)}  # fmt: skip
            changed["engine"] = {"args": args}
        again = write(tmp_path, changed, "changed.yaml")
        assert plan_file(again, machine=Machine(gpus=gpus)).fits
        if "engine" not in recipe:
            fewer = gpus - 8 if gpus > 8 else gpus // 2
            assert not plan_file(file, machine=Machine(gpus=fewer)).fits


@given(st.integers(0, 6), st.floats(20, 200), st.integers(10, 15))
def test_more_never_fits_worse(exponent: int, memory: float, length: int) -> None:
    """More GPUs, more memory or shorter rows never need more than before."""
    shape = TrainingShape(find_architecture("Qwen/Qwen2.5-7B"), 2**length)
    gpus = 2**exponent
    here = add_up(training_bytes(shape, "fsdp", gpus))
    assert add_up(training_bytes(shape, "fsdp", 2 * gpus)) <= here
    assert add_up(training_bytes(replace(shape, tokens=2 ** (length - 1)), "fsdp", gpus)) <= here
    engine = EngineLayout(shape.arch, context=2**length)
    if engine.problem(Machine(memory=memory * 1e9)) is None:
        assert engine.problem(Machine(memory=2 * memory * 1e9)) is None


@given(st.integers(1, 400), st.floats(50, 2000))
def test_a_rollout_lasts_at_least_its_longest_completion(sequences: int, mean: float) -> None:
    layout = EngineLayout(find_architecture("Qwen/Qwen2.5-7B"), context=8192)
    machine = Machine(gpus=1)
    seconds = rollout_seconds(layout, machine, sequences, mean, 8192)
    assert seconds > 0.3 * mean * layout.step_seconds(machine, 1, 0)
    assert rollout_seconds(layout, machine, 2 * sequences, mean, 8192) >= 0.99 * seconds


@given(st.integers(1, 16), st.integers(1, 16), st.floats(0.01, 1))
def test_expected_draws(n: int, accept: int, acceptance: float) -> None:
    if accept > n:
        return
    sampling = Sampling(policy="until", n=n, accept=accept)
    draws, accepted, _ = expected_draws(sampling, acceptance)
    assert min(accept, n) <= draws + 1e-9
    assert draws <= n + 1e-9
    assert accepted <= accept + 1e-9
    if acceptance == 1:
        assert draws == pytest.approx(accept)


def test_an_evaluation_counts_k_by_source(tmp_path: Path) -> None:
    recipe = {
        "kind": "eval",
        "name": "e",
        "model": "Qwen/Qwen2.5-7B",
        "sources": [{**SOURCES[0], "name": "a"}, {**SOURCES[0], "name": "b", "size": 10}],
        "k": {"a": 2, "b": 64},
        "sampling": {"max_tokens": 1000},
        "engine": {"args": {"max_model_len": 2048}},
    }
    (step,) = plan_file(write(tmp_path, recipe), given=Assumptions(mean_tokens=500)).steps
    work = {one.name: one.value for one in step.work}
    assert work["samples"] == 100 * 2 + 10 * 64
    assert work["generated tokens"] == 840 * 500


def test_a_coming_training_has_the_shape_of_the_recipe_that_makes_it(tmp_path: Path) -> None:
    write(tmp_path, {**SFT, "name": "first", "model": "Qwen/Qwen2.5-1.5B"}, "first.yaml")
    second = write(tmp_path, {**SFT, "name": "second", "model": "./runs/first"}, "second.yaml")
    (step,) = plan_file(second, given=Assumptions(rows=1000)).steps
    assert step.model == "Qwen/Qwen2.5-1.5B"
    assert step.gpu_hours is not None
    lost = write(tmp_path, {**SFT, "name": "third", "model": "./runs/nobody"}, "third.yaml")
    with pytest.raises(ModelError, match="--like"):
        plan_file(lost)
    assert plan_file(lost, like="Qwen/Qwen2.5-7B").fits


def test_trainings_in_a_circle_end(tmp_path: Path) -> None:
    write(tmp_path, {**SFT, "name": "a", "model": "./runs/b"}, "a.yaml")
    file = write(tmp_path, {**SFT, "name": "b", "model": "./runs/a"}, "b.yaml")
    with pytest.raises(ModelError, match="--like"):
        plan_file(file)


def test_the_rows_of_a_coming_corpus_are_its_quotas(tmp_path: Path) -> None:
    assembly = {
        "kind": "assembly",
        "name": "mixed",
        "runs": [{"path": "runs/x"}],
        "quotas": {"math": 300, "code": {"rows": 100}},
    }
    write(tmp_path, assembly, "mix.yaml")
    file = write(tmp_path, {**SFT, "data": "runs/mixed"}, "sft.yaml")
    (step,) = plan_file(file, given=Assumptions(mean_tokens=1000)).steps
    assert {one.name: one.value for one in step.work}["tokens"] == 400 * 1000


def test_a_pipeline_is_planned_step_by_step(tmp_path: Path) -> None:
    write(tmp_path, SFT, "sft.yaml")
    write(tmp_path, BUILD, "build.yaml")
    pipeline = {
        "kind": "pipeline",
        "name": "p",
        "steps": {
            "learn": {"recipe": "sft.yaml"},
            "draw": {"recipe": "build.yaml", "set": {"model": "@learn"}},
        },
    }
    plan = plan_file(write(tmp_path, pipeline, "p.yaml"), given=Assumptions(rows=1000))
    assert [(step.name, step.model) for step in plan.steps] == [
        ("learn", "Qwen/Qwen2.5-7B"),
        ("draw", "Qwen/Qwen2.5-7B"),
    ]
    assert plan.gpu_hours == pytest.approx(sum(step.gpu_hours or 0 for step in plan.steps))


def test_v3_is_handed_over(tmp_path: Path) -> None:
    """verl's own example trains V3 on 256 H100 with 16 stages and 16 parts of experts, at 6k."""
    v3 = find_architecture("deepseek-ai/DeepSeek-V3-Base")
    assert find_megatron_layout(v3, Machine(gpus=256), 6144) is not None
    assert find_megatron_layout(v3, Machine(gpus=32), 6144) is None
    file = write(tmp_path, {**GRPO, "model": "deepseek-ai/DeepSeek-V3-Base"})
    (here,) = plan_file(file).steps
    assert "verl" in here.remedies[0]
    (there,) = plan_file(file, machine=Machine(gpus=256), trainer="verl").steps
    assert there.fits
    with pytest.raises(RecipeError, match="--trainer"):
        plan_file(write(tmp_path, GRPO), trainer="verl")


def test_the_command_refuses_with_its_own_exit_code(tmp_path: Path) -> None:
    ran = CliRunner().invoke(cli, ["plan", str(write(tmp_path, BUILD)), "--json"])
    found = json.loads(ran.output)
    assert ran.exit_code == 0
    assert found["fits"] is True
    assert found["steps"][0]["option"]["memory"][0]["formula"]
    ran = CliRunner().invoke(cli, ["plan", str(write(tmp_path, BUILD)), "--gpu-memory", "20"])
    assert isinstance(ran.exception, CapacityError)
    assert ran.exception.exit_code == 12
    assert "engine.args.tensor_parallel_size: 8" in str(ran.exception)


def test_a_model_elsewhere_needs_no_config(tmp_path: Path) -> None:
    engine = {"kind": "server", "server": {"urls": ["http://127.0.0.1:9/v1"]}}
    recipe = {**BUILD, "model": "someone/hosted", "engine": engine}
    (step,) = plan_file(write(tmp_path, recipe)).steps
    assert step.fits
    assert step.parameters is None
    assert {one.name: one.value for one in step.work}["samples"] == 400


def test_ray_uses_all_gpus_unless_it_is_told(tmp_path: Path) -> None:
    args = {"max_model_len": 32768, "tensor_parallel_size": 4}
    recipe = {**BUILD, "engine": {"kind": "ray", "args": args}}
    (step,) = plan_file(write(tmp_path, recipe), machine=Machine(gpus=32)).steps
    assert step.option.name.startswith("8 engines of 4 GPUs")


def test_an_engine_that_sleeps_gives_its_memory_to_the_update() -> None:
    arch = find_architecture("Qwen/Qwen2.5-7B")
    vllm = Quantity("vLLM", 40e9, "bytes", "half")
    awake = TrainingShape(arch, 32_768, engine=(vllm,))
    whole = add_up(training_bytes(awake, "fsdp", 8))
    asleep = add_up(training_bytes(replace(awake, asleep=True), "fsdp", 8))
    held = 16 * arch.params / 8
    assert asleep == pytest.approx(held + max(40e9, whole - 40e9 - held))


def test_host_memory_takes_the_inputs_of_layers() -> None:
    shape = TrainingShape(find_architecture("meta-llama/Llama-3.3-70B-Instruct"), 32_768)
    here = add_up(training_bytes(shape, "fsdp", 8))
    spared = add_up(training_bytes(replace(shape, offload=True), "fsdp", 8))
    assert here - spared == pytest.approx(78 * 32_768 * 8192 * 2)


def test_experts_shared_by_ranks_with_sequences_of_their_own() -> None:
    """vLLM's data and expert parallelism: attention on every rank, experts on one of them."""
    v3 = find_architecture("deepseek-ai/DeepSeek-V3")
    together = make_layout(v3, {"tensor_parallel_size": 16}, 1)
    apart = make_layout(v3, {"data_parallel_size": 16, "enable_expert_parallel": True}, 1)
    assert together.gpus == apart.gpus == 16
    rest = v3.params - v3.routed_params
    assert apart.weights().value == pytest.approx(rest + v3.routed_params / 16)
    copies = make_layout(find_architecture("Qwen/Qwen2.5-7B"), {"data_parallel_size": 4}, 2)
    assert (copies.data, copies.replicas) == (1, 8), "ranks of a dense model are engines"


def test_an_unknown_gpu_is_refused() -> None:
    with pytest.raises(RecipeError, match="h100"):
        make_machine(8, "gtx", None, 0.4)
