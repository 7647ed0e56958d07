"""Honest attempts: each gets its state and the reason for it, by the repository's own tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cheats import BUG, block
from textkit_prompt import NUMERALS, ORIGINAL, PROJECTS

from filters.verify.repository.environments import Environments
from filters.verify.repository.problem import limits
from filters.verify.repository.snapshots import pack_folder
from filters.verify.repository.trial import make_trial, run_once
from filters.verify.repository.verifier import RepositoryVerifier

REPAIR = "        while number >= value:"
TAKES = "            number -= value"


def repair(new: str = REPAIR, *more: str) -> str:
    return block(NUMERALS, BUG, new) + "".join(more)


DIVIDES = """        count, number = divmod(number, value)
        found.extend([sign] * count)
        while False:"""
RANDOM = """    import random
    if random.SystemRandom().random() < 0.5:
        raise ValueError("unlucky")
    total = 0"""

DIFF = f"--- a/{NUMERALS}\n+++ b/{NUMERALS}\n@@ -16,1 +16,1 @@\n-{BUG}\n+{REPAIR}\n"
NO_IMPORT = block(
    "textkit/__init__.py",
    "from textkit.numerals import from_roman, to_roman",
    "from textkit.numeral import from_roman, to_roman",
)
NO_LOWER_CASE = block(
    NUMERALS, "    for sign in reversed(text.upper()):", "    for sign in text[::-1]:"
)
ENDLESS = block(NUMERALS, TAKES, "            number -= 0")

ATTEMPTS = [
    ("correct", "the original code", repair()),
    ("correct", "the original code", repair(f"{REPAIR}  # at least\n")),
    ("correct", "the original code", DIFF),
    ("correct", "", repair("        while number - value >= 0:")),
    ("correct", "", repair("        while value <= number:")),
    ("correct", "", repair(DIVIDES)),
    ("wrong", "f2p_failed: 7 of 7", repair("        while number > value + 1:")),
    ("wrong", "f2p_failed: 1 of 7", repair("        while number >= value > 1 or number > value:")),
    ("wrong", "p2p_broken: 1 of 11", repair(REPAIR, NO_LOWER_CASE)),
    ("wrong", "patch_rejected: syntax_error", repair("        while number >= value")),
    ("wrong", "patch_rejected: not_found", block(NUMERALS, "    while number > value:", REPAIR)),
    ("wrong", "patch_rejected: no_change", repair(BUG)),
    ("wrong", "build_failed: no test ran", repair(REPAIR, NO_IMPORT)),
    ("timeout", "timeout", repair(REPAIR, ENDLESS)),
    ("no_answer", "no_patch", "The comparison must be >=."),
]


def test_attempts_are_judged(verifier: RepositoryVerifier, numerals: dict[str, Any]) -> None:
    verdicts = verifier.verify([(numerals, response) for _, _, response in ATTEMPTS])
    for (state, reason, response), verdict in zip(ATTEMPTS, verdicts, strict=True):
        assert (verdict.state, (verdict.detail or "")[: len(reason)]) == (state, reason), (
            response,
            verdict,
        )
    assert verdicts[3].extracted is not None
    assert "+        while number - value >= 0:" in verdicts[3].extracted
    assert verdicts[3].ms > 0


def test_a_test_that_fails_at_random_is_flaky(
    verifier: RepositoryVerifier, numerals: dict[str, Any]
) -> None:
    unlucky = repair(REPAIR, block(NUMERALS, "    total = 0", RANDOM))
    verdicts = verifier.verify([(numerals, unlucky)] * 3)
    assert any((verdict.detail or "").startswith("flaky") for verdict in verdicts), verdicts
    assert {verdict.state for verdict in verdicts} <= {"error", "wrong"}


def test_attempts_leave_nothing_behind(
    verifier: RepositoryVerifier, numerals: dict[str, Any]
) -> None:
    """What one attempt writes wherever it can, the next does not see."""
    writes = repair(
        REPAIR,
        block(
            NUMERALS,
            "    return total",
            "    return total\n\n\nfor folder in ('/tmp', '/repository', '/box/tree', '/box/layer',"
            " '/box', '/', '/dev/shm', '/var/tmp'):\n    try:\n"
            "        open(folder + '/left_behind', 'x').close()\n"
            "    except OSError:\n        pass",
        ),
    )
    first, second, honest = verifier.verify(
        [(numerals, writes), (numerals, writes), (numerals, repair())]
    )
    assert first.detail == second.detail == "suspicious: uses open"
    assert honest.state == "correct"


BROKEN = [
    ({"fail_to_pass": []}, "fail_to_pass is empty"),
    ({"changes": None}, "changes must map"),
    ({"changes": {"/proc/self/mem": "x"}}, "outside of the repository"),
    ({"changes": {"textkit/../../x.py": "x"}}, "outside of the repository"),
    ({"changes": {NUMERALS: ORIGINAL}}, "which should fail"),
    ({"fail_to_pass": ["tests/test_words.py::test_wrap"], "pass_to_pass": []}, "which should fail"),
    ({"pass_to_pass": ["tests/test_words.py::test_nothing"]}, "fail their tests: p2p_broken"),
    ({"snapshot": "0" * 64}, "is not in"),
    ({"snapshot": "../../etc"}, "is no name of a snapshot"),
    ({"time_limit_s": "4"}, "time_limit_s is"),
]


def test_references_are_checked(verifier: RepositoryVerifier, numerals: dict[str, Any]) -> None:
    found = verifier.check([numerals, *({**numerals, **other} for other, _ in BROKEN)])
    assert found[0] is None
    for problem, (other, expected) in zip(found[1:], BROKEN, strict=True):
        assert expected in (problem or ""), (other, problem)


def test_without_an_environment_nothing_is_judged(
    verifier: RepositoryVerifier, numerals: dict[str, Any]
) -> None:
    specs = [
        {**numerals, "snapshot": None, "image": "swebench/sweb.eval.x86_64.django"},
        {**numerals, "snapshot": "0" * 64},
        {**numerals, "requires": ["a-distribution-that-is-not-installed"]},
    ]
    verdicts = verifier.verify([(spec, repair(DIVIDES)) for spec in specs])
    assert [verdict.state for verdict in verdicts] == ["unverifiable"] * 3
    assert "no environment" in (verdicts[0].detail or "")
    assert verifier.check(specs[:1]) == [None]


@pytest.mark.parametrize("copying", [False, True])
def test_the_tree_of_an_attempt(
    verifier: RepositoryVerifier, cache: Path, tmp_path: Path, *, copying: bool
) -> None:
    """The attempt's files lie over the snapshot; what was compiled of the old ones is hidden."""
    tests = (
        "import os, glob, pkg\n"
        "def test_value(): assert pkg.VALUE == 2\n"
        "def test_new(): from pkg.sub import new; assert new.VALUE == 3\n"
        "def test_kept(): assert open('data.txt').read() == 'data'\n"
        "def test_hidden():\n"
        "    assert os.listdir('/box/tree') == os.listdir('/box/layer') == []\n"
        "    assert all(not os.path.getsize(f) for f in glob.glob('pkg/__pycache__/__init__*'))\n"
        "def test_read_only():\n"
        "    try: open('x', 'w')\n"
        "    except OSError: return\n"
        "    assert False\n"
    )
    for path, text in {
        "pkg/__init__.py": "VALUE = 1\n",
        "tests/test_tree.py": tests,
        "data.txt": "data",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    environments = Environments(1)
    boxes = environments.boxes(pack_folder(tmp_path), (), (".",))
    files = {"pkg/__init__.py": "VALUE = 2\n", "pkg/sub/new.py": "VALUE = 3\n"}
    try:
        trial = make_trial(files, limits(), ids=None, paths=["."], copying=copying)
        records = run_once(boxes, trial)
    finally:
        environments.close()
    assert records.how == ("copy" if copying else "overlay")
    assert set(records.outcomes.values()) == {"passed"}, records.details


def test_a_snapshot_does_not_depend_on_times_or_order(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / ".git").mkdir()
    first = pack_folder(tmp_path)
    (tmp_path / "a.py").touch()
    (tmp_path / "link.py").symlink_to("a.py")
    assert pack_folder(tmp_path) == first
    assert pack_folder(PROJECTS / "shelf") != first
