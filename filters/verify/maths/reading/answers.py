"""An answer's form from its tokens: lists, relations, names. Everything in it, or Unreadable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from filters.verify.maths import nodes
from filters.verify.maths.forms import (
    Choice,
    Form,
    Group,
    Matrix,
    Named,
    Phrase,
    Region,
    Relation,
    Value,
)
from filters.verify.maths.nodes import Unreadable
from filters.verify.maths.reading.brackets import read_brackets, read_environment
from filters.verify.maths.reading.combinations import read_combination
from filters.verify.maths.reading.conditions import read_family
from filters.verify.maths.reading.congruences import read_congruence
from filters.verify.maths.reading.labels import read_parts, read_point
from filters.verify.maths.reading.names import read_matrix_name, read_name
from filters.verify.maths.reading.pieces import MAX_ITEMS, flatten, is_pair, split, trim
from filters.verify.maths.reading.regions import solve
from filters.verify.maths.reading.tokens import Token
from filters.verify.maths.reading.values import read_value
from filters.verify.maths.reading.wording import option_letter, read_words
from filters.verify.maths.vocabulary import word_set

MAX_NESTING = 8

_SIGNS = {
    "\\equiv": "=",
    "=": "=",
    "<": "<",
    ">": ">",
    "<=": "<=",
    ">=": ">=",
    "\\ne": "ne",
    "\\approx": "~",
}
_FLIPPED = {">": "<", ">=": "<="}
_SYMMETRIC = frozenset(("=", "ne", "~"))

_DIVIDING = word_set(
    ': . ! ? " ’ @ \\to \\rightarrow \\Rightarrow \\implies \\sim \\mid \\nmid \\parallel \\perp '
    "\\cong \\mapsto \\iff \\Leftrightarrow"
)

_CLOCK_UNITS = word_set("day days hour hours hr hrs h minute minutes min mins second seconds sec s")
_JOINED_UNITS = word_set(
    "dollar dollars cent cents euro euros foot feet ft inch inches in pound pounds lb lbs ounce "
    "ounces oz kilogram kilograms kg gram grams g meter meters metre metres m centimeter "
    "centimeters centimetre centimetres cm kilometer kilometers kilometre kilometres km"
)
_REASONS = word_set("since because rejecting discarding attained achieved reached")
_APPROXIMATELY = word_set("approximately approx about roughly")

Tokens = Sequence[Token]


def read_whole(tokens: Tokens) -> Form:
    """The form that all of the tokens spell, prose with formulas included. Raises Unreadable."""
    try:
        return read_answer(tokens)
    except Unreadable:
        phrase = read_phrase(tokens)
        if phrase is None:
            raise
        return phrase


def read_phrase(tokens: Tokens) -> Phrase | None:
    """Words and formulas in turn; None where there are no words, or a formula cannot be read."""
    parts: list[str | Form] = []
    words, start, found = "", 0, False
    for position in range(len(tokens) + 1):
        token = tokens[position] if position < len(tokens) else None
        divides = token is not None and _divides(tokens, position)
        if token is not None and not divides:
            continue
        if position > start:
            if words:
                parts.append(words.strip())
                words = ""
            try:
                parts.append(read_answer(tokens[start:position], MAX_NESTING - 2))
            except Unreadable:
                return None
        if token is not None:
            found = found or token.kind != "sign"
            words += token.text.casefold() if token.kind == "sign" else f" {token.text.casefold()} "
        start = position + 1
    if words:
        parts.append(" ".join(words.split()))
    if not found or len(parts) > MAX_ITEMS or sum(isinstance(p, str) for p in parts) > MAX_ITEMS:
        return None
    return Phrase(tuple(" ".join(p.split()) if isinstance(p, str) else p for p in parts))


def _divides(tokens: Tokens, position: int) -> bool:
    """Whether a token stands between formulas: a word, a colon, an arrow."""
    token = tokens[position]
    if token.kind == "word":
        return True
    if token.text in ("\\max", "\\min"):
        return position + 1 < len(tokens) and tokens[position + 1].kind == "word"
    return token.text in _DIVIDING


def read_answer(tokens: Tokens, depth: int = 0) -> Form:
    """The form that all of the tokens spell. Raises Unreadable."""
    if depth > MAX_NESTING:
        raise Unreadable("nested too deeply")
    tokens = trim(tokens)
    if not tokens:
        raise Unreadable("nothing is there")
    braced = len(tokens) > 4 and tokens[0].text + tokens[1].text == "{(" and is_pair(tokens)
    choice = _read_choice(tokens[1:-1] if braced else tokens, depth)
    if choice is not None:
        return choice
    if tokens[0].text in ("'", '"', "`"):
        tokens = _unwrap(tokens)
    words = read_words(tokens)
    if words is not None:
        return words
    tokens = _unwrap(tokens)
    if len(tokens) == 1 and tokens[0].kind == "number" and "," in tokens[0].text:
        return _thousands(tokens[0])
    if tokens[-1].text.lower() == "only" and len(tokens) > 1:
        return read_answer(tokens[:-1], depth + 1)
    tokens = _without_reason(tokens)
    rounded = _rounded(tokens, depth)
    if rounded is not None:
        return rounded
    several = read_parts(tokens, read_answer, depth)
    if several is not None:
        return several
    family = read_congruence(tokens) or read_family(tokens, read_answer, depth)
    if family is not None:
        return family
    items, joined = split(tokens)
    if len(items) > 1:
        listed = _read_list(items, joined, depth)
        if isinstance(listed, Group) and not joined and any(t.text == ";" for t in tokens):
            return replace(listed, joined=";")
        return listed
    if tokens[0].text == "\\begin":
        whole = read_environment(tokens, read_answer, depth)
        if whole is not None:
            return whole
    return read_item(tokens, depth)


def read_item(tokens: Tokens, depth: int) -> Form:
    """One item of a list: a relation, a bracketed group, or a value."""
    tokens = trim(tokens)
    if not tokens:
        raise Unreadable("an empty item")
    for position, token in enumerate(flatten(tokens)):
        if token is not None and token.text in ("\\in", "\\notin"):
            return _membership(tokens, position, depth)
    pieces, signs = _relation(tokens)
    if signs:
        return _read_relation(pieces, signs, depth)
    return _read_term(tokens, depth)


def _read_term(tokens: Tokens, depth: int) -> Form:
    """A bracketed group, a combination of tuples, or a value."""
    group = read_brackets(tokens, read_answer, depth)
    if group is None:
        group = read_combination(tokens, lambda part: read_brackets(part, read_answer, depth + 1))
    if group is None:
        group = read_point(tokens, read_answer, depth)
    return group if group is not None else _both_signs(read_value(tokens))


def _both_signs(form: Form) -> Form:
    """±3 is 3 and -3; everything else is itself."""
    if not isinstance(form, Value) or not nodes.has(form.node, "plusminus"):
        return form
    signs = (replace(form, node=nodes.with_sign(form.node, upper)) for upper in (True, False))
    return Group("", tuple(signs), "or")


def _unwrap(tokens: Tokens) -> Tokens:
    """Without the quotation marks or the one pair of braces around everything.

    Braces around a list at the top are a set's, its backslashes lost.
    """
    for _ in range(4):
        ends = tokens[0].text, tokens[-1].text
        if len(tokens) > 2 and ends in (("'", "'"), ('"', '"'), ("`", "'"), ("`", "`")):
            tokens = tokens[1:-1]
            continue
        whole = ends == ("{", "}") and is_pair(tokens)
        if not whole or len(tokens) < 3:
            break
        if len(split(tokens[1:-1])[0]) > 1:
            return [Token("command", "\\{"), *tokens[1:-1], Token("command", "\\}")]
        tokens = tokens[1:-1]
    return tokens


def _without_reason(tokens: Tokens) -> Tokens:
    """Without what is said of an answer after it: (since k > 0), attained when x = y."""
    for at in range(1, len(tokens)):
        if tokens[at].text.lower() in _REASONS and tokens[at].kind == "word":
            bracket = tokens[at - 1].text == "(" and is_pair(tokens[at - 1 :])
            cut = at - 1 if bracket else at
            if cut and flatten(tokens)[cut - bracket] is not None:
                return trim(tokens[:cut])
    return tokens


def _rounded(tokens: Tokens, depth: int) -> Relation | None:
    """2/3 (or approximately 0.667): a value, and what it is about."""
    if tokens[-1].text == ")":
        starts = [at for at, token in enumerate(tokens) if at and token.text == "("]
        at = next((at for at in starts if is_pair(tokens[at:])), 0)
        inside = tokens[at + 1 : -1]
    else:
        texts = [token.text.lower() for token in tokens]
        at = next((n for n in range(1, len(texts) - 1) if texts[n] == "or"), 0)
        inside = tokens[at:]
    if not at:
        return None
    marked = False
    while inside and (inside[0].text.lower() in _APPROXIMATELY | {"or", "\\approx"}):
        marked |= inside[0].text.lower() != "or"
        inside = inside[1:]
    rest = trim(tokens[:at])
    if not marked or not inside or not rest:
        return None
    sides = read_answer(rest, depth + 1), read_value(inside)
    name, first = (sides[0].name, sides[0].form) if isinstance(sides[0], Named) else ("", sides[0])
    if not isinstance(first, Value) or not isinstance(sides[1], Value):
        return None
    chain = Relation((first, sides[1]), ("~",))
    return chain if not name else None


def _thousands(token: Token) -> Form:
    """1,234 is a number, and may be a list of two."""
    value = read_value([token])
    if "." in token.text or not isinstance(value, Value):
        return value
    texts = token.text.split(",")
    if any(text.startswith("0") for text in texts[1:]):
        return value  # no list holds 000
    parts = tuple(read_value([Token("number", part)]) for part in texts)
    return Value(value.node, others=(Group("", parts),))


def _read_choice(tokens: Tokens, depth: int) -> Form | None:
    """(C), C., (C) 14: an option's letter, and what the option says."""
    found = option_letter(tokens)
    if found is None:
        return None
    letter, rest = found
    rest = trim(rest)
    if not rest:
        return Choice(letter)
    if option_letter(rest) is not None:
        raise Unreadable("several options")
    return Choice(letter, read_answer(rest, depth + 1))


