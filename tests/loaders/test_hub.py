"""The streaming path of `datasets`, on local directories laid out as on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets.exceptions import DatasetNotFoundError

from factory.core.errors import SourceError
from factory.prompts import loader_class
from factory.prompts.hub import Hub
from factory.prompts.load import load_prompts, preview


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_a_set_with_two_shards_and_a_mapping(tmp_path: Path) -> None:
    for shard in range(2):
        rows = [{"problem": f"{shard}{i}+1?", "final": str(i)} for i in range(3)]
        write(tmp_path / f"data/train-0000{shard}-of-00002.parquet", rows)
    keys: dict[str, Any] = {
        "dataset": str(tmp_path),
        "name": "mine",
        "columns": {"question": "problem", "answer": "final"},
        "verifier": {"kind": "math"},
    }
    plain = load_prompts([Hub(**keys)]).prompts
    shuffled = load_prompts([Hub(**keys, shuffle=4)]).prompts
    assert [prompt.question for prompt in plain[:2]] == ["00+1?", "01+1?"]
    assert {prompt.id for prompt in shuffled} == {prompt.id for prompt in plain}
    assert shuffled != plain


def test_only_the_columns_of_a_known_set_are_read(tmp_path: Path) -> None:
    row = {"question": "1+1?", "final_answer": "2", "difficulty": 1.0, "topic": "t"}
    write(tmp_path / "data/train.parquet", [row | {"r1_solution_1": "long " * 99}] * 2)
    source = loader_class("deep_math")(dataset=str(tmp_path))  # type: ignore[call-arg]
    [(_, first), _] = list(source.read())
    assert first == row
    loaded = load_prompts([source])
    assert loaded.counts[0].repeated == 1


def test_a_script_set_is_read_by_its_files(tmp_path: Path) -> None:
    row = {"question": "Double n.", "starter_code": "", "difficulty": "EASY"}
    held = '{"inputs": ["1"], "outputs": ["2"]}'
    (tmp_path / "TACO.py").write_text("raise SystemExit('never run')")
    for split in ("train", "test"):
        write(
            tmp_path / f"ALL/{split}-00000-of-00001.parquet",
            [row | {"question": split, "input_output": held}],
        )
    taco = loader_class("taco")(dataset=str(tmp_path), split="test")  # type: ignore[call-arg]
    assert [prompt.question.split()[0] for prompt in preview(taco)] == ["test"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"split": "dev"}, "dev"),
        ({"config": "nope"}, "nope"),
        ({"dataset": "{dir}/absent"}, "no data files"),
        ({"files": "*.arrow"}, "no data files"),
    ],
)
def test_what_cannot_be_opened_is_named(tmp_path: Path, keys: dict[str, str], said: str) -> None:
    write(tmp_path / "train.parquet", [{"question": "q"}])
    keys = {key: value.format(dir=tmp_path) for key, value in keys.items()}
    with pytest.raises(SourceError, match=said):
        load_prompts([Hub(**({"dataset": str(tmp_path)} | keys))])


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub"), "check the spelling"),
        (DatasetNotFoundError("Dataset 'a/b' is a gated dataset"), "accept its terms"),
        (ConnectionError("Couldn't reach 'a/b' on the Hub"), "go online"),
        (RuntimeError("Dataset scripts are no longer supported, but found b.py"), "refs/convert"),
        (ValueError("Bad split: dev. Available splits: ['train']"), "split train: Bad split: dev"),
    ],
)
def test_every_failure_has_its_remedy(error: Exception, remedy: str) -> None:
    said = Hub(dataset="a/b")._explain(error)
    assert "a/b" in said
    assert remedy in said


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked a few times before the libraries ask it for a minute."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    tried: list[float] = []
    monkeypatch.setattr("factory.prompts.hub.time.sleep", tried.append)
    for source in (loader_class("taco")(), Hub(dataset="BAAI/TACO", name="taco")):  # type: ignore[call-arg]
        tried.clear()
        with pytest.raises(SourceError, match="BAAI/TACO: the Hub cannot be reached; go online"):
            preview(source)
        assert len(tried) == 2


def test_a_shard_that_breaks_midway_is_named(tmp_path: Path) -> None:
    write(tmp_path / "train-0.parquet", [{"question": "q"}])
    (tmp_path / "train-1.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(SourceError, match=r"reading stopped at row 2|cannot be|split train"):
        load_prompts([Hub(dataset=str(tmp_path))])
