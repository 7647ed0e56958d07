"""Metrics wait for their part: each is saved once and whole, at a cost of its own rows."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.core.files import write_parquet
from factory.judging import unsaved
from factory.judging.metrics import TextHash, inputs_key, metrics_file
from factory.judging.unsaved import Measured, UnsavedMetrics

FILTERS = {"text": TextHash(), "more": TextHash()}


def measured(names: list[str]) -> Measured:
    base = pl.DataFrame(
        {"sample_id": names, "domain": "math", "source": "s", "language": None},
        schema_overrides={"language": pl.String},
    )
    rows = pl.DataFrame({"sample_id": names, "value": [hash(name) for name in names]})
    return Measured(base, dict.fromkeys(FILTERS, rows))


def write_part(run: Path, number: int, names: list[str]) -> str:
    keys = [name.rpartition("-") for name in names]
    table = pl.DataFrame(
        {"prompt_id": [key[0] for key in keys], "index": [int(key[2]) for key in keys]}
    )
    write_parquet(run / "samples" / f"part-{number:05d}.parquet", table.to_arrow())
    return f"part-{number:05d}"


def saved(run: Path, part: str) -> list[set[str]]:
    """The samples whose metrics are saved for a part, of each filter that has a file."""
    files = [metrics_file(run, name, filter_, part) for name, filter_ in FILTERS.items()]
    return [set(pl.read_parquet(file)["sample_id"]) for file in files if file.exists()]


def waiting(held: UnsavedMetrics) -> list[object]:
    """What is kept in memory for later."""
    return [kept for name, kept in vars(held).items() if name not in ("_run", "_filters") and kept]


@given(st.data())
def test_a_part_is_saved_once_all_its_samples_are_measured(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever comes first; nothing is saved of a part with a sample that is judged later."""
    run = tmp_path_factory.mktemp("run")
    parts = {
        number: [f"p{number}-{index}" for index in range(data.draw(st.integers(1, 5)))]
        for number in range(data.draw(st.integers(1, 4)))
    }
    samples = [name for names in parts.values() for name in names]
    skipped = set(data.draw(st.lists(st.sampled_from(samples), max_size=2)))
    todo = [("add", name) for name in samples if name not in skipped]
    todo += [("seal", str(number)) for number in parts]
    todo += [("skip", name) for name in skipped]
    held = UnsavedMetrics(run, FILTERS)
    names_of = {number: write_part(run, number, names) for number, names in parts.items()}
    for kind, what in data.draw(st.permutations(todo)):
        if kind == "add":
            held.add(measured([what]))
        elif kind == "seal":
            held.seal(names_of[int(what)])
        else:
            held.skip([what])
        held.save()
    for number, names in parts.items():
        expected = [] if skipped.intersection(names) else [set(names)] * len(FILTERS)
        assert saved(run, names_of[number]) == expected
    assert not waiting(held)


def test_the_key_of_the_inputs_is_that_of_the_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []
    monkeypatch.setattr(unsaved, "save_metrics", lambda *given: keys.append(given[-1]))
    names = ["a-0", "a-1", "b-0"]
    held = UnsavedMetrics(tmp_path, FILTERS)
    held.add(measured(names[2:]))
    held.seal(write_part(tmp_path, 0, names))
    held.add(measured(names[:2]))
    held.save()
    assert set(keys) == {inputs_key(measured(names).base)}


def test_the_work_is_that_of_the_samples_however_many_parts_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge that is far behind reads each part once, and each of its samples a few times."""
    rows, reads = [0], [0]
    keep, read = Measured.keep, pl.read_parquet

    def counting_keep(some: Measured, names: list[str]) -> Measured:
        rows[0] += some.base.height
        return keep(some, names)

    def counting_read(*given: object, **options: object) -> pl.DataFrame:
        reads[0] += 1
        return read(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Measured, "keep", counting_keep)
    parts, size, batch = 40, 50, 10
    names = [f"p{number}-0" for number in range(parts * size)]
    held = UnsavedMetrics(tmp_path, FILTERS)
    monkeypatch.setattr(pl, "read_parquet", counting_read)
    for part in range(parts):
        held.seal(write_part(tmp_path, part, names[part * size : (part + 1) * size]))
        held.save()
    random.Random(0).shuffle(names)  # no part is whole before the last batches
    for start in range(0, len(names), batch):
        held.add(measured(names[start : start + batch]))
        held.save()
    assert reads == [parts]
    assert rows[0] <= batch * len(names)  # a batch is looked through for each part it is of
    monkeypatch.setattr(pl, "read_parquet", read)
    assert all(len(saved(tmp_path, f"part-{part:05d}")) == len(FILTERS) for part in range(parts))


def test_what_cannot_be_saved_is_left_to_the_judging_after_sampling(tmp_path: Path) -> None:
    held = UnsavedMetrics(tmp_path, FILTERS)
    for part in range(2):
        held.seal(write_part(tmp_path, part, [f"p{part}-0"]))
    held.give_up()
    held.add(measured(["p0-0", "p1-0"]))
    held.save()
    assert not waiting(held)
    assert saved(tmp_path, "part-00000") == []