def _read_list(items: list[Tokens], joined: str, depth: int) -> Form:
    """A bare list. A name given once holds for the unnamed items that follow it: x = 1, 2."""
    duration = _duration(items, joined) if joined != "or" else None
    if duration is not None:
        return duration
    forms: list[Form] = []
    for item in items:
        form = read_item(item, depth)
        signs = isinstance(form, Group) and not form.ends
        forms.extend(form.items if isinstance(form, Group) and signs else [form])
    region = solve(forms, joined)
    if region is not None:
        return region
    first = forms[0]
    if (
        isinstance(first, Named)
        and not isinstance(first.form, Group | Region)
        and not any(isinstance(form, Named | Relation) for form in forms[1:])
    ):
        return Named(first.name, Group("", (first.form, *forms[1:]), joined))
    if isinstance(first, Named) and all(
        isinstance(form, Group) and form.ends == "()" for form in (first.form, *forms[1:])
    ):
        return Named(first.name, Group("", (first.form, *forms[1:]), joined))
    names = {form.name for form in forms if isinstance(form, Named)}
    whole = all(isinstance(form, Named) and not _is_region(form) for form in forms)
    if len(names) == 1 and whole:
        inner: list[Form] = []
        for form in forms:
            given = form.form if isinstance(form, Named) else form
            both = isinstance(given, Group) and not given.ends
            inner.extend(given.items if isinstance(given, Group) and both else [given])
        return Named(names.pop(), Group("", tuple(inner), joined))
    return Group("", _assignments(forms), joined)


