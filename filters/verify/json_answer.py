"""JSON answers: the same value, type-strict. true is not 1, "1" is not 1, and a key given twice is
no value at all.

A response gives its JSON in the last fenced block, in the last `<answer>` section, as a mark, or as
the only object or list in its prose. Two different values for one answer are none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from filters.verify.base import Immediate
from filters.verify.prose.afterthoughts import is_kept
from filters.verify.prose.claims import is_claimed
from filters.verify.prose.fences import blocks
from filters.verify.prose.marks import find_answer, find_marks
from filters.verify.prose.phrases import drop_closing, last_announcement
from filters.verify.verification import Verification

MAX_CHARACTERS = 200_000
MAX_DEPTH = 100
MAX_EXPONENT_DIGITS = 4

_TAGS = ("json", "jsonc", "json5")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*(?:"|$)', re.DOTALL)
_DIGITS = re.compile(r"\d{1000}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_TOKEN = re.compile(r'["{}\[\]]')
_CLOSES = {"{": "}", "[": "]"}
_LOOKS_LIKE_JSON = re.compile(r'\{\s*(?:"|\})|\[\s*[{"\[]')
_SCALAR = re.compile(r'true|false|null|-?\d[\d.eE+-]*|".*"', re.DOTALL)


class Unreadable(ValueError):
    """What a response gives as JSON is none that can be compared; says why."""


class Ambiguous(Exception):
    """A response gives one value as its answer and another after it."""


class JsonVerifier(Immediate):
    """Verifier of `{"kind": "json", "answer": <any JSON value>}`."""

    VERSION = 6
    METHOD = "json"

    def problem(self, spec: Mapping[str, Any]) -> str | None:
        if "answer" not in spec:
            return "there is no answer"
        try:
            _wanted(spec)
        except (TypeError, ValueError, RecursionError) as error:
            return f"the answer cannot be compared: {error!s:.120}"
        return None

    def judge(self, spec: Mapping[str, Any], response: str) -> Verification:
        try:
            found = find_value(response)
        except ValueError as error:
            return self.say("unparseable", None, str(error)[:120])
        except Ambiguous as error:
            return self.say("wrong", None, str(error))
        if found is None:
            return self.say("no_answer", None)
        text, value = found
        return self.say("correct" if same(_wanted(spec), value) else "wrong", text[:200])


def read(text: str) -> Any:
    """JSON with exact numbers. Raises ValueError for duplicate keys, NaN, or excess."""
    if len(text) > MAX_CHARACTERS:
        raise Unreadable("too long")
    bare = _STRING.sub('""', text)
    depth = deepest = 0
    for bracket in re.findall(r"[\[{\]}]", bare):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise Unreadable("nested too deeply")
    if _DIGITS.search(bare):
        raise Unreadable("too many digits")
    value = json.loads(
        text, parse_float=_number, parse_constant=_no_constant, object_pairs_hook=_unique
    )
    if _SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False, default=str).encode()  # raises for a lone one
    return value


def same(wanted: Any, given: Any) -> bool:
    """Equal as JSON values: 1.0 is 1, true is not."""
    if isinstance(wanted, bool) or isinstance(given, bool):
        return wanted is given
    if isinstance(wanted, dict) and isinstance(given, dict):
        return wanted.keys() == given.keys() and all(
            same(wanted[key], given[key]) for key in wanted
        )
    if isinstance(wanted, list) and isinstance(given, list):
        return len(wanted) == len(given) and all(map(same, wanted, given))
    numbers = isinstance(wanted, int | Decimal) and isinstance(given, int | Decimal)
    return (numbers or type(wanted) is type(given)) and bool(wanted == given)


def _wanted(spec: Mapping[str, Any]) -> Any:
    return read(json.dumps(spec["answer"]))


def find_value(response: str) -> tuple[str, Any] | None:
    """The text and the value of a response's JSON. None where it gives none; ValueError where what
    it gives cannot be read or is more than one value."""
    inside = response
    within = [(block.start, block.end) for block in blocks(response)]
    sections = [
        mark
        for mark in find_marks(response)
        if mark.how == "tag" and not any(start <= mark.start < end for start, end in within)
    ]
    if sections:
        if sections[-1].text is None:
            return None
        inside = sections[-1].text
    fenced = list(blocks(inside))
    chosen = [block for block in fenced if block.tag in _TAGS] or [
        block for block in fenced if not block.tag
    ]
    if chosen:
        text = chosen[-1].text.strip()
        if not text:
            return None
        before, after = inside[: chosen[-1].start], inside[chosen[-1].end :]
        if not is_claimed(before, "", "") or not is_kept(after, "", explained=True):
            raise Ambiguous("taken back by what stands around it")
        value = read(text)
        if any(
            not same(value, other)
            for _, other in _values(inside[chosen[-1].end :][-MAX_CHARACTERS:])
        ):
            raise Ambiguous("another value follows the fenced one")
        return text, value
    if fenced or "```" in inside or "~~~" in inside:
        return None  # code of another language, or a block that is cut off
    return _bare(inside.strip().removeprefix("\ufeff"), marked=bool(sections))


def _bare(text: str, *, marked: bool) -> tuple[str, Any] | None:
    """The value of a response without fences: all of it, the only one in it, or a marked one."""
    if marked or text.startswith(("{", "[")) or _SCALAR.fullmatch(text):
        try:
            return (text, read(text)) if text else None
        except ValueError as error:
            failure = error
    else:
        failure = None
    announced = last_announcement(text)
    for part in (text[announced.end :] if announced else "", text):
        different: list[tuple[str, Any]] = []
        for found in _values(part[-MAX_CHARACTERS:]):
            if not any(same(found[1], other) for _, other in different):
                different.append(found)
        if len(different) > 1:
            raise Unreadable("several JSON values")
        if different:
            return different[0]
    if failure is not None:
        raise failure
    answer = find_answer(text, "box")
    if answer is None or not answer.text:
        return None
    scalar = answer.text if answer.how == "box" else drop_closing(answer.text)
    return scalar, read(scalar)


def _values(text: str) -> Iterator[tuple[str, Any]]:
    """The objects and lists in prose that are JSON, outermost ones. Raises Unreadable where one is
    cut off or no JSON: what is inside it is no answer."""
    end = 0
    for start, closed in _spans(text):
        if start < end:
            continue
        looks_like_json = _LOOKS_LIKE_JSON.match(text, start)
        if closed is None:
            if looks_like_json:
                raise Unreadable("the JSON is cut off")
            continue
        end = closed
        try:
            yield text[start:closed], read(text[start:closed])
        except ValueError as error:
            if looks_like_json:
                raise Unreadable(str(error)) from None


def _spans(text: str) -> list[tuple[int, int | None]]:
    """Where each bracket opens, in order, and where it is closed, if it is."""
    spans: dict[int, int | None] = {}
    opened: list[int] = []
    at = 0
    while token := _TOKEN.search(text, at):
        at = token.end()
        mark = token[0]
        if mark in _CLOSES:
            spans[token.start()] = None
            opened.append(token.start())
        elif mark == '"' and opened:  # in prose a quotation mark opens no string
            string = _STRING.match(text, token.start())
            at = string.end() if string else at
        elif opened and mark == _CLOSES[text[opened[-1]]]:
            spans[opened.pop()] = at
    return list(spans.items())


def _number(text: str) -> Decimal:
    _, _, exponent = text.lower().partition("e")
    if len(exponent.lstrip("+-0")) > MAX_EXPONENT_DIGITS:
        raise Unreadable(f"the exponent of {text[:40]} is out of range")
    return Decimal(text)


def _no_constant(name: str) -> Any:
    raise Unreadable(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Unreadable("a key is given twice")
    return made
