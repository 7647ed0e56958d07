"""Reading an answer's form: a quantity, words, a tuple, set or interval, a union, an equation.

What is not one of the ordinary forms is None, and left to the symbolic path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from filters.verify import algebra
from filters.verify.algebra import Expression, Undecided
from filters.verify.scalar import parse_scalar
from filters.verify.units import Unit, split_unit

MAX_LENGTH = 400
MAX_ITEMS = 32
MAX_WORDS = 6


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number or expression with its unit. `others` are its spelling's other readings."""

    value: Expression
    unit: Unit | None = None
    percent: bool = False
    based: str | None = None  # digits in the base it names: 1010_2
    others: tuple[Part, ...] = ()
    name: str | None = None  # x in x = 5


@dataclass(frozen=True, slots=True)
class Words:
    """An answer in words, or the name of nothing at all."""

    text: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Several values. `ends` is "()", "[]", "[)", "(]", "{}" or "" for a bare list."""

    ends: str
    items: tuple[Part, ...]
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Union:
    """Intervals and sets joined by ∪."""

    pieces: tuple[Group, ...]
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Equation:
    """An equation that does not give a name its value: left - right, up to a factor."""

    difference: Expression
    name: str | None = None


Part = Quantity | Words | Group | Union | Equation

_NOTHING = "no solution"
_SYNONYMS = {
    "no solutions": _NOTHING,
    "no real solution": "no real solutions",
    "none": _NOTHING,
    "empty set": _NOTHING,
    "does not exist": "undefined",
    "dne": "undefined",
}
_COUNTING = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
)
_NUMBER_WORDS = {word: value for value, word in enumerate(_COUNTING.split())}
# Others as short are read as products of variables.
_SHORT_WORDS = frozenset(("yes", "no", "odd", "max", "min", "sum", "mon", "tue", "wed", "thu"))
_WORDS = re.compile(r"[^\W\d_][\w'’.-]*(?: [^\W\d_][\w'’.-]*)*")
_NAME = re.compile(
    r"\(?\s*(?:\\?[A-Za-z]+'?(?:_(?:\w|\{\w+\}))?(?:\s*\([A-Za-z](?:,\s*[A-Za-z])*\))?)"
    r"(?:\s*,\s*\\?[A-Za-z](?:_(?:\w|\{\w+\}))?)*\s*\)?|\\angle\s*[A-Z]+|\|?[A-Z]{2,3}\|?"
)
_LETTER_OPTION = re.compile(r"(?:[Oo]ption |[Cc]hoice )?\(?([A-Z])\)?[.)]?")
_BASED = re.compile(
    r"([0-9A-Z]+)_(?:\{?(?:\\text ?\{)?\s*([0-9]{1,2}|two|three|five|eight)\s*\}{0,2})"
)
_BASES = {"two": "2", "three": "3", "five": "5", "eight": "8"}
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)")
_RATIO = re.compile(r"\d+(?:\s*:\s*\d+)+")
_JOINED = re.compile(r"\s*(?:\\text ?\{\s*(?:and|or)\s*\}|\band\b|\bor\b)\s*,?\s*")
_INEQUALITY = re.compile(r"(<=|>=|<|>)")
_TEXT = re.compile(r"\\text ?\{([^{}]*)\}")
_OPENING, _CLOSING = "([{", ")]}"


@lru_cache(maxsize=65_536)
def parse(text: str) -> Part | None:
    """A normalised answer's meaning; None where it is not one of the forms read here."""
    if not text or len(text) > MAX_LENGTH:
        return None
    try:
        return _read(text, 0)
    except (Undecided, RecursionError):
        return None


