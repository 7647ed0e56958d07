"""A repository prompt's verifier mapping, read strictly.

    {"kind": "repository",
     "snapshot": HASH,                      # files as they should be (`snapshots`)
     "changes": {"pkg/sums.py": "…"},       # the bug: whole texts of files, laid over the snapshot
     "packages": ["pkg"],                   # what a patch may change
     "fail_to_pass": ["tests/test_sums.py::test_add"], "pass_to_pass": […],
     "paths": ["."], "requires": ["attrs"], # to import from; installed distributions to import
     "time_limit_s", "memory_mb",
     "reaches": ["sys._getframe"]}          # audit events of the files as they should be

Without a snapshot (sets whose tests run in an image of their own) nothing here can judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from filters.verify.problem import ProblemError, read_number
from filters.verify.sandbox import Limits

_LONGEST_S, _LEAST_MB, _MOST_MB = 3600.0, 64, 1 << 16
_TIME_S, _MEMORY_MB = 30.0, 1024
_MOST_TESTS = 10_000


class NoEnvironment(ProblemError):
    """The mapping is sound, and its tests cannot be run here."""


@dataclass(frozen=True, slots=True)
class Problem:
    """How patches of one prompt are judged."""

    snapshot: str
    changes: Mapping[str, str]
    packages: tuple[str, ...]
    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...]
    paths: tuple[str, ...]
    requires: tuple[str, ...]
    reaches: frozenset[str]
    limits: Limits


def read_problem(spec: Mapping[str, Any]) -> Problem:
    """The problem that `spec` describes. Raises ProblemError."""
    if not spec.get("snapshot"):
        image = spec.get("image")
        needs = f"its tests run in the image {image}" if image else "it names no snapshot"
        raise NoEnvironment(f"no environment: {needs}, and only snapshots are run here")
    changes = spec.get("changes")
    if not isinstance(changes, Mapping) or not all(
        isinstance(path, str) and isinstance(text, str) for path, text in changes.items()
    ):
        raise ProblemError("changes must map paths to texts")
    outside = [path for path in changes if path.startswith("/") or ".." in path.split("/")]
    if outside:
        raise ProblemError(f"changes name a file outside of the repository: {outside[0][:80]!r}")
    failing, passing = _texts(spec, "fail_to_pass"), _texts(spec, "pass_to_pass")
    if not failing:
        raise ProblemError("fail_to_pass is empty: no test shows the bug")
    if set(failing) & set(passing) or len({*failing, *passing}) != len(failing) + len(passing):
        raise ProblemError("a test is named twice in fail_to_pass and pass_to_pass")
    if len(failing) + len(passing) > _MOST_TESTS:
        raise ProblemError(f"there are over {_MOST_TESTS:,} tests")
    return Problem(
        snapshot=str(spec["snapshot"]),
        changes=dict(changes),
        packages=_texts(spec, "packages"),
        fail_to_pass=failing,
        pass_to_pass=passing,
        paths=_texts(spec, "paths") or (".",),
        requires=_texts(spec, "requires"),
        reaches=frozenset(_texts(spec, "reaches")),
        limits=limits(
            read_number(spec, "time_limit_s", _TIME_S, 0.1, _LONGEST_S),
            int(read_number(spec, "memory_mb", _MEMORY_MB, _LEAST_MB, _MOST_MB)),
        ),
    )


def limits(time_s: float = _TIME_S, memory_mb: int = _MEMORY_MB) -> Limits:
    """Of one run of tests, in CPU seconds. The wall clock is for one that sleeps alone."""
    wait_s = 5 * time_s + 30
    return Limits(time_s=time_s, memory_mb=memory_mb, output_mb=16, files_mb=128, wait_s=wait_s)


def _texts(spec: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = spec.get(key)
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ProblemError(f"{key} is not a list of texts")
    return tuple(value)
