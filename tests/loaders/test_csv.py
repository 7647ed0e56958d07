"""CSV as spreadsheets write it: any delimiter, BOM, decimal commas; other encodings are named."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from factory.core.errors import SourceError
from factory.core.nouns import Prompt
from factory.prompts.files import Files
from factory.prompts.load import describe, load_prompts
from factory.prompts.source import Reject


def source(path: Path, **keys: Any) -> Files:
    return Files(path=str(path), **{"verifier": {"kind": "math"}, **keys})


def answers(path: Path, **keys: Any) -> list[Any]:
    """The reference of every row, or the reason why it is no prompt."""
    found: list[Any] = []
    for row in source(path, **keys).rows():
        match row:
            case Prompt():
                assert row.verifier is not None
                found.append(row.verifier["answer"])
            case Reject():
                found.append(row.reason)
    return found


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, sign: str, bom: str) -> None:
    path = tmp_path / "rows.csv"
    rows = [["question", "answer"], ["How many; or, which|one?\tSay.", "7"], ["Größe?", "8"]]
    lines = (sign.join(f'"{cell}"' if sign in cell else cell for cell in row) for row in rows)
    path.write_text(bom + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    assert answers(path) == ["7", "8"]


def test_a_header_with_two_signs_asks_for_the_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("question;answer;note, free\n1+1?;2;x\n")
    with pytest.raises(SourceError) as caught:
        answers(path)
    assert f"{path}:1: the header has 1 ',', 2 ';'" in str(caught.value)
    assert "set `delimiter:`" in str(caught.value)
    assert answers(path, delimiter=";") == ["2"]
    path.write_text('question;answer;"note, free"\n1+1?;2;x\n')
    assert answers(path) == ["2"]


DECIMALS = [
    ("3,5", None, "decimal_comma"),
    ("3,5", True, "3.5"),
    ("3,5", False, "3,5"),
    ("-1.234,5", True, "-1234.5"),
    ("1.234", True, "1234"),
    ("7", None, "7"),
    ("(3,5)", None, "(3,5)"),
    ("(3,5)", True, "(3,5)"),
    ("x = 3,5", True, "x = 3,5"),
    ("1,2,3", None, "1,2,3"),
]


@pytest.mark.parametrize(("written", "comma", "read"), DECIMALS)
def test_decimal_commas(tmp_path: Path, written: str, comma: bool | None, read: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"question;answer\nWie viel?;{written}\n")
    assert answers(path, decimal_comma=comma) == [read]


def test_a_comma_file_needs_no_word_on_decimals(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('question,answer\nWhich pair?,"3,5"\n')
    assert answers(path) == ["3,5"]


@pytest.mark.parametrize("text", ["question;answer\nGröße?;7\n", "Größe;answer\n1+1?;7\n"])
def test_windows_1252_is_named_with_place_and_remedy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode("cp1252"))
    with pytest.raises(SourceError) as caught:
        load_prompts([source(path)])
    for words in (f"{path}:2: bad_unicode", "not UTF-8: the byte 0xf6", "Größe", "CSV UTF-8"):
        assert words in str(caught.value)


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.json"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named_in_every_format(tmp_path: Path, name: str, encoding: str) -> None:
    path = tmp_path / name
    path.write_text('{"question": "1+1?", "answer": "2"}\n', encoding=encoding)
    with pytest.raises(SourceError, match="is UTF-16, not UTF-8; save it as UTF-8"):
        answers(path)


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("question,answer,question\n1+1?,2,9+9?\n")
    with pytest.raises(SourceError, match="the header names 'question' twice; rename one"):
        answers(path)
    path.write_text("question,answer,,\n1+1?,2,,\n")  # a spreadsheet's empty columns
    assert answers(path) == ["2"]


def test_utf_16_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("question;answer\n1+1?;2\n", encoding="utf-16")
    with pytest.raises(SourceError, match="is UTF-16, not UTF-8; save it as UTF-8"):
        answers(path)


def test_a_delimiter_is_for_csv() -> None:
    with pytest.raises(ValidationError, match="delimiter is for CSV"):
        Files(path="x.jsonl", format="jsonl", delimiter=";")


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


TOOL = [{"type": "function", "function": {"name": "add"}}]


@pytest.mark.parametrize("field", ["functions", "tool_choice"])
def test_a_row_with_tools_that_are_not_read_is_refused(tmp_path: Path, field: str) -> None:
    path = jsonl(tmp_path / "rows.jsonl", {"question": "1+1?", "answer": "2", field: TOOL})
    with pytest.raises(SourceError) as caught:
        load_prompts([source(path)])
    said = str(caught.value)
    assert f"{path}:1: tools_not_supported (the row has {field!r}" in said
    assert "remove the field" in said


def test_tools_are_read_from_their_column(tmp_path: Path) -> None:
    for given in (TOOL, json.dumps(TOOL), [TOOL[0]["function"]]):
        row = {"question": "1+1?", "answer": "2", "functions": given, "tool_choice": "auto"}
        path = jsonl(tmp_path / "rows.jsonl", row)
        (prompt,) = load_prompts([source(path, columns={"tools": "functions"})]).prompts
        assert prompt.tools == tuple(TOOL)
        assert prompt.environment is None
    plain = jsonl(tmp_path / "plain.jsonl", {"question": "1+1?", "answer": "2"})
    (bare,) = load_prompts([source(plain)]).prompts
    assert bare.id != prompt.id


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{", "bad_tools"),
        ({"name": "add"}, "is no list of functions"),
        ([{"type": "function"}], "is no function with a name"),
        ([{"name": "add", "parameters": 3}], "the parameters of 'add' are no JSON schema"),
        ([{"name": "add"}, {"name": "add"}], "two functions have the name 'add'"),
    ],
)
def test_tools_that_cannot_be_read_are_refused(tmp_path: Path, given: Any, said: str) -> None:
    path = jsonl(tmp_path / "rows.jsonl", {"question": "1+1?", "answer": "2", "tools": given})
    with pytest.raises(SourceError, match=re.escape(said)):
        load_prompts([source(path)])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "calculator"}, None),
        ('{"kind": "sqlite", "setup": "CREATE TABLE t (a)"}', None),
        ({"kind": "nonsense"}, "'nonsense' is no environment; it must be one of calculator"),
        ({"kind": "own", "class": "mine.py:Mine"}, "a row of data cannot name a class"),
        ({"kind": "search", "path": "/etc/passwd"}, "a row of data cannot name a path"),
        ({"kind": "/tmp/mine.py:Mine"}, "is no environment"),
        ("calculator", "bad_environment"),
        ([1], "is no mapping with a `kind`"),
    ],
)
def test_a_row_names_an_environment_and_no_file(
    tmp_path: Path, given: Any, said: str | None
) -> None:
    path = jsonl(tmp_path / "rows.jsonl", {"question": "1+1?", "answer": "2", "env": given})
    mine = source(path, columns={"environment": "env"})
    if said is None:
        (prompt,) = load_prompts([mine]).prompts
        assert prompt.environment == (json.loads(given) if isinstance(given, str) else given)
    else:
        with pytest.raises(SourceError, match=re.escape(said)):
            load_prompts([mine])


@pytest.mark.parametrize("nothing", [None, [], ""])
def test_no_tools_are_none(tmp_path: Path, nothing: Any) -> None:
    path = jsonl(tmp_path / "rows.jsonl", {"question": "1+1?", "answer": "2", "tools": nothing})
    assert answers(path) == ["2"]


def test_fields_without_effect_are_counted_and_named(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "rows.jsonl",
        {"question": "1+1?", "answer": "2", "level": 3, "topic": "sums", "hint": None},
        {"question": "1+2?", "answer": "3", "level": 4, "messages": [{"role": "user"}]},
    )
    (count,) = load_prompts([source(path, keep=("topic",))]).counts
    assert count.unread == {"level": 2, "messages": 1}
    assert "fields not used: level (2 rows), messages (1 rows); `keep`" in describe(count)
    (count,) = load_prompts([source(path, keep=("topic", "level", "messages"))]).counts
    assert "fields not used" not in describe(count)
