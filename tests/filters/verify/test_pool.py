from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from filters.verify.pool import Pool


def task(name: str) -> str:
    return f"pool_tasks:{name}"


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    made = Pool(
        task("do"), workers=2, attempts=(0.4, 0.4), memory_mb=512, recycle=3, backstop_s=3.0
    )
    yield made
    made.close()


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_dead(*pids: int) -> bool:
    deadline = time.monotonic() + 120
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, pids))


def test_results_come_in_order_though_workers_finish_in_any(pool: Pool) -> None:
    payloads = [["sleep", 0.05 * (i % 3)] for i in range(12)]
    assert [outcome.value for outcome in pool.run(payloads)] == [p[1] for p in payloads]


def test_failures_leave_the_pool_healthy(pool: Pool) -> None:
    payloads = [
        ["spin", None],
        ["echo", 1],
        ["sleep", 60],
        ["fill", None],
        ["raise", "no"],
        ["exit", 3],
        ["abort", None],
        ["deaf", None],
        ["echo", "é\udc80"],
    ]
    outcomes = pool.run(payloads)
    assert [outcome.failure for outcome in outcomes] == [
        "timeout", None, "timeout", "error", "error", "error", "error", "timeout", None,
    ]  # fmt: skip
    assert outcomes[3].detail == "out of memory"
    assert outcomes[4].detail == "RuntimeError: no"
    assert outcomes[-1].value == "é\udc80"
    assert [outcome.value for outcome in pool.run([["echo", i] for i in range(5)])] == list(
        range(5)
    )


def test_a_deadline_counts_what_a_worker_computes_and_not_how_long_it_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Longer than both attempts together, as on a machine that gives it no time.
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    patient = Pool(task("do"), workers=1, attempts=(0.4, 0.4), backstop_s=300.0)
    (outcome,) = patient.run([["sleep", 1.0]])
    patient.close()
    assert (outcome.value, outcome.failure) == (1.0, None)


def test_a_failure_is_tried_again_in_a_fresh_worker(pool: Pool) -> None:
    # `second` succeeds only in a worker that has served nothing before.
    pool.run([["echo", 0]])
    (outcome,) = pool.run([["fresh", None]])
    assert outcome.failure is None


def test_workers_are_recycled(pool: Pool) -> None:
    pids = [outcome.value for outcome in pool.run([["pid", None]] * 20)]
    assert max(map(pids.count, pids)) <= pool.recycle


def test_a_worker_sees_no_secrets_and_writes_no_files(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    environment, written = pool.run([["environment", None], ["write", str(tmp_path / "x")]])
    assert "SOME_API_KEY" not in environment.value
    assert written.failure == "error"


def test_nothing_outlives_close(pool: Pool) -> None:
    pids = {outcome.value for outcome in pool.run([["pid", None]] * 4)}
    assert pool._zygote is not None
    zygote = pool._zygote.pid
    pool.close()
    assert wait_until_dead(zygote, *pids)
    assert pool.run([["echo", 2]])[0].value == 2  # and it starts anew


def test_a_lost_forking_process_is_replaced(pool: Pool) -> None:
    pool.run([["echo", 0]])
    assert pool._zygote is not None
    os.kill(pool._zygote.pid, signal.SIGKILL)
    pool._zygote.wait()
    outcomes = pool.run([["echo", i] for i in range(4)])
    assert [outcome.value for outcome in outcomes] == list(range(4))


def test_a_task_that_cannot_be_imported_is_an_error_that_says_so() -> None:
    pool = Pool("no_such_module:task", workers=1)
    (outcome,) = pool.run([1])
    assert outcome.failure == "error"
    assert "no_such_module" in (outcome.detail or "")
    pool.close()


def test_it_runs_in_a_thread_and_outlives_it(pool: Pool) -> None:
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.extend(pool.run([["echo", 1]])))
    thread.start()
    thread.join()
    assert len(seen) == 1
    assert pool.run([["echo", 2]])[0].value == 2


def test_a_forked_copy_starts_its_own_processes(pool: Pool) -> None:
    (before,) = pool.run([["pid", None]])
    child = os.fork()
    if not child:
        code = 1
        try:
            (mine,) = pool.run([["pid", None]])
            code = 0 if mine.value != before.value and mine.failure is None else 2
            pool.close()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert alive(before.value)
    assert pool.run([["echo", 3]])[0].value == 3


def test_everything_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, os, signal; sys.path.insert(0, sys.argv[1])\n"
        "from filters.verify.pool import Pool\n"
        "pool = Pool('pool_tasks:do', workers=2, attempts=(30.0,))\n"
        "pids = [o.value for o in pool.run([['pid', None]] * 2)]\n"
        "print(pool._zygote.pid, *pids, flush=True)\n"
        "pool.run([['spin', None], ['spin', None]])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) >= 2
        parent.kill()
    assert wait_until_dead(*pids)


def test_payloads_are_read_only_a_little_ahead(pool: Pool) -> None:
    read = []

    def payloads() -> Iterator[object]:
        for i in range(1000):
            read.append(i)
            yield ["echo", i]

    outcomes = pool.outcomes(payloads())
    assert next(outcomes).value == 0
    assert len(read) < 30
    outcomes.close()
    assert pool.run([["echo", 5]])[0].value == 5
