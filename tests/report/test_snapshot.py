"""A snapshot has what can be read of a run and lists what is missing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from factory.core.errors import RunError
from factory.core.journal import encode_record
from factory.report.snapshot import UNJUDGED, signature, take_snapshot
from factory.report.write import write_report
from tests.report.runs import held, judged_run, prompts, sample, sampled_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judged_run(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "run"
    shutil.copytree(whole, copy)
    return copy


def test_an_intact_run_lacks_nothing(whole: Path) -> None:
    snapshot = take_snapshot(whole)
    assert snapshot.missing == []
    assert snapshot.state == "done"
    assert snapshot.samples.height == 24
    assert set(snapshot.samples["decision"]) == {"keep", "drop"}
    assert snapshot.samples["sample_id"].n_unique() == 24


def remove(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def overwrite(name: str, content: bytes) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / name).write_bytes(content)

    return damage


def old_column(run: Path) -> None:
    part = run / "samples" / "part-00001.parquet"
    pl.read_parquet(part).drop("created_at").write_parquet(part)


def drop_metrics(run: Path) -> None:
    shutil.rmtree(next((run / "metrics").glob("length-*")))


DAMAGE = [
    (remove("run.json"), "run.json: not written yet", 24),
    (overwrite("run.json", b"{"), "run.json: ", 24),
    (overwrite("run.json", b'{"format": 0}'), "has layout 0", 24),
    (remove("recipe.yaml"), "recipe.yaml: not there", 24),
    (overwrite("recipe.yaml", b"filters: {sorcery: {}}"), "no filter sorcery", 24),
    (overwrite("recipe.yaml", b"filters: {length: {max_tokens: -1}}"), "filters.length", 24),
    (overwrite("recipe.yaml", b"- [\xff"), "recipe.yaml: ", 24),
    (remove("prompts.parquet"), "prompts.parquet: not there", 24),
    (overwrite("prompts.parquet", b"PAR1junk"), "prompts.parquet: cannot be read", 24),
    (overwrite("samples/part-00001.parquet", b"junk"), "samples/part-00001.parquet: cannot", 12),
    (overwrite("verdicts/part-00000.parquet", b"junk"), "verdicts/part-00000.parquet: ", 24),
    (remove("pass_rates.parquet"), "pass_rates.parquet: not there", 24),
    (old_column, "samples/part-00001.parquet: has no column created_at", 24),
    (drop_metrics, "metrics of length", 24),
    (lambda run: shutil.rmtree(run / "samples"), "samples: none yet", 0),
]


@pytest.mark.parametrize(("damage", "named", "samples"), DAMAGE, ids=[d[1] for d in DAMAGE])
def test_damage_is_named_and_the_rest_is_reported(
    run: Path,
    damage: Callable[[Path], None],
    named: str,
    samples: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("factory.report.write.load_script", lambda: None)  # pictures take seconds
    damage(run)
    snapshot = take_snapshot(run)
    assert any(named in what for what in snapshot.missing), snapshot.missing
    assert snapshot.samples.height == samples
    page = write_report(run).read_text(encoding="utf-8")
    assert "Not everything could be read" in page


def test_missing_verdicts_are_recomputed_from_the_metrics(run: Path) -> None:
    before = take_snapshot(run).samples
    (run / "verdicts" / "part-00000.parquet").unlink()
    after = take_snapshot(run).samples
    columns = ["sample_id", "decision", "reason", "filter"]
    assert after.select(columns).equals(before.select(columns))


def test_a_run_without_verdicts_shows_its_samples(tmp_path: Path) -> None:
    run = sampled_run(tmp_path / "run")
    snapshot = take_snapshot(run)
    assert set(snapshot.samples["decision"]) == {UNJUDGED}
    assert sum("not judged yet" in what for what in snapshot.missing) == 2


def test_an_unsealed_journal_is_read_to_its_last_whole_line(tmp_path: Path) -> None:
    run = sampled_run(tmp_path / "run", parts=1)
    extra = prompts()[0]
    lines = [encode_record(sample(extra, index)) for index in (10, 11, 12)]
    journal = run / "samples" / "journal-00001.jsonl"
    journal.write_bytes(b"".join(lines)[:-20])
    (run / "run.lock").write_text("0")
    snapshot = take_snapshot(run)
    assert snapshot.samples.height == 26
    assert any("2 samples not sealed" in what for what in snapshot.missing)
    rows = snapshot.samples.filter(pl.col("part") == journal.name)
    assert snapshot.texts(rows)["question"].to_list() == [extra.question] * 2


def test_a_journal_whose_part_exists_is_not_read_twice(run: Path) -> None:
    (run / "samples" / "journal-00000.jsonl").write_text("{}\n", encoding="utf-8")
    assert take_snapshot(run).samples.height == 24


@pytest.mark.parametrize(
    "lock",
    [str(os.getpid()), "0x", "0", "999999999"],
    ids=["another process by now", "no number", "no process", "gone"],
)
def test_a_run_whose_build_died_is_stopped(tmp_path: Path, lock: str) -> None:
    run = sampled_run(tmp_path / "run")
    (run / "run.lock").write_text(lock)
    assert take_snapshot(run).state == "stopped"


def test_a_run_is_running_while_a_process_holds_it(run: Path) -> None:
    (run / "run.json").write_text(json.dumps({"format": 1, "state": "running"}))
    before = signature(run)
    with held(run):
        assert take_snapshot(run).state == "running"
        assert signature(run) != before
    assert take_snapshot(run).state == "stopped"
    assert signature(run) == before


def test_unchanged_parts_are_not_read_again(run: Path) -> None:
    before = take_snapshot(run)
    again = take_snapshot(run, before)
    assert again.samples.equals(before.samples)
    assert all(again._parts[name][1] is cached[1] for name, cached in before._parts.items())
    (run / "samples" / "part-00001.parquet").unlink()
    assert take_snapshot(run, again).samples.height == 12


def add_part(run: Path) -> None:
    part = run / "samples" / "part-00001.parquet"
    shutil.copy(part, part.with_name("scratch.tmp"))
    part.with_name("scratch.tmp").rename(part.with_name("part-00002.parquet"))


CHANGES: list[Callable[[Path], object]] = [
    add_part,
    overwrite("run.json", b"{}"),
    overwrite("events.jsonl", b""),
    overwrite("samples/journal-00009.jsonl", b"{"),
    drop_metrics,
    remove("verdicts/part-00000.parquet"),
    remove("recipe.yaml"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_the_signature_changes_with_the_run(run: Path, change: Callable[[Path], object]) -> None:
    before = signature(run)
    assert signature(run) == before
    change(run)
    assert signature(run) != before


def test_no_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run directory"):
        take_snapshot(tmp_path / "nowhere")


def test_a_snapshot_writes_nothing(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    snapshot = take_snapshot(run)
    snapshot.texts(snapshot.samples.head(3))
    snapshot.measured(snapshot.samples.head(3))
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
