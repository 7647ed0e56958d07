"""Another spelling of a form: what a sound reference must be recognised in."""

from __future__ import annotations

import re
from fractions import Fraction

from filters.verify.maths.forms import (
    Based,
    Choice,
    Family,
    Form,
    Group,
    Matrix,
    Named,
    Notation,
    Phrase,
    Piecewise,
    Ratio,
    Region,
    Relation,
    Value,
    Words,
)
from filters.verify.maths.nodes import Node
from filters.verify.maths.reading.dates import MONTHS
from filters.verify.maths.units import Unit

_SIGNS = {"=": "=", "<": "<", "<=": r"\leq", "ne": r"\neq", "~": r"\approx"}
_CONSTANTS = {"pi": r"\pi", "e": r"\mathrm{e}", "i": r"\mathrm{i}", "infinity": r"\infty"}
_CONSTANTS |= {"degree": r"^{\circ}"}
_BREAK = r" \\ "
_DELIMITERS = {"floor": ("lfloor", "rfloor"), "ceil": ("lceil", "rceil")}


class NoSpelling(Exception):
    """It has only the one spelling known here."""


def respell(form: Form) -> str:
    """The form in LaTeX: terms and factors turned round, fractions built up, words marked as text.

    Raises NoSpelling.
    """
    if isinstance(form, Value):
        return _value(form)
    if isinstance(form, Words):
        if form.text.startswith("circled "):
            return re.sub(r"circled (\w+)", r"\\textcircled{\1}", form.text)
        if form.text.startswith("date "):
            month, day, *year = form.text.split()[1:]
            return rf"\text{{{day} {MONTHS[int(month) - 1]} {' '.join(year)}}}"
        if form.text.startswith("ordinal "):
            number, ending = form.text.split()[1:]
            return f"{number}^{{{ending}}}"
        return rf"\text{{{form.text.removeprefix('day ')}}}"
    if isinstance(form, Phrase):
        return " ".join(
            rf"\text{{ {p} }}" if isinstance(p, str) else respell(p) for p in form.parts
        )
    if isinstance(form, Choice):
        return rf"\textbf{{({form.letter})}}" + (f" {respell(form.form)}" if form.form else "")
    if isinstance(form, Named):
        return _named(form)
    if isinstance(form, Relation):
        spelled = _value(form.sides[0])
        for sign, side in zip(form.signs, form.sides[1:], strict=True):
            spelled += f" {_SIGNS[sign]} {_value(side)}"
        return spelled
    if isinstance(form, Group):
        return _group(form)
    if isinstance(form, Region):
        spelled = r" \cup ".join(_group(piece) for piece in reversed(form.pieces))
        points = ", ".join(map(respell, form.without))
        return spelled + (rf" \setminus \{{{points}\}}" if points else "")
    if isinstance(form, Matrix):
        rows = (" & ".join(map(respell, row)) for row in form.rows)
        return rf"\begin{{bmatrix}} {_BREAK.join(rows)} \end{{bmatrix}}"
    if isinstance(form, Piecewise):
        rows = (
            f"{respell(value)} & {respell(when) if when is not None else 'otherwise'}"
            for value, when in form.branches
        )
        return rf"\begin{{cases}} {_BREAK.join(rows)} \end{{cases}}"
    if isinstance(form, Ratio):
        return " : ".join(map(_value, form.parts))
    if isinstance(form, Family | Notation):
        raise NoSpelling
    assert isinstance(form, Based)
    return rf"{form.digits}_{{{form.base}}}"


def _named(form: Named) -> str:
    inner = form.form
    if isinstance(inner, Group | Region) and not (isinstance(inner, Group) and not inner.ends):
        if len(form.name) == 1:
            return rf"{form.name} \in {respell(inner)}"
        return respell(inner)
    if len(form.name) == 1 and not isinstance(inner, Group):
        return f"{form.name} = {respell(inner)}"
    return respell(inner)


