"""Foreign data sets in any condition."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from factory.build import refilter
from factory.build.refilter import Columns, filter_file
from factory.core.errors import SourceError
from factory.recipe.parsing import filters_by_name

FILTERS = filters_by_name(
    ["format", "length", "repetition", "language", "readability", "safety", "identity"]
)
GOOD = "<think>Two and two.</think>It is 4."

LINES = [
    # a line of a JSONL file as it stands there, the verdict's reason
    (json.dumps({"text": GOOD}), None),
    (json.dumps({"text": "It is 4."}), "no_think"),
    (json.dumps({"text": ""}), "empty_text"),
    ('{"text": null}', "empty_text"),
    ("{}", "empty_text"),
    ('{"text": "<think>a \\ud800 lone surrogate</think>4"}', None),
    ('{"text": "<think>two halves \\udc00\\ud800 the wrong way round</think>4"}', None),
    (json.dumps({"text": "<think>\u200f\u202e marks \u2067</think>4"}), None),
    (json.dumps({"text": "<think>a\x00b\x1b[31m</think>4"}), None),
    (json.dumps({"text": f"<think>{'$x=3$ ' * 50}</think>4"}), None),
    (json.dumps({"text": f"<think>{'so it is. ' * 1000}</think>4"}), "loop"),
    (json.dumps({"text": "<think>" + "a\n" * 100_000 + "</think>4"}), "loop"),
    (json.dumps({"text": 5}), "no_think"),
    (json.dumps({"text": "<think>So 数 it is.</think>4", "other": [1]}), "mixed_script"),
    (json.dumps({"text": "<think>I am ChatGPT.</think>4"}), "foreign_identity"),
]


def judged(file: Path, **columns: str) -> pl.DataFrame:
    out = file.with_name("out.parquet")
    filter_file(file, out, FILTERS, Columns(**columns))
    return pl.read_parquet(out)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    file = tmp_path / "in.jsonl"
    file.write_text("".join(f"{line}\n" for line, _ in LINES), encoding="utf-8")
    return file


def test_every_row_gets_its_verdict(lines: Path) -> None:
    found = judged(lines)
    assert found["id"].to_list() == [str(number) for number in range(len(LINES))]
    assert found["reason"].to_list() == [reason for _, reason in LINES]


def test_how_rows_are_batched_changes_nothing(lines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = judged(lines)
    monkeypatch.setattr(refilter, "BATCH_ROWS", 4)
    assert judged(lines).equals(whole)
    monkeypatch.setattr(refilter, "SPREAD_BYTES", 0)  # over processes
    assert judged(lines).equals(whole)


def test_ids_that_repeat_stay_rows_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "in.parquet"
    pl.DataFrame({"n": [7, 7, None], "text": [GOOD, "4", GOOD]}).write_parquet(file)
    found = judged(file, id="n")
    assert found["id"].to_list() == ["7", "7", None]
    assert found["reason"].to_list() == [None, "no_think", None]


BROKEN = {
    "not utf-8": (b'{"text": "a"}\n' * 5000 + b'{"text": "\xff"}\n', ":5001 is not JSON"),
    "torn": (b'{"text": "a"}\n{"text": "b', ":2 is not JSON"),
    "no object": (b'["a"]\n', ":1 is list, not an object"),
    "no text": (b'{"text": [{"role": "user"}]}\n', ":1: text is a list"),
    "nested too deep": (b'{"text": ' + b"[" * 100_000, ":1 is not JSON"),
    "no such column": (b'{"txt": "a"}\n', r"no column 'text' \(--text\); it has txt"),
    "empty": (b"", "has no rows"),
    "one array": (b'[\n {"text": "a"}\n]\n', ":1 is not JSON .*each line must be an object"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    content, message = BROKEN[name]
    file = tmp_path / "in.jsonl"
    file.write_bytes(content)
    with pytest.raises(SourceError, match=message) as error:
        judged(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("values", [[[{"role": "user"}]], [{"role": "user"}], [b"\xff"]])
def test_a_column_that_is_no_text_is_named(tmp_path: Path, values: list[object]) -> None:
    file = tmp_path / "in.parquet"
    pl.DataFrame({"text": values}).write_parquet(file)
    with pytest.raises(
        SourceError, match=r"column 'text' \(--text\) is .*; name one of plain text"
    ):
        judged(file)


COLUMNS = [
    # values of a column of text, their verdicts
    (pl.Series([GOOD, None], dtype=pl.Categorical), [None, "empty_text"]),
    (pl.Series([4, None]), ["no_think", "empty_text"]),
    (pl.Series([True]), ["no_think"]),
    (pl.Series([None], dtype=pl.Null), ["empty_text"]),
]


@pytest.mark.parametrize(("values", "reasons"), COLUMNS)
def test_plain_values_are_read_as_text(
    tmp_path: Path, values: pl.Series, reasons: list[str | None]
) -> None:
    file = tmp_path / "in.parquet"
    pl.DataFrame({"text": values}).write_parquet(file)
    assert judged(file)["reason"].to_list() == reasons


def test_files_of_another_kind_are_named(tmp_path: Path) -> None:
    for name, message in (
        ("in.csv", "neither .parquet nor .jsonl"),
        ("in.parquet", "as a Parquet file"),
    ):
        (tmp_path / name).write_text("text\nhello\n")
        with pytest.raises(SourceError, match=message):
            judged(tmp_path / name)


def test_json_lines_are_written_too(lines: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.jsonl"
    filter_file(lines, out, FILTERS, Columns())
    written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["reason"] for row in written] == [reason for _, reason in LINES]


def test_languages_that_nothing_here_knows_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    named = ["en", "English", "zh-CN", "English", "", None, "xx"]
    rows = [json.dumps({"text": GOOD, "in": language}) for language in named]
    file.write_text("\n".join(rows), encoding="utf-8")
    found = filter_file(file, tmp_path / "out.parquet", FILTERS, Columns(language="in"))
    assert found.unknown_languages == {"English": 2, "xx": 1}
    # English under a Chinese prompt is the wrong language; where none is known, none is wrong.
    assert found.verdicts == {"keep": len(named) - 1, "drop": 1}
