"""What an answer says of its letters: k \\in \\mathbb{Z}, for any integer k, where c is a constant.

Conditions stand at the end, after a comma, in brackets or after a word such as "where"; or before
the formula ("all integers n ≥ 4"). They become the parameters of a family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from filters.verify.maths import nodes
from filters.verify.maths.forms import Family, Form, Group, Named, Parameter, Region, Value
from filters.verify.maths.nodes import Unreadable
from filters.verify.maths.reading.brackets import REAL_LINE
from filters.verify.maths.reading.pieces import flatten, is_pair, trim
from filters.verify.maths.reading.tokens import GREEK, Token
from filters.verify.maths.vocabulary import word_set

Tokens = Sequence[Token]
Reading = Callable[[Tokens, int], Form]

MAX_CONDITIONS = 4
MAX_TOKENS = 40

_INTRODUCING = word_set("where for with 其中 где où wobei donde")
_DIVIDING = frozenset((",", ";", "\\in", "\\\\"))
_QUANTIFYING = word_set("all any every each")
_FILLING = word_set(
    "a an the some arbitrary number numbers value values is are be being denotes denote of "
    "any all every each and here represents"
)
_NOUNS = {
    "integer": "Z",
    "integers": "Z",
    "natural": "N",
    "real": "R",
    "reals": "R",
    "constant": "constant",
    "constants": "constant",
    "rational": "Q",
    "complex": "C",
}
_ADJECTIVES = {
    "positive": "positive",
    "nonnegative": "nonnegative",
    "non-negative": "nonnegative",
    "negative": "negative",
    "nonzero": "nonzero",
    "non-zero": "nonzero",
    "odd": "odd",
    "even": "even",
}
_EXCEPT = frozenset(
    f"all {which} {but}"
    for which in ("real numbers", "reals", "real x", "real values", "real values of x")
    for but in ("except", "except for", "other than", "but")
)
_SUFFIXES = {
    "": "",
    "^+": "positive",
    "_+": "positive",
    "_>0": "positive",
    "^*": "nonzero",
    "^": "nonzero",  # a final * is taken for Markdown
    "_>=0": "nonnegative",
    "_0": "nonnegative",
    "^-": "negative",
}
_ZERO = Value(nodes.number(0))
_LOWEST, _HIGHEST = REAL_LINE.items
_REGIONS: dict[str, Form] = {
    "positive": Group("()", (_ZERO, _HIGHEST)),
    "nonnegative": Group("[)", (_ZERO, _HIGHEST)),
    "negative": Group("()", (_LOWEST, _ZERO)),
    "nonzero": Region((REAL_LINE,), (_ZERO,)),
}
_FROM_START = (
    _REGIONS["positive"],
    _REGIONS["nonnegative"],
    Group("[)", (Value(nodes.number(1)), _HIGHEST)),
)
"""Where a sequence begins: at 0 or 1."""


class Condition(NamedTuple):
    """A parameter, and whether "for all" introduced it."""

    parameter: Parameter
    universal: bool = False


def read_family(tokens: Tokens, read: Reading, depth: int) -> Form | None:
    """The form with what is said of its letters; None where nothing is said of them."""
    leading = _leading(tokens, read, depth)
    if leading is not None:
        return leading
    rest, conditions = _take(tokens, read, depth)
    rest = trim(rest)
    spelled = "".join(token.text for token in rest)
    if not rest or not conditions or not all(c.parameter.name in spelled for c in conditions):
        return None
    try:
        form = read(rest, depth + 1)
    except Unreadable:
        return None
    known: tuple[Parameter, ...] = ()
    if isinstance(form, Family):
        known, form = form.parameters, form.form
    kept: list[Parameter] = []
    for parameter, universal in conditions:
        if _bound(form, parameter, universal=universal):
            continue
        if parameter.name not in letters(form):
            own = parameter.domain and parameter.name in _names(form)
            if not own:
                return None
        kept.append(parameter)
    kept.extend(known)
    return Family(form, tuple(kept)) if kept else form


def _bound(form: Form, parameter: Parameter, *, universal: bool) -> bool:
    """Whether it only says for which x the x of f(x) = … stands: for all of them."""
    name = parameter.name
    indexed = (f"_{name}", f"_{{{name}}}")
    sequence = all(form.name.endswith(indexed) for form in [form] if isinstance(form, Named))
    from_start = sequence and parameter.region in _FROM_START
    if parameter.domain in ("odd", "even", "constant") or not (
        parameter.region is None or from_start
    ):
        return False
    called = [said for said in _names(form) if said.endswith((f"({name})", *indexed))]
    if called:
        return len(called) == len([*_names(form)])
    if isinstance(form, Group) or (isinstance(form, Named) and parameter.domain == "R"):
        return False  # points of a line; x = kπ for all real k
    return universal and parameter.domain in ("", "R") and parameter.name in letters(form)


def letters(form: Form) -> frozenset[str]:
    """The unknowns in the expressions of a form."""
    return frozenset().union(*(nodes.symbols(value.node) for value in values_of(form)), frozenset())


def values_of(form: Form) -> Iterator[Value]:
    """The expressions of a form."""
    if isinstance(form, Value):
        yield form
    for inner in getattr(form, "items", ()) or getattr(form, "sides", ()):
        yield from values_of(inner)
    if isinstance(form, Named | Family):
        yield from values_of(form.form)
    if isinstance(form, Region):
        for inner in (*form.pieces, *form.without):
            yield from values_of(inner)


def _names(form: Form) -> Iterator[str]:
    if isinstance(form, Named):
        yield form.name
    if isinstance(form, Group):
        for item in form.items:
            yield from _names(item)


def _leading(tokens: Tokens, read: Reading, depth: int) -> Form | None:
    """all integers n ≥ 4, only p = 2: words that say what the name after them is."""
    at = 0
    while at < len(tokens) and tokens[at].kind == "word":
        at += 1
    words = [token.text.lower() for token in tokens[:at]]
    if words[-1:] == [":"] or not words or at == len(tokens):
        return None
    if words == ["only"]:
        return read(tokens[at:], depth + 1)
    if " ".join(words) in _EXCEPT:
        return _except(tokens[at:], read, depth)
    if words[0] not in _QUANTIFYING and words[-1] not in _NOUNS and words[-1] != "numbers":
        return None
    said = _said(words)
    if said is None:
        return None
    try:
        form = read(tokens[at:], depth + 1)
    except Unreadable:
        return None
    if not isinstance(form, Named) or len(form.name) > 3:
        return None
    domain, region = said
    if domain in ("", "R") and region is None:
        return form
    return Family(form, (Parameter(form.name, domain, region),))


def _except(tokens: Tokens, read: Reading, depth: int) -> Form | None:
    """all real numbers except 2 and -2."""
    try:
        form = read(tokens, depth + 1)
    except Unreadable:
        return None
    form = form.form if isinstance(form, Named) else form
    points = form.items if isinstance(form, Group) and form.ends in ("", "{}") else (form,)
    values = tuple(p.form if isinstance(p, Named) else p for p in points)
    return Region((REAL_LINE,), values) if all(isinstance(v, Value) for v in values) else None


def _take(tokens: Tokens, read: Reading, depth: int) -> tuple[Tokens, list[Condition]]:
    """The tokens without the conditions at their end, and those."""
    found: list[Condition] = []
    tokens = trim(tokens)
    while tokens and len(found) < MAX_CONDITIONS:
        start, taken = _last(tokens, read, depth, found)
        if not taken:
            break
        found = [*taken, *found]
        tokens = trim(tokens[:start])
    return tokens, found


def _last(
    tokens: Tokens, read: Reading, depth: int, known: list[Condition]
) -> tuple[int, list[Condition]]:
    """Where the last condition starts, and what it says; nothing where there is none."""
    if tokens[-1].text == ")":
        starts = [at for at, token in enumerate(tokens) if token.text == "(" and at]
        at = next((at for at in starts if is_pair(tokens[at:])), 0)
        if at and tokens[at].space:
            inside = _conditions(tokens[at + 1 : -1], read, depth, known)
            if inside:
                return at, inside
    flat = flatten(tokens)
    for position in range(len(tokens) - 1, 0, -1):
        token = flat[position]
        if token is None:
            continue
        text = token.text.lower()
        divides = text in (",", ";", "\\forall") or text in _INTRODUCING
        wide = token.space == 2 and token.kind == "letter"
        if not (divides or wide):
            continue
        tail = tokens[position + (text in (",", ";")) :]
        taken = _conditions(tail, read, depth, known)
        if taken:
            return position, taken
    return 0, []


def _conditions(
    tokens: Tokens, read: Reading, depth: int, known: list[Condition]
) -> list[Condition]:
    """What some tokens say of letters; nothing where they say anything else."""
    tokens = trim(tokens)
    universal = False
    while tokens and (
        tokens[0].text.lower() in _INTRODUCING | _QUANTIFYING | {"some"}
        or tokens[0].text == "\\forall"
    ):
        universal |= tokens[0].text.lower() in _QUANTIFYING or tokens[0].text == "\\forall"
        tokens = tokens[1:]
    if not tokens:
        return []
    texts = [token.text for token in tokens]
    if "\\in" in texts:
        at = texts.index("\\in")
        names, said = _letters(tokens[:at]), _set(tokens[at + 1 :], read, depth)
    elif any(token.kind == "word" for token in tokens):
        names, said = _worded(tokens)
    elif known and len(_letters(tokens)) == 1:
        first = known[0].parameter  # a, b ∈ Z
        names, said = _letters(tokens), (first.domain, first.region)
    elif universal and _letters(tokens):
        names, said = _letters(tokens), ("", None)
    else:
        names, said = _listed(tokens) or _ordered(tokens, read, depth)
    if not names or said is None:
        return []
    return [Condition(Parameter(name, *said), universal) for name in names]


Said = tuple[str, Form | None]


def _said(words: Sequence[str]) -> Said | None:
    """The domain and the region that words name; None for other words."""
    domain, region = "", None
    for word in words:
        if word in _NOUNS:
            if domain not in ("", _NOUNS[word]) and "constant" not in (domain, _NOUNS[word]):
                return None
            domain = _NOUNS[word] if domain in ("", "constant") else domain
        elif word in ("odd", "even"):
            domain = word
        elif word in _ADJECTIVES:
            if region is not None:
                return None
            region = _REGIONS[_ADJECTIVES[word]]
        elif word not in _FILLING:
            return None
    if domain in ("odd", "even") and not {"integer", "integers"} & set(words):
        return None
    return domain, region


def _worded(tokens: Tokens) -> tuple[list[str], Said | None]:
    """any integer k; c is a constant; C_1, C_2 are constants."""
    words = [token.text.lower() for token in tokens if token.kind == "word"]
    # "a" before a word is an article
    spelled = [
        token
        for at, token in enumerate(tokens)
        if token.kind != "word"
        and not (token.text == "a" and at + 1 < len(tokens) and tokens[at + 1].kind == "word"
                 and tokens[at + 1].text.lower() not in ("is", "are", "and"))
    ]  # fmt: skip
    if not set(words) & (_NOUNS.keys() | _ADJECTIVES.keys()):
        return [], None
    return _letters(spelled), _said(words)


def _letters(tokens: Tokens) -> list[str]:
    """The letters of k, or a, b, or C_1, C_2; none where anything else is there."""
    names: list[str] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        named = token.kind == "letter" or (token.kind == "command" and token.text[1:] in GREEK)
        if not named or (len(token.text.lstrip("\\")) > 1 and token.kind == "letter"):
            return []
        name = token.text.lstrip("\\")
        at += 1
        if at < len(tokens) and tokens[at].text == "_":
            inside = [t.text for t in tokens[at + 1 : at + 4]]
            if inside[:1] == ["{"] and inside[2:] == ["}"]:
                name, at = f"{name}_{inside[1]}", at + 4
            elif inside and inside[0].isalnum():
                name, at = f"{name}_{inside[0]}", at + 2
            else:
                return []
        names.append(name)
        while at < len(tokens) and (tokens[at].text == "," or tokens[at].text.lower() == "and"):
            at += 1
    return names


def _set(tokens: Tokens, read: Reading, depth: int) -> Said | None:
    """\\mathbb{Z}, \\mathbb{N}^*, \\mathbb{R}_{>0}, an interval, \\{0, 1\\}."""
    texts = [token.text for token in tokens]
    first = texts[0] if texts else ""
    if first.removeprefix("bb ") in ("Z", "N", "Q", "C") and len(first.removeprefix("bb ")) == 1:
        suffix = "".join(text for text in texts[1:] if text not in ("{", "}"))
        kind = _SUFFIXES.get(suffix)
        if kind is None:
            return None
        domain = first.removeprefix("bb ")
        if domain == "N" and kind:
            if suffix == "_0":
                return "Z", _REGIONS["nonnegative"]
            return ("Z", _REGIONS["positive"]) if kind in ("positive", "nonzero") else None
        return domain, _REGIONS[kind] if kind else None
    form = _read_short(tokens, read, depth)
    if form is None:
        return None
    if form == REAL_LINE:
        return "R", None
    interval = isinstance(form, Group) and form.ends in ("()", "[]", "[)", "(]", "{}")
    return ("", form) if interval or isinstance(form, Region) else None


def _read_short(tokens: Tokens, read: Reading, depth: int) -> Form | None:
    """One short item, no list: what is read here is read again where it is no condition."""
    flat = flatten(tokens)
    if len(tokens) > MAX_TOKENS or any(t is not None and t.text in _DIVIDING for t in flat):
        return None
    try:
        return read(tokens, depth + 1)
    except Unreadable:
        return None


def _ordered(tokens: Tokens, read: Reading, depth: int) -> tuple[list[str], Said | None]:
    """k ≥ 0, c ≠ 0: a letter, by the numbers it may be."""
    if not any(token.text in ("<", ">", "<=", ">=", "\\ne") for token in tokens):
        return [], None
    form = _read_short(tokens, read, depth)
    if not isinstance(form, Named) or not isinstance(form.form, Group | Region):
        return [], None
    return [form.name], ("", form.form)


def _listed(tokens: Tokens) -> tuple[list[str], Said | None] | None:
    """k = 0, ±1, ±2, … and k = 0, 1, 2, …"""
    texts = [token.text for token in tokens]
    dots = texts[-1] in ("\\dots", "\\ldots", "\\cdots") or texts[-3:] == [".", ".", "."]
    if not dots or texts[1:2] != ["="]:
        return None
    names = _letters(tokens[:1])
    values = "".join(texts[2:-1] if texts[-1] != "." else texts[2:-3]).strip(",")
    said: dict[str, Said] = {
        "0,\\pm1,\\pm2": ("Z", None),
        "0,\\pm1,\\pm2,\\pm3": ("Z", None),
        "0,1,2": ("Z", _REGIONS["nonnegative"]),
        "0,1,2,3": ("Z", _REGIONS["nonnegative"]),
        "1,2,3": ("Z", _REGIONS["positive"]),
        "1,2": ("Z", _REGIONS["positive"]),
    }
    return names, said.get(values)
