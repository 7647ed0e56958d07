"""Expressions as small trees: their value to 80 digits and their many spellings in LaTeX."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import mpmath  # type: ignore[import-untyped]

DIGITS = 80
ATOM, POWER, FRACTION, PRODUCT, SUM = 5, 4, 4, 2, 1
FUNCTIONS = ("sin", "cos", "tan", "ln", "exp", "arctan")
CONSTANTS = {"pi": ("\\pi", "\\pi", "π"), "e": ("e", "\\mathrm{e}"), "i": ("i", "\\mathrm{i}")}


@dataclass(frozen=True)
class Node:
    """`op` is num, sym, const, neg, add, mul, div, pow, root, log or a function's name."""

    op: str
    args: tuple[Node, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class Style:
    """How one spelling writes what LaTeX can write in several ways."""

    fraction: str = "frac"
    times: str = "\\cdot "
    parens: tuple[str, str] = ("(", ")")
    pad: str = ""
    short: bool = False
    roman: int = 0
    minus: str = "-"


def num(value: int | str | Fraction) -> Node:
    if isinstance(value, Fraction):
        top = num(abs(value.numerator))
        node = top if value.denominator == 1 else div(top, num(value.denominator))
        return neg(node) if value < 0 else node
    return Node("num", name=str(value))


def sym(name: str) -> Node:
    return Node("sym", name=name)


def const(name: str) -> Node:
    return Node("const", name=name)


def neg(a: Node) -> Node:
    return Node("neg", (a,))


def add(*args: Node) -> Node:
    return Node("add", args)


def sub(a: Node, b: Node) -> Node:
    return Node("add", (a, neg(b)))


def mul(*args: Node) -> Node:
    return Node("mul", args)


def div(a: Node, b: Node) -> Node:
    return Node("div", (a, b))


def power(a: Node, b: Node | int) -> Node:
    return Node("pow", (a, num(b) if isinstance(b, int) else b))


def root(a: Node, n: int = 2) -> Node:
    return Node("root", (a,), str(n))


def fn(name: str, a: Node) -> Node:
    return Node(name, (a,))


def log(base: Node, a: Node) -> Node:
    return Node("log", (base, a))


def evaluate(node: Node, env: Mapping[str, Any] | None = None) -> Any:
    """The value to `DIGITS` digits, unknowns from `env`. Raises ZeroDivisionError, ValueError."""
    with mpmath.workdps(DIGITS):
        return _value(node, env or {})


def _value(node: Node, env: Mapping[str, Any]) -> Any:
    if node.op == "num":
        return mpmath.mpf(node.name)
    if node.op == "sym":
        return env[node.name]
    if node.op == "const":
        return {"pi": +mpmath.pi, "e": +mpmath.e, "i": mpmath.mpc(0, 1)}[node.name]
    args = [_value(arg, env) for arg in node.args]
    if node.op == "neg":
        return -args[0]
    if node.op == "add":
        return sum(args[1:], args[0])
    if node.op == "mul":
        return mpmath.fprod(args)
    if node.op == "div":
        return args[0] / args[1]
    if node.op == "pow":
        if args[1].imag == 0 and abs(args[1].real) > 5000:
            raise ValueError("power too large")
        return args[0] ** args[1]
    if node.op == "root":
        n = int(node.name)
        odd_real = n % 2 and args[0].imag == 0 and args[0].real < 0
        return -mpmath.root(-args[0], n) if odd_real else mpmath.root(args[0], n)
    if node.op == "log":
        return mpmath.log(args[1]) / mpmath.log(args[0])
    if node.op == "abs":
        return abs(args[0])
    if node.op == "factorial":
        if args[0].real > 5000:
            raise ValueError("factorial too large")
        return mpmath.gamma(args[0] + 1)
    name = {"ln": "log", "arctan": "atan", "arcsin": "asin", "arccos": "acos"}.get(node.op, node.op)
    return getattr(mpmath, name)(args[0])


def draw_style(draw: random.Random) -> Style:
    return Style(
        fraction=draw.choice(("frac", "frac", "dfrac", "tfrac", "slash")),
        times=draw.choice(("\\cdot ", "\\cdot ", "\\times ")),
        parens=draw.choice((("(", ")"), ("\\left(", "\\right)"))),
        pad=draw.choice(("", "", " ", "\\,")),
        short=draw.random() < 0.3,
        roman=draw.randrange(6),
        minus="−" if draw.random() < 0.05 else "-",
    )


def spell(node: Node, style: Style | None = None) -> str:
    style = style or Style()
    return _spell(node, style)[0].replace("-", style.minus)


def _spell(node: Node, style: Style) -> tuple[str, int]:
    if node.op == "num":
        return node.name, SUM if node.name.startswith("-") else ATOM
    if node.op == "sym":
        return node.name, ATOM
    if node.op == "const":
        forms = CONSTANTS[node.name]
        return forms[style.roman % len(forms) if style.roman else 0], ATOM
    if node.op == "neg":
        return "-" + _inside(node.args[0], style, PRODUCT), SUM
    if node.op == "add":
        return _sum(node, style), SUM
    if node.op == "mul":
        return _product(node, style)
    if node.op == "div":
        return _fraction(node, style)
    if node.op == "pow":
        base, exponent = _inside(node.args[0], style, ATOM), _spell(node.args[1], style)[0]
        bare = style.short and len(exponent) == 1
        return f"{base}^{exponent}" if bare else f"{base}^{{{exponent}}}", POWER
    if node.op == "root":
        inner = _spell(node.args[0], style)[0]
        if node.name != "2":
            return f"\\sqrt[{node.name}]{{{inner}}}", POWER
        return f"\\sqrt{inner}" if style.short and inner.isdigit() and len(inner) == 1 else (
            f"\\sqrt{{{inner}}}"
        ), POWER
    open_, close = style.parens
    if node.op == "log":
        base, inner = _spell(node.args[0], style)[0], _spell(node.args[1], style)[0]
        index = base if style.short and len(base) == 1 else f"{{{base}}}"
        return f"\\log_{index}{open_}{inner}{close}", POWER
    if node.op == "abs":
        return f"\\left|{_spell(node.args[0], style)[0]}\\right|", POWER
    if node.op == "factorial":
        return _inside(node.args[0], style, ATOM) + "!", POWER
    return f"\\{node.op}{open_}{_spell(node.args[0], style)[0]}{close}", POWER


def _inside(node: Node, style: Style, level: int) -> str:
    text, own = _spell(node, style)
    return text if own >= level else f"{style.parens[0]}{text}{style.parens[1]}"


def _sum(node: Node, style: Style) -> str:
    parts: list[str] = []
    for arg in node.args:
        text, level = _spell(arg, style)
        if level == SUM and arg.op == "add":
            text = f"{style.parens[0]}{text}{style.parens[1]}"
        if parts and not text.startswith("-"):
            text = "+" + text
        if parts and style.pad:
            text = f"{style.pad}{text[0]}{style.pad}{text[1:]}"
        parts.append(text)
    return "".join(parts)


def _product(node: Node, style: Style) -> tuple[str, int]:
    text, level = "", PRODUCT
    before = ""
    for arg in node.args:
        if not text:
            piece, own = _spell(arg, style)
            if own < POWER and not (own == SUM and piece.startswith("-") and arg.op != "add"):
                piece = f"{style.parens[0]}{piece}{style.parens[1]}"
            elif own == SUM:
                level = SUM
        else:
            piece = _inside(arg, style, POWER)
            # 2\frac12 would be a mixed number, 2 3 one number, \sin(x)(y) unclear
            apart = (
                piece[0].isdigit()
                or piece.startswith(("\\frac", "\\dfrac", "\\tfrac"))
                or (
                    piece.startswith(("(", "\\left(")) and (before[-1:].isalpha() or "\\" in before)
                )
                or before[-1:] == "!"
            )
            if apart:
                text += style.times
            elif before.startswith("\\") and before[1:].isalpha() and piece[0].isalpha():
                text += " "
        text += piece
        before = piece
    return text, level


def _fraction(node: Node, style: Style) -> tuple[str, int]:
    top, bottom = node.args
    if style.fraction == "slash":
        above, below = _inside(top, style, PRODUCT), _inside(bottom, style, POWER)
        return f"{above}/{below}", PRODUCT
    above, below = _spell(top, style)[0], _spell(bottom, style)[0]
    if style.short and len(above) == len(below) == 1 and (above + below).isdigit():
        return f"\\{style.fraction}{above}{below}", FRACTION
    return f"\\{style.fraction}{{{above}}}{{{below}}}", FRACTION


def sites(node: Node, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Node]]:
    yield path, node
    for at, arg in enumerate(node.args):
        yield from sites(arg, (*path, at))


