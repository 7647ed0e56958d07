"""A new user's journey: the mistakes everybody makes, and the messages as the docs quote them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from factory.cli import main
from factory.core.nouns import Prompt
from factory.core.think import join_think
from tests.replayed import write_recipe

PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "read-the-messages.md"

GSM8K = [
    {
        "question": f"Tom has {n} bags of 3 apples. How many apples does he have?",
        "answer": f"He has 3*{n} = <<3*{n}={3 * n}>>{3 * n} apples.\n#### {3 * n}",
    }
    for n in range(2, 6)
]

HEDGES = '''\
from filters.base import Filter, Rule
import polars as pl


class Hedges(Filter):
    """Drops responses that are not sure."""

    def expressions(self):
        return {"hedges_count": pl.col("answer").str.count_matches("not sure")}

    def rules(self):
        return [Rule("hedges", pl.col("hedges_count") > 0, "hedges_count", "at most 0")]
'''


def wrong_form() -> tuple[str, ...]:
    """GSM8K in JSONL; the model's answers are all wrong."""

    def text(_: Prompt, index: int) -> str:
        return join_think(f"Tom has some apples. Case {index}.", "He has \\boxed{7} apples.")

    write_recipe(Path(), GSM8K, text)
    return ("build", "recipe.yaml")


def hidden_reasoning() -> tuple[str, ...]:
    """A server that hides the reasoning."""
    write_recipe(Path(), GSM8K, lambda _, index: f"He has some apples, case {index}.")
    return ("build", "recipe.yaml")


def no_text() -> tuple[str, ...]:
    """A server that returns no text."""
    write_recipe(Path(), GSM8K, lambda _, index: "\n" * index)
    return ("build", "recipe.yaml")


def nothing_selected() -> tuple[str, ...]:
    """A corpus that the selection leaves empty."""

    def text(prompt: Prompt, index: int) -> str:
        assert prompt.verifier is not None
        return join_think(f"Case {index}.", f"\\boxed{{{prompt.verifier['answer']}}}")

    write_recipe(Path(), GSM8K, text, extra="select: {pass_rate: [0.1, 0.9]}")
    return ("build", "recipe.yaml")


def decimal_commas() -> tuple[str, ...]:
    """A semicolon CSV whose numbers have decimal commas."""
    Path("rows.csv").write_text("question;answer\nWie viel ist 7 : 2?;3,5\n", encoding="utf-8")
    return _with_source("{kind: files, path: rows.csv, verifier: {kind: math}}")


def two_delimiters() -> tuple[str, ...]:
    """A CSV whose header does not show its delimiter."""
    Path("rows.csv").write_text("question;answer;note, free\n1 + 1?;2;x\n", encoding="utf-8")
    return _with_source("{kind: files, path: rows.csv, verifier: {kind: math}}")


def another_encoding() -> tuple[str, ...]:
    """A CSV in Windows-1252."""
    Path("rows.csv").write_bytes("question;answer\nWie groß ist 1 + 1?;2\n".encode("cp1252"))
    return _with_source("{kind: files, path: rows.csv, verifier: {kind: math}}")


def no_verifier() -> tuple[str, ...]:
    """A source that does not say how answers are verified."""
    Path("rows.csv").write_text("question,answer\n1 + 1?,2\n", encoding="utf-8")
    return _with_source("{kind: files, path: rows.csv}")


def other_columns() -> tuple[str, ...]:
    """Columns of other names."""
    Path("rows.csv").write_text("problem,solution\n1 + 1?,2\n", encoding="utf-8")
    return _with_source("{kind: files, path: rows.csv, verifier: {kind: math}}")


def tools() -> tuple[str, ...]:
    """A row that offers tools."""
    Path("rows.jsonl").write_text('{"question": "1 + 1?", "answer": "2", "tools": ["add"]}\n')
    return _with_source("{kind: files, path: rows.jsonl, verifier: {kind: math}}")


def empty_source() -> tuple[str, ...]:
    """A file without a row."""
    Path("rows.jsonl").write_text("")
    return _with_source("{kind: files, path: rows.jsonl, verifier: {kind: math}}")


def missing_data() -> tuple[str, ...]:
    """A training on a run that was not built."""
    Path("recipe.yaml").write_text("kind: sft\nname: mine\nmodel: demo\ndata: runs/my-corpus\n")
    return ("validate", "recipe.yaml")


def own_filter() -> tuple[str, ...]:
    """A filter of the user's own that reads a column that there is not."""
    return (*untrusted_filter(), "--trust-code")


def untrusted_filter() -> tuple[str, ...]:
    """A filter that nobody has said to trust, without a terminal to ask on."""
    Path("hedges.py").write_text(HEDGES)
    Path("rows.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    source = "{kind: files, path: rows.jsonl, verifier: {kind: math}}"
    return _with_source(source, "{hedges: {class: 'hedges.py:Hedges'}}")


def _with_source(source: str, filters: str = "{format: {}, correctness: {}}") -> tuple[str, ...]:
    Path("recipe.yaml").write_text(
        f"name: mine\nmodel: demo\nsources:\n  - {source}\nfilters: {filters}\n", encoding="utf-8"
    )
    return ("validate", "recipe.yaml")


JOURNEY: list[tuple[Callable[[], tuple[str, ...]], int]] = [
    (wrong_form, 9),
    (hidden_reasoning, 9),
    (no_text, 9),
    (nothing_selected, 9),
    (other_columns, 6),
    (no_verifier, 6),
    (decimal_commas, 6),
    (two_delimiters, 6),
    (another_encoding, 6),
    (tools, 6),
    (empty_source, 6),
    (missing_data, 6),
    (untrusted_filter, 2),
    (own_filter, 2),
]


def message(
    case: Callable[[], tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> tuple[str, int]:
    """The error that a command ends with, and its exit code."""
    arguments = case()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["factory", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said[said.index("error: ") :].strip(), int(str(stopped.value.code))


def quoted(said: str, folder: Path) -> str:
    """A message as a user in another folder gets it; a file's hash depends on its place."""
    said = re.sub(r"content [0-9a-f]{12}", "content 22de8f288ac8", said)
    return f"```text\n{said.replace(str(folder.resolve()), '/home/me/mine')}\n```\n"


@pytest.mark.parametrize(("case", "code"), JOURNEY)
def test_the_docs_quote_the_message(
    case: Callable[[], tuple[str, ...]],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    said, exit_code = message(case, capsys)
    assert exit_code == code, said
    assert quoted(said, tmp_path) in PAGE.read_text(encoding="utf-8")
