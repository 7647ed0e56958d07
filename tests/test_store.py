"""The guarantees of the run directory, each tested with a fault."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.core import journal, run_dir
from factory.core.errors import RunError, RunLocked, StorageError
from factory.core.files import append_line, encode_line, read_lines, storage_error
from factory.core.nouns import sample_schema
from factory.core.run_dir import RunDir, read_manifest
from tests.recorded import prompts, sample

ONE = prompts()[0]


def indices(run: Path) -> list[int]:
    return [
        i for part in run_dir.sample_parts(run) for i in pq.read_table(part)["index"].to_pylist()
    ]


def test_samples_are_sealed_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SEAL_ROWS", 4)
    with RunDir(tmp_path) as run:
        sealed: list[str] = []
        run.on_seal = sealed.append
        for index in range(10):
            run.append(sample(ONE, index))
    assert indices(tmp_path) == list(range(10))
    assert sealed == ["part-00000", "part-00001", "part-00002"]
    assert not list((tmp_path / "samples").glob("journal-*"))


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    whole = encode_line({"prompt_id": ONE.id, "index": 0, **_rest()})
    journal = tmp_path / "samples" / "journal-00000.jsonl"
    journal.parent.mkdir(parents=True)
    journal.write_bytes(whole + whole.replace(b'"index":0', b'"index":1')[:-30])
    RunDir(tmp_path).close()
    assert indices(tmp_path) == [0]


def test_a_journal_beside_its_part_was_sealed(tmp_path: Path) -> None:
    with RunDir(tmp_path) as run:
        run.append(sample(ONE, 0))
    journal = tmp_path / "samples" / "journal-00000.jsonl"
    journal.write_bytes(encode_line({"prompt_id": ONE.id, "index": 0, **_rest()}))
    RunDir(tmp_path).close()
    assert indices(tmp_path) == [0]
    assert not journal.exists()


def test_a_sample_in_the_journal_twice_is_one(tmp_path: Path) -> None:
    with RunDir(tmp_path) as run:
        run.append(sample(ONE, 3))
        run.append(sample(ONE, 3))
    assert indices(tmp_path) == [3]


@given(st.binary(max_size=60), st.integers(0, 3))
@settings(max_examples=60)
def test_any_damage_after_whole_lines_keeps_them(tmp_path_factory, tail, count) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    rows = [{"n": number} for number in range(count)]
    damage = tail.replace(b"\n", b" ")
    path.write_bytes(b"".join(encode_line(row) for row in rows) + damage)
    assert read_lines(path) == rows


def test_appending_after_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "failures.jsonl"
    path.write_bytes(b'{"n":1}\n{"n":2')
    append_line(path, {"n": 3})
    assert [row["n"] for row in read_lines(path)] == [1, 3]


def test_the_second_process_is_refused(tmp_path: Path) -> None:
    with RunDir(tmp_path), pytest.raises(RunLocked, match=f"in use by process {os.getpid()}"):
        RunDir(tmp_path)
    RunDir(tmp_path).close()


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from factory.core.run_dir import RunDir\n"
        "run = RunDir(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    RunDir(tmp_path).close()


def test_surrogates_do_not_stop_a_run(tmp_path: Path) -> None:
    with RunDir(tmp_path) as run:
        broken = sample(ONE, 0)
        object.__setattr__(broken, "text", "a\ud800b")
        run.append(broken)
    (part,) = run_dir.sample_parts(tmp_path)
    assert pq.read_table(part)["text"].to_pylist() == ["a?b"]


def test_a_full_disk_keeps_what_was_committed(tmp_path: Path) -> None:
    """A real ENOSPC-like failure: the file size limit of the process stops the journal's growth."""
    code = f"""
import resource, signal, sys
from pathlib import Path
from factory.core import journal, run_dir
from factory.core.errors import StorageError
from tests.recorded import prompts, sample
journal.SYNC_SECONDS = 0.02
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
run = run_dir.RunDir(Path({str(tmp_path)!r}))
try:
    for index in range(1000):
        run.append(sample(prompts()[0], index))
    run.close()
except StorageError as error:
    print(error)
    sys.exit(error.exit_code)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == StorageError.exit_code, done.stderr
    assert "everything written before is safe" in done.stdout
    with RunDir(tmp_path):
        found = indices(tmp_path)
    assert found == list(range(len(found)))
    assert len(found) > 50
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_disk_full_message_names_the_remedy(tmp_path: Path) -> None:
    error = storage_error(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    assert "No space left on device. Free some space" in str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is damaged"), (json.dumps({"format": 99}), "has layout 99, this version reads 1")],
)
def test_a_manifest_that_cannot_be_used(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=message):
        read_manifest(tmp_path)


def _rest() -> dict[str, object]:
    fields = {f: getattr(sample(ONE, 0), f) for f in sample_schema().names}
    return {name: value for name, value in fields.items() if name not in ("prompt_id", "index")}
