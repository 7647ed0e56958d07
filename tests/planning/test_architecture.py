"""Parameters from a config's shapes, against the counts that the models' authors published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factory.core.errors import ModelError
from factory.core.models import demo_model
from factory.planning.architecture import find_architecture, parse_config

PUBLISHED = {
    "demo": 134_515_008,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1_711_376_384,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 1_777_088_000,  # its head is not tied
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen2.5-14B": 14_770_033_664,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "Qwen/Qwen2.5-32B": 32_763_876_352,
    "Qwen/Qwen3-32B": 32_762_123_264,
    "meta-llama/Llama-3.3-70B-Instruct": 70_553_706_496,
    "Qwen/Qwen2.5-72B": 72_706_203_648,
}


@pytest.mark.parametrize(("model", "parameters"), PUBLISHED.items())
def test_parameters_are_the_published_ones(model: str, parameters: int) -> None:
    assert find_architecture(model).params == parameters


def test_deepseek_v3() -> None:
    """Its report: 671B, 37B active. Its card counts 36.6B without the embedding."""
    v3 = find_architecture("deepseek-ai/DeepSeek-V3")
    assert v3.params == pytest.approx(671.03e9, rel=1e-4)
    assert v3.active_params == pytest.approx(36.6e9, rel=2e-3)
    assert v3.layers * v3.kv_numbers * 2 == 70_272, "latent attention: 70 kB per token"


@pytest.mark.parametrize(
    ("model", "kilobytes"),
    [("Qwen/Qwen2.5-7B", 56), ("meta-llama/Llama-3.1-8B", 128), ("Qwen/Qwen2.5-72B", 320)],
)
def test_kv_cache_per_token(model: str, kilobytes: int) -> None:
    arch = find_architecture(model)
    assert arch.layers * arch.kv_numbers * 2 == kilobytes * 1024


def test_the_table_says_what_the_demo_models_own_config_says() -> None:
    own = find_architecture(str(demo_model()))
    table = find_architecture("demo")
    assert own.params == table.params
    assert (own.layers, own.kv_numbers, own.context) == (table.layers, table.kv_numbers, 8192)


def test_an_unknown_model_is_named_with_the_remedy() -> None:
    with pytest.raises(ModelError, match=r"someone/else.*--like Qwen/Qwen2\.5-7B"):
        find_architecture("someone/else")
    assert find_architecture("someone/else", like="Qwen/Qwen2.5-7B").params == 7_615_616_512


def test_a_folder_needs_a_whole_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 64}))
    with pytest.raises(ModelError, match="num_hidden_layers"):
        find_architecture(str(tmp_path))


def test_a_config_inside_a_multimodal_one() -> None:
    text = {
        "model_type": "llama",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "vocab_size": 100,
    }
    assert parse_config("a", {"text_config": text}) == parse_config("a", text)