def _group(form: Group) -> str:
    if form.ends == "{|}":
        raise NoSpelling
    if form.ends in ("", "{}"):
        items = [*map(respell, form.items)][::-1]
        if form.ends == "" and any(isinstance(item, Named) for item in form.items):
            items.reverse()
        if len(items) > 1 or form.ends:
            joined = ", ".join(items)
            return joined if not form.ends else rf"\left\{{{joined}\right\}}"
        return items[0]
    opening, closing = form.ends[0], form.ends[1]
    return rf"\left{opening} {', '.join(map(respell, form.items))} \right{closing}"


def _value(form: Value) -> str:
    if form.others:
        raise NoSpelling
    spelled = _node(form.node)
    if form.percent:
        return rf"{spelled}\%"
    return spelled if form.unit is None else rf"{spelled} {_unit(form.unit)}"


def _unit(unit: Unit) -> str:
    if unit.thing:
        return rf"\text{{ {unit.thing}}}"
    if any("/" in name for name, _ in unit.powers):
        return ""
    parts = []
    for name, power in unit.powers:
        if name in ("usd", "eur", "gbp", "inr", "jpy", "cny", "krw", "am", "pm", "degC", "degF"):
            raise NoSpelling
        parts.append(rf"\text{{{name}}}" + (f"^{{{power}}}" if power != 1 else ""))
    return r" \cdot ".join(parts)


def _number(value: Fraction) -> str:
    sign = "-" if value < 0 else ""
    value = abs(value)
    if value.denominator == 1:
        return f"{sign}{value.numerator}"
    return rf"{sign}\frac{{{value.numerator}}}{{{value.denominator}}}"


def _node(node: Node) -> str:
    """An expression, ready to be a term."""
    head, args = node.head, node.args
    if head == "number":
        assert node.value is not None
        return _number(node.value)
    if head == "constant":
        return _CONSTANTS[node.name]
    if head == "symbol":
        return _symbol(node.name)
    if head == "negate":
        return f"-{_factor(args[0])}"
    if head == "add":
        spelled = ""
        for arg in reversed(args):
            term = _node(arg)
            spelled += term if term[0] == "-" or not spelled else f"+{term}"
        return spelled
    if head == "multiply":
        if any(arg.head == "constant" and arg.name == "degree" for arg in args):
            return f"{_factor(args[0])}^{{\\circ}}" if len(args) == 2 else _refuse()
        return r" \cdot ".join(_factor(arg) for arg in reversed(args))
    if head == "divide":
        return rf"\frac{{{_node(args[0])}}}{{{_node(args[1])}}}"
    if head == "power" and args[0].name.startswith("("):
        return rf"{args[0].name}^{{{_node(args[1])}}}"  # (AB)^2
    if head == "power":
        return rf"{{{_factor(args[0])}}}^{{{_node(args[1])}}}"
    if head == "factorial":
        return rf"\left({_node(args[0])}\right)!"
    return _call(node) if head == "call" else _refuse()


def _factor(node: Node) -> str:
    spelled = _node(node)
    plain = node.head in ("symbol", "constant", "divide", "call")
    if node.head == "number" and not spelled.startswith("-"):
        plain = True
    return spelled if plain else rf"\left({spelled}\right)"


def _symbol(name: str) -> str:
    from filters.verify.maths.reading.tokens import GREEK

    base, mark, subscript = name.partition("_")
    if " " in base or "'" in name:
        _refuse()
    if base in GREEK:
        base = "\\" + base
    return f"{base}_{{{subscript}}}" if mark else base


def _call(node: Node) -> str:
    name, args = node.name, node.args
    if name == "root":
        index = "" if args[1].value == 2 else f"[{_node(args[1])}]"
        return rf"\sqrt{index}{{{_node(args[0])}}}"
    if name == "binomial":
        return rf"\dbinom{{{_node(args[0])}}}{{{_node(args[1])}}}"
    if name == "abs":
        return rf"\left|{_node(args[0])}\right|"
    if name in _DELIMITERS:
        opening, closing = _DELIMITERS[name]
        return rf"\left\{opening} {_node(args[0])} \right\{closing}"
    if name == "log":
        return rf"\log_{{{_node(args[1])}}}\left({_node(args[0])}\right)"
    if name.startswith("function ") or name in ("determinant", "norm"):
        _refuse()
    inner = ", ".join(map(_node, args))
    return rf"\operatorname{{{name}}}\left({inner}\right)"


def _refuse() -> str:
    raise NoSpelling
