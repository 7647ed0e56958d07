"""Responses made of a reference: other spellings of it, and near misses.

Labelled by construction: a spelling changes what surrounds or typesets an answer, a near miss one
digit, sign, letter or word of it. What cannot be said safely of a reference is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

_DIGIT = re.compile(r"\d")
_INTEGER = re.compile(r"[-+]?\d+")
_FRACTION = re.compile(r"(?P<sign>-?)(?P<top>\d+)/(?P<bottom>\d+)")
_FRAC = re.compile(r"(?P<sign>-?)\\d?frac\{(?P<top>\d+)\}\{(?P<bottom>\d+)\}")
_FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")
_UNIT_POWER = re.compile(r"\d\s*(?:\^\s*\{?\s*\\circ|°)")


class Variant(NamedTuple):
    """A response and what a verifier must say of it: whether it is right."""

    text: str
    right: bool


def variants(spec: Mapping[str, Any]) -> Iterator[Variant]:
    """Spellings and near misses of a prompt's own reference; none for kinds without one."""
    make = _KINDS.get(str(spec.get("kind")))
    if make is not None:
        seen = set()
        for variant in make(spec):
            if variant.text not in seen:
                seen.add(variant.text)
                yield variant


def _math(spec: Mapping[str, Any]) -> Iterator[Variant]:
    answer = spec.get("answer")
    if not isinstance(answer, str) or not answer.strip():
        return
    answer = answer.strip()
    bare = answer[1:-1].strip() if re.fullmatch(r"\$[^$]+\$", answer) else answer
    if "$" in bare or "\\boxed" in bare:
        return
    for spelling in dict.fromkeys((bare, *_math_spellings(bare))):
        yield Variant(f"So the answer is $\\boxed{{{spelling}}}$.", True)
    yield Variant(f"**Answer:** ${bare}$", True)
    yield Variant(f"<answer>{bare}</answer>", True)
    for miss in _math_misses(bare):
        yield Variant(f"So the answer is $\\boxed{{{miss}}}$.", False)


def _math_spellings(bare: str) -> Iterator[str]:
    """The same mathematics, typeset otherwise."""
    yield bare.replace("\\frac", "\\dfrac")
    yield bare.replace("\\dfrac", "\\frac")
    yield re.sub(r"(?<!\\left)\(", r"\\left(", re.sub(r"(?<!\\right)\)", r"\\right)", bare))
    yield bare.replace("\\left", "").replace("\\right", "") if "\\right" in bare else bare
    yield bare.replace(" ", "\\ ") if re.fullmatch(r"[\d\s+\-*/^(){}=,.xyn]*", bare) else bare
    if _INTEGER.fullmatch(bare):
        if len(bare.lstrip("+-")) > 3 and not bare.lstrip("+-").startswith("0"):
            yield f"{int(bare):,}"
        yield bare.translate(_FULL_WIDTH)
    if found := _FRACTION.fullmatch(bare):
        yield "{sign}\\frac{{{top}}}{{{bottom}}}".format(**found.groupdict())
    if found := _FRAC.fullmatch(bare):
        yield "{sign}{top}/{bottom}".format(**found.groupdict())


def _math_misses(bare: str) -> Iterator[str]:
    """One digit, the sign or the letter of an unknown is another."""
    digits = list(_DIGIT.finditer(bare))
    for found in {digits[0], digits[-1]} if digits else ():
        other = str((int(found[0]) + 1) % 10)
        changed = bare[: found.start()] + other + bare[found.end() :]
        if not _UNIT_POWER.search(bare) and "0" not in (found[0], other):
            yield changed
    if re.fullmatch(r"\d+(?:\.\d+)?|\d+/\d+", bare) and bare.strip("0./"):
        yield f"-{bare}"
        yield f"{bare}1" if "." not in bare else f"1{bare}"
    if re.fullmatch(r"-\d+(?:\.\d+)?|-\d+/\d+", bare):
        yield bare[1:]


_CHOICE_FORMS = (
    "\\boxed{{{0}}}",
    "The answer is **({0})**.",
    "<answer>{0}. {1}</answer>",
    "答案：{0}",
)


def _choice(spec: Mapping[str, Any]) -> Iterator[Variant]:
    choices = spec.get("choices") or {}
    letter = spec.get("answer")
    if not isinstance(letter, str) or letter not in choices:
        return
    for form in _CHOICE_FORMS:
        for option, text in choices.items():
            yield Variant(form.format(option, text), option == letter)
    others = [other for other in choices if other != letter]
    yield Variant(f"\\boxed{{{letter} or {others[0]}}}", False)


def _text(spec: Mapping[str, Any]) -> Iterator[Variant]:
    given = spec.get("answer")
    answers = given if isinstance(given, list) else [given]
    answer = answers[0] if answers else None
    if not isinstance(answer, str) or not answer.strip():
        return
    known = {str(text).casefold().strip() for text in answers}
    for form in ("<answer>{}</answer>", "The answer is **{}**.", "\\boxed{{\\text{{{}}}}}"):
        yield Variant(form.format(answer), True)
    words = answer.split()
    shorter = (" ".join(words[:-1]), " ".join(words[1:]))
    for miss in (f"not {answer}", f"{answer} or something else", *shorter):
        if miss and miss.casefold() not in known and _says_more(miss, answer):
            yield Variant(f"<answer>{miss}</answer>", False)


def _says_more(miss: str, answer: str) -> bool:
    """Whether the two differ by more than an article."""
    articles = {"the", "a", "an"}
    left = [word for word in miss.casefold().split() if word not in articles]
    right = [word for word in answer.casefold().split() if word not in articles]
    return left != right


def _json(spec: Mapping[str, Any]) -> Iterator[Variant]:
    answer = spec.get("answer")
    try:
        texts = [json.dumps(answer), json.dumps(answer, indent=2)]
    except (TypeError, ValueError, RecursionError):
        return
    for text in texts:
        yield Variant(f"```json\n{text}\n```", True)
        yield Variant(f"<answer>{text}</answer>", True)
    yield Variant(f"```json\n{json.dumps([answer])}\n```", False)
    yield Variant(f"```json\n{json.dumps(str(answer) + '?')}\n```", False)
    if isinstance(answer, dict) and answer:
        key = next(iter(answer))
        yield Variant(f"```json\n{json.dumps({**answer, key: [answer[key]]})}\n```", False)


_KINDS: dict[str, Callable[[Mapping[str, Any]], Iterator[Variant]]] = {
    "math": _math,
    "choice": _choice,
    "text": _text,
    "json": _json,
}
