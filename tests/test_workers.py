"""Processes that share work, and a run measured by them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from factory.core import journal, run_dir
from factory.core.errors import RunError, SourceError
from factory.core.parallel import spread
from factory.judging import metrics
from factory.judging.metrics import TextHash
from factory.judging.verdicts import judge_run
from factory.prompts.references import References
from filters.base import Filter, Rule
from filters.correctness import Correctness
from filters.format import Format
from filters.language import Language
from tests.recorded import record

_begun: list[int] = []


def begin(value: int) -> None:
    _begun.append(value)


def times(factor: int) -> tuple[int, int, str | None]:
    return factor * _begun[0], os.getpid(), os.environ.get("POLARS_MAX_THREADS")


def fail(factor: int) -> int:
    if factor == 2:
        raise SourceError("two.txt cannot be read")
    return factor


def die(factor: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return factor


def test_every_item_is_done_once_elsewhere() -> None:
    results = list(spread(times, range(1, 8), begin, 10))
    assert sorted(result[0] for result in results) == [10, 20, 30, 40, 50, 60, 70]
    assert os.getpid() not in {result[1] for result in results}
    assert {result[2] for result in results} == {"1"}


def test_an_error_comes_back_as_it_was() -> None:
    with pytest.raises(SourceError, match=r"two\.txt cannot be read"):
        list(spread(fail, [1, 2, 3], begin, 0))


def test_a_death_is_told() -> None:
    with pytest.raises(RunError, match="memory ran out"):
        list(spread(die, [1, 2], begin, 0))


WORK = """
import os, time
def begin(): pass
def wait(item):
    print(os.getpid(), flush=True)
    time.sleep(60)
"""

PARENT = """
import work
from factory.core.parallel import spread
list(spread(work.wait, [1], work.begin))
"""


def test_they_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    (tmp_path / "work.py").write_text(WORK)  # workers do not import the main script
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    for _ in range(2400):
        if not Path(f"/proc/{worker}").exists():
            return
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent")


class Own(Filter):
    """A filter that must run in the main process."""

    PARALLEL = False

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        return samples.select("sample_id", own_process=pl.lit(os.getpid()))

    def rules(self) -> list[Rule]:
        return []


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(journal, "SEAL_ROWS", 64)
    return record(tmp_path / "run", 4)


def test_measured_side_by_side_a_run_is_the_same(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filters: dict[str, Filter] = {
        "text": TextHash(),
        "format": Format(),
        "language": Language(),
        "correctness": Correctness(),
        "own": Own(),
    }
    parts = len(run_dir.sample_parts(run))
    assert parts > 2
    alone = judge_run(run, filters, References())
    measured = {path: pl.read_parquet(path) for path in run.glob("metrics/*/*.parquet")}
    verdicts = pl.read_parquet(run / "verdicts" / "*.parquet")
    for path in measured:
        path.unlink()
    monkeypatch.setattr(metrics, "SPREAD_BYTES", 0)
    together = judge_run(run, filters, References())
    assert alone == together == dict.fromkeys(filters, parts)
    assert pl.read_parquet(run / "verdicts" / "*.parquet").equals(verdicts)
    for path, before in measured.items():
        timed = [name for name in before.columns if name.endswith("_ms")]
        assert pl.read_parquet(path).drop(timed).equals(before.drop(timed)), path
    (own,) = {path.parent for path in measured if path.parent.name.startswith("own-")}
    assert pl.read_parquet(own / "*.parquet")["own_process"].unique().to_list() == [os.getpid()]
    assert judge_run(run, filters, References()) == {}


def test_parts_decided_together_or_one_by_one_are_the_same(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filters: dict[str, Filter] = {"text": TextHash(), "correctness": Correctness()}
    judge_run(run, filters, References())
    files = sorted((run / "verdicts").glob("*.parquet"))
    together = [pl.read_parquet(file) for file in files]
    monkeypatch.setattr(metrics, "BATCH_PARTS", 1)
    judge_run(run, filters, References())
    for file, before in zip(files, together, strict=True):
        assert pl.read_parquet(file).equals(before)
