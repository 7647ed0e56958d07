"""Builds whose verdicts come while they run: taken up at once, whoever is killed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.files import read_lines
from factory.core.run_dir import read_manifest
from factory.judging.ledger import FOLDER, QUEUE, read_verdicts
from factory.judging.verdicts import load_verdicts
from factory.recipe.build import load_recipe
from tests.fake_server import CANARY, FakeServer

QUIET = Console(quiet=True)
MOST_S = 600.0
FACTORY = [sys.executable, "-m", "factory.cli"]


def write_recipe(
    folder: Path, url: str, prompts: int, sampling: dict[str, Any], **keys: Any
) -> Path:
    rows = [{"question": f"What is {k} + {k}?", "answer": str(2 * k)} for k in range(prompts)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"kind": "files", "path": str(folder / "sums.jsonl"), "language": "en"}
    recipe = {
        "name": "late",
        "model": "fake",
        "sources": [source | {"verifier": {"kind": "math"}}],
        "prompting": {"template": "few_shot"},
        "engine": {"kind": "server", "server": {"urls": [url], "max_concurrency": 2}},
        "sampling": {"max_tokens": 64, **sampling},
        "filters": {"format": {}, "correctness": {"later": ["math"]}},
        **keys,
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe))  # JSON is YAML
    return path


def number_in(body: dict[str, Any]) -> int | None:
    """The k of the question that a request asks, the last one in it."""
    found = re.findall(r"What is (\d+) \+ ", json.dumps(body))
    return int(found[-1]) if found and CANARY not in json.dumps(body) else None


class Script:
    """Answers each prompt wrongly a given number of times, then rightly."""

    def __init__(self, wrong: dict[int, int]) -> None:
        self.wrong, self.asked = wrong, Counter[int]()

    def answer(self, body: dict[str, Any]) -> str:
        k = number_in(body)
        if k is None:
            return "2"
        self.asked[k] += 1
        right = self.asked[k] > self.wrong.get(k, 0)
        return f"<think>\nwell\n</think>\n\n\\boxed{{{2 * k + (not right)}}}"


@contextmanager
def judging(run: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that judges what comes, from the time that the run is there."""
    command = (
        "import sys, time\nfrom pathlib import Path\nfrom factory.judging.late import drain\n"
        "run = Path(sys.argv[1])\n"
        "while not (run / 'recipe.yaml').exists():\n    time.sleep(0.05)\n"
        "drain(run, 1, watch=True, say=lambda line: None)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", command, str(run)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def count_samples(run: Path) -> dict[str, int]:
    rows = load_verdicts(run).group_by("prompt_id").len().collect()
    return dict(rows.iter_rows())


def test_a_verdict_that_comes_steers_the_running_build(tmp_path: Path) -> None:
    """One prompt is answered wrongly. Another one's answer waits until the first is drawn again,
    which only a verdict from another process can bring about."""
    run, script, started = tmp_path / "run", Script({0: 1}), time.monotonic()

    def waits(body: dict[str, Any]) -> bool:
        late = time.monotonic() - started > MOST_S
        return number_in(body) == 3 and script.asked[0] < 2 and not late

    until = {"policy": "until", "n": 4, "accept": 1, "wave": 1}
    with FakeServer(answer=script.answer, waits=waits) as server, judging(run):
        recipe = load_recipe(write_recipe(tmp_path, server.url, 4, until))
        build(recipe, run, QUIET)
    assert script.asked == {0: 2, 1: 1, 2: 1, 3: 1}
    assert time.monotonic() - started < MOST_S
    assert not list((run / QUEUE).iterdir())


@pytest.mark.parametrize(("pending", "drawn"), [(None, 2), (3, 3), (9, 4)])
def test_pending_bounds_what_is_drawn_without_a_verdict(
    tmp_path: Path, pending: int | None, drawn: int
) -> None:
    run, script = tmp_path / "run", Script({})
    until = {"policy": "until", "n": 4, "accept": 2, "wave": 1, "pending": pending}
    with FakeServer(answer=script.answer) as server:
        build(load_recipe(write_recipe(tmp_path, server.url, 3, until)), run, QUIET)
    assert script.asked == {0: drawn, 1: drawn, 2: drawn}
    assert read_manifest(run)["pending"] == 3 * drawn


def test_whoever_is_killed_every_sample_is_judged_once(tmp_path: Path) -> None:
    """Two processes judge a running build. One of them is killed, then the build; both go on."""
    run, at_once, script = tmp_path / "run", tmp_path / "at_once", Script({1: 2, 4: 9})
    fixed, killed = {"n": 5}, list[bool]()

    def waits(body: dict[str, Any]) -> bool:
        return script.asked.total() >= 20 and not killed

    with FakeServer(answer=script.answer, waits=waits) as server, ExitStack() as processes:
        path = write_recipe(tmp_path, server.url, 8, fixed)
        command = [*FACTORY, "build", str(path), "--run", str(run), "--quiet"]
        first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        judges = [processes.enter_context(judging(run)) for _ in range(2)]
        wait_until(lambda: len(read_verdicts(run)) >= 5)
        judges[0].send_signal(signal.SIGKILL)
        first.send_signal(signal.SIGKILL)
        assert first.wait() == -signal.SIGKILL
        killed.append(True)
        processes.enter_context(judging(run))
        build(load_recipe(path), run, QUIET)
        wait_until(lambda: len(read_verdicts(run)) >= 40)
    funnel = build(load_recipe(path), run, QUIET)
    assert read_manifest(run)["pending"] == 0
    rows = [row for file in (run / FOLDER).glob("*.jsonl") for row in read_lines(file)]
    keys = Counter((row["sample_id"], row["input"]) for row in rows)
    texts = samples_by_id(run)
    assert set(keys.values()) == {1}
    assert {name for name, _ in keys} == set(texts)
    # The same samples, judged at once by a run of their own.
    recorded = {"kind": "replay", "replay": str(run)}
    changes = [f"engine={json.dumps(recorded)}", "filters={format: {}, correctness: {}}"]
    again = build(load_recipe(path, changes), at_once, QUIET)
    assert samples_by_id(at_once) == texts
    assert states(at_once) == states(run)
    assert again.kept == funnel.kept


def samples_by_id(run: Path) -> dict[str, str]:
    rows = pl.read_parquet(run / "samples" / "*.parquet").select("prompt_id", "index", "text")
    return {f"{prompt}-{index}": text for prompt, index, text in rows.iter_rows()}


def states(run: Path) -> dict[str, str]:
    rows = pl.read_parquet(run / "metrics" / "correctness-*" / "*.parquet")
    return dict(rows.select("sample_id", "correctness_state").iter_rows())


def wait_until(is_so: Any) -> None:
    started = time.monotonic()
    while not is_so():
        assert time.monotonic() - started < MOST_S, "it did not come about"
        time.sleep(0.1)
