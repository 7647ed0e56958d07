"""Damaged run directories: every damage is named, and costs no more than itself."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from factory.build.build import build
from factory.build.repair import repair
from factory.core import journal as journals
from factory.core.checksums import check, digest_path
from factory.core.errors import RunError, RunLocked
from factory.core.files import encode_line
from factory.core.journal import encode_record, read_records, seal_journal
from factory.core.run_dir import RunDir, read_manifest, sample_parts
from factory.corpus.assembly.inputs import open_run
from factory.export.export import corpus_shards
from factory.recipe.assembly import RunSource
from factory.recipe.build import Recipe, load_recipe
from tests.recorded import prompts, recipe_file, record, sample

ONE = prompts()[0]
QUIET = Console(quiet=True)


def indices(run: Path) -> list[int]:
    return [row for part in sample_parts(run) for row in pl.read_parquet(part)["index"].to_list()]


def flip(file: Path, bit: int) -> None:
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = (run / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


# The journal


def left_journal(run: Path, count: int) -> Path:
    """The journal of a killed process: `count` samples, not sealed."""
    file = run / "samples" / "journal-00000.jsonl"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"".join(encode_record(sample(ONE, n)) for n in range(count)))
    return file


@settings(max_examples=150)
@given(st.randoms(use_true_random=False))
def test_a_flipped_bit_costs_one_record(
    tmp_path_factory: pytest.TempPathFactory, chance: random.Random
) -> None:
    run = tmp_path_factory.mktemp("run")
    file = left_journal(run, 6)
    whole = [asdict(sample(ONE, n)) for n in range(6)]
    flip(file, chance.randrange(8 * file.stat().st_size))
    found = [row for row in read_records(file) if row is not None]
    assert all(row in whole for row in found), "a damaged record was believed"
    # The newline between two records may be hit without harm; a record may be cut in two.
    assert len(found) >= 5


def test_damage_is_named_and_the_journal_kept(tmp_path: Path) -> None:
    file = left_journal(tmp_path, 6)
    lines = file.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"It comes to", b"It came to")
    file.write_bytes(b"".join(lines))
    with RunDir(tmp_path) as run:
        assert "1 damaged record(s)" in run.notices[0]
    assert indices(tmp_path) == [0, 1, 3, 4, 5]
    kept = tmp_path / "samples" / "journal-00000.jsonl.damaged"
    assert kept.read_bytes() == b"".join(lines)
    assert events(tmp_path, "journal_damaged")[0]["records"] == 1
    with RunDir(tmp_path) as run:
        assert run.notices == []
        run.append(sample(ONE, 2))
    assert sorted(indices(tmp_path)) == [0, 1, 2, 3, 4, 5]


def test_a_whole_last_record_without_its_newline_is_kept(tmp_path: Path) -> None:
    file = left_journal(tmp_path, 3)
    file.write_bytes(file.read_bytes()[:-1])
    assert seal_journal(file).damaged == 0
    assert indices(tmp_path) == [0, 1, 2]


def test_a_journal_of_an_older_version_is_read(tmp_path: Path) -> None:
    file = tmp_path / "samples" / "journal-00000.jsonl"
    file.parent.mkdir(parents=True)
    lines = [encode_line(asdict(sample(ONE, n))) for n in range(4)]
    file.write_bytes(lines[0] + b'{"prompt_id": "tor\n' + lines[2] + lines[3])
    with RunDir(tmp_path) as run:
        assert "1 damaged record(s)" in run.notices[0]
    assert indices(tmp_path) == [0, 2, 3]


IMPOSSIBLE: list[dict[str, Any]] = [
    {"n_tokens": True},
    {"n_tokens": 10**30},
    {"n_prompt_tokens": None, "index": "one"},
    {"created_at": 10**40},
    {"text": 5},
]


@pytest.mark.parametrize("fields", IMPOSSIBLE, ids=str)
def test_a_value_no_column_can_hold_costs_one_sample(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    with RunDir(tmp_path) as run:
        for n in range(5):
            run.append(replace(sample(ONE, n), **fields) if n == 2 else sample(ONE, n))
        run.seal()
        assert "1 damaged record(s)" in run.notices[0]
    assert indices(tmp_path) == [0, 1, 3, 4]


def test_a_writer_that_dies_of_anything_ends_the_run_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "SEAL_ROWS", 2)

    def fail(part: str) -> None:
        raise ZeroDivisionError("in a background thread")

    run = RunDir(tmp_path)
    run.on_seal = fail
    appended = 0

    def fill() -> None:
        nonlocal appended
        for n in range(100):
            run.append(sample(ONE, n))
            appended = n + 1
            if n == 50 and run._writer is not None:
                run._writer.join()

    with pytest.raises(RunError, match=r"ZeroDivisionError: in a background thread.*again"):
        fill()
    with pytest.raises(RunError, match="ZeroDivisionError"):
        run.close()
    with RunDir(tmp_path):
        assert sorted(indices(tmp_path))[:appended] == list(range(appended))


# Sealed parts


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe]:
    """A finished run of several row groups, and the recipe that made it."""
    folder = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journals, "ROW_GROUP_ROWS", 16)
        source = record(folder / "source", 4)
        recipe = load_recipe(recipe_file(folder, source, 4))
        build(recipe, folder / "run", QUIET)
    return folder / "run", recipe


def corpus(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "corpus").glob("*.parquet"))}


def rows(part: Path) -> list[dict[str, Any]]:
    return pl.read_parquet(part).rows(named=True)


def test_no_flipped_bit_goes_unnoticed(recorded: tuple[Path, Recipe], tmp_path: Path) -> None:
    run = shutil.copytree(recorded[0], tmp_path / "run")
    (part,) = sample_parts(run)
    metrics = min((run / "metrics").glob("correctness-*/part-*.parquet"))
    chance = random.Random(7)
    for file in (part, metrics, run / "prompts.parquet"):
        for _ in range(100):
            bit = chance.randrange(8 * file.stat().st_size)
            flip(file, bit)
            assert check(file) == "damaged"
            flip(file, bit)
        assert check(file) == "sound"


def test_a_damaged_part_is_refused_repaired_and_drawn_again(
    recorded: tuple[Path, Recipe], tmp_path: Path
) -> None:
    """Whichever bit flips: nothing damaged is believed, and the corpus comes out the same."""
    made, recipe = recorded
    whole = rows(sample_parts(made)[0])
    chance, kept = random.Random(11), []
    for number in range(12):
        run = shutil.copytree(made, tmp_path / f"run-{number}")
        (part,) = sample_parts(run)
        flip(part, chance.randrange(8 * part.stat().st_size))
        with pytest.raises(RunError, match=r"is damaged.*factory repair"):
            RunDir(run)
        (finding,) = repair(run)
        assert finding.file == "samples/part-00000.parquet"
        salvaged = rows(part) if part.exists() else []
        assert all(row in whole for row in salvaged)
        kept.append(len(salvaged))
        assert repair(run) == []
        build(recipe, run, QUIET)
        assert corpus(run) == corpus(made)
    # A byte of a page costs its row group; one of the footer may cost the part.
    assert max(kept) >= len(whole) - 16


def test_a_truncated_part_is_refused(recorded: tuple[Path, Recipe], tmp_path: Path) -> None:
    made, recipe = recorded
    run = shutil.copytree(made, tmp_path / "run")
    (part,) = sample_parts(run)
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(RunError, match=r"is damaged"):
        RunDir(run)
    (finding,) = repair(run, dry_run=True)
    assert "0 of an unknown number of samples kept" in finding.remedy
    assert part.exists()
    repair(run)
    build(recipe, run, QUIET)
    assert corpus(run) == corpus(made)


def test_all_else_is_made_again(recorded: tuple[Path, Recipe], tmp_path: Path) -> None:
    made, recipe = recorded
    run = shutil.copytree(made, tmp_path / "run")
    flip(next((run / "metrics").glob("length-*/part-*.parquet")), 999)
    flip(run / "prompts.parquet", 999)
    next((run / "corpus").glob("*.parquet")).write_bytes(b"PAR1")
    (run / "verdicts" / "part-00000.parquet").unlink()
    found = {finding.file.split("-")[0].split("/")[0] for finding in repair(run)}
    assert found == {"metrics", "prompts.parquet", "corpus"}
    assert read_manifest(run)["state"] == "running"
    build(recipe, run, QUIET)
    assert corpus(run) == corpus(made)


def test_damaged_metrics_are_measured_again_without_a_word(
    recorded: tuple[Path, Recipe], tmp_path: Path
) -> None:
    made, recipe = recorded
    run = shutil.copytree(made, tmp_path / "run")
    for file in (run / "metrics").glob("*/part-*.parquet"):
        flip(file, 8 * (file.stat().st_size // 2))
    manifest = read_manifest(run)
    (run / "run.json").write_text(json.dumps({**manifest, "state": "running"}))
    build(recipe, run, QUIET)
    assert corpus(run) == corpus(made)


def test_a_damaged_manifest_is_set_aside(recorded: tuple[Path, Recipe], tmp_path: Path) -> None:
    made, recipe = recorded
    run = shutil.copytree(made, tmp_path / "run")
    (run / "run.json").write_text('{"state": "done", ')
    with pytest.raises(RunError, match=r"run.json is damaged"):
        build(recipe, run, QUIET)
    assert [finding.file for finding in repair(run)] == ["run.json"]
    build(recipe, run, QUIET)
    assert corpus(run) == corpus(made)


@pytest.mark.parametrize(
    ("old", "new"), [('"drawn"', '"drawm"'), ('"tokens"', '"token{"'), ("{", "[")]
)
def test_a_damaged_funnel_is_named_and_made_again(
    recorded: tuple[Path, Recipe], tmp_path: Path, old: str, new: str
) -> None:
    made, recipe = recorded
    run = shutil.copytree(made, tmp_path / "run")
    file = run / "funnel.json"
    whole = file.read_text()
    file.write_text(whole.replace(old, new, 1))
    with pytest.raises(RunError, match=r"funnel\.json"):
        build(recipe, run, QUIET)
    assert [finding.file for finding in repair(run)] == ["funnel.json"]
    build(recipe, run, QUIET)
    assert file.read_text() == whole


@pytest.mark.parametrize("place", [0.05, 0.2, 0.35, 0.5, 0.6])
def test_a_flipped_bit_in_the_corpus_is_found_before_a_row_is_used(
    recorded: tuple[Path, Recipe], tmp_path: Path, place: float
) -> None:
    made, recipe = recorded
    run = shutil.copytree(made, tmp_path / "run")
    file = max((run / "corpus").glob("*.parquet"), key=lambda shard: shard.stat().st_size)
    flip(file, int(8 * file.stat().st_size * place))
    for use in (corpus_shards, lambda run: open_run(RunSource(path=run))):
        with pytest.raises(RunError, match=r"factory repair RUN"):
            use(run)
    assert [finding.file for finding in repair(run)] == [f"corpus/{file.name}"]
    build(recipe, run, QUIET)
    assert corpus(run) == corpus(made)


def test_a_damaged_footer_is_no_crash(tmp_path: Path) -> None:
    record(tmp_path / "run", 1)
    (part,) = sample_parts(tmp_path / "run")
    content = part.read_bytes()
    spot = content.rindex(b"prompt_id") + 2  # a column's name, which is no UTF-8 then
    part.write_bytes(content[:spot] + b"\xf3" + content[spot + 1 :])
    assert "is damaged" in str(repair(tmp_path / "run")[0])


def test_a_part_of_an_older_version_gets_its_digest(tmp_path: Path) -> None:
    record(tmp_path / "run", 1)
    (part,) = sample_parts(tmp_path / "run")
    digest_path(part).unlink()
    assert "digest added" in repair(tmp_path / "run")[0].remedy
    assert check(part) == "sound"


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run directory"):
        repair(tmp_path)


def test_a_dry_run_writes_nothing_and_needs_no_right_to_write(
    recorded: tuple[Path, Recipe], tmp_path: Path
) -> None:
    run, _ = recorded
    copy = shutil.copytree(run, tmp_path / "run")
    left_journal(tmp_path / "other", 3)
    shutil.copy(tmp_path / "other" / "samples" / "journal-00000.jsonl", copy / "samples")
    before = {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()}
    assert repair(copy, dry_run=True) == []
    (copy / "run.lock").unlink()  # as in a copy that somebody else made
    assert repair(copy, dry_run=True) == []
    after = {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()}
    assert {**after, copy / "run.lock": before[copy / "run.lock"]} == before
    with RunDir(copy), pytest.raises(RunLocked, match="is in use by process"):
        repair(copy, dry_run=True)
