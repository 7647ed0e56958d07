"""The main loop on recorded samples: resume, re-filter, refuse, and lose nothing when killed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.errors import RunError, SourceError
from factory.core.run_dir import sample_parts
from factory.core.think import join_think, split_think
from factory.corpus.rows import corpus_schema
from factory.judging.funnel import load_funnel
from factory.recipe.build import load_recipe
from tests.recorded import completion, prompts, recipe_file, record

QUIET = Console(stderr=True, quiet=True)
N = 4


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("recorded") / "run", N)


@pytest.fixture(scope="module")
def built(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build(load_recipe(recipe_file(folder, recorded, N)), folder / "run", QUIET)
    return folder


def corpus_hash(run: Path) -> str:
    files = sorted((run / "corpus").iterdir())
    assert files
    return hashlib.sha256(b"".join(f.name.encode() + f.read_bytes() for f in files)).hexdigest()


def drawn(run: Path) -> Counter[tuple[str, int]]:
    tables = [pq.read_table(part, columns=["prompt_id", "index"]) for part in sample_parts(run)]
    return Counter(
        (row["prompt_id"], row["index"]) for table in tables for row in table.to_pylist()
    )


def everything() -> Counter[tuple[str, int]]:
    return Counter((prompt.id, index) for prompt in prompts() for index in range(N))


def test_every_sample_is_drawn_once_and_judged(built: Path) -> None:
    run = built / "run"
    assert drawn(run) == everything()
    funnel = load_funnel(run)
    each = len(prompts())
    assert funnel.drawn.samples == N * each
    assert funnel.kept.samples == each
    removed = {item.reason: item.count.samples for item in funnel.taken}
    assert removed == {"unclosed_think": each, "wrong": each, "no_answer": each}


def test_the_corpus_is_the_kept_samples(built: Path) -> None:
    rows = pl.read_parquet(built / "run" / "corpus" / "*.parquet")
    assert pq.read_schema(next((built / "run" / "corpus").iterdir())).equals(corpus_schema())
    by_id = {prompt.id: prompt for prompt in prompts()}
    assert sorted(rows["prompt_id"]) == sorted(by_id)
    for row in rows.rows(named=True):
        prompt = by_id[row["prompt_id"]]
        text = completion(prompt, row["index"])
        parts = split_think(text)
        assert (row["thinking"], row["response"]) == (parts.thinking, parts.response)
        assert row["messages"][:-1] == list(prompt.messages)
        turn = {"role": "assistant", "content": join_think(parts.thinking, parts.response or "")}
        assert row["messages"][-1] == turn
        assert row["answer"] == prompt.verifier["answer"] if prompt.verifier else False
        assert row["pass_rate"] == pytest.approx(1 / N)
        assert {v["decision"] for v in row["verdicts"]} == {"keep"}


def test_splits_share_no_prompt(built: Path) -> None:
    shards = sorted((built / "run" / "corpus").iterdir())
    assert [s.name.split("-")[0] for s in shards] == ["train", "train", "validation"]
    train, validation = (
        set(pl.read_parquet(built / "run" / "corpus" / f"{split}-*.parquet")["prompt_id"])
        for split in ("train", "validation")
    )
    assert train
    assert validation
    assert not train & validation


def test_a_finished_run_is_not_touched(built: Path) -> None:
    run = built / "run"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    build(load_recipe(built / "recipe.yaml"), run, QUIET)
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}


def test_a_threshold_needs_no_engine_and_no_measuring(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recipe_file(tmp_path, recorded, N)
    run = tmp_path / "run"
    kept = build(load_recipe(path), run, QUIET).kept.samples
    metrics = {file: file.stat().st_mtime_ns for file in run.glob("metrics/*/*")}
    starts = json.loads((run / "run.json").read_text())["engine_starts"]

    fewer = build(load_recipe(path, ["filters.length.max_tokens=25"]), run, QUIET).kept.samples
    assert 0 < fewer < kept
    assert metrics == {file: file.stat().st_mtime_ns for file in run.glob("metrics/*/*")}
    assert json.loads((run / "run.json").read_text())["engine_starts"] == starts
    assert pl.read_parquet(run / "corpus" / "*.parquet").height == fewer


@pytest.mark.parametrize("nothing", ["null", "{}"])
def test_without_filters_every_whole_sample_is_a_row(
    nothing: str, recorded: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(recipe_file(tmp_path, recorded, N), [f"filters={nothing}"])
    funnel = build(recipe, tmp_path / "run", QUIET)
    corpus = pl.read_parquet(tmp_path / "run" / "corpus" / "*.parquet")
    assert corpus.height == funnel.kept.samples == N * len(prompts())
    assert corpus["verdicts"].list.len().max() == 0


def test_more_samples_are_added_to_those_there(recorded: Path, tmp_path: Path) -> None:
    path = recipe_file(tmp_path, recorded, 2)
    build(load_recipe(path), tmp_path / "run", QUIET)
    first = drawn(tmp_path / "run")
    build(load_recipe(path, [f"sampling.n={N}"]), tmp_path / "run", QUIET)
    assert sum(first.values()) == 2 * len(prompts())
    assert drawn(tmp_path / "run") == everything()


def test_settings_that_would_mix_samples_are_refused(built: Path) -> None:
    recipe = load_recipe(built / "recipe.yaml", ["sampling.temperature=0.9"])
    with pytest.raises(RunError, match=r"sampling.temperature: 0.7 in the run, 0.9 in the recipe"):
        build(recipe, built / "run", QUIET)


def test_a_changed_prompt_file_is_read_again(recorded: Path, tmp_path: Path) -> None:
    lines = (Path(prompts_file()).read_text(encoding="utf-8")).splitlines(keepends=True)
    copy = tmp_path / "prompts.jsonl"
    copy.write_text("".join(lines[:4]), encoding="utf-8")
    path = recipe_file(tmp_path, recorded, N)
    path.write_text(path.read_text().replace(str(prompts_file()), str(copy)))
    assert build(load_recipe(path), tmp_path / "run", QUIET).prompts == 4
    copy.write_text("".join(lines[:6]), encoding="utf-8")
    assert build(load_recipe(path), tmp_path / "run", QUIET).prompts == 6


def prompts_file() -> Path:
    from tests.recorded import PROMPTS

    return PROMPTS


def test_an_empty_source_names_itself(recorded: Path, tmp_path: Path) -> None:
    empty = tmp_path / "nothing.jsonl"
    empty.write_text("")
    path = recipe_file(tmp_path, recorded, N)
    path.write_text(path.read_text().replace(str(prompts_file()), str(empty)))
    with pytest.raises(SourceError, match="nothing"):
        build(load_recipe(path), tmp_path / "run", QUIET)


CHILD = """
import os, signal, sys
from pathlib import Path
from rich.console import Console
from factory.core import run_dir
from factory.recipe.build import load_recipe