def _duration(items: list[Tokens], joined: str) -> Value | None:
    """2 hours and 30 minutes, 2 hours, 30 minutes, 5 feet and 3 inches: one quantity."""
    if len(items) > 3 or not all(item[0].kind == "number" and len(item) == 2 for item in items):
        return None
    units = _CLOCK_UNITS | _JOINED_UNITS if joined == "and" else _CLOCK_UNITS
    if not all(item[1].text.lower() in units for item in items):
        return None
    try:
        value = read_value([token for item in items for token in item])
    except Unreadable:
        return None
    return value if isinstance(value, Value) and value.compound else None


def _is_region(form: Form) -> bool:
    return (
        isinstance(form, Named)
        and form.name[0] != "("
        and (
            isinstance(form.form, Region)
            or (isinstance(form.form, Group) and form.form.ends in ("[)", "(]", "()", "[]"))
        )
    )


def _assignments(forms: list[Form]) -> tuple[Form, ...]:
    """a = 5, b = 2; a = 7, b = 2 as two assignments of the same names."""
    names = [form.name for form in forms if isinstance(form, Named)]
    count = len(dict.fromkeys(names))
    if len(names) != len(forms) or count < 2 or len(forms) % count or len(forms) == count:
        return tuple(forms)
    rows = [forms[at : at + count] for at in range(0, len(forms), count)]
    if any([f.name for f in row if isinstance(f, Named)] != names[:count] for row in rows):
        return tuple(forms)
    return tuple(Group("", tuple(row)) for row in rows)


