"""reasoning-gym puzzles, scored by the package's own scorers in killable workers.

A scorer's partial credit is not correctness: only 1.0 counts. Some scorers evaluate the model's
text; those answers are compared here or screened first (see `EVALUATING`).
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from filters.verify.arithmetic import solve
from filters.verify.extract_answer import final_answer
from filters.verify.pool import Outcome, Pool
from filters.verify.verification import State, Verification

TASK = "filters.verify.gym:score"

EVALUATING = {
    # These evaluate an answer that is not the right string, and give it at most half a point.
    "string_insertion": "exact",
    "spiral_matrix": "exact",
    "binary_matrix": "exact",
    "n_queens": "exact",
    # These evaluate arithmetic; the second never looks which numbers were given.
    "countdown": "arithmetic",
    "puzzle24": "arithmetic",
    # These hand the answer to sympy's parser, which evaluates it.
    "simple_integration": "algebra",
    "intermediate_integration": "algebra",
    "polynomial_multiplication": "algebra",
}
"""The tasks whose scorers evaluate model text, and how such an answer is made safe."""

# Their metadata holds grids as tuples, which JSON has not.
_GRIDS = {"arc_agi": ("input", "output"), "rearc": ("input", "output")}

_FUNCTIONS = (
    "sin cos tan sec csc cot asin acos atan sinh cosh tanh asinh acosh atanh arcsin arccos arctan "
    "exp log ln sqrt Abs pi"
)
_NAMES = frozenset(_FUNCTIONS.split())
_ALGEBRA = re.compile(r"[0-9A-Za-z+\-*/^(). ]{1,400}")
_WORD = re.compile(r"[A-Za-z]+")
_MARKUP = re.compile(r"\\(?:text|mathrm|texttt)\s*\{([^{}]*)\}")


class GymVerifier:
    """Verifier of `{"kind": "gym", "task": name, "entry": {"question", "answer", "metadata"}}`."""

    VERSION = 1

    def __init__(self, workers: int | None = None, *, deadline_s: float = 2.0) -> None:
        self._pool = Pool(TASK, workers=workers, attempts=(0.5 * deadline_s, 0.5 * deadline_s))

    def verify(self, items: Sequence[tuple[Mapping[str, Any], str]]) -> list[Verification]:
        verdicts: list[Verification | None] = []
        hard: list[tuple[int, str]] = []
        for position, (spec, response) in enumerate(items):
            started = time.perf_counter()
            answer = final_answer(response, prefer=("tag", "box"))
            text = None if answer is None else _MARKUP.sub(r"\1", answer.text).strip("$ \n")
            state, detail = _at_once(spec, text)
            if state is None:
                assert text is not None
                hard.append((position, text))
                verdicts.append(None)
                continue
            ms = round((time.perf_counter() - started) * 1000, 3)
            verdicts.append(Verification(state, text, "gym", ms, detail))
        payloads = [_payload(items[position][0], text) for position, text in hard]
        for (position, text), outcome in zip(hard, self._pool.run(payloads), strict=True):
            verdicts[position] = _from(outcome, text)
        return [verdict for verdict in verdicts if verdict is not None]

    def check(self, specs: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """A reference is sound if the task's scorer gives it a full point, where there is one."""
        problems = [_problem(spec) for spec in specs]
        hard = [position for position, problem in enumerate(problems) if problem is None]
        payloads = [_payload(specs[at], specs[at]["entry"].get("answer")) for at in hard]
        for position, outcome in zip(hard, self._pool.run(payloads), strict=True):
            oracle = specs[position]["entry"].get("answer")
            if outcome.failure or outcome.value is None:
                problems[position] = outcome.detail or f"no task {specs[position]['task']!r}"
            elif oracle is not None and outcome.value != 1.0:
                problems[position] = f"its own answer scores {outcome.value}"
        return problems

    def close(self) -> None:
        self._pool.close()


def score(payload: Mapping[str, Any]) -> float | None:
    """A scorer's points for an answer, or None if there is no such task. Runs in a worker."""
    scorer = _scorer(payload["task"])
    if scorer is None:
        return None
    entry = dict(payload["entry"])
    for grid in _GRIDS.get(payload["task"], ()):
        entry["metadata"][grid] = tuple(map(tuple, entry["metadata"][grid]))
    return float(scorer(payload["answer"], entry))


def warm_up() -> None:
    """Imports the package once, before workers are forked."""
    _scorer("basic_arithmetic")


@lru_cache(maxsize=256)
def _scorer(task: str) -> Callable[[str | None, Mapping[str, Any]], float] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # cellpylib, on import
        from reasoning_gym.factory import DATASETS, get_score_answer_fn
    if task not in DATASETS:
        return None
    found: Callable[[str | None, Mapping[str, Any]], float] = get_score_answer_fn(task)
    return found


def _problem(spec: Mapping[str, Any]) -> str | None:
    entry = spec.get("entry")
    if not isinstance(spec.get("task"), str):
        return "there is no task"
    if not isinstance(entry, Mapping) or not isinstance(entry.get("metadata"), Mapping):
        return "entry must hold question, answer and metadata"
    return None


def _at_once(spec: Mapping[str, Any], text: str | None) -> tuple[State | None, str | None]:
    """What needs no scorer: no answer, the oracle's own, or a task whose scorer evaluates text."""
    problem = _problem(spec)
    if problem is not None:
        return "bad_reference", problem
    if text is None:
        return "no_answer", None
    entry = spec["entry"]
    oracle = entry.get("answer")
    how = EVALUATING.get(spec["task"])
    if isinstance(oracle, str) and text.strip() == oracle.strip() and how != "arithmetic":
        return "correct", None
    if how == "exact":
        accepted = entry["metadata"].get("valid_answers", [])
        return ("correct" if text in accepted else "wrong"), None
    if how == "arithmetic":
        numbers = entry["metadata"].get("numbers", [])
        reached = solve(text, numbers, exactly=True)
        if isinstance(reached, str):
            return ("unparseable" if reached.startswith("unreadable") else "wrong"), reached
        return ("correct" if reached == entry["metadata"].get("target", 24) else "wrong"), None
    if how == "algebra" and not _is_algebra(text):
        return "unparseable", "not an algebraic expression"
    return None, None


def _is_algebra(text: str) -> bool:
    """Whether sympy's parser may see it: numbers, single variables and known functions alone."""
    if not _ALGEBRA.fullmatch(text) or re.search(r"\.\s*[A-Za-z]|[A-Za-z]\s*\.", text):
        return False
    return all(len(word) == 1 or word in _NAMES for word in _WORD.findall(text))


def _payload(spec: Mapping[str, Any], answer: str | None) -> dict[str, Any]:
    return {"task": spec["task"], "entry": spec["entry"], "answer": answer}


def _from(outcome: Outcome, text: str) -> Verification:
    ms = round(outcome.ms, 3)
    if outcome.failure:
        return Verification(outcome.failure, text, "gym", ms, outcome.detail)
    if outcome.value is None:
        return Verification("bad_reference", text, "gym", ms, "no such reasoning-gym task")
    state: State = "correct" if outcome.value == 1.0 else "wrong"
    return Verification(
        state, text, "gym", ms, None if outcome.value == 1.0 else f"scores {outcome.value:g}"
    )
