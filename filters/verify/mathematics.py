"""Mathematics: the exact fast path, then guards, then the symbolic path in killable workers."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from filters.verify import answer_forms, early_verdicts, exact, symbolic
from filters.verify.extract_answer import final_answer
from filters.verify.latex import normalise
from filters.verify.pool import Outcome, Pool
from filters.verify.verification import State, Verification

MAX_ANSWER = 2_000
"""Characters of the longest answer worth reading; an ordinary one is under 100."""

MEMORY = 200_000
"""Verdicts remembered; samples of one prompt give few different answers."""

_TEXT = re.compile(r"\\text ?\{([^{}]*)\}")
_AROUND = re.compile(r"\s*([(),;]|\s)\s*")

_PLACEHOLDERS = frozenset(("", "proof", "notfound", "not found", "n/a", "nan", "null"))
"""What sources write where they have no answer."""

_FINDINGS: dict[str, State] = {
    "equal": "correct",
    "different": "wrong",
    "unparseable": "unparseable",
    "bad_reference": "bad_reference",
}


class MathVerifier:
    """Verifier of `{"kind": "math", "answer": …}`.

    `deadline_s`: the seconds algebra may take on an answer, over its two tries.
    """

    VERSION = 1

    def __init__(self, workers: int | None = None, *, deadline_s: float = 2.0) -> None:
        self._pool = Pool(
            symbolic.TASK, workers=workers, attempts=(0.2 * deadline_s, 0.8 * deadline_s)
        )
        self._known: dict[tuple[str, str], Verification] = {}

    def verify(self, items: Sequence[tuple[Mapping[str, Any], str]]) -> list[Verification]:
        verdicts: list[Verification | None] = []
        hard: dict[tuple[str, str], list[int]] = {}
        written: list[str] = []
        for position, (spec, response) in enumerate(items):
            started = time.perf_counter()
            answer = final_answer(response)
            written.append(answer.text if answer else "")
            reference = reference_text(spec)
            if reference is None:
                verdict = _say(
                    "bad_reference", None, "fast", detail=f"answer is {spec.get('answer')!r:.80}"
                )
            elif answer is None:
                verdict = _say("no_answer", None, "extract")
            elif len(answer.text) > MAX_ANSWER:
                written[-1] = answer.text[:100] + "…"
                verdict = _say("unparseable", None, "screen", detail="too long")
            else:
                key = normalise(reference), normalise(answer.text)
                known = self._known.get(key) or _without_algebra(*key)
                if known is None:
                    hard.setdefault(key, []).append(position)
                    verdicts.append(None)
                    continue
                self._remember(key, known)
                verdict = known
            ms = (time.perf_counter() - started) * 1000
            verdicts.append(_of(verdict, written[-1] or None, ms))
        questions = [symbolic.Question(reference=r, answer=a) for r, a in hard]
        for (key, positions), outcome in zip(hard.items(), self._pool.run(questions), strict=True):
            verdict = _from(outcome)
            if not outcome.failure:
                self._remember(key, verdict)
            for position in positions:
                verdicts[position] = _of(verdict, written[position], outcome.ms)
        return [verdict for verdict in verdicts if verdict is not None]

    def check(self, specs: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """A reference is sound if one of the two paths can read it."""
        problems: list[str | None] = []
        hard: dict[int, str] = {}
        for position, spec in enumerate(specs):
            reference = reference_text(spec)
            text = normalise(reference) if reference is not None else ""
            problem = None
            if not text:
                problem = f"answer is {spec.get('answer')!r:.80}; it must be a number or LaTeX"
            elif answer_forms.parse(text) is None:
                problem = early_verdicts.bomb(text)
                if problem is None:
                    hard[position] = text
            problems.append(problem)
        questions = [symbolic.Question(reference=text, answer=None) for text in hard.values()]
        for position, outcome in zip(hard, self._pool.run(questions), strict=True):
            if outcome.value != "readable":
                problems[position] = outcome.detail or "neither a value nor an expression"
        return problems

    def by_algebra(self, reference: str, answer: str) -> Verification:
        """The symbolic path's verdict alone, of two normalised answers: a second opinion."""
        (outcome,) = self._pool.run([symbolic.Question(reference=reference, answer=answer)])
        return _from(outcome)

    def close(self) -> None:
        self._pool.close()

    def _remember(self, key: tuple[str, str], verdict: Verification) -> None:
        if len(self._known) >= MEMORY:
            self._known.pop(next(iter(self._known)))
        self._known[key] = verdict


def reference_text(spec: Mapping[str, Any]) -> str | None:
    """The reference as text; None where there is none worth the name."""
    answer = spec.get("answer")
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        return None
    text = str(answer).strip()
    return None if text.casefold() in _PLACEHOLDERS else text


def _without_algebra(reference: str, answer: str) -> Verification | None:
    """A verdict from notation, exact arithmetic or form; None where algebra must decide."""
    if not reference:
        return _say("bad_reference", None, "fast", detail="nothing is left of the reference")
    if not any(character.isalnum() for character in answer):
        return _say("unparseable", None, "fast", detail="it says nothing")
    if reference == answer or _words(reference) == _words(answer):
        return _say("correct", None, "fast")
    truth = exact.same(answer_forms.parse(reference), answer_forms.parse(answer))
    if truth is not None:
        return _say("correct" if truth else "wrong", None, "fast")
    why = early_verdicts.mismatch(reference, answer)
    if why is not None:
        return _say("wrong", None, "form", detail=why)
    why = early_verdicts.bomb(answer)
    if why is not None:
        return _say("unparseable", None, "screen", detail=why)
    why = early_verdicts.bomb(reference)
    if why is not None:
        return _say("bad_reference", None, "screen", detail=why)
    return None


def _words(text: str) -> str:
    """A text without its marks of text, for answers that mix words and formulas."""
    return _AROUND.sub(r"\1", _TEXT.sub(r" \1 ", text)).strip()


def _from(outcome: Outcome) -> Verification:
    if outcome.failure:
        return _say(outcome.failure, None, "symbolic", detail=outcome.detail)
    return _say(_FINDINGS[outcome.value], None, "symbolic")


def _say(
    state: State, extracted: str | None, method: str, *, detail: str | None = None
) -> Verification:
    return Verification(state, extracted, method, 0.0, detail)


def _of(verdict: Verification, extracted: str | None, ms: float) -> Verification:
    return Verification(verdict.state, extracted, verdict.method, round(ms, 3), verdict.detail)
