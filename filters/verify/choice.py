"""Multiple choice: exactly one letter at the last mark, or the set of them, or an option's text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from filters.verify import exact
from filters.verify.base import Immediate
from filters.verify.extract_answer import last_mark
from filters.verify.latex import normalise
from filters.verify.verification import Verification

MAX_ANSWER = 1_000

_WRAPPED = re.compile(r"\\(?:text|mathrm|mathbf|textbf|boxed)\s*\{([^{}]*)\}")
_LETTER = r"\(?\s*([A-Z])\s*\)?"
_LEADING = re.compile(
    rf"(?:(?:option|choice|answer)\s*)?{_LETTER}(?:\s*[.):,;\-–—]+\s*(.*)|\s*)", re.I | re.S
)
_LETTERS = re.compile(r"(?:\(?[A-Z]\)?)(?:(?:\s*[,;/&+]\s*|\s*\b(?:and|or)\b\s*|\s*)\(?[A-Z]\)?)*")
_ONE = re.compile(r"[A-Z]")


class ChoiceVerifier(Immediate):
    """Verifier of `{"kind": "choice", "answer": "B" or ["A", "C"], "choices": {"A": …, …}}`."""

    METHOD = "choice"

    def problem(self, spec: Mapping[str, Any]) -> str | None:
        wanted = _wanted(spec)
        if not wanted or not all(
            len(letter) == 1 and letter.isascii() and letter.isupper() for letter in wanted
        ):
            return f"answer is {spec.get('answer')!r:.80}; it must be a letter or a list of letters"
        choices = spec.get("choices")
        if choices is not None and not isinstance(choices, Mapping):
            return "choices must map letters to texts"
        if choices and not wanted <= choices.keys():
            return f"answer {sorted(wanted)} is not among the choices {sorted(choices)}"
        return None

    def judge(self, spec: Mapping[str, Any], response: str) -> Verification:
        answer = last_mark(response)
        if answer is None:
            return self.say("no_answer", None)
        if len(answer.text) > MAX_ANSWER:
            return self.say("unparseable", answer.text[:100] + "…", "too long")
        wanted = _wanted(spec)
        choices = {letter: str(text) for letter, text in (spec.get("choices") or {}).items()}
        several = isinstance(spec["answer"], list)
        given, why = _given(answer.text, choices, several)
        if given is None:
            return self.say("unparseable", answer.text, why)
        if not several and len(given) > 1:
            return self.say("wrong", answer.text, f"{len(given)} letters for one")
        return self.say("correct" if given == wanted else "wrong", "".join(sorted(given)), why)


def _wanted(spec: Mapping[str, Any]) -> frozenset[str]:
    answer = spec.get("answer")
    letters = answer if isinstance(answer, list) else [answer]
    return frozenset(letter.strip(" ().").upper() for letter in letters if isinstance(letter, str))


def _given(
    text: str, choices: Mapping[str, str], several: bool
) -> tuple[frozenset[str] | None, str | None]:
    """The letters an answer names; None and the reason where it names none."""
    plain = text
    for _ in range(3):
        plain = _WRAPPED.sub(r"\1", plain)
    plain = plain.strip(" $*.`\n")
    allowed = frozenset(choices) or frozenset("ABCDEFGHIJ")
    by_text = frozenset(letter for letter, option in choices.items() if _same_text(option, text))
    if len(by_text) == 1 and plain.upper() not in allowed:
        return by_text, "by the option's text"
    if _LETTERS.fullmatch(plain):
        letters = frozenset(_ONE.findall(plain))
        # "ACE" is three letters only where several are asked for.
        joined = len(letters) > 1 and plain.isalpha() and not several
        if letters <= allowed and not joined:
            return letters, None
    leading = _LEADING.fullmatch(plain)
    if leading and leading[1].upper() in allowed:
        letter, rest = leading[1].upper(), (leading[2] or "").strip()
        if not rest or letter not in choices or _same_text(choices[letter], rest):
            return frozenset((letter,)), None
        if by_rest := frozenset(
            other for other, option in choices.items() if _same_text(option, rest)
        ):
            return by_rest | {letter}, "the letter of one option, the text of another"
        return frozenset((letter,)), None
    return None, "no letter and no option's text"


def _same_text(option: str, text: str) -> bool:
    left, right = normalise(option), normalise(text)
    return left.casefold() == right.casefold() or exact.compare(option, text) is True
