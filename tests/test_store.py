"""The guarantees of the run directory, each tested with a fault."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.core import journal, run_dir
from factory.core.errors import FactoryError, RunError, RunLocked, StorageError
from factory.core.files import append_line, encode_line, read_lines, storage_error
from factory.core.journal import encode_record, seal_journal
from factory.core.nouns import Failure, sample_schema
from factory.core.run_dir import RunDir, lock_directory, read_manifest
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


def test_a_column_that_only_a_later_sample_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part is begun without it. Nothing is lost or counted twice when it is begun again."""
    monkeypatch.setattr(journal, "ROW_GROUP_ROWS", 2)
    file = tmp_path / "journal-00000.jsonl"
    whole = [sample(prompts()[0], index) for index in range(7)]
    whole[5] = replace(whole[5], parent="p-0", cut=3)
    lines = [encode_record(one) for one in whole]
    lines.insert(1, lines[0].replace(b'"index":0', b'"index":8'))  # its checksum is wrong
    lines.append(lines[-1])
    file.write_bytes(b"".join(lines))
    sealed = seal_journal(file)
    assert sealed.damaged == 1
    assert sealed.part is not None
    table = pq.read_table(sealed.part)
    assert table["index"].to_pylist() == list(range(7))
    assert table["parent"].to_pylist() == [None] * 5 + ["p-0", None]
    assert table["cut"].to_pylist() == [None] * 5 + [3, None]
    assert "turns" not in table.column_names


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
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        (json.dumps({"format": 99}), "has layout 99, this version reads 1"),
    ],
)
def test_a_manifest_that_cannot_be_used(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=message):
        read_manifest(tmp_path)


FOREIGN = [
    (["recipe.yaml"], False),
    (["corpus/train.parquet"], False),
    (["samples/notes.txt"], False),
    (["corpus/a", "notes.log"], False),
    (["run.log", "slurm.out"], True),
    ([], True),
    (["run.json"], True),
    (["samples/part-00000.parquet", "recipe.yaml"], True),
    (["forecast.json", "pilot/run.lock"], True),
    (["pipeline.json", "steps/a"], True),
]


@pytest.mark.parametrize(("names", "fits"), FOREIGN)
def test_a_folder_of_other_files_is_refused(tmp_path: Path, names: list[str], fits: bool) -> None:
    folder = tmp_path / "run"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    if fits:
        lock_directory(folder).close()
        return
    with pytest.raises(RunError, match=r"is not a run directory; it has .* an empty directory"):
        RunDir(folder)
    assert sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()) == names


def test_only_the_factory_s_own_scratch_files_are_deleted(tmp_path: Path) -> None:
    RunDir(tmp_path).close()
    scratch = [tmp_path / "run.json.tmp", tmp_path / "samples" / "part-00000.parquet.tmp"]
    mine = tmp_path / "export" / "thesis.tmp"
    mine.parent.mkdir()
    for file in (*scratch, mine):
        file.write_text("x")
    RunDir(tmp_path).close()
    assert mine.exists()
    assert not any(file.exists() for file in scratch)


def test_a_journal_that_a_failed_writer_left_is_never_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> journal.Sealed:
        raise OSError(errno.ENOSPC, "No space left on device")

    with RunDir(tmp_path) as run:
        with monkeypatch.context() as patched:
            patched.setattr(journal, "seal_journal", fail)
            run.append(sample(ONE, 0))
            with pytest.raises(StorageError):
                run.seal()
        run.append(sample(ONE, 1))
    RunDir(tmp_path).close()
    assert sorted(indices(tmp_path)) == [0, 1]


def test_a_journal_is_kept_if_its_part_is_damaged(tmp_path: Path) -> None:
    with RunDir(tmp_path) as run:
        run.append(sample(ONE, 0))
    (part,) = run_dir.sample_parts(tmp_path)
    left = part.with_name("journal-00000.jsonl")
    left.write_bytes(journal.encode_record(sample(ONE, 0)))
    part.write_bytes(part.read_bytes()[:-9])
    RunDir(tmp_path).close()
    assert indices(tmp_path) == [0]


@pytest.mark.parametrize("bit", range(0, 8 * 40, 7))
def test_a_flipped_bit_in_a_log_never_ends_a_run(tmp_path: Path, bit: int) -> None:
    with RunDir(tmp_path) as run:
        run.record_failure(Failure(ONE.id, 3, "empty", "nothing", retryable=False))
        run.event("engine_started", seconds=1.0)
    for name in ("failures.jsonl", "events.jsonl"):
        content = bytearray((tmp_path / name).read_bytes())
        content[bit // 8] ^= 1 << bit % 8
        (tmp_path / name).write_bytes(content)
    with RunDir(tmp_path) as run:
        assert len(run.failures()) <= 1
    assert run_dir.engine_seconds(tmp_path) >= 0


def _rest() -> dict[str, object]:
    fields = {f: getattr(sample(ONE, 0), f) for f in sample_schema().names}
    return {name: value for name, value in fields.items() if name not in ("prompt_id", "index")}


@pytest.mark.parametrize("broken", [False, True])
def test_a_disk_that_is_too_slow_makes_the_loop_wait_and_fills_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    go, seal = threading.Event(), journal.seal_journal

    def seal_later(file: Path) -> journal.Sealed:
        go.wait()
        if broken:
            raise OSError(errno.EIO, "Input/output error")
        return seal(file)

    monkeypatch.setattr(journal, "SEAL_ROWS", 1)
    monkeypatch.setattr(journal, "seal_journal", seal_later)
    monkeypatch.setattr(journal, "QUEUE_BYTES", 1000)
    lines = [journal.encode_record(sample(ONE, index)) for index in range(40)]
    writer = journal.JournalWriter(tmp_path, 0, None)
    errors: list[FactoryError] = []

    def put_all() -> None:
        try:
            for line in lines:
                writer.put(line)
        except FactoryError as error:
            errors.append(error)

    putting = threading.Thread(target=put_all)
    putting.start()
    while writer.queued_bytes < 1000:
        time.sleep(0.01)
    assert putting.is_alive()
    assert writer.queued_bytes < 1000 + max(map(len, lines))
    go.set()
    putting.join()
    if broken:
        assert [type(error) for error in errors] == [StorageError]
        return
    writer.close()
    assert writer.queued_bytes == 0
    parts = sorted(tmp_path.glob("part-*.parquet"))
    assert [pq.read_table(part)["index"].to_pylist() for part in parts] == [[i] for i in range(40)]
