"""Files that claim to be small and are not: one clear line, in bounded memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zstandard

from factory.core.errors import SourceError
from factory.core.yaml_files import MAX_VALUES, parse_yaml
from factory.prompts import bounded, readers
from factory.prompts.source import BadRow

ZEROS = b"0" * (1 << 20)


def write_gzip(path: Path, blocks: int) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(blocks):
            file.write(ZEROS)


def write_zstd(path: Path, blocks: int) -> None:
    with path.open("wb") as raw, zstandard.ZstdCompressor(level=1).stream_writer(raw) as file:
        for _ in range(blocks):
            file.write(ZEROS)


def write_frames(path: Path, blocks: int) -> None:
    """Many frames, each of which is small."""
    path.write_bytes(zstandard.compress(ZEROS) * blocks)


LIMITED = """
import resource, sys
from pathlib import Path
import pyarrow
from factory.core.errors import SourceError
from factory.prompts.readers import read_rows
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (768 << 20),) * 2)
try:
    for _ in read_rows(Path(sys.argv[1])):
        pass
except SourceError as error:
    print(error)
"""


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv"])
@pytest.mark.parametrize(
    ("ending", "write"), [("gz", write_gzip), ("zst", write_zstd), ("zst", write_frames)]
)
def test_what_expands_too_much_is_refused_in_bounded_memory(
    suffix: str, ending: str, write: Callable[[Path, int], None], tmp_path: Path
) -> None:
    path = tmp_path / f"bomb.{suffix}.{ending}"
    write(path, 1024)
    assert path.stat().st_size < 6_600_000
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    said = "a line of more than" if suffix == "csv" else "expands to more than 100 times its size"
    assert said in done.stdout


def test_a_line_of_csv_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "MAX_LINE_BYTES", 100_000)
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "1,2\n" * 100_000 + "3," + "4" * 200_000, encoding="utf-8")
    with pytest.raises(SourceError, match="a line of more than"):
        list(readers.read_rows(path))


def test_a_file_that_compresses_well_is_read(tmp_path: Path) -> None:
    path = tmp_path / "same.jsonl.zst"
    path.write_bytes(zstandard.compress(b'{"question": "1+1?", "answer": "2"}\n' * 100_000))
    assert sum(1 for _ in readers.read_rows(path)) == 100_000


def test_a_line_without_end_is_one_bad_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MAX_LINE_BYTES", 1000)
    path = tmp_path / "x.jsonl"
    exact = json.dumps({"a": "x" * 990})
    assert len(exact) == 999
    long = json.dumps({"a": "x" * 5000})
    path.write_text(f'{{"a": 1}}\n{long}\n{exact}\n{long}\n{{"a": 2}}\n{long}', encoding="utf-8")
    found = [
        (number, row.reason if isinstance(row, BadRow) else None)
        for number, row in readers.read_rows(path)
    ]
    reasons = [None, "too_long", None, "too_long", None, "too_long"]
    assert found == list(enumerate(reasons, 1))


def test_an_array_that_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MAX_ARRAY_BYTES", 100)
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"a": "x" * 200}]), encoding="utf-8")
    with pytest.raises(SourceError, match="write JSONL"):
        list(readers.read_rows(path))


@pytest.mark.parametrize(("depth", "bad"), [(99, False), (100, True), (900, True), (100_000, True)])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_is_bounded(
    depth: int, bad: bool, opening: str, closing: str, tmp_path: Path
) -> None:
    inner = opening * depth + "1" + closing * depth
    (tmp_path / "x.jsonl").write_text(f'{{"a": {inner}}}\n{{"a": []}}\n')
    first, second = (row for _, row in readers.read_rows(tmp_path / "x.jsonl"))
    assert isinstance(first, BadRow) is bad
    assert second == {"a": []}


def test_many_shallow_brackets_are_no_depth(tmp_path: Path) -> None:
    row = {"question": "[[[[" * 100, "tests": [[number] for number in range(500)]}
    (tmp_path / "x.jsonl").write_text(json.dumps(row) + "\n")
    assert [found for _, found in readers.read_rows(tmp_path / "x.jsonl")] == [row]


def test_a_parquet_file_that_expands_too_much(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({"question": ["x" * (16 << 20)] * 24})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    with pytest.raises(SourceError, match="row group 0 expands to 384 MiB"):
        list(readers.read_rows(path))


def bombs() -> Iterator[str]:
    yield "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
    )
    yield "a: &a [*a]\n"
    yield "[" * 5000
    yield "a: [1, 2"


@pytest.mark.parametrize("text", bombs(), ids=["billion", "itself", "deep", "torn"])
def test_yaml_that_is_data_is_bounded(text: str) -> None:
    with pytest.raises(ValueError, match=r"expands to more|nested too deeply|not YAML"):
        parse_yaml(text)


def test_yaml_with_honest_aliases_is_read() -> None:
    shared = {"a": [1, 2, 3]}
    text = yaml.safe_dump({f"k{n}": shared for n in range(100)})
    assert "*id" in text
    assert len(parse_yaml(text)) == 100
    assert MAX_VALUES > 100_000