def _read(text: str, depth: int) -> Part:
    if depth > 6:
        raise Undecided("nested too deeply")
    text = text.strip(" ,;")
    if not text:
        raise Undecided("an empty item")
    word = _as_words(text)
    if word is not None:
        return word
    if text == "\\emptyset" or text.replace(" ", "") == "\\{\\}":
        return Words(_NOTHING)
    if "\\in " in text or "\\in(" in text or "\\in[" in text:
        name, _, text = text.partition("\\in")
        if not is_name(name.strip()):
            raise Undecided("membership of something")
        return _named(_read(text, depth + 1), name.strip())
    if "\\approx" in text:
        # 7/12 ≈ 0.583 gives both; x ≈ 0.583 gives the one.
        exactly, _, nearly = text.partition("\\approx")
        left = exactly.strip()
        if len(split_items(nearly)) > 1 or _JOINED.search(nearly):
            raise Undecided("an approximation and more")
        text = f"{left}={nearly}" if not left or is_name(left) else left
    joined = _JOINED.split(text)
    if len(joined) > 1:
        if all(map(_INEQUALITY.search, joined)) and "and" not in text:
            return Union(tuple(_inequality(part) for part in joined))
        text = ",".join(joined)
    items = split_items(text)
    if len(items) > 1:
        return _list(text, items, depth)
    if "\\cup" in text:
        pieces = [_read(piece, depth + 1) for piece in text.split("\\cup")]
        groups = tuple(piece for piece in pieces if isinstance(piece, Group) and piece.ends)
        if len(groups) != len(pieces):
            raise Undecided("a union of something else")
        return Union(groups)
    if "=" in text.replace("<=", "").replace(">=", ""):
        return _equation(text, depth)
    if _INEQUALITY.search(text):
        return _inequality(text)
    if "\\pm" in text or "\\mp" in text:
        upper = text.replace("\\pm", "+").replace("\\mp", "-")
        lower = text.replace("\\pm", "-").replace("\\mp", "+")
        return Group("", (_quantity(upper), _quantity(lower)))
    group = _enclosed(text, depth)
    return _quantity(text) if group is None else group


def _as_words(text: str) -> Part | None:
    bare = " ".join(_TEXT.sub(r" \1 ", text).split()) if "\\text" in text else text
    option = _LETTER_OPTION.fullmatch(bare)
    if option and (bare != text or len(bare) > 1):
        return Quantity(algebra.atom(option[1]))
    if not _WORDS.fullmatch(bare):
        return None
    if bare.count(" ") >= MAX_WORDS:
        raise Undecided("prose")
    lowered = bare.casefold().rstrip(".")
    if lowered in _NUMBER_WORDS:
        return Quantity(algebra.number(_NUMBER_WORDS[lowered]))
    if len(bare) < 3 and bare == text and lowered not in _SHORT_WORDS:
        return None
    if len(bare) == 3 and bare == text and bare.islower() and lowered not in _SHORT_WORDS:
        return None
    return Words(_SYNONYMS.get(lowered, lowered))


def _list(text: str, items: list[str], depth: int) -> Part:
    if len(items) > MAX_ITEMS:
        raise Undecided("too many items")
    if _THOUSANDS.fullmatch(text):
        listed = Group("", tuple(_quantity(item) for item in items))
        return Quantity(_quantity(text.replace(",", "")).value, others=(listed,))
    measured = split_unit(text)
    if measured is not None and _THOUSANDS.fullmatch(measured.number):
        return _quantity(text.replace(",", ""))
    return Group("", tuple(_read(item, depth + 1) for item in items))


def _equation(text: str, depth: int) -> Part:
    sides = [side.strip() for side in text.split("=")]
    if not sides[0]:
        sides = sides[1:]
    if len(sides) == 1:
        return _read(sides[0], depth + 1)
    if not all(sides) or any(_INEQUALITY.search(side) for side in sides):
        raise Undecided("a mixed relation")
    if is_name(sides[0]):
        return _named(_read(sides[-1], depth + 1), sides[0].replace(" ", ""))
    if is_name(sides[-1]) and len(sides) == 2 and len(sides[-1]) == 1:
        left = _quantity(sides[0])
        if left.value.numeric:
            return _named(left, sides[-1])
    if len(sides) > 2:
        raise Undecided("a chain of equations")
    difference = algebra.add(parse_scalar(sides[0]), algebra.negate(parse_scalar(sides[1])))
    return Equation(difference)


def _inequality(text: str) -> Group:
    """a < x <= b, or x > a, as the interval it describes."""
    parts = [part.strip() for part in _INEQUALITY.split(text)]
    infinity = algebra.atom("infty")
    low, high = Quantity(algebra.negate(infinity)), Quantity(infinity)
    if len(parts) == 3:
        left, sign, right = parts
        if not _single(left):
            left, sign, right = right, {"<": ">", ">": "<", "<=": ">=", ">=": "<="}[sign], left
        if not _single(left) or _single(right):
            raise Undecided("an unsolved inequality")
        bound = _quantity(right)
        if sign in ("<", "<="):
            return Group("(" + (")" if sign == "<" else "]"), (low, bound), left)
        return Group(("(" if sign == ">" else "[") + ")", (bound, high), left)
    if len(parts) != 5 or not _single(parts[2]) or parts[1][0] != parts[3][0]:
        raise Undecided("a chain of inequalities")
    first, second, name = _quantity(parts[0]), _quantity(parts[4]), parts[2]
    opened, closed = "(" if len(parts[1]) == 1 else "[", ")" if len(parts[3]) == 1 else "]"
    if parts[1][0] == "<":
        return Group(opened + closed, (first, second), name)
    return Group(
        ("(" if closed == ")" else "[") + (")" if opened == "(" else "]"), (second, first), name
    )