def put(node: Node, path: tuple[int, ...], new: Node) -> Node:
    if not path:
        return new
    args = list(node.args)
    args[path[0]] = put(args[path[0]], path[1:], new)
    return replace(node, args=tuple(args))


def rewrite(node: Node, draw: random.Random) -> Node:
    """An equal tree: other order, fractions split or expanded, roots as powers."""
    node = replace(node, args=tuple(rewrite(arg, draw) for arg in node.args))
    chance = draw.random()
    if node.op in ("add", "mul") and chance < 0.5:
        args = list(node.args)
        draw.shuffle(args)
        return replace(node, args=tuple(args))
    if node.op == "div":
        top, bottom = node.args
        if top.op == "add" and chance < 0.4:
            return add(*(div(arg, bottom) for arg in top.args))
        if top.op == "mul" and chance < 0.4:
            return mul(div(top.args[0], bottom), *top.args[1:])
        if top.op == bottom.op == "num" and "." not in top.name + bottom.name and chance < 0.1:
            times = draw.choice((2, 3, 10))
            return div(num(int(top.name) * times), num(int(bottom.name) * times))
    if node.op == "mul" and len(node.args) == 2 and chance > 0.7:
        k, r = node.args
        square = k.op == "num" and k.name.isdigit() and r.op == "root" and r.name == "2"
        if square and r.args[0].name.isdigit():
            return root(num(int(k.name) ** 2 * int(r.args[0].name)))
    if node.op == "root" and chance < 0.12:
        return power(node.args[0], div(num(1), num(node.name)))
    return node


