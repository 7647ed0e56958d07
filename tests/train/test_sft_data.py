"""The tokens of a corpus that are under the loss, and the corpora that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.core.errors import FactoryError, ModelError, RunError, SourceError
from factory.core.nouns import Message, Prompt
from factory.export.target import Target, load_target
from factory.prompts.templates import Prompting
from factory.train.data import (
    TokenCount,
    check_rows,
    find_shards,
    refuse_overlong,
    stream_rows,
    tokenize_rows,
    write_tokens,
)
from factory.train.tokens import IGNORED, tokenize
from tests.export.tokenizers import CHATML, FAILS, STRIPS, STRIPS_EARLIER, write_tokenizer
from tests.train.tiny import conversation, sums, write_corpus

TURN = "<think>\nTwo and two.\n</think>\n\nIt is \\boxed{4}."


def target_of(folder: Path, template: str = CHATML, **options: Any) -> Target:
    return load_target(write_tokenizer(folder, template, context=4096, **options))


def pieces(target: Target, ids: list[int]) -> list[str]:
    return [target.tokenizer.decode([token]) for token in ids]


def messages(*turns: str) -> list[Message]:
    roles = ("user", "assistant") * len(turns)
    return [Message(role=r, content=c) for r, c in zip(roles, turns, strict=False)]


@pytest.mark.real(group="torch")
def test_the_demo_model_s_mask_token_by_token() -> None:
    target = load_target("demo")
    (tokens,) = tokenize([messages("2 + 2 = ?", TURN)], target)
    shown = pieces(target, tokens.ids)
    marks = "".join(
        piece if label == IGNORED else f"[{piece}]"
        for piece, label in zip(shown, tokens.labels, strict=True)
    )
    assert marks == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\n2 + 2 = ?<|im_end|>\n<|im_start|>assistant\n"
        "[<][think][>][\n][Two][ and][ two][.][\n][</][think][>][\n][\n]"
        "[It][ is][ \\][box][ed][{][4][}.][<|im_end|>]"
    )


@pytest.mark.real(group="torch")
@pytest.mark.parametrize("prefill", ["", "<think>\n"])
@pytest.mark.parametrize("system", [None, "Be brief."])
def test_training_reads_what_sampling_gives(system: str | None, prefill: str) -> None:
    """The prompt's tokens are those that the engine gets, with a prefilled think section."""
    target = load_target("demo")
    prompting = Prompting(template="chat", system=system, instruction="boxed", prefill=prefill)
    prompt = Prompt(source="s", domain="math", messages=tuple(messages("2 + 2 = ?")))
    rendered = prompting.render(prompt, target.tokenizer)
    given = target.encode(rendered.prompt_text + rendered.prefill)
    row = [*prompting.messages_for(prompt), Message(role="assistant", content=TURN)]
    (tokens,) = tokenize([row], target)
    assert tokens.ids[: len(given)] == given
    assert tokens.n_prompt == len(target.encode(rendered.prompt_text))


@pytest.mark.parametrize("template", [CHATML, STRIPS, STRIPS_EARLIER])
def test_no_template_strips_reasoning(tmp_path: Path, template: str) -> None:
    target = target_of(tmp_path, template, bos="<|begin|>")
    (tokens,) = tokenize([messages("2 + 2 = ?", TURN)], target)
    learnt = target.tokenizer.decode(tokens.ids[tokens.n_prompt :])
    whole = target.tokenizer.decode(tokens.ids)
    assert whole.endswith(TURN + "<|im_end|>")
    assert whole.count("<think>") == 1
    assert learnt.endswith("Two and two.\n</think>\n\nIt is \\boxed{4}.<|im_end|>")
    assert tokens.ids[: tokens.n_prompt] == target.encode(
        target.render(messages("2 + 2 = ?"), open_turn=True)
    )


def test_only_the_last_turn_of_a_conversation_is_under_the_loss(tmp_path: Path) -> None:
    target = target_of(tmp_path)
    (tokens,) = tokenize([messages("Hello", "Hi", "2 + 2 = ?", TURN)], target)
    assert target.tokenizer.decode(tokens.ids[tokens.n_prompt :]) == TURN + "<|im_end|>"
    assert "Hi<|im_end|>" in target.tokenizer.decode(tokens.ids[: tokens.n_prompt])


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8"), min_size=1),
            st.text(st.characters(codec="utf-8"), min_size=1),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_row_s_tokens_do_not_depend_on_other_rows(rows: list[tuple[str, str]]) -> None:
    target = _shared_target()
    talks = [messages(question, turn) for question, turn in rows]
    together = tokenize(talks, target)
    assert together == [tokenize([talk], target)[0] for talk in talks]
    for tokens in together:
        assert tokens.labels[tokens.n_prompt :] == tokens.ids[tokens.n_prompt :]
        assert set(tokens.labels[: tokens.n_prompt]) == {IGNORED}
        assert tokens.ids[-1] == target.tokenizer.eos_token_id


