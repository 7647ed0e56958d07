"""Mathematics: forms compared by exact arithmetic here, and by numbers in killable workers."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from filters.verify import exact
from filters.verify.latex import normalise
from filters.verify.maths.chemistry import read_formula
from filters.verify.maths.decide import TASK, Question
from filters.verify.maths.forms import Form, Notation
from filters.verify.maths.parse import MAX_LENGTH, read
from filters.verify.maths.respell import NoSpelling, respell
from filters.verify.pool import Outcome, Pool
from filters.verify.prose.extract_answer import final_answer
from filters.verify.verification import State, Verification

MAX_ANSWER = MAX_LENGTH
"""Characters of the longest answer worth reading; an ordinary one is under 100."""

MEMORY = 200_000
"""Verdicts remembered; samples of one prompt give few different answers."""

_TEXT = re.compile(r"\\(?:text|mathrm) ?\{([^{}]*)\}")
_AROUND = re.compile(r"\s*([(),;]|[\s~])\s*")
_COMMA = re.compile(r"-?(?:\d+,\d{1,2}|0,\d{3,12}|\d+,\d{4,12}|\d{4,},\d+)")
_COMMA_WITH_UNIT = re.compile(r"-?\d+,\d{1,2}[^\d.,;]+")
_POINT_WITH_UNIT = re.compile(r"(-?\d+\.\d{1,2})(?!\d)[^\d.,;]*")
_LEADING_ZERO = re.compile(r"-?0,\d{3,12}")
_POINT = re.compile(r"-?\d+\.\d+")
_HASHES = "####"
_THEN_PERCENT = re.compile(r"\\boxed\{[^{}%]*\}\s*\$?\s*(?:\\?%|percent\b|per cent\b)")
"""A solution's box with the sign behind it: \\boxed{20}\\%."""


_PLACEHOLDERS = frozenset(
    (
        "",
        "proof",
        "see proof",
        "see solution",
        "see the solution",
        "see below",
        "omitted",
        "answers vary",
        "notfound",
        "not found",
        "n/a",
        "nan",
        "null",
    )
)
"""What sources write where they have no answer."""

_FINDINGS: dict[str, State] = {
    "equal": "correct",
    "different": "wrong",
    "undecided": "unparseable",
}


