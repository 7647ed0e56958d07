from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from factory.core.nouns import Prompt
from factory.prompts.files import Files
from filters.verify.gym.verifier import EVALUATING, GymVerifier

with warnings.catch_warnings():
    warnings.simplefilter("ignore", SyntaxWarning)
    import reasoning_gym

ROOT = Path(__file__).parents[3]

# Their generators take seconds, or need arguments.
SLOW = {"composite", "rush_hour", "arc_agi", "zebra_puzzles", "sokoban", "boxnet", "emoji_mystery"}


def spec(task: str, seed: int = 0, **options: Any) -> dict[str, Any]:
    entry = reasoning_gym.create_dataset(task, size=1, seed=seed, **options)[0]
    return {"kind": "gym", "task": task, "entry": json.loads(json.dumps(entry, default=str))}


def test_only_a_full_score_counts(gym: GymVerifier) -> None:
    prompt = spec("basic_arithmetic")
    answer = prompt["entry"]["answer"]
    given = [
        f"<answer>{answer}</answer>",
        rf"\boxed{{{answer}}}",
        f"<answer>{answer}1</answer>",
        "I give up.\nSorry.",
    ]
    assert [v.state for v in gym.verify([(prompt, text) for text in given])] == [
        "correct", "correct", "wrong", "no_answer",
    ]  # fmt: skip


def test_partial_credit_is_wrong(gym: GymVerifier) -> None:
    prompt = spec("spell_backward")
    almost = prompt["entry"]["answer"] + "x"
    (verdict,) = gym.verify([(prompt, f"<answer>{almost}</answer>")])
    assert verdict.state == "wrong"


def test_24_must_be_made_of_the_numbers_given(gym: GymVerifier) -> None:
    prompt = spec("puzzle24")
    prompt["entry"]["metadata"]["numbers"] = [2, 3, 4, 1]
    states = [v.state for v in gym.verify([(prompt, "2*3*4*1"), (prompt, "6*4*1*1")])]
    assert states == ["correct", "wrong"]


KNOWN_TO_EVALUATE = (
    "bitwise_arithmetic",
    "number_sorting",
    "polynomial_multiplication",
    "simple_integration",
    "intermediate_integration",
)
"""Tasks whose scorers evaluate the entry, found by reading them."""


def hostile(task: str, attack: str) -> list[dict[str, Any]]:
    """Rows that carry `attack` in the answer, in every text, in every value of the metadata."""
    entry = spec(task)["entry"] if task not in SLOW else {"question": "?", "metadata": {"x": "1"}}
    metadata = entry["metadata"]
    return [
        {"kind": "gym", "task": task, "entry": row}
        for row in (
            {**entry, "answer": attack},
            {"question": attack, "answer": attack, "metadata": _with(metadata, attack, str)},
            {**entry, "answer": attack, "metadata": _with(metadata, attack, int | float | str)},
            {"question": attack, "answer": attack, "metadata": dict.fromkeys(metadata, attack)},
            # What the five read, whatever the version at hand puts into an item.
            {**entry, "metadata": metadata | {"problem": attack, "integrand": attack}},
        )
    ]


def _with(value: Any, attack: str, kinds: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with(inner, attack, kinds) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with(inner, attack, kinds) for inner in value]
    return attack if isinstance(value, kinds) else value


def attack_on(proof: Path, marker: str) -> str:
    """An expression that writes `proof` and leaves `sleep {marker}` running."""
    command = f"touch {proof}; sleep {marker} &"
    return f"__import__('os').system({command!r})"


def running(marker: str) -> list[int]:
    """The processes of this machine with `marker` in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if marker.encode() in entry.read_bytes().split(b"\0"):
                found.append(int(entry.parent.name))
    return found


@pytest.mark.parametrize("task", KNOWN_TO_EVALUATE)
def test_the_attack_would_work_outside(task: str, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    attack = f"__import__('pathlib').Path({str(proof)!r}).touch()"
    program = """
import contextlib, json, sys
from filters.verify.gym.scorer import score
for given in json.load(sys.stdin):
    with contextlib.suppress(Exception):
        score(**given)
