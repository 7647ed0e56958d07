"""A prompt of the project textkit, as its verifier mapping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from filters.verify.repository.snapshots import pack_folder

PROJECTS = Path(__file__).parents[2] / "data" / "projects"
NUMERALS = "textkit/numerals.py"
ORIGINAL = (PROJECTS / "textkit" / NUMERALS).read_text(encoding="utf-8")
BUGGY = ORIGINAL.replace("while number >= value", "while number > value")


def make_spec() -> dict[str, Any]:
    """The bug: `to_roman` compares by > where >= is right."""
    pairs = [(1, "I"), (4, "IV"), (9, "IX"), (14, "XIV"), (40, "XL"), (1994, "MCMXCIV")]
    pairs.append((3999, "MMMCMXCIX"))
    name = "tests/test_numerals.py"
    return {
        "kind": "repository",
        "snapshot": pack_folder(PROJECTS / "textkit"),
        "changes": {NUMERALS: BUGGY},
        "packages": ["textkit"],
        "fail_to_pass": [f"{name}::test_to_roman[{number}-{text}]" for number, text in pairs],
        "pass_to_pass": [
            *(f"{name}::test_from_roman[{number}-{text}]" for number, text in pairs),
            f"{name}::test_lower_case",
            f"{name}::test_out_of_range[0]",
            "tests/test_words.py::CountWords::test_case_counts",
            "tests/test_words.py::test_wrap",
        ],
        "time_limit_s": 2,
    }
