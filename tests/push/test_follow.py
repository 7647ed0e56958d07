"""Pushing a run while it is built: a real build in another process, a Hub in this one."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from factory.build.growing import GrowingCorpus
from factory.cli import cli
from factory.core.errors import RunError
from factory.core.run_dir import is_locked
from factory.export.hub import follow, push
from factory.export.hub.follow import follow_run, growing_folder
from factory.export.hub.push import push_run
from tests.push.hub import Hub, running_hub
from tests.recorded import recipe_file, record

TOKEN = "hf_averysecrettokenofnobody"
REPO = "someone/sums"

SLOW = """
import sys, time
from itertools import islice
from pathlib import Path
from rich.console import Console
from factory.build.build import build
from factory.core import journal
from factory.recipe.build import load_recipe
from factory.sampling.engines.replay import Replay

journal.SEAL_ROWS = 20
answers, drawn = Replay.completed, [0]
pushed = Path(sys.argv[2]).with_name("pushed")

def completed(engine):
    time.sleep(0.05)
    pushes = len(pushed.read_text()) if pushed.exists() else 0
    if drawn[0] < (60, 140, 999)[min(pushes, 2)]:  # it waits for the first and the second push
        for answer in islice(answers(engine), 4):
            drawn[0] += 1
            yield answer

Replay.completed = completed
if __name__ == "__main__":
    build(load_recipe(Path(sys.argv[1])), Path(sys.argv[2]), Console(quiet=True))
"""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(push, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(follow, "POLL_S", 0.1)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with running_hub(TOKEN) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url + "/")
        yield running


def rows(files: dict[str, bytes]) -> list[str]:
    shards = [content for name, content in files.items() if name.startswith("data/")]
    return [name for shard in shards for name in pl.read_parquet(BytesIO(shard))["id"]]


def start(tmp_path: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a slow build of a recording, and wait until it has its directory."""
    recorded = record(tmp_path / "recorded", 4)
    script, run = tmp_path / "slow.py", tmp_path / "run"
    script.write_text(SLOW)
    recipe = recipe_file(tmp_path, recorded, 4)
    build = subprocess.Popen([sys.executable, str(script), str(recipe), str(run)])
    while not ((run / "run.json").exists() and (run / "prompts.parquet").exists()):
        assert build.poll() is None
        time.sleep(0.05)
    return build, run


def test_a_growing_corpus_is_pushed_and_then_replaced_by_the_finished_one(
    tmp_path: Path, hub: Hub
) -> None:
    build, run = start(tmp_path)
    states: list[dict[str, bytes]] = []

    def note(line: str) -> None:
        states.append(dict(hub.files))
        (tmp_path / "pushed").write_text("." * len(states))

    growing = GrowingCorpus(run, growing_folder(run, REPO))
    assert list(growing.find_obstacles()) == []
    follow_run(run, REPO, growing, every=5, accept_licenses=True, note=note)
    assert build.wait() == 0
    assert len(states) >= 2
    assert len(hub.commits) == len(states) + 1
    for before, after in pairwise(states):
        assert set(rows(before)) < set(rows(after))
        assert len(set(rows(after))) == len(rows(after)) >= len(rows(before)) + 5
        shards = [name for name in before if name.startswith("data/")]
        assert all(after[name] == before[name] for name in shards), "a pushed file changed"
    for state in states:
        assert b"**In progress.**" in state["README.md"]
    # At the end, the Hub has what a push of the finished run has, and nothing else.
    push_run(run, REPO, dry_run=tmp_path / "dry", accept_licenses=True)
    dry = {
        str(file.relative_to(tmp_path / "dry")): file.read_bytes()
        for file in (tmp_path / "dry").rglob("*")
        if file.is_file()
    }
    assert hub.files == dry
    assert set(rows(states[-1])) <= set(rows(dry)), "nothing is dropped later in this run"
    assert not growing.folder.exists()


def test_a_build_that_ends_early_is_said_and_what_was_pushed_stays(
    tmp_path: Path, hub: Hub
) -> None:
    build, run = start(tmp_path)

    def stop(line: str) -> None:
        build.kill()
        build.wait()

    growing = GrowingCorpus(run, growing_folder(run, REPO))
    with pytest.raises(RunError, match="ended before it was done"):
        follow_run(run, REPO, growing, every=5, accept_licenses=True, note=stop)
    assert not is_locked(run)
    pushed = rows(hub.files)
    assert len(pushed) >= 5
    # Another follower knows what was pushed, and adds nothing twice.
    assert GrowingCorpus(run, growing.folder).grow(1) in range(46 - len(pushed) + 1)
    assert len({row for shard in growing.shards for row in pl.read_parquet(shard)["id"]}) == sum(
        pl.read_parquet(shard).height for shard in growing.shards
    )


def test_a_filter_whose_model_runs_after_sampling_is_named(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        """
name: mine
model: demo
sources: [{kind: files, path: rows.jsonl}]
filters: {correctness: {combine: rule_or_judge, judge: {start: demo}}}
"""
    )
    (line,) = GrowingCorpus(tmp_path, growing_folder(tmp_path, REPO)).find_obstacles()
    assert line.startswith("the filter correctness asks a model")


def test_flags_that_do_not_go_together(tmp_path: Path) -> None:
    for flags in (["--every", "5"], ["--follow", "--dry-run", str(tmp_path / "dry")]):
        done = CliRunner().invoke(cli, ["push", str(tmp_path), "--repo", REPO, *flags])
        assert done.exit_code == 2
        assert "--follow" in done.output