def _single(text: str) -> bool:
    return len(text) == 1 and text.isalpha()


def _enclosed(text: str, depth: int) -> Part | None:
    """A tuple, set or interval: something wholly inside one pair of brackets, with a comma."""
    if text.startswith("\\{") and text.endswith("\\}"):
        inside = text[2:-2]
        if _balanced(inside):
            if "|" in inside or "\\mid" in inside or ":" in inside:
                raise Undecided("a set by description")
            items = split_items(inside)
            return Group("{}", tuple(_read(item, depth + 1) for item in items[:MAX_ITEMS]))
        return None
    if text[0] not in "([" or text[-1] not in ")]" or not _balanced(text[1:-1]):
        return None
    items = split_items(text[1:-1])
    ends = text[0] + text[-1]
    if len(items) < 2:
        return _read(text[1:-1], depth + 1) if ends == "()" else None
    if len(items) > MAX_ITEMS or (ends in ("[)", "(]") and len(items) != 2):
        raise Undecided("not a tuple")
    made = Group(ends, tuple(_read(item, depth + 1) for item in items))
    if _THOUSANDS.fullmatch(text[1:-1]):
        raise Undecided("(1,234): a pair or a number")
    return made


def _quantity(text: str) -> Quantity:
    text = text.strip()
    based = _BASED.fullmatch(text)
    if based:
        base = _BASES.get(based[2], based[2])
        return Quantity(algebra.atom(f"{based[1]}_{base}"), based=based[1])
    if _RATIO.fullmatch(text):
        return Quantity(algebra.atom(":".join(part.strip() for part in text.split(":"))))
    percent = text.endswith("%") or text.casefold().endswith(("\\text{percent}", " percent"))
    if percent:
        text = re.sub(r"(?:%|\\text\{ ?percent\}| percent)$", "", text, flags=re.IGNORECASE).strip()
    measured = None if percent else split_unit(text)
    if measured is None:
        if _THOUSANDS.fullmatch(text):
            text = text.replace(",", "")
        return Quantity(parse_scalar(text), percent=percent)
    number = (
        measured.number.replace(",", "")
        if _THOUSANDS.fullmatch(measured.number)
        else measured.number
    )
    value = parse_scalar(number)
    if measured.scale != 1:
        scaled = algebra.multiply(value, algebra.number(measured.scale))
        value = Expression(scaled.numerator, scaled.denominator, plain=value.plain)
    return Quantity(value, measured.unit)


def _named(part: Part, name: str) -> Part:
    if isinstance(part, Quantity):
        return Quantity(part.value, part.unit, part.percent, part.based, part.others, name)
    if isinstance(part, Group):
        return Group(part.ends, part.items, name)
    if isinstance(part, Union):
        return Union(part.pieces, name)
    if isinstance(part, Words):
        return Words(part.text, name)
    return part


def is_name(text: str) -> bool:
    """Whether this can stand left of an equals sign as what is being given: x, f(x), (a, b)."""
    return _NAME.fullmatch(text) is not None


def split_items(text: str) -> list[str]:
    """The pieces between commas or semicolons that stand in no bracket."""
    if "," not in text and ";" not in text:
        return [text]
    pieces, depth, start = [], 0, 0
    for position, character in enumerate(text):
        if character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        elif depth == 0 and character in ",;":
            pieces.append(text[start:position])
            start = position + 1
    pieces.append(text[start:])
    return [piece for piece in pieces if piece.strip()]


def _balanced(inside: str) -> bool:
    """Whether the brackets around `inside` are a pair: nothing in it closes them early.

    Half-open intervals mix brackets, so kinds are not matched, only depth.
    """
    depth = 0
    for character in inside:
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth < 0:
            return False
    return depth == 0
