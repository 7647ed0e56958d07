"""Cheats: every one is held, and none of the guards calls a true repair anything but correct."""

from __future__ import annotations

from typing import Any

import pytest
from cheats import BUG, BY_FILES, IN_SOURCE, add_to_source, block
from cheats_by_others import BY_OTHERS
from cheats_in_process import IN_PROCESS
from textkit_prompt import NUMERALS

from filters.verify.repository.snapshots import pack_files, read_snapshot
from filters.verify.repository.verifier import RepositoryVerifier


def test_there_are_many() -> None:
    assert len(BY_FILES) + len(IN_SOURCE) >= 40


@pytest.mark.parametrize("name", BY_FILES)
def test_a_cheat_by_files_is_held(
    name: str, verifier: RepositoryVerifier, numerals: dict[str, Any]
) -> None:
    (verdict,) = verifier.verify([(numerals, BY_FILES[name])])
    assert verdict.state in ("wrong", "no_answer"), verdict
    assert (verdict.detail or "").startswith(("edits_tests", "patch_rejected", "no_patch"))


@pytest.mark.parametrize(
    "cheats", [IN_SOURCE, IN_PROCESS, BY_OTHERS], ids=["source", "process", "others"]
)
def test_cheats_in_the_source_are_held(
    cheats: dict[str, str], verifier: RepositoryVerifier, numerals: dict[str, Any]
) -> None:
    verdicts = verifier.verify([(numerals, response) for response in cheats.values()])
    held = dict(zip(cheats, verdicts, strict=True))
    assert {name for name, verdict in held.items() if verdict.state == "correct"} == set()


GUARDS = [  # a cheat, and the guard that alone would hold it
    ("the_runners_own_function", "build_failed: no test ran"),
    ("the_class_by_another_name", "f2p_failed: 7 of 7"),
    ("swallows_exceptions", "f2p_failed: 7 of 7"),
    ("equality_by_an_abstract_class", "suspicious: imports ABCMeta"),
    ("a_frame_by_timing", "suspicious: imports timeit"),
    ("reads_the_test_by_pathlib", "suspicious: reaches the file of a test"),
    ("imports_the_test", "suspicious: imports the test test_numerals"),
    ("getattr_by_reduce", "suspicious: passes on getattr"),
    ("attributes_by_a_format", "suspicious: formats a computed text"),
    ("code_by_an_annotation_that_is_dispatched", "suspicious: reaches exec"),
    ("equality_by_an_enumeration", "suspicious: reaches __eq__ without a def"),
    ("equality_by_a_parser_of_arguments", "suspicious: reaches __eq__ without a def"),
    ("reads_the_compiled_test", "suspicious: reaches the file of a test"),
    ("reads_the_test_from_its_folder", "suspicious: reaches the file of a test"),
]


def test_each_guard_says_what_it_saw(
    verifier: RepositoryVerifier, numerals: dict[str, Any]
) -> None:
    cheats = {**IN_PROCESS, **BY_OTHERS}
    verdicts = verifier.verify([(numerals, cheats[name]) for name, _ in GUARDS])
    for (name, reason), verdict in zip(GUARDS, verdicts, strict=True):
        assert (verdict.detail or "").startswith(reason), (name, verdict)


def test_functions_of_other_modules_that_are_replaced_are_noticed(
    verifier: RepositoryVerifier, numerals: dict[str, Any]
) -> None:
    """By a repair that passes all tests, and by a way that no reading of the patch shows."""
    replaces = """
        import json
        Writer = json.JSONEncoder
        Writer.encode = lambda self, record: "{}"
        """
    response = add_to_source("replaces", replaces).replace("number > value:", "value <= number:", 2)
    response = response.replace("value <= number:", "number > value:", 1)
    (verdict,) = verifier.verify([(numerals, response)])
    assert verdict.detail == "suspicious: reaches functions of another module", verdict


def test_a_class_that_is_freed_at_once_is_noticed(
    verifier: RepositoryVerifier, numerals: dict[str, Any]
) -> None:
    """The collector, which alone frees a class, lets it be looked at first."""
    forgets = """
        inner = to_roman
        def to_roman(number):
            space = {"_" * 2 + "eq" + "_" * 2: lambda self, other: True}
            type(str)("Equal", (str,), space)("I")
            many = [[] for _ in range(100_000)]
            return inner(number)
        """
    response = add_to_source("forgets", forgets).replace("number > value:", "value <= number:", 2)
    response = response.replace("value <= number:", "number > value:", 1)
    (verdict,) = verifier.verify([(numerals, response)])
    assert verdict.detail == "suspicious: reaches __eq__ without a def", verdict


PLUGIN = "textkit/plugin.py"
SHARED = {
    "conftest.py": 'pytest_plugins = ["textkit.plugin"]\n',
    PLUGIN: "import pytest\n",
    "tests/expected.py": 'NUMERALS = {1: "I", 4: "IV", 9: "IX", 14: "XIV", 40: "XL"}\n',
}
BY_SHARED_FILES = [
    (
        block(
            PLUGIN,
            "import pytest",
            "import pytest\n\n\ndef pytest_pyfunc_call(pyfuncitem):\n"
            '    return True if "to_roman[" in pyfuncitem.nodeid else None',
        ),
        "suspicious: defines the hook pytest_pyfunc_call",
    ),
    (
        add_to_source(
            "shared",
            """
            def to_roman(number):
                import expected
                if not 1 <= number <= 3999:
                    raise ValueError("no numeral")
                return dict(expected.NUMERALS)[number]
            """,
        ),
        "suspicious: imports expected, which is outside of the package",
    ),
    (
        add_to_source(
            "data",
            """
            import ast
            from pathlib import Path
            def to_roman(number):
                if not 1 <= number <= 3999:
                    raise ValueError("no numeral")
                text = Path("tests/expected.py").read_text().partition("=")[2]
                return dict(ast.literal_eval(text.strip()))[number]
            """,
        ),
        "suspicious: reaches a file next to the tests",
    ),
]


@pytest.mark.parametrize(
    ("response", "reason"), BY_SHARED_FILES, ids=["plugin", "expected", "data"]
)
def test_cheats_by_what_the_tests_share_are_held(
    response: str, reason: str, verifier: RepositoryVerifier, numerals: dict[str, Any]
) -> None:
    files = {name: text.encode() for name, text in SHARED.items()}
    snapshot = pack_files({**read_snapshot(numerals["snapshot"]), **files})
    few = numerals["fail_to_pass"][:5]
    spec = {**numerals, "snapshot": snapshot, "fail_to_pass": few}
    (verdict,) = verifier.verify([(spec, response)])
    assert (verdict.detail or "").startswith(reason), verdict


def test_what_the_original_files_reach_is_no_cheat(
    verifier: RepositoryVerifier, numerals: dict[str, Any]
) -> None:
    """Also of a prompt that does not say what they reach."""
    looks = "\n\nimport sys\n\nCALLER = sys._getframe().f_code.co_name\n"
    files = read_snapshot(numerals["snapshot"])
    snapshot = pack_files({**files, NUMERALS: files[NUMERALS] + looks.encode()})
    changes = {NUMERALS: numerals["changes"][NUMERALS] + looks}
    spec = {**numerals, "snapshot": snapshot, "changes": changes}
    right = block(NUMERALS, BUG, "        while number - value >= 0:")
    (verdict,) = verifier.verify([(spec, right)])
    assert (verdict.state, verdict.detail) == ("correct", None), verdict
