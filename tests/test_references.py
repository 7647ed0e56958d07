"""Bad references are not sampled; references that most samples contradict are listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.errors import SourceError
from factory.core.files import read_lines
from factory.core.nouns import Prompt, Sample
from factory.core.run_dir import RunDir, save_prompts
from factory.core.think import join_think
from factory.prompts.files import Files
from factory.recipe.build import load_recipe

N = 10

PROMPTS = [
    {"question": "What is 2 + 3?", "answer": "5"},
    {"question": "What is 4 + 4?", "answer": "9"},  # wrong, and every sample will say 8
    {"question": "Prove that 1 = 1.", "answer": "proof"},  # no answer at all
]

RECIPE = """
name: references
model: demo
sources: [{{kind: files, path: prompts.jsonl, columns: {{question: question, answer: answer}},
  verifier: {{kind: math}}, language: en}}]
engine: {{kind: replay, replay: {recorded}}}
sampling: {{n: {n}}}
references: {{suspect: {suspect}, bad: {bad}}}
filters: {{format: {{}}, correctness: {{}}}}
"""


def write(folder: Path, suspect: str = "leave", bad: str = "skip") -> Path:
    rows = "".join(json.dumps(row) + "\n" for row in PROMPTS)
    (folder / "prompts.jsonl").write_text(rows)
    source = Files(
        kind="files",
        path=str(folder / "prompts.jsonl"),
        verifier={"kind": "math"},
        language="en",
        columns={"question": "question", "answer": "answer"},
    )
    prompts = [row for row in source.rows() if isinstance(row, Prompt)]
    recorded = folder / "recorded"
    save_prompts(recorded, prompts)
    with RunDir(recorded) as run:
        for prompt in prompts:
            said = {"What is 2 + 3?": "5", "What is 4 + 4?": "8"}.get(prompt.question, "1")
            for index in range(N):
                text = join_think(f"Thinking, case {index}.", f"So it is \\boxed{{{said}}}.")
                run.append(Sample(prompt.id, index, text, "", "stop", 9, 9, "m", "p", 0))
    path = folder / "r.yaml"
    path.write_text(RECIPE.format(recorded=recorded, n=N, suspect=suspect, bad=bad))
    return path


def test_a_bad_reference_is_listed_and_not_sampled(tmp_path: Path) -> None:
    funnel = build(load_recipe(write(tmp_path)), tmp_path / "run", Console(quiet=True))
    assert funnel.prompts == 2
    (bad,) = read_lines(tmp_path / "run" / "bad_references.jsonl")
    assert bad["kind"] == "math"
    assert bad["why"]


def test_a_bad_reference_sampled_on_request_stays_undecided(tmp_path: Path) -> None:
    path = write(tmp_path, bad="sample")
    funnel = build(load_recipe(path), tmp_path / "run", Console(quiet=True))
    assert funnel.prompts == 3
    assert funnel.undecided.samples == N


SUSPECT = [
    ("leave", 0, N, {"wrong": N}),
    ("drop", N, N, {"bad_reference": N}),
    ("majority", 0, 2 * N, {}),
]


@pytest.mark.parametrize(("policy", "undecided", "kept", "removed"), SUSPECT)
def test_a_reference_that_everybody_disputes(
    tmp_path: Path, policy: str, undecided: int, kept: int, removed: dict[str, int]
) -> None:
    path = write(tmp_path, suspect=policy)
    funnel = build(load_recipe(path), tmp_path / "run", Console(quiet=True))
    (suspect,) = read_lines(tmp_path / "run" / "suspect_references.jsonl")
    assert (suspect["reference"], suspect["majority"], suspect["votes"]) == ("9", "8", N)
    assert funnel.undecided.samples == undecided
    assert funnel.kept.samples == kept
    assert {item.reason: item.count.samples for item in funnel.taken} == removed


def test_no_usable_reference_at_all_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "prompts.jsonl").write_text(json.dumps(PROMPTS[2]) + "\n")
    with pytest.raises(SourceError, match=r"bad_references\.jsonl"):
        build(load_recipe(path), tmp_path / "run", Console(quiet=True))
