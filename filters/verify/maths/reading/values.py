"""A value from tokens: an expression and what is written around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from filters.verify.maths import nodes, units
from filters.verify.maths.forms import Based, Form, Group, Ratio, Value
from filters.verify.maths.nodes import Node, Unreadable
from filters.verify.maths.reading.expressions import DEGREE, parse_expression, parse_prefix
from filters.verify.maths.reading.numerals import read_number_words
from filters.verify.maths.reading.pieces import is_pair
from filters.verify.maths.reading.tokens import Token
from filters.verify.maths.units import Unit
from filters.verify.maths.vocabulary import word_set

_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "eight": 8, "ten": 10, "sixteen": 16}
_DEGREES = Unit((("degree", 1),))
_TEMPERATURES = {"C": "degC", "F": "degF"}
_SINGLE_UNITS = word_set("m g s h L N J W V A K C t")
_CURRENCY_CODES = {"USD": "\\$", "EUR": "€", "GBP": "£", "INR": "₹", "JPY": "¥"}
_OPERATING = frozenset(("+", "-", "*", "/", "^", "\\pm", "(", "="))

Tokens = Sequence[Token]


def read_value(tokens: Tokens) -> Form:
    """A value, a ratio or digits in a base, from all the tokens. Raises Unreadable."""
    if not tokens:
        raise Unreadable("nothing is there")
    based = _based(tokens)
    if based is not None:
        return based
    parts = _split_ratio(tokens)
    if len(parts) > 1:
        return Ratio(tuple(Value(parse_expression(part)) for part in parts))
    chosen = _chosen(tokens)
    if chosen is not None:
        return chosen
    angle = _angle(tokens)
    if angle is not None:
        return angle
    money = _money(tokens)
    if money is not None:
        return money
    return _power_of_ten(tokens) or _measured(tokens)


def _power_of_ten(tokens: Tokens) -> Value | None:
    """2e-3 alone: 0.002, and also 2e - 3."""
    at = int(tokens[0].text == "-" and len(tokens) > 1)
    digits, mark, exponent = tokens[at].text.partition("e")
    if len(tokens) != at + 1 or not digits.isdigit() or not mark or exponent[0] not in "+-":
        return None
    product = [Token("number", digits), Token("letter", "e"), Token("sign", exponent[0])]
    read = parse_expression([*tokens[:at], *product, Token("number", exponent[1:])])
    return replace(_measured(tokens), others=(Value(read),))


def _based(tokens: Tokens) -> Based | None:
    """1010_2, 2A_{16}, 12_{\\text{five}}."""
    texts = [token.text for token in tokens]
    if "_" not in texts:
        return None
    at = texts.index("_")
    if (texts[0], texts[at - 1]) in (("(", ")"), ("{", "}")) and at > 2:
        texts, tokens = [*texts[1 : at - 1], *texts[at:]], [*tokens[1 : at - 1], *tokens[at:]]
        at -= 2
    digits = "".join(texts[:at])
    lettered = tokens[0].kind == "letter" and digits.isupper() and any(map(str.isdigit, digits))
    if (
        not at
        or not (tokens[0].kind == "number" or lettered)
        or not (digits.isalnum() and digits.isascii())
    ):
        return None
    inside = texts[at + 1 :]
    while len(inside) > 2 and inside[0] + inside[-1] in ("{}", "()"):
        inside = inside[1:-1]
    if len(inside) != 1 or any(token.space for token in tokens[1:at]):
        return None
    base = _BASES.get(inside[0].lower()) or (int(inside[0]) if inside[0].isdigit() else 0)
    if lettered and base <= 10:
        return None
    if not 2 <= base <= 36 or any(int(digit, 36) >= base for digit in digits):
        raise Unreadable("no digits of that base")
    return Based(digits.upper().lstrip("0") or "0", base)


def _split_ratio(tokens: Tokens) -> list[Tokens]:
    parts, start = [], 0
    worded = {token.text for token in tokens if token.kind != "number"} == {"to"}  # 3 to 4
    for position, token in enumerate(tokens):
        if token.text == ":" or (worded and token.text == "to"):
            parts.append(tokens[start:position])
            start = position + 1
    parts.append(tokens[start:])
    if len(parts) > 1 and not all(parts):
        raise Unreadable("half a ratio")
    return parts


def _chosen(tokens: Tokens) -> Form | None:
    """C(10, 3) and C_{10}^{3} as a binomial; the first may also be a point, the second a power."""
    texts = [token.text for token in tokens]
    if texts[0] != "C":
        return None
    if texts[1:2] == ["("] and texts[-1] == ")" and texts.count(",") == 1 and is_pair(tokens[1:]):
        at = texts.index(",")
        if "-" in (texts[2], texts[at + 1]):
            return None
        parts = parse_expression(tokens[2:at]), parse_expression(tokens[at + 1 : -1])
        point = Group("()", tuple(map(Value, parts)))
        n, k = (part.value for part in parts)
        if n is not None and k is not None and n < k:
            return point  # nobody chooses 10 of 4
        return Value(nodes.call("binomial", *parts), others=(point,))
    numbers = [int(text) for text in texts[1:] if text.isdigit()]
    plain = "".join(text for text in texts if text not in ("{", "}"))
    if len(numbers) != 2 or plain != f"C_{numbers[0]}^{numbers[1]}" or numbers[0] < numbers[1]:
        return None
    chosen = nodes.call("binomial", nodes.number(numbers[0]), nodes.number(numbers[1]))
    return Value(parse_expression(tokens), others=(Value(chosen),))


def _angle(tokens: Tokens) -> Value | None:
    """45° 30' 15'', as one angle in degrees."""
    texts = [token.text for token in tokens]
    marks = [text for text in texts if text in ("\\degree", "'")]
    if len(marks) < 2 or marks[0] != "\\degree" or texts[-1] != "'":
        return None
    sign = -1 if texts[0] == "-" else 1
    parts = texts[texts[0] == "-" :]
    expected = ["\\degree", "'", "''"]
    total, scale = Fraction(0), Fraction(1)
    while parts and expected:
        mark = expected.pop(0)
        width = len(mark) if mark != "\\degree" else 1
        if not parts[0].replace(".", "", 1).isdigit() or "".join(parts[1 : 1 + width]) != mark:
            raise Unreadable("an angle in degrees and minutes")
        total += Fraction(parts[0]) * scale
        parts, scale = parts[1 + width :], scale / 60
    if parts:
        raise Unreadable("an angle in degrees and minutes")
    return Value(nodes.number(sign * total), _DEGREES, compound=True)