_TARGETS: list[Target] = []


@pytest.fixture(autouse=True, scope="module")
def _one_target(tmp_path_factory: pytest.TempPathFactory) -> None:
    _TARGETS.append(target_of(tmp_path_factory.mktemp("tokenizer")))


def _shared_target() -> Target:
    return _TARGETS[-1]


def test_rows_that_do_not_fit_are_counted_never_cut(tmp_path: Path) -> None:
    rows = [*sums(5), ("long", "x" * 5000), *sums(2)]
    files = find_shards(write_corpus(tmp_path / "corpus", rows))["train"]
    target = target_of(tmp_path / "tokenizer")
    count = TokenCount()
    lengths = [len(row["input_ids"]) for row in tokenize_rows(files, target, count)]
    assert (count.rows, count.overlong) == (7, 1)
    assert count.tokens == sum(lengths)
    assert count.longest > 5000 > max(lengths)
    refuse_overlong(count, target, "drop")
    with pytest.raises(ModelError, match="1 of 8 rows are longer than 4,096 tokens"):
        refuse_overlong(count, target, "fail")
    with pytest.raises(ModelError, match="overlong: drop"):
        list(stream_rows(files, target, "fail"))
    with pytest.raises(ModelError, match="0 of 0 rows"):
        refuse_overlong(TokenCount(), target, "drop")


def test_written_and_streamed_tokens_are_the_same(tmp_path: Path) -> None:
    files = find_shards(write_corpus(tmp_path / "corpus", sums(40), shards=3))["train"]
    target, out = _shared_target(), tmp_path / "tokens" / "train.arrow"
    count = write_tokens(files, target, out)
    with pa.memory_map(str(out)) as source:
        written = pa.ipc.open_stream(source).read_all().to_pylist()
    assert written == list(stream_rows(files, target, "fail"))
    assert count.rows == len(written) == 40
    assert count.learnt == sum(label != IGNORED for row in written for label in row["labels"])
    assert write_tokens([], target, out) == count  # an existing file is not written again


def test_splits_go_by_the_files_names(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, sums(10), validation=2, shards=2)
    (corpus / "train-00000.parquet").rename(corpus / "part.parquet")
    found = find_shards(corpus)
    assert {split: [f.name for f in files] for split, files in found.items()} == {
        "train": ["part.parquet", "train-00001.parquet"],
        "validation": ["validation-00000.parquet"],
    }


def _write(folder: Path, rows: list[dict[str, Any]]) -> None:
    message = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    schema = pa.schema([("id", pa.string()), ("messages", message)])
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "train-0.parquet")


def _nothing(folder: Path) -> None:
    pass


def _no_messages(folder: Path) -> None:
    pq.write_table(pa.table({"text": ["hello"]}), folder / "train-0.parquet")


def _no_parquet(folder: Path) -> None:
    (folder / "train-0.parquet").write_text("hello")


def _no_rows(folder: Path) -> None:
    _write(folder, [])


def _only_validation(folder: Path) -> None:
    write_corpus(folder, sums(4))
    (folder / "train-00000.parquet").rename(folder / "validation-0.parquet")


def _unfinished(folder: Path) -> None:
    (folder / "run.json").write_text('{"format": 1, "state": "running"}')


def _question_last(folder: Path) -> None:
    _write(folder, [{"id": "r7", "messages": conversation("Hello", "Hi")[:1]}])


def _empty_turn(folder: Path) -> None:
    _write(folder, [{"id": "r7", "messages": conversation("Hello", "")}])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (_nothing, SourceError, "no Parquet file"),
        (_no_messages, SourceError, "no column `messages` (it has text)"),
        (_no_parquet, SourceError, "cannot be read as Parquet"),
        (_no_rows, SourceError, "no row to train on"),
        (_only_validation, SourceError, "no row to train on"),
        (_unfinished, RunError, "is not finished"),
        (_question_last, SourceError, "row r7: its messages do not end with an assistant's turn"),
        (_empty_turn, SourceError, "row r7: its messages do not end with an assistant's turn"),
    ],
)
def test_an_unusable_corpus_is_refused(
    tmp_path: Path, make: Any, error: type[FactoryError], message: str
) -> None:
    make(tmp_path)
    with pytest.raises(error) as caught:
        check_rows(find_shards(tmp_path)["train"], _shared_target())
    assert message in str(caught.value)


def test_a_template_that_fails_is_reported_with_the_row(tmp_path: Path) -> None:
    files = find_shards(write_corpus(tmp_path / "corpus", sums(3)))["train"]
    target = target_of(tmp_path / "tokenizer", FAILS)
    with pytest.raises(ModelError, match=r"row train-00000/0: the chat template fails"):
        check_rows(files, target)
    with pytest.raises(ModelError, match=r"row train-00000/0: the chat template fails"):
        list(tokenize_rows(files, target, TokenCount()))


def test_a_tokenizer_without_a_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no chat template"):
        load_target(write_tokenizer(tmp_path, None))