"""
    given = [
        {"task": task, "answer": answer, "entry": row["entry"]}
        for row in hostile(task, attack)
        for answer in (f"{attack} + 1", "['1']", "1")
    ]
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        input=json.dumps(given), text=True, capture_output=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert proof.exists()


def test_a_strangers_rows_run_nothing(gym: GymVerifier, tmp_path: Path) -> None:
    from reasoning_gym.factory import DATASETS

    marker = f"90.{os.getpid()}"
    proof = tmp_path / "ran"
    attack = attack_on(proof, marker)
    rows = [row for task in sorted(DATASETS) for row in hostile(task, attack)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"question": "?", "verifier": row}) + "\n" for row in rows))
    before = set(tmp_path.iterdir())
    prompts = [row for row in Files(path=str(path)).rows() if isinstance(row, Prompt)]
    assert len(prompts) > 0.9 * len(rows)
    gym.check([prompt.verifier for prompt in prompts])
    for text in (attack, f"[{attack}]", "1"):
        gym.verify([(row, f"<answer>{text}</answer>") for row in rows])
    assert set(tmp_path.iterdir()) == before
    assert running(marker) == []


def test_without_a_sandbox_scorers_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # no bwrap
    prompt = spec("number_sorting")
    with contextlib.closing(GymVerifier()) as verifier:
        assert verifier.check([prompt]) == [None]
        (right, other) = verifier.verify(
            [(prompt, f"<answer>{prompt['entry']['answer']}</answer>"), (prompt, "['1']")]
        )
    assert (right.state, other.state) == ("correct", "unverifiable")
    assert "bubblewrap" in (other.detail or "")


@pytest.mark.parametrize("task", sorted(EVALUATING))
def test_no_scorer_evaluates_what_a_model_wrote(
    gym: GymVerifier, task: str, tmp_path: Path
) -> None:
    proof = tmp_path / "ran"
    attack = f"__import__('pathlib').Path({str(proof)!r}).touch()"
    prompt = spec(task)
    for text in (attack, f"[{attack}]", f"sin({attack})", "().__class__", "x.__class__"):
        (verdict,) = gym.verify([(prompt, f"<answer>{text}</answer>")])
        assert verdict.state in ("wrong", "unparseable")
    assert not proof.exists()


def test_the_table_of_evaluating_scorers_is_complete() -> None:
    root = Path(reasoning_gym.__file__).parent
    evaluates = re.compile(r"(?<![\w.])(?:eval|exec)\((?:answer|user_answer)|parse_expr\(answer")
    found = {path.stem for path in root.rglob("*.py") if evaluates.search(path.read_text("utf-8"))}
    assert found == EVALUATING.keys()


def test_the_integral_is_any_antiderivative(gym: GymVerifier) -> None:
    prompt = spec("simple_integration")
    answer = prompt["entry"]["answer"].replace("+ C", "+ 7 + C")
    states = [
        v.state for v in gym.verify([(prompt, f"<answer>{answer}</answer>"), (prompt, "x**99 + C")])
    ]
    assert states == ["correct", "wrong"]


@pytest.mark.parametrize("call", ["O(1)", "O (x)", "S(0)", "N(1)"])
def test_a_letter_that_sympy_calls_is_no_variable(gym: GymVerifier, call: str) -> None:
    """`O(1)` absorbs what is added to it, and sympy finds the sum equal."""
    prompt = spec("intermediate_integration")
    answer = prompt["entry"]["answer"]
    answers = [f"<answer>{answer} + {call}</answer>", f"<answer>({answer}) + 3</answer>"]
    assert [v.state for v in gym.verify([(prompt, text) for text in answers])] == [
        "unparseable",
        "correct",
    ]


def test_every_quick_task_accepts_its_own_answer(gym: GymVerifier) -> None:
    from reasoning_gym.factory import DATASETS

    tasks = [task for task in sorted(DATASETS) if task not in SLOW][::4]
    specs = [spec(task) for task in tasks]
    assert [(t, p) for t, p in zip(tasks, gym.check(specs), strict=True) if p] == []
    answered = [
        (s, f"<answer>{s['entry']['answer']}</answer>") for s in specs if s["entry"]["answer"]
    ]
    states = {s["task"]: v.state for (s, _), v in zip(answered, gym.verify(answered), strict=True)}
    assert set(states.values()) == {"correct"}


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": "gym"},
        {"kind": "gym", "task": "nothing_like_it", "entry": {"answer": "1", "metadata": {}}},
        {"kind": "gym", "task": "basic_arithmetic", "entry": None},
        {"kind": "gym", "task": 3, "entry": {"answer": "1", "metadata": {}}},
    ],
)
def test_bad_specs(gym: GymVerifier, bad: dict[str, Any]) -> None:
    assert gym.check([bad])[0]
    (verdict,) = gym.verify([(bad, "<answer>2</answer>")])
    assert verdict.state == "bad_reference"