def _money(tokens: Tokens) -> Value | None:
    """$5, -$5, €5.50, 5$, $3 million."""
    texts = [token.text for token in tokens]
    if texts[0] in _CURRENCY_CODES and len(texts) > 1:
        texts[0] = _CURRENCY_CODES[texts[0]]
    negative = texts[0] == "-" and len(texts) > 1
    at = int(negative)
    if texts[at] in units.CURRENCY_SIGNS and len(texts) > at + 1:
        inner = _measured(tokens[at + 1 :])
        unit = units.combine([(texts[at], 1)])
        if inner.unit is not None and inner.unit != unit:
            raise Unreadable("a currency and another unit")
        node = nodes.negate(inner.node) if negative else inner.node
        return Value(node, unit, inner.percent)
    if texts[-1] in units.CURRENCY_SIGNS and len(texts) > 1:
        inner = _measured(tokens[:-1])
        if inner.unit is None and not inner.percent:
            return Value(inner.node, units.combine([(texts[-1], 1)]))
        raise Unreadable("a currency and another unit")
    return None


def _measured(tokens: Tokens) -> Value:
    tokens, note = _without_note(tokens)
    tokens, heat = _without_temperature(tokens)
    node, end = parse_prefix(tokens)
    rest = tokens[end:]
    if heat is not None:
        if rest or note:
            raise Unreadable("something before a temperature's unit")
        return Value(node, heat)
    if not rest:
        spelled = read_number_words([name for name, _, _ in note]) if note else None
        if note and spelled == (node.value, len(note)):
            return Value(node)
        if note is not None:
            return _noted(_with_unit(node, note))
        return _typeset_unit(tokens, node)
    if note is not None and len(rest) > 1:
        raise Unreadable("two units")
    words, more = _unit_words(rest)
    if more:
        return _compound(node, words, more)
    value = _with_unit(node, words)
    if note is not None:
        raise Unreadable("two units")
    return value


def _with_unit(node: Node, words: list[tuple[str, int, int]]) -> Value:
    if _is_degrees(node):
        raise Unreadable("degrees and another unit")
    found = units.read_unit(words)
    if found is None:
        raise Unreadable("not a unit")
    scale, percent, unit = found
    if unit is not None and unit.thing and not nodes.is_numeric(node):
        raise Unreadable("words after an expression")
    if scale != 1:
        if node.head == "number" and node.value is not None:
            node = nodes.number(node.value * scale)
        else:
            node = Node("multiply", (node, nodes.number(scale)))
    if [(name.lower(), power) for name, power, _ in words] in ([("pounds", 1)], [("pound", 1)]):
        return Value(node, unit, percent, others=(Value(node, units.combine([("£", 1)])),))
    return Value(node, unit, percent)


def _noted(value: Value) -> Value:
    """What is counted, in brackets after the number, as references have it: 6 (apples)."""
    if value.unit is None or not value.unit.thing:
        return value
    return replace(value, unit=value.unit._replace(note=True))


def _without_note(tokens: Tokens) -> tuple[Tokens, list[tuple[str, int, int]] | None]:
    """A number and the words in brackets after it: 6 (apples), 5 (cm)."""
    if len(tokens) < 4 or tokens[-1].text != ")":
        return tokens, None
    at = len(tokens) - 2
    while at > 0 and tokens[at].kind in ("word", "letter"):
        at -= 1
    if all(token.kind == "letter" for token in tokens[at + 1 : -1]):
        return tokens, None
    if tokens[at].text != "(" or at == len(tokens) - 2 or not at:
        return tokens, None
    return tokens[:at], [(token.text, 1, 1) for token in tokens[at + 1 : -1]]


