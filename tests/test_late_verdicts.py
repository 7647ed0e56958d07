"""Verdicts that come later: pending at first, judged by any number of processes, taken up once."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from rich.console import Console

from factory.build.build import build
from factory.cli import cli
from factory.core.errors import RecipeError, RunError
from factory.core.files import read_lines
from factory.core.nouns import Prompt, Sample
from factory.core.run_dir import RunDir, read_manifest, save_prompts
from factory.judging.late import drain, find_waiting, judge_waiting
from factory.judging.ledger import FOLDER, Leases, read_verdicts, record_verdicts
from factory.judging.verdicts import load_verdicts
from factory.recipe.build import load_recipe
from filters.verify.verification import Verification

QUIET = Console(quiet=True)
PROMPTS, N = 4, 6


def prompts() -> list[Prompt]:
    return [
        Prompt(
            source="sums",
            domain="math",
            messages=({"role": "user", "content": f"What is {k} + {k}?"},),
            verifier={"kind": "math", "answer": str(2 * k)},
            language="en",
        )
        for k in range(PROMPTS)
    ]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A run of recorded samples, half of them right, with verdicts that come later."""
    recorded = tmp_path / "recorded"
    save_prompts(recorded, prompts())
    with RunDir(recorded) as run:
        for k, prompt in enumerate(prompts()):
            for index in range(N):
                text = f"<think>\nwell\n</think>\n\n\\boxed{{{2 * k + index % 2}}}"
                run.append(
                    Sample(prompt.id, index, text, "", "stop", 9, 9, "recorded", "recorded", 0)
                )
    rows = [{"question": f"What is {k} + {k}?", "answer": str(2 * k)} for k in range(PROMPTS)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"name: late\nmodel: demo\nengine: {{kind: replay, replay: {recorded}}}\n"
        f"sources: [{{kind: files, path: {tmp_path / 'sums.jsonl'}, name: sums, domain: math,"
        " language: en, verifier: {kind: math}}]\n"
        "prompting: {template: few_shot}\n"
        f"sampling: {{n: {N}}}\nselect: {{per_prompt: {N}}}\n"
        "filters: {correctness: {later: [math]}}\n"
    )
    return path


def states(run: Path) -> dict[str, tuple[str, str | None]]:
    rows = load_verdicts(run).select("sample_id", "decision", "reason").collect()
    return {name: (decision, reason) for name, decision, reason in rows.iter_rows()}


def test_a_run_judged_later_ends_as_one_judged_at_once(recipe: Path, tmp_path: Path) -> None:
    at_once, late = tmp_path / "at_once", tmp_path / "late"
    build(load_recipe(recipe, ["filters={correctness: {}}"]), at_once, QUIET)
    said = Console(record=True, file=io.StringIO(), width=200)
    funnel = build(load_recipe(recipe), late, said)
    assert {item.reason: item.count.samples for item in funnel.taken} == {"pending": PROMPTS * N}
    assert "24 samples are pending" in said.export_text()
    assert read_manifest(late)["pending"] == PROMPTS * N

    done = CliRunner().invoke(cli, ["judge", str(late), "--json"])
    assert json.loads(done.stdout) == {"judged": PROMPTS * N, "waiting": 0}
    again = CliRunner().invoke(cli, ["judge", str(late)])
    assert again.stdout == "0 judged, 0 pending\n"

    build(load_recipe(recipe), late, QUIET)
    assert states(late) == states(at_once)
    assert read_manifest(late)["pending"] == 0
    rows = [pl.read_parquet(run / "corpus" / "*.parquet") for run in (at_once, late)]
    texts = [frame.sort("prompt_id")["messages"].to_list() for frame in rows]
    assert texts[0] == texts[1] != []


def test_until_draws_no_more_than_may_be_enough(recipe: Path, tmp_path: Path) -> None:
    """Of each prompt every other sample is right: two are drawn, then one more, then no more."""
    run = tmp_path / "run"
    until = f"sampling={{policy: until, n: {N}, accept: 2, wave: 1}}"
    loaded = load_recipe(recipe, [until])
    drawn = []
    for _ in range(4):
        build(loaded, run, QUIET)
        drawn.append(load_verdicts(run).select(pl.len()).collect().item())
        judge_waiting(run)
    assert drawn == [2 * PROMPTS, 3 * PROMPTS, 3 * PROMPTS, 3 * PROMPTS]
    assert [decision for decision, _ in states(run).values()].count("keep") == 2 * PROMPTS


