"""Files of every format, whole, damaged and compressed."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from factory.core.errors import SourceError
from factory.core.nouns import Prompt
from factory.prompts.files import Files
from factory.prompts.readers import format_of, read_rows
from factory.prompts.source import BadRow, Reject, Skip

ROWS = [{"question": f"¿{i}+1?", "answer": str(i + 1)} for i in range(5)]


def jsonl() -> bytes:
    return "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def comma_separated() -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["question", "answer"])
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode("utf-8-sig")


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", jsonl),
        ("a.ndjson", lambda: b"\xef\xbb\xbf" + jsonl()),
        ("a.json", lambda: json.dumps(ROWS, indent=1).encode()),
        ("lines.json", jsonl),
        ("a.csv", comma_separated),
        ("a.tsv", lambda: comma_separated().replace(b",", b"\t")),
        ("a.parquet", parquet),
        ("a.jsonl.gz", lambda: gzip.compress(jsonl())),
        ("a.csv.gz", lambda: gzip.compress(comma_separated())),
        ("a.jsonl.zst", lambda: zstandard.compress(jsonl())),
        ("frames.jsonl.zst", lambda: b"".join(map(zstandard.compress, jsonl().splitlines(True)))),
        ("a.json.zst", lambda: zstandard.compress(json.dumps(ROWS).encode())),
    ],
)
def test_formats(tmp_path: Path, name: str, content: Callable[[], bytes]) -> None:
    (tmp_path / name).write_bytes(content())
    assert [row for _, row in read_rows(tmp_path / name)] == ROWS


@pytest.mark.parametrize(
    ("name", "content", "reasons"),
    [
        ("torn.jsonl", b'{"a": 1}\n{"a": 2', [None, "bad_json"]),
        ("scalar.jsonl", b'{"a": 1}\n7\n\n[1]\n', [None, "bad_json", "bad_json"]),
        ("nan.jsonl", b'{"a": NaN}\n', ["bad_json"]),
        ("digits.jsonl", b'{"a": ' + b"9" * 5000 + b"}\n", ["bad_json"]),
        ("deep.jsonl", b"[" * 100_000 + b"\n", ["bad_json"]),
        ("latin1.jsonl", '{"a": "é"}\n{"a": 1}\n'.encode("latin-1"), ["bad_unicode", None]),
        ("short.csv", b"a,b\n1,2\n3\n4,5,6\n7,8\n", [None, "bad_csv", "bad_csv", None]),
        ("quote.csv", b'a,b\n"1"x,2\n3,4\n', ["bad_csv", None]),
    ],
)
def test_bad_rows(tmp_path: Path, name: str, content: bytes, reasons: list[str | None]) -> None:
    (tmp_path / name).write_bytes(content)
    rows = [row for _, row in read_rows(tmp_path / name)]
    assert [row.reason if isinstance(row, BadRow) else None for row in rows] == reasons


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.jsonl.gz", gzip.compress(jsonl(), mtime=0)[:-12]),
        ("cut.jsonl.zst", zstandard.compress(jsonl())[:-3]),
        ("no.jsonl.gz", jsonl()),
        ("no.jsonl.zst", jsonl()),
        ("no.parquet", jsonl()),
        ("cut.parquet", parquet()[:-20]),
        ("cut.json", json.dumps(ROWS).encode()[:-4]),
        ("rows.txt", jsonl()),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=name):
        list(read_rows(tmp_path / name))


def test_a_large_field_fits(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("question,answer\n" + "x" * 300_000 + ",1\n")
    assert [number for number, row in read_rows(path) if not isinstance(row, BadRow)] == [2]


def test_format_of_a_name() -> None:
    assert format_of(Path("a.v2.JSONL.gz")) == "jsonl"
    assert format_of(Path("a.gz")) is None


def test_globs_and_places(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.jsonl", "a.jsonl", "sub/c.jsonl", "odd[1].jsonl"):
        (tmp_path / name).write_text('{"question": "q"}\n{}\n')
    source = Files(path=(f"{tmp_path}/odd[1].jsonl", f"{tmp_path}/**/[abc].jsonl"))
    assert [path.name for path in source.paths()] == [
        "odd[1].jsonl",
        "a.jsonl",
        "b.jsonl",
        "c.jsonl",
    ]
    rejects = [row for row in source.rows() if isinstance(row, Reject)]
    assert rejects[1].place == f"{tmp_path}/a.jsonl:2"
    with pytest.raises(SourceError, match=r"none\*\.jsonl: no such file"):
        Files(path=f"{tmp_path}/none*.jsonl").paths()
    with pytest.raises(SourceError, match="is a directory"):
        Files(path=str(tmp_path)).paths()


def test_shuffle_is_seeded_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    path.write_text("".join(f'{{"question": "{i}"}}\n' for i in range(200)))

    def order(**keys: int) -> list[str]:
        outcomes = Files(path=str(path), **keys).rows()
        return [row.question for row in outcomes if isinstance(row, Prompt)]

    plain, once, again = order(), order(shuffle=16, seed=3), order(shuffle=16, seed=3)
    assert once == again != plain
    assert sorted(once) == sorted(order(shuffle=16, seed=4)) == sorted(plain)
    assert not any(isinstance(row, Skip) for row in Files(path=str(path)).rows())