def _without_temperature(tokens: Tokens) -> tuple[Tokens, Unit | None]:
    if len(tokens) > 2 and tokens[-2].text == "\\degree" and tokens[-1].text in _TEMPERATURES:
        return tokens[:-2], Unit(((_TEMPERATURES[tokens[-1].text], 1),))
    return tokens, None


def _is_degrees(node: Node) -> bool:
    return node.head == "multiply" and node.args[-1] == DEGREE


def _typeset_unit(tokens: Tokens, node: Node) -> Value:
    """A whole expression; degrees are its unit, and a letter after a typeset space may be one."""
    if _is_degrees(node) and not nodes.has(Node("add", node.args[:-1]), "opaque"):
        rest = node.args[:-1]
        return Value(rest[0] if len(rest) == 1 else Node("multiply", rest), _DEGREES)
    letter, power = len(tokens) - 1, 1
    if len(tokens) > 3 and tokens[-1].text == "}" and tokens[-3].text == "{":
        letter, power = len(tokens) - 5, -1
    elif len(tokens) > 2 and tokens[-2].text == "^":
        letter, power = len(tokens) - 3, -1
    single = tokens[letter].text in _SINGLE_UNITS | {"\\Omega"}
    if letter < 1 or not single or tokens[letter].space < 1:
        return Value(node)
    if power == -1:
        raised = tokens[letter + 1 :]
        digits = [token.text for token in raised if token.kind == "number"]
        if len(digits) != 1 or digits[0] not in ("2", "3") or raised[0].text != "^":
            return Value(node)
        power = int(digits[0])
    if tokens[letter - 1].text in _OPERATING:
        return Value(node)
    try:
        number = parse_expression(tokens[:letter])
    except Unreadable:
        return Value(node)
    if not nodes.is_numeric(number):
        return Value(node)
    unit = units.combine([(tokens[letter].text, power)])
    if tokens[letter].space < 2 and unit is not None:
        # 5 m may be five times m: a unit to another unit, never to a bare number.
        unit = unit._replace(known=False)
    return Value(node, others=(Value(number, unit),))


def _unit_words(tokens: Tokens) -> tuple[list[tuple[str, int, int]], Tokens]:
    """(name, power, sign) parts, up to another number or the end."""
    words: list[tuple[str, int, int]] = []
    at, sign = 0, 1
    while at < len(tokens):
        token = tokens[at]
        if token.kind == "number" and words and sign == 1:
            return words, tokens[at:]
        if token.text in ("/", "*", "-") or token.text.lower() == "per":
            if not words or sign == -1:
                raise Unreadable("not a unit")
            sign = 1 if token.text in ("*", "-") else -1
            at += 1
            if at == len(tokens) or tokens[at].kind == "number":
                raise Unreadable("not a unit")
            continue
        letter = token.kind == "letter" and (words or token.upright)
        if not (
            token.text in ("%", "\\Omega")
            or token.kind == "word"
            or (letter and _is_letter_unit(token.text))
        ):
            raise Unreadable(f"{token.text!r} after a value")
        name = token.text
        at += 1
        power, at = _power(tokens, at)
        words.append((name, power, sign))
        if sign == -1 and not _keeps_dividing(tokens, at):
            sign = 1
    return words, []


def _is_letter_unit(name: str) -> bool:
    return len(name) == 1 and name in units.NAMES


def _keeps_dividing(tokens: Tokens, at: int) -> bool:
    return at < len(tokens) and tokens[at].text in ("/", "per")


def _power(tokens: Tokens, at: int) -> tuple[int, int]:
    if at >= len(tokens) or tokens[at].text != "^":
        return 1, at
    texts = [token.text for token in tokens[at + 1 : at + 5]]
    if texts[:1] == ["{"]:
        end = texts.index("}") if "}" in texts else 0
        digits, following = "".join(texts[1:end]), at + 2 + end
    else:
        digits, following = "".join(texts[:1]), at + 2
    if digits.lstrip("-") not in ("1", "2", "3", "4"):
        raise Unreadable("a unit's power")
    return int(digits), following


def _compound(node: Node, words: list[tuple[str, int, int]], rest: Tokens) -> Value:
    """3 ft 4 in: one quantity in several units, each a whole number but the last."""
    found: list[tuple[Node, Unit]] = []
    while True:
        read = units.read_unit(words)
        if read is None or read[0] != 1 or read[1] or read[2] is None or node.head != "number":
            raise Unreadable("not a compound quantity")
        found.append((node, read[2]))
        if not rest:
            break
        node, end = parse_prefix(rest)
        words, rest = _unit_words(rest[end:])
        if not words:
            raise Unreadable("a number without its unit")
    total, last = Fraction(0), found[-1][1]
    for part, unit in found:
        scale = units.factor(unit, last)
        if scale is None or part.value is None or unit.thing or (scale <= 1 and unit != last):
            raise Unreadable("not a compound quantity")
        total += part.value * scale
    return Value(nodes.number(total), last, compound=True)
