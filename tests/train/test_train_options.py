"""Training recipes: what they refuse, their fingerprints, and R1's own settings."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from factory.core.content_hash import BLOCK, BLOCKS, content_hash
from factory.core.errors import RecipeError, SourceError
from factory.core.resources import recipe_path
from factory.recipe.build import load_recipe
from factory.recipe.sft import Sft
from factory.train.train import load_training
from factory.train.versions import TESTED, describe_mismatch

BASE = "kind: sft\nname: x\nmodel: demo\ndata: corpus\n"


def sft(folder: Path, text: str = BASE, *assignments: str) -> Sft:
    (folder / "corpus").mkdir(exist_ok=True)
    (folder / "x.yaml").write_text(text)
    recipe = load_training(folder / "x.yaml", assignments)
    assert isinstance(recipe, Sft)
    return recipe


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("kind: dpo", "x.yaml:5: kind is given twice"),
        ("batches: 8", "x.yaml:5: batches is not a key here (did you mean batch?)"),
        ("optimizer: {learning_rate: 0}", "optimizer.learning_rate is 0; it must be more than 0"),
        ("optimizer: {lr: 1}", "optimizer.lr is not a key here"),
        ("optimizer: {floor: 1}", "optimizer.floor is 1; it must be less than 1"),
        ("overlong: cut", "overlong is 'cut'; it must be 'drop' or 'fail'"),
        ("lora: {rank: 0}", "lora.rank is 0; it must be at least 1"),
        ("layers: 1", "layers is 1; it must be at least 2"),
        ("streaming: true\npacking: true", "streaming with packing needs steps"),
        ("context: 512\nmax_length: 513", "max_length is larger than context"),
    ],
)
def test_a_wrong_key_is_reported_with_its_place(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        sft(tmp_path, f"{BASE}{line}\n")
    assert message in str(caught.value)


def test_an_unknown_kind_names_the_kinds(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("name: x\n")
    with pytest.raises(RecipeError, match=r"one of sft, grpo, reward_model"):
        load_training(tmp_path / "x.yaml")


def test_paths_start_at_the_file_that_names_them(tmp_path: Path) -> None:
    recipe = sft(tmp_path, BASE + "template: ./own.jinja\n")
    assert recipe.data == tmp_path / "corpus"
    assert recipe.template == str(tmp_path / "own.jinja")
    assert sft(tmp_path, BASE + "template: chatml\n").template == "chatml"


@pytest.mark.parametrize(
    "assignment",
    [
        "name=y",
        "micro_batch=4",
        "gradient_checkpointing=false",
        "checkpoint.every=7",
        "log_every=5",
        "evaluate_every=9",
    ],
)
def test_execution_settings_do_not_change_the_fingerprint(tmp_path: Path, assignment: str) -> None:
    assert sft(tmp_path, BASE, assignment).fingerprint() == sft(tmp_path).fingerprint()


@pytest.mark.parametrize(
    "assignment",
    [
        "model=HuggingFaceTB/SmolLM2-135M",
        "seed=1",
        "epochs=2",
        "steps=3",
        "batch=4",
        "max_length=99",
        "optimizer.learning_rate=1e-5",
        "precision=fp32",
        "lora=true",
        "packing=true",
        "template=plain",
        "layers=3",
        "args.optim=sgd",
    ],
)
def test_settings_of_the_model_change_the_fingerprint(tmp_path: Path, assignment: str) -> None:
    assert sft(tmp_path, BASE, assignment).fingerprint() != sft(tmp_path).fingerprint()


def test_the_fingerprint_depends_on_the_datas_content_not_its_path(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "train.parquet").write_bytes(b"rows")
    before = sft(tmp_path).fingerprint()
    shutil.copytree(corpus, tmp_path / "moved")
    assert sft(tmp_path, BASE, f"data={tmp_path / 'moved'}").fingerprint() == before
    (corpus / "train.parquet").write_bytes(b"rowz")
    assert sft(tmp_path).fingerprint() != before


def test_missing_data_are_reported_first(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        sft(tmp_path, BASE, f"data={tmp_path / 'nowhere'}").fingerprint()


@pytest.mark.parametrize("size", [0, 1, BLOCK, BLOCK * BLOCKS, BLOCK * BLOCKS * 3 + 5])
def test_a_sketch_sees_both_ends_of_a_file_of_any_size(tmp_path: Path, size: int) -> None:
    file = tmp_path / "weights"
    file.write_bytes(bytes(size))
    seen = {content_hash(file)}
    for place in {0, size - 1} if size else set():
        content = bytearray(size)
        content[place] = 1
        file.write_bytes(content)
        seen.add(content_hash(file))
    file.write_bytes(bytes(size + 1))
    seen.add(content_hash(file))
    assert len(seen) == 2 + len({0, size - 1} if size else set())


@pytest.mark.parametrize(
    ("package", "found", "fits"),
    [
        ("trl", "1.16.0", True),
        ("trl", "1.16.9", True),
        ("trl", "1.15.9", False),
        ("trl", "1.17.0", False),
        ("trl", "0.24.0", False),
        ("transformers", "5.19.0.dev0", True),
        ("transformers", "4.57.1", False),
        ("peft", None, False),
    ],
)
def test_versions(package: str, found: str | None, fits: bool) -> None:
    message = describe_mismatch(package, found)
    assert (message is None) == fits
    if message is not None:
        assert package in message
        assert found is None or TESTED[package][0] in message


R1 = {  # v2, supplement: learning rate, batch
    "r1/sft": (5e-5, 128),
    "r1/cold_start_sft": (5e-5, 128),  # B.4.2: as the second SFT
    "r1/distill/qwen2.5-math-1.5b": (1e-4, 64),
    "r1/distill/qwen2.5-math-7b": (8e-5, 64),
    "r1/distill/qwen2.5-14b": (7e-5, 64),
    "r1/distill/qwen2.5-32b": (6e-5, 64),
    "r1/distill/llama-3.1-8b": (5e-5, 64),
    "r1/distill/llama-3.3-70b": (2e-5, 64),
}


@pytest.mark.parametrize("name", R1)
def test_shipped_recipes_have_the_papers_settings(name: str) -> None:
    recipe = load_training(recipe_path(f"{name}.yaml"))
    optimizer = recipe.optimizer
    rate, batch = R1[name]
    assert optimizer.learning_rate == rate
    assert isinstance(recipe, Sft)
    assert recipe.packing, "rows have 5,355 of 32,768 tokens"
    rows = recipe.batch * 32_768 / 5355
    assert 0.75 <= rows / batch <= 1.25, "packed sequences of about as many rows"
    assert recipe.batch % 8 == 0, "eight GPUs"
    assert (optimizer.schedule, optimizer.floor) == ("cosine", 0.1)
    assert (recipe.max_length, recipe.steps) == (32_768, None)
    assert recipe.epochs in (2, 3)


def test_r1_zero_s_outputs_are_drawn_and_filtered_as_published() -> None:
    """v2, B.3.2: temperature 1.0; then correctness, repetition and language; then rewriting."""
    drafts = load_recipe(recipe_path("r1/cold_start_zero.yaml"))
    assert (drafts.sampling.temperature, drafts.prompting.template) == (1.0, "r1_zero")
    assert {"correctness", "repetition", "language"} <= set(drafts.filters)
    rewriting = load_recipe(recipe_path("r1/cold_start_rewrite.yaml"))
    assert rewriting.prompting.template == "rewrite"
    assert [source.kind for source in rewriting.sources] == ["drafts"]


@pytest.mark.parametrize(
    "name",
    ["sft_quickstart", *(f"r1/mini/{name}" for name in ("cold_start_sft", "sft", "distill"))],
)
def test_small_recipes_load(name: str) -> None:
    assert load_training(recipe_path(f"{name}.yaml")).model.id == "demo"