def _membership(tokens: Tokens, position: int, depth: int) -> Form:
    if tokens[position].text == "\\notin":
        raise Unreadable("\\notin")
    name = read_name(tokens[:position])
    if name is None:
        raise Unreadable("membership of something")
    form = read_item(tokens[position + 1 :], depth + 1)
    if isinstance(form, Value) and form.node.head == "symbol" and form.node.name in "ZNQRC":
        form = Value(nodes.symbol(f"bb {form.node.name}"))
    if isinstance(form, Group) and form.ends == "{}":
        form = Group("", form.items)
    return Named(name, form)


def _relation(tokens: Tokens) -> tuple[list[Tokens], list[str]]:
    """The sides and signs of a relation that stand in no bracket."""
    sides: list[Tokens] = []
    signs: list[str] = []
    start = 0
    for position, token in enumerate(flatten(tokens)):
        if token is None or token.kind == "word" or token.text not in _SIGNS:
            continue
        if position == start and token.text == "=" and signs and signs[-1] in ("<", ">"):
            signs[-1] += "="  # < =
            start = position + 1
            continue
        sides.append(tokens[start:position])
        signs.append(_SIGNS[token.text])
        start = position + 1
    sides.append(tokens[start:])
    return sides, signs


def _read_relation(pieces: list[Tokens], signs: list[str], depth: int) -> Form:
    if not pieces[0]:
        if signs[0] != "~":
            raise Unreadable("a relation without its left side")
        pieces, signs = pieces[1:], signs[1:]
        if not signs:
            about = read_answer(pieces[0], depth + 1)
            return _approximate(about) if isinstance(about, Value) else about
    if not all(pieces):
        raise Unreadable("a relation without one of its sides")
    if set(signs) <= {"=", "~"}:
        named = _read_equalities(pieces, signs, depth)
        if named is not None:
            return named
    if "ne" in signs and len(signs) > 1:
        raise Unreadable("a chain with ≠")
    sides = tuple(_read_side(piece) for piece in pieces)
    if signs[0] in _FLIPPED:
        if not all(sign in _FLIPPED for sign in signs):
            raise Unreadable("a chain of unlike relations")
        sides, signs = sides[::-1], [_FLIPPED[sign] for sign in reversed(signs)]
    if len({sign in _SYMMETRIC for sign in signs}) > 1 or any(sign in _FLIPPED for sign in signs):
        raise Unreadable("a chain of unlike relations")
    relation = Relation(sides, tuple(signs))
    region = solve([relation], "")
    return region if region is not None else relation


def _read_side(tokens: Tokens) -> Value:
    side = read_value(tokens)
    if not isinstance(side, Value):
        raise Unreadable("a side that is no expression")
    return side


def _read_equalities(pieces: list[Tokens], signs: list[str], depth: int) -> Form | None:
    """x = … = value, 2 + 3 = 5, a + b = 7. None for an equation that gives nothing a value."""
    name = read_name(pieces[0])
    if name is not None:
        last = read_words(trim(pieces[-1]) or pieces[-1]) or read_item(pieces[-1], depth + 1)
        if len(pieces) == 2 and signs[-1] == "~":
            last = _approximate(last)
        if len(pieces) > 2:
            middle = [read_value(piece) for piece in pieces[1:-1]]
            chain = Relation((*_values(middle), *_values([last])), tuple(signs[1:]))
            return Named(name, chain)
        return Named(name, last)
    values = [read_brackets(piece, read_answer, depth) or read_value(piece) for piece in pieces]
    called = read_matrix_name(pieces[0])
    if called is not None and len(pieces) == 2 and isinstance(values[1], Matrix):
        return Named(called, values[1])
    if len(pieces) == 2:
        left = values[0]
        if isinstance(left, Value) and nodes.is_numeric(left.node) and signs == ["="]:
            turned = read_name(pieces[1])
            if turned is not None and len(pieces[1]) == 1:
                return Named(turned, left)
    return Relation(_values(values), tuple(signs))


def _values(forms: Sequence[Form]) -> tuple[Value, ...]:
    if not all(isinstance(form, Value) for form in forms):
        raise Unreadable("an equation between something other than values")
    return tuple(form for form in forms if isinstance(form, Value))


def _approximate(form: Form) -> Form:
    if isinstance(form, Value):
        return Value(form.node, form.unit, form.percent, True, form.compound)
    raise Unreadable("an approximation of something")
