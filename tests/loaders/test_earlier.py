"""The prompts of an earlier run, whole or by what came of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory.core.errors import SourceError
from factory.core.nouns import Message, Prompt, prompt_schema
from factory.prompts.from_run import EarlierRun
from factory.prompts.load import load_prompts


def prompt(question: str) -> Prompt:
    verifier = {"kind": "math", "answer": "1"}
    return Prompt("numina_math", "math", (Message(role="user", content=question),), verifier)


PROMPTS = [prompt("a"), prompt("b"), prompt("c")]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = [item.to_row() for item in PROMPTS]
    pq.write_table(pa.Table.from_pylist(rows, prompt_schema()), tmp_path / "prompts.parquet")
    (tmp_path / "corpus").mkdir()
    turns = [{"role": "user", "content": "b"}, {"role": "assistant", "content": "1"}]
    row = {"prompt_id": PROMPTS[1].id, "messages": turns, "domain": "math", "source": "s"}
    pq.write_table(pa.Table.from_pylist([row, row]), tmp_path / "corpus/train-00000.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("take", "questions"), [("all", "abc"), ("accepted", "b"), ("unaccepted", "ac")]
)
def test_take(run: Path, take: str, questions: str) -> None:
    loaded = load_prompts([EarlierRun(path=str(run), name="again", take=take)])
    assert [item.question for item in loaded.prompts] == list(questions)
    for item in loaded.prompts:
        assert item.id in {known.id for known in PROMPTS}
        assert (item.source, item.meta) == ("again", {"origin": "numina_math"})


def test_a_corpus_alone(run: Path) -> None:
    loaded = load_prompts([EarlierRun(path=str(run / "corpus"))])
    assert [item.messages for item in loaded.prompts] == [({"role": "user", "content": "b"},)]
    assert loaded.counts[0].repeated == 1


def test_a_changed_row_is_rejected(run: Path) -> None:
    row = PROMPTS[0].to_row() | {"verifier": '{"kind":"math","answer":"2"}'}
    pq.write_table(pa.Table.from_pylist([row], prompt_schema()), run / "prompts.parquet")
    with pytest.raises(SourceError, match=r"bad_prompt .*does not match its content"):
        load_prompts([EarlierRun(path=str(run))])


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="neither a run"):
        load_prompts([EarlierRun(path=str(tmp_path))])
    rows = [item.to_row() for item in PROMPTS]
    pq.write_table(pa.Table.from_pylist(rows, prompt_schema()), tmp_path / "prompts.parquet")
    with pytest.raises(SourceError, match="finish it or set take: all"):
        load_prompts([EarlierRun(path=str(tmp_path), take="accepted")])