def test_a_build_takes_up_what_has_come(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    loaded = load_recipe(recipe)
    build(loaded, run, QUIET)
    some = find_waiting(run, loaded.filters)[:5]
    for one in some:
        verdict = Verification("correct", "1", "math", version=one.version, input=one.input)
        record_verdicts(run, [(one.sample_id, verdict)])
    build(loaded, run, QUIET)
    found = states(run)
    assert {found[one.sample_id] for one in some} == {("keep", None)}
    assert read_manifest(run)["pending"] == PROMPTS * N - 5
    finished = read_manifest(run)["finished_at"]
    time.sleep(1.1)
    build(loaded, run, QUIET)  # nothing has come since
    assert read_manifest(run)["finished_at"] == finished


def test_verdicts_of_another_version_or_input_do_not_count(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    loaded = load_recipe(recipe)
    build(loaded, run, QUIET)
    one, other, *_ = find_waiting(run, loaded.filters)
    old = Verification("correct", "1", "math", version="math-0", input=one.input)
    changed = Verification("correct", "1", "math", version=other.version, input="another")
    record_verdicts(run, [(one.sample_id, old), (other.sample_id, changed)])
    assert len(find_waiting(run, loaded.filters)) == PROMPTS * N


def test_of_two_verdicts_the_first_counts(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    loaded = load_recipe(recipe)
    build(loaded, run, QUIET)
    one = find_waiting(run, loaded.filters)[0]
    for state in ("correct", "wrong"):
        verdict = Verification(state, "1", "math", version=one.version, input=one.input)
        record_verdicts(run, [(one.sample_id, verdict)])
    assert read_verdicts(run)[one[:3]].state == "correct"
    with open(next((run / FOLDER).glob("*.jsonl")), "ab") as file:
        file.write(b'{"sample_id": "torn')
    assert len(read_verdicts(run)) == 1


def test_several_processes_judge_each_sample_once(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    build(load_recipe(recipe), run, QUIET)
    done = drain(run, 2, watch=True, say=lambda line: None)
    assert (done.judged, done.waiting) == (PROMPTS * N, 0)
    rows = [row for file in (run / FOLDER).glob("*.jsonl") for row in read_lines(file)]
    assert len(rows) == len({row["sample_id"] for row in rows}) == PROMPTS * N
    assert list((run / FOLDER / "leases").iterdir()) == []


HOLD = """
import sys, time
from pathlib import Path
from factory.judging.ledger import Leases
with Leases(Path(sys.argv[1])) as leases:
    print(len(leases.claim(sys.argv[2:], 99)), flush=True)
    time.sleep(600)
"""


def test_a_killed_workers_samples_are_taken_over(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    loaded = load_recipe(recipe)
    build(loaded, run, QUIET)
    names = [one.sample_id for one in find_waiting(run, loaded.filters)[:7]]
    command = [sys.executable, "-c", HOLD, str(run), *names]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "7\n"
        assert judge_waiting(run) == PROMPTS * N - 7  # it lives, and what it has is left to it
        holder.send_signal(signal.SIGKILL)
        while Path(f"/proc/{holder.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
        assert judge_waiting(run) == 7  # it is dead, although nobody has waited for it yet
    assert find_waiting(run, loaded.filters) == []


def test_a_lease_of_another_machine_ends_with_its_time(tmp_path: Path) -> None:
    with Leases(tmp_path) as leases:
        lease = tmp_path / FOLDER / "leases" / "a-0"
        lease.write_text("elsewhere 1")
        assert leases.claim(["a-0"], 1) == []
        os.utime(lease, (0, 0))
        assert leases.claim(["a-0"], 1) == ["a-0"]


def test_what_has_no_late_verdicts_says_so(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    build(load_recipe(recipe, ["filters={correctness: {}}"]), run, QUIET)
    with pytest.raises(RunError, match=r"does not set `correctness\.later`"):
        drain(run, 1, watch=False, say=lambda line: None)
    with pytest.raises(RecipeError, match="a judge answers what is open of a rubric"):
        load_recipe(recipe, ["filters.correctness.later=[rubric]"])
    with pytest.raises(RecipeError, match="must be one of math"):
        load_recipe(recipe, ["filters.correctness.later=[maths]"])
    assert multiprocessing.active_children() == []