def miss(node: Node, draw: random.Random) -> Node:
    """A tree one slip away: a sign, a digit, a dropped term, a swap. May still be equal."""
    path, at = draw.choice(list(sites(node)))
    return put(node, path, _slip(at, draw))


def _slip(at: Node, draw: random.Random) -> Node:
    if at.op == "num":
        return num(_other_digit(at.name, draw))
    if at.op == "sym":
        return sym(draw.choice([name for name in "xyzabt" if name != at.name]))
    if at.op == "const":
        return neg(at) if at.name == "i" else mul(num(2), at)
    if at.op == "neg":
        return at.args[0]
    if at.op == "add":
        which = draw.randrange(len(at.args))
        if len(at.args) > 2 and draw.random() < 0.4:
            return add(*(arg for n, arg in enumerate(at.args) if n != which))
        return add(*(neg(arg) if n == which else arg for n, arg in enumerate(at.args)))
    if at.op == "mul":
        which = draw.randrange(len(at.args))
        left = [arg for n, arg in enumerate(at.args) if n != which]
        return neg(at) if draw.random() < 0.5 else (mul(*left) if len(left) > 1 else left[0])
    if at.op in ("div", "pow", "log"):
        return replace(at, args=at.args[::-1])
    if at.op == "root":
        return draw.choice((replace(at, name="3" if at.name == "2" else "2"), neg(at), at.args[0]))
    if at.op in FUNCTIONS:
        return Node(draw.choice([name for name in FUNCTIONS[:5] if name != at.op]), at.args)
    return neg(at)


def _other_digit(digits: str, draw: random.Random) -> str:
    places = [at for at, char in enumerate(digits) if char.isdigit()]
    at = draw.choice(places)
    new = draw.choice([d for d in "123456789" if d != digits[at]])
    return digits[:at] + new + digits[at + 1 :]


def equal(a: Node, b: Node, seed: int = 0) -> bool | None:
    """Whether two trees agree at random points; None where they cannot be evaluated there.

    Values that differ by less than 1e-60 are equal, by more than 1e-6 different, else None.
    """
    unknowns = {node.name for tree in (a, b) for _, node in sites(tree) if node.op == "sym"}
    draw = random.Random(seed)
    seen = 0
    close = True
    for _ in range(8):
        env = {name: mpmath.mpf(draw.randint(1, 4000)) / 1009 for name in sorted(unknowns)}
        try:
            left, right = evaluate(a, env), evaluate(b, env)
        except (ArithmeticError, ValueError):
            continue
        if not (mpmath.isfinite(left) and mpmath.isfinite(right)):
            continue
        with mpmath.workdps(DIGITS):
            gap = abs(left - right) / max(mpmath.mpf("1e-12"), abs(left), abs(right))
        if gap > 1e-6:
            return False
        close = close and gap < 1e-60
        seen += 1
        if seen == 4 or not unknowns:
            break
    return True if seen and close else None