class MathVerifier:
    """Verifier of `{"kind": "math", "answer": …}`.

    `deadline_s`: the CPU seconds an answer may take in a worker, over its two tries.
    """

    VERSION = 9

    def __init__(self, workers: int | None = None, *, deadline_s: float = 2.0) -> None:
        self._pool = Pool(TASK, workers=workers, attempts=(0.2 * deadline_s, 0.8 * deadline_s))
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
            if reference is None or len(reference) > MAX_ANSWER:
                verdict = _say(
                    "bad_reference", "fast", detail=f"answer is {spec.get('answer')!r:.80}"
                )
            elif answer is None:
                verdict = _say("no_answer", "extract")
            elif len(answer.text) > MAX_ANSWER:
                written[-1] = answer.text[:100] + "…"
                verdict = _say("unparseable", "screen", detail="too long")
            else:
                key = normalise(reference), normalise(answer.text)
                known = self._known.get(key) or _without_numbers(*key)
                if known is None:
                    hard.setdefault(key, []).append(position)
                    verdicts.append(None)
                    continue
                self._remember(key, known)
                verdict = known
            ms = (time.perf_counter() - started) * 1000
            verdicts.append(_of(verdict, written[-1] or None, ms))
        questions = [Question(reference=r, answer=a) for r, a in hard]
        for (key, positions), outcome in zip(hard.items(), self._pool.run(questions), strict=True):
            verdict = _from(outcome)
            if not outcome.failure:
                self._remember(key, verdict)
            for position in positions:
                verdicts[position] = _of(verdict, written[position], outcome.ms)
        return [verdict for verdict in verdicts if verdict is not None]

    def check(self, specs: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """A reference is sound if it can be read, and is recognised in another spelling.

        What runs out of time here is not known to be bad.
        """
        problems: list[str | None] = []
        hard: dict[int, Question] = {}
        for position, spec in enumerate(specs):
            reference = reference_text(spec)
            readable = reference is not None and len(reference) <= MAX_ANSWER
            text = normalise(reference or "") if readable else ""
            if not text:
                problems.append(
                    f"answer is {spec.get('answer')!r:.80}; it must be a number or LaTeX, "
                    f"of {MAX_ANSWER:,} characters at most"
                )
                continue
            form = read(text)
            if isinstance(form, str):
                problems.append(form)
                continue
            other = _other_spelling(form)
            twin = read(other) if other is not None else form
            if isinstance(twin, str) or other is None:
                problems.append(None if other is None else f"not recognised as {other}: {twin}")
                continue
            truth = exact.same(form, twin)
            problems.append(None if truth is not False else f"not recognised as {other}")
            if truth is None:
                hard[position] = Question(reference=text, answer=other)
        for position, outcome in zip(hard, self._pool.run([*hard.values()]), strict=True):
            if outcome.failure is None and outcome.value != "equal":
                problems[position] = f"not recognised as {hard[position]['answer']}"
        return problems

    def close(self) -> None:
        self._pool.close()

    def _remember(self, key: tuple[str, str], verdict: Verification) -> None:
        if len(self._known) >= MEMORY:
            self._known.pop(next(iter(self._known)))
        self._known[key] = verdict


def reference_text(spec: Mapping[str, Any]) -> str | None:
    """The reference as text; None where there is none worth the name.

    A whole solution is read like a response: what follows its last ####, or its box.
    """
    answer = spec.get("answer")
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        return None
    text = str(answer).strip() if not isinstance(answer, float) else repr(answer)
    if isinstance(answer, str) and ("\\boxed" in text or "\\fbox" in text or _HASHES in text):
        found = final_answer(text, trusted=True)
        percent = found is not None and f"{{{found.text}}}" in text and _THEN_PERCENT.search(text)
        text = text if found is None else f"{found.text}\\%" if percent else found.text
    return None if text.casefold().strip(" .") in _PLACEHOLDERS else text


def _other_spelling(form: Form) -> str | None:
    try:
        return normalise(respell(form))
    except NoSpelling:
        return None


def _without_numbers(reference: str, answer: str) -> Verification | None:
    """A verdict from notation, form or exact arithmetic; None where numbers must decide."""
    if not reference:
        return _say("bad_reference", "fast", detail="nothing is left of the reference")
    if answer != r"\{\}" and not any(map(str.isalnum, answer)):
        return _say("unparseable", "fast", detail="it says nothing")
    if reference == answer or plain_text(reference) == plain_text(answer):
        return _say("correct", "fast")
    decimals = _COMMA.fullmatch(answer) is not None and _POINT.fullmatch(reference) is not None
    if decimals and answer.replace(",", ".") == reference:
        return _say("correct", "fast")  # the same digits, with a decimal comma
    decimals = _LEADING_ZERO.fullmatch(reference) is not None and "," not in answer
    if decimals and reference.replace(",", ".") == answer:
        return _say("correct", "fast")  # 0,111 is no thousand and hardly a list
    formula = read_formula(reference)
    if formula is not None and formula == read_formula(answer):
        return _say("correct", "form")
    wanted = read(reference)
    if isinstance(wanted, str):
        return _say("bad_reference", "form", detail=wanted)
    if _COMMA_WITH_UNIT.fullmatch(answer) and (point := _POINT_WITH_UNIT.fullmatch(reference)):
        comma = answer.startswith(point[1].replace(".", ","))
        answer = answer.replace(",", ".") if comma else answer  # 12,5 % for 12.5%
    given = read(answer)
    if isinstance(given, str):
        return _say("unparseable", "form", detail=given)
    truth = exact.same(wanted, given)
    if truth is None and (isinstance(wanted, Notation) or isinstance(given, Notation)):
        return _say("unparseable", "form", detail="notation that is compared as it is written")
    return None if truth is None else _say("correct" if truth else "wrong", "fast")


def plain_text(text: str) -> str:
    """A normalised answer without its marks of text: for what mixes words and formulas."""
    return _AROUND.sub(r"\1", _TEXT.sub(r" \1 ", text)).strip().replace("~", " ")


def _from(outcome: Outcome) -> Verification:
    if outcome.failure:
        return _say(outcome.failure, "numeric", detail=outcome.detail)
    detail = "undecided" if outcome.value == "undecided" else None
    return _say(_FINDINGS[outcome.value], "numeric", detail=detail)


def _say(state: State, method: str, *, detail: str | None = None) -> Verification:
    return Verification(state, None, method, 0.0, detail)


def _of(verdict: Verification, extracted: str | None, ms: float) -> Verification:
    return Verification(verdict.state, extracted, verdict.method, round(ms, 3), verdict.detail)
