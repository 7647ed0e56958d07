"""Exports: each trainer's files, complete or not at all, with every row of the corpus."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from datasets import load_dataset

from factory.core.errors import ModelError, RunError
from factory.core.nouns import Message
from factory.export.export import Overlong, export_run
from factory.export.gate import GateError
from factory.export.layouts import LayoutName
from tests.export import tokenizers as t
from tests.export.runs import conversation, row, small_run, write_run


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    return t.write_tokenizer(tmp_path / "tokenizer", t.CHATML)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return small_run(tmp_path / "run")


FILES: list[tuple[str, set[str]]] = [
    (
        "trl",
        {
            "data/train-00000-of-00002.parquet",
            "data/train-00001-of-00002.parquet",
            "data/validation-00000-of-00001.parquet",
            "sft.yaml",
        },
    ),
    (
        "llama-factory",
        {
            "train/train-00000-of-00002.parquet",
            "train/train-00001-of-00002.parquet",
            "validation/validation-00000-of-00001.parquet",
            "dataset_info.json",
            "sft.yaml",
        },
    ),
    ("openai", {"train.jsonl", "validation.jsonl", "job.json", "submit.py"}),
    ("nemo-gym", {"train.jsonl", "validation.jsonl"}),
]


@pytest.mark.parametrize(("format", "files"), FILES)
def test_the_files_of_a_format(
    format: str, files: set[str], run: Path, tokenizer: str, tmp_path: Path
) -> None:
    report = export_run(run, format, tokenizer, tmp_path / "out")
    assert set(report.files) == files
    assert report.rows == {"train": 12, "validation": 3}
    assert report.checked == 15
    written = json.loads((tmp_path / "out" / "export.json").read_text())
    assert written["format"] == format


COLUMNS: list[tuple[str, LayoutName | None, set[str]]] = [
    ("trl", None, {"id", "prompt", "completion"}),
    ("trl", "text", {"id", "prompt", "completion"}),
    ("verl", None, {"id", "messages"}),
]


@pytest.mark.parametrize(("format", "layout", "columns"), COLUMNS)
def test_the_folder_loads_and_holds_every_row_once(
    format: str,
    layout: LayoutName | None,
    columns: set[str],
    run: Path,
    tokenizer: str,
    tmp_path: Path,
) -> None:
    export_run(run, format, tokenizer, tmp_path / "out", layout=layout)
    loaded = load_dataset(str(tmp_path / "out" / "data"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 12, "validation": 3}
    assert set(loaded["train"].column_names) == columns
    ids = Counter([*loaded["train"]["id"], *loaded["validation"]["id"]])
    assert ids == Counter(f"{number:016x}-0" for number in range(15))


def test_openais_lines_contain_only_messages(run: Path, tokenizer: str, tmp_path: Path) -> None:
    export_run(run, "openai", tokenizer, tmp_path / "out", model="gpt-4.1-mini")
    lines = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").open()]
    assert lines == [{"messages": conversation(number)} for number in range(12)]
    job = json.loads((tmp_path / "out" / "job.json").read_text())
    assert job["model"] == "gpt-4.1-mini"
    compile((tmp_path / "out" / "submit.py").read_text(), "submit.py", "exec")


def config(run: Path, format: str, tokenizer: str, out: Path, **options: Any) -> Any:
    export_run(run, format, tokenizer, out, **options)
    return yaml.safe_load((out / "sft.yaml").read_text())


def test_configs_contain_r1s_settings_and_the_context(
    run: Path, tokenizer: str, tmp_path: Path
) -> None:
    trl = config(run, "trl", tokenizer, tmp_path / "trl", max_length=500)
    assert (trl["learning_rate"], trl["num_train_epochs"], trl["max_length"]) == (5e-5, 2, 500)
    assert trl["completion_only_loss"] is True
    verl = config(run, "verl", tokenizer, tmp_path / "verl", max_length=500)
    assert verl["data"]["max_length"] == 500
    assert all((tmp_path / "verl" / file).is_file() for file in verl["data"]["train_files"])
    factory = config(run, "llama-factory", tokenizer, tmp_path / "factory", max_length=500)
    assert factory["cutoff_len"] == 500
    table = json.loads((tmp_path / "factory" / "dataset_info.json").read_text())
    assert set(table) == {factory["dataset"], factory["eval_dataset"]}
    axolotl = config(run, "axolotl", tokenizer, tmp_path / "axolotl", max_length=500)
    assert axolotl["sequence_len"] == 500
    for tool in ("trl", "verl", "factory", "axolotl"):
        text = (tmp_path / tool / "sft.yaml").read_text()
        assert str(tmp_path / tool) not in text, "the export cannot be moved"


def test_a_replaced_template_is_part_of_the_export(
    run: Path, tokenizer: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    written = config(run, "trl", tokenizer, out, layout="messages", template="chatml")
    assert written["assistant_only_loss"] is True
    assert "{%- generation %}" in (out / written["chat_template_path"]).read_text()


def test_a_template_that_strips_reasoning_writes_nothing(run: Path, tmp_path: Path) -> None:
    name = t.write_tokenizer(tmp_path / "strips", t.STRIPS)
    refusal = r"15 of 15 checked rows.*\n.*strips its reasoning"
    with pytest.raises(GateError, match=refusal) as caught:
        export_run(run, "trl", name, tmp_path / "out")
    assert "--layout text" in str(caught.value)
    assert not list(tmp_path.glob("*out*"))
    export_run(run, "trl", name, tmp_path / "out", layout="text")


def test_a_row_outside_the_sample_is_still_refused(tmp_path: Path, tokenizer: str) -> None:
    """Only its text is checked then, which is enough to find missing reasoning."""
    strips_one = t.CHATML.replace(
        "{{ m.content }}", "{{ 'gone' if '33 and 33' in m.content else m.content }}"
    )
    name = t.write_tokenizer(tmp_path / "strips-one", strips_one)
    run = small_run(tmp_path / "run", rows=40, validation=0)
    with pytest.raises(GateError, match="0000000000000021-0"):
        export_run(run, "trl", name, tmp_path / "out", sample_rows=1)
    assert not list(tmp_path.glob("*out*"))


def long_run(folder: Path) -> Path:
    rows = [row(number, conversation(number, "so " * 10**number)) for number in range(1, 5)]
    return write_run(folder, {"train-00000-of-00001.parquet": rows})


@pytest.mark.parametrize(
    ("overlong", "limit", "kept"), [("drop", 400, 2), ("drop", 4000, 3), ("fail", 40_000, 4)]
)
def test_rows_beyond_the_context(
    overlong: Overlong, limit: int, kept: int, tmp_path: Path, tokenizer: str
) -> None:
    run, out = long_run(tmp_path / "run"), tmp_path / "out"
    report = export_run(run, "trl", tokenizer, out, overlong=overlong, max_length=limit)
    assert report.rows == {"train": kept}
    assert report.overlong == 4 - kept
    assert pq.read_table(out / "data").num_rows == kept
    if report.longest:
        assert report.longest[0] == f"{4:016x}-0"
        assert report.longest[1] > 30_000


def test_overlong_rows_fail_with_count_and_choice(tmp_path: Path, tokenizer: str) -> None:
    run = long_run(tmp_path / "run")
    with pytest.raises(ModelError, match=r"2 of 4 rows are longer than 400.*--overlong drop"):
        export_run(run, "trl", tokenizer, tmp_path / "out", max_length=400)
    with pytest.raises(ModelError, match="no training row would be left"):
        export_run(run, "trl", tokenizer, tmp_path / "out", max_length=10, overlong="drop")
    assert not list(tmp_path.glob("*out*"))


def test_the_same_run_exports_to_the_same_bytes(run: Path, tokenizer: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export_run(run, "trl", tokenizer, tmp_path / name)
    for file in (tmp_path / "one").rglob("*.*"):
        assert (
            file.read_bytes()
            == (tmp_path / "two" / file.relative_to(tmp_path / "one")).read_bytes()
        )


def test_only_an_earlier_export_is_overwritten(run: Path, tokenizer: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_run(run, "openai", tokenizer, out)
    export_run(run, "trl", tokenizer, out)
    assert not (out / "train.jsonl").exists()
    (out / "export.json").unlink()
    with pytest.raises(RunError, match="is not empty and is no export"):
        export_run(run, "trl", tokenizer, out)
    assert (out / "sft.yaml").exists()


def test_unfinished_runs_are_refused(run: Path, tokenizer: str, tmp_path: Path) -> None:
    for shard in (run / "corpus").iterdir():
        shard.unlink()
    with pytest.raises(RunError, match="every sample was dropped"):
        export_run(run, "trl", tokenizer, tmp_path / "out")
    with pytest.raises(RunError, match="not finished"):
        export_run(tmp_path / "none", "trl", tokenizer, tmp_path / "out")


def test_a_layout_the_trainer_does_not_read(run: Path, tokenizer: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="verl does not read --layout text; it reads messages"):
        export_run(run, "verl", tokenizer, tmp_path / "out", layout="text")


def test_llama_factory_would_skip_rows_out_of_order(tmp_path: Path, tokenizer: str) -> None:
    twice = [Message(role="user", content="Listen."), *conversation(1)]
    rows = {"train-00000-of-00001.parquet": [row(1, twice)]}
    run = write_run(tmp_path / "run", rows)
    with pytest.raises(GateError, match="user, user, assistant"):
        export_run(run, "llama-factory", tokenizer, tmp_path / "out")
    assert export_run(run, "verl", tokenizer, tmp_path / "out").rows == {"train": 1}
