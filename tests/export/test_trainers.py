"""Exports read back by the trainers' own code.

TRL stands in this environment. verl, LLaMA-Factory and Axolotl pin versions of their own: point
VERL_PYTHON, LLAMA_FACTORY_PYTHON or AXOLOTL_PYTHON at an interpreter that has one, and its check in
`in_trainer/` runs there, on the config and the files as they were written.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from factory.core.models import model_path
from factory.export.export import export_run
from factory.export.layouts import LayoutName
from tests.export import tokenizers as t
from tests.export.runs import small_run

CHECKS = Path(__file__).parent / "in_trainer"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("runs") / "run")


OTHERS: list[tuple[str, str, str]] = [
    ("verl", "VERL_PYTHON", "verl_check.py"),
    ("llama-factory", "LLAMA_FACTORY_PYTHON", "llama_factory_check.py"),
    ("axolotl", "AXOLOTL_PYTHON", "axolotl_check.py"),
]


@pytest.mark.real(group="export")
@pytest.mark.parametrize(("format", "variable", "check"), OTHERS)
@pytest.mark.parametrize("template", [None, "chatml"])
def test_the_trainers_own_loader_reads_the_export(
    format: str, variable: str, check: str, template: str | None, run: Path, tmp_path: Path
) -> None:
    python = os.environ.get(variable)
    if python is None:
        pytest.skip(f"{variable} is not set")
    if template and format == "llama-factory":
        pytest.skip("it reads the template from the model's folder, not from a config")
    out = tmp_path / "out"
    export_run(run, format, model_path("demo"), out, template=template)
    done = subprocess.run(
        [python, CHECKS / check, tmp_path / "scratch"],
        cwd=out,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "rows 12"


LAYOUTS: list[tuple[LayoutName, str, str | None]] = [
    ("prompt-completion", t.CHATML, None),
    ("messages", t.CHATML, "chatml"),
    ("text", t.STRIPS, None),
]


@pytest.mark.real(group="export")
@pytest.mark.parametrize(("layout", "own", "template"), LAYOUTS)
def test_trl_trains_on_the_assistants_text_only(
    layout: LayoutName,
    own: str,
    template: str | None,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SFTTrainer prepares the export by its config; the labels are checked without training."""
    from datasets import load_dataset
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl import ModelConfig, ScriptArguments, SFTConfig, SFTTrainer, TrlParser

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    name = t.write_tokenizer(tmp_path / "tokenizer", own, bos="<|begin|>", context=2048)
    out = tmp_path / "out"
    export_run(run, "trl", name, out, layout=layout, template=template)
    monkeypatch.chdir(out)
    file = Path("sft.yaml")
    on_cpu = yaml.safe_load(file.read_text()) | {"bf16": False, "use_cpu": True, "packing": False}
    file.write_text(yaml.safe_dump(on_cpu))
    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig))
    script, training, model = parser.parse_args_and_config(
        ["--config", "sft.yaml"], fail_with_unknown_args=True
    )
    tokenizer = AutoTokenizer.from_pretrained(model.model_name_or_path)
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
    )
    data = load_dataset(script.dataset_name, cache_dir=str(tmp_path / "cache"))
    trainer = SFTTrainer(
        LlamaForCausalLM(shape),
        training,
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        processing_class=tokenizer,
    )
    rows = trainer.train_dataset
    assert len(rows) == 12
    for number, row in enumerate(rows):
        labels = [token for token in row["labels"] if token != -100]
        learnt = tokenizer.decode(labels).strip()
        expected = f"{number} and {number} is twice {number}.\nThat is {2 * number}.\n</think>\n\n"
        assert learnt.removeprefix("<think>").strip() == (
            f"{expected}It is \\boxed{{{2 * number}}}.<|im_end|>"
        )
        assert f"What is {number} + {number}?" in tokenizer.decode(row["input_ids"])
        assert row["input_ids"].count(tokenizer.bos_token_id) == (layout == "text")