run_dir.SEAL_ROWS, run_dir.SYNC_SECONDS = 16, 0.02
countdown = int(sys.argv[3])

def deadly(function):
    "Dies just before or just after the countdown-th step that makes something durable."
    def step(*args, **kwargs):
        global countdown
        countdown -= 1
        if countdown == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        countdown -= 1
        if countdown == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return step

os.replace, os.fsync, os.unlink = deadly(os.replace), deadly(os.fsync), deadly(os.unlink)
Path.unlink, Path.rename = deadly(Path.unlink), deadly(Path.rename)

if __name__ == "__main__":
    from factory.build.build import build
    build(load_recipe(Path(sys.argv[1])), Path(sys.argv[2]), Console(quiet=True))
"""


def child(script: Path, recipe: Path, run: Path, step: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(script), str(recipe), str(run), str(step)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        stderr=subprocess.PIPE,
    )


@pytest.mark.real(group=None)
def test_killed_anywhere_it_ends_the_same(recorded: Path, built: Path, tmp_path: Path) -> None:
    """Twenty kills: half at a step that makes something durable, half at a random moment."""
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    recipe = recipe_file(tmp_path, recorded, N)
    draw = random.Random(20)
    kills = 0
    for attempt in range(10):
        run = tmp_path / f"run-{attempt}"
        # One run is killed at a step, then at a moment, then left to end.
        step = child(script, recipe, run, draw.randrange(1, 160))
        step.communicate()
        moment = child(script, recipe, run, -1)
        time.sleep(draw.uniform(0.3, 5.0))
        moment.kill()
        moment.communicate()
        kills += (step.returncode == -signal.SIGKILL) + (moment.returncode == -signal.SIGKILL)
        last = child(script, recipe, run, -1)
        _, trouble = last.communicate()
        assert last.returncode == 0, trouble.decode()
        assert drawn(run) == everything()
        assert corpus_hash(run) == corpus_hash(built / "run")
    assert kills >= 10
