"""Makers of answers with unknowns: polynomials to unions of inequalities."""

from __future__ import annotations

import random
from fractions import Fraction

from .drafts import Draft, Maker, draft, draw_fraction, of_tree
from .tree import Node, add, div, draw_style, equal, fn, mul, neg, num, power, root, spell, sub, sym
from .tree import const as constant
from .tree import miss as miss_tree
from .tree import rewrite as rewrite_tree

LESS = ("<", "\\lt ")
AT_MOST = ("\\le ", "\\leq ", "\\leqslant ", "≤")


def _linear(letter: str, slope: int, shift: int) -> Node:
    first = sym(letter) if slope == 1 else mul(num(slope), sym(letter))
    return sub(first, num(-shift)) if shift < 0 else add(first, num(shift))


def polynomial(draw: random.Random) -> Draft:
    letter = draw.choice("xytn")
    a, b = draw.randint(1, 12), draw.randint(1, 12) * draw.choice((1, -1))
    first, second = _linear(letter, draw.randint(1, 3), a), _linear(letter, 1, b)
    lead = int(first.args[0].args[0].name) if first.args[0].op == "mul" else 1
    terms: list[Node] = [power(sym(letter), 2)]
    if lead > 1:
        terms = [mul(num(lead), power(sym(letter), 2))]
    middle, last = lead * b + a, a * b
    if middle:
        piece = mul(num(abs(middle)), sym(letter)) if abs(middle) > 1 else sym(letter)
        terms.append(neg(piece) if middle < 0 else piece)
    terms.append(neg(num(-last)) if last < 0 else num(last))
    return of_tree(add(*terms), draw, (mul(first, second),))


def two_letters(draw: random.Random) -> Draft:
    p, q = (sym(name) for name in draw.sample("abxyz", 2))
    k = num(draw.randint(2, 9))
    tree, other = draw.choice((
        (sub(power(p, 2), power(q, 2)), mul(add(p, q), sub(p, q))),
        (add(power(p, 2), mul(num(2), p, q), power(q, 2)), power(add(p, q), 2)),
        (mul(k, p, add(p, q)), add(mul(k, power(p, 2)), mul(k, p, q))),
        (add(mul(k, p), q), sub(mul(k, p), neg(q))),
    ))  # fmt: skip
    return of_tree(tree, draw, (other,))


def rational(draw: random.Random) -> Draft:
    x = sym(draw.choice("xt"))
    a, b, c = draw.randint(1, 9), draw.randint(1, 9), draw.randint(2, 9)
    b += a == b
    top, bottom = add(x, num(a)), sub(x, num(b))
    kind = draw.randrange(3)
    if kind == 0:
        return of_tree(div(top, bottom), draw, (add(num(1), div(num(a + b), bottom)),))
    if kind == 1:
        both = sub(div(num(c), bottom), div(num(c), top))
        return of_tree(both, draw, (div(num(c * (a + b)), mul(bottom, top)),))
    return of_tree(div(mul(num(c), power(x, 2)), add(power(x, 2), num(b))), draw)


def function(draw: random.Random) -> Draft:
    x = sym(draw.choice("xt"))
    a, b = num(draw.randint(2, 9)), num(draw.randint(1, 9))
    tree = draw.choice((
        add(mul(a, fn("sin", x)), b),
        mul(a, fn("cos", mul(num(2), x))),
        root(add(power(x, 2), b)),
        mul(a, power(constant("e"), mul(num(2), x))),
        add(fn("ln", add(x, b)), a),
        div(fn("sin", x), add(x, b)),
        sub(mul(a, power(x, 3)), mul(b, root(x))),
    ))  # fmt: skip
    return of_tree(tree, draw)


def named_value(draw: random.Random) -> Draft:
    letter, other = draw.sample("xyzanmkt", 2)
    value = draw.choice((Fraction(draw.randint(-40, 90)), draw_fraction(draw)))
    text = spell(num(value))
    slipped = [
        spell(num(near)) for near in (value + 1, -value, 2 * value, value - 1) if near != value
    ]
    right = [text, f"{letter}={text}", f"{letter} = {text}",
             f"{letter}={spell(num(value), draw_style(draw))}",
             f"{letter}\\,=\\,{text}"]  # fmt: skip
    wrong = [*slipped, *(f"{letter}={near}" for near in slipped), f"{other}={text}",
             f"{letter}\\neq {text}", f"{letter}>{text}", f"{letter}\\le {text}",
             f"{letter}={text}\\text{{ or }}{letter}={slipped[0]}"]  # fmt: skip
    return draft([f"{letter}={text}", f"${letter} = {text}$"], list(right), list(wrong))


def named_function(draw: random.Random) -> Draft:
    a, b = draw.randint(2, 9), draw.randint(1, 9)
    head = draw.choice(("f(x)", "y", "g(x)", "P(x)"))
    made = of_tree(add(mul(num(a), power(sym("x"), 2)), num(b)), draw)
    right = [f"{head}={one.text}" for one in made.right]
    wrong = [f"{head}={one.text}" for one in made.wrong if "y" not in one.text]
    return draft([f"{head}={made.references[0]}"], list(right), list(wrong))


def _joined(left: Node, right: Node, draw: random.Random) -> str:
    style = draw_style(draw)
    pad = draw.choice(("", " "))
    return f"{spell(left, style)}{pad}={pad}{spell(right, style)}"


def line(draw: random.Random) -> Draft:
    m, c = draw.randint(2, 9) * draw.choice((1, -1)), draw.randint(1, 12) * draw.choice((1, -1))
    x, y, k = sym("x"), sym("y"), num(draw.randint(2, 5))
    slope = mul(num(abs(m)), x) if m > 0 else neg(mul(num(abs(m)), x))
    value = sub(slope, num(-c)) if c < 0 else add(slope, num(c))
    general = add(slope, neg(y), num(c) if c > 0 else neg(num(-c)))
    pairs = [(y, value), (value, y), (general, num(0)), (num(0), general),
             (mul(k, y), mul(k, value)), (sub(y, slope), num(c)), (neg(y), neg(value))]  # fmt: skip
    zero = sub(y, value)
    right = [_joined(rewrite_tree(left, draw), rewrite_tree(other, draw), draw)
             for left, other in draw.sample(pairs, 5)]  # fmt: skip
    wrong: list[str] = []
    for left, other in pairs[:6]:
        slipped = miss_tree(other, draw) if other.op not in ("num", "sym") else other
        again = miss_tree(left, draw) if slipped is other and left.op != "sym" else left
        if _not_multiples(sub(again, slipped), zero):
            wrong.append(_joined(again, slipped, draw))
    wrong += [f"y={spell(neg(slope))}{c:+}", f"x={spell(slope).replace('x', 'y')}{c:+}",
              spell(value).replace("x", "z") + "=y", f"y={m}x", f"y={c}x{m:+}" if m != c else "y=0",
              f"y>{m}x{c:+}", f"{m}x{c:+}=0"]  # fmt: skip
    return draft([f"y={spell(value)}", f"{spell(general)}=0"], list(right), list(wrong))


def _not_multiples(a: Node, b: Node) -> bool:
    """Whether a is certainly no number times b: their quotient differs between points."""
    quotients = []
    draw = random.Random(5)
    for _ in range(4):
        scale = {name: Fraction(draw.randint(1, 999), 101) for name in "xyzabt"}
        here = [_at(tree, scale) for tree in (a, b)]
        same = [_at(tree, {**scale, "x": scale["x"] + 1}) for tree in (a, b)]
        quotients.append(equal(mul(here[0], same[1]), mul(here[1], same[0])) is False)
    return any(quotients)


def _at(node: Node, env: dict[str, Fraction]) -> Node:
    if node.op == "sym":
        return num(env[node.name])
    return Node(node.op, tuple(_at(arg, env) for arg in node.args), node.name)


def curve(draw: random.Random) -> Draft:
    a, b, r = draw.randint(1, 9), draw.randint(1, 9), draw.randint(2, 12)
    s, t = draw.choice("+-"), draw.choice("+-")
    rest = a * a + b * b - r * r
    tail = f"{rest:+}" if rest else ""
    right = [f"(x{s}{a})^2+(y{t}{b})^2={r * r}", f"(y{t}{b})^2+(x{s}{a})^2={r}^2",
             f"x^2+y^2{s}{2 * a}x{t}{2 * b}y{tail}=0", f"{r * r}=(x{s}{a})^{{2}}+(y{t}{b})^{{2}}",
             f"x^2{s}{2 * a}x+y^2{t}{2 * b}y={-rest}",
             f"\\left(x{s}{a}\\right)^2+\\left(y{t}{b}\\right)^2-{r * r}=0"]  # fmt: skip
    o = "-" if s == "+" else "+"
    wrong = [f"(x{o}{a})^2+(y{t}{b})^2={r * r}", f"(x{s}{a})^2-(y{t}{b})^2={r * r}",
             f"(x{s}{a})^2+(y{t}{b})^2={r}", f"(x{s}{a})^2+(y{t}{b})^2={r * r + 1}",
             f"(x{s}{a})^2+(z{t}{b})^2={r * r}", f"(x{s}{a})^2+(y{t}{b + 1})^2={r * r}",
             f"(x{s}{a})^2+(y{t}{b})^2=-{r * r}", f"(x{s}{a})^2+(y{t}{b})^2<{r * r}"]  # fmt: skip
    return draft([right[0], right[2]], list(right), list(wrong))


def _bound(draw: random.Random) -> tuple[str, str, str]:
    """A bound, its negative and the next, as LaTeX."""
    value = draw.choice((Fraction(draw.randint(-30, 30)), draw_fraction(draw)))
    value = value or Fraction(3)
    return spell(num(value)), spell(num(-value)), spell(num(value + 1))


def inequality(draw: random.Random) -> Draft:
    letter, other = draw.sample("xyatk", 2)
    bound, opposite, near = _bound(draw)
    strict = draw.random() < 0.5
    le = draw.choice(LESS if strict else AT_MOST)
    gt = ">" if strict else draw.choice(("\\ge ", "\\geq ", "\\geqslant ", "≥"))
    lax, tight = ("\\ge ", "\\le ") if strict else (">", "<")
    if draw.random() < 0.5:
        bracket, inverse = ("(", "[") if strict else ("[", "(")
        right = [f"{letter}{gt}{bound}", f"{bound}{le}{letter}",
                 f"{letter}\\in {bracket}{bound},\\infty)", f"{bracket}{bound}, +\\infty)",
                 f"\\{{{letter}\\mid {letter}{gt}{bound}\\}}",
                 f"\\left{bracket}{bound}, \\infty\\right)"]  # fmt: skip
        wrong = [f"{letter}{lax}{bound}", f"{letter}{le}{bound}", f"{bound}{gt}{letter}",
                 f"{letter}{gt}{opposite}", f"{letter}{gt}{near}", f"{other}{gt}{bound}",
                 f"{inverse}{bound},\\infty)", f"(-\\infty,{bound}]" , f"{letter}={bound}", bound,
                 f"\\{{{letter}\\mid {letter}{lax}{bound}\\}}"]  # fmt: skip
        reference = f"{letter}{gt}{bound}"
    else:
        bracket, inverse = (")", "]") if strict else ("]", ")")
        right = [f"{letter}{le}{bound}", f"{bound}{gt}{letter}",
                 f"{letter}\\in(-\\infty,{bound}{bracket}", f"(-\\infty, {bound}{bracket}",
                 f"\\{{{letter}|{letter}{le}{bound}\\}}"]  # fmt: skip
        wrong = [f"{letter}{tight}{bound}", f"{letter}{gt}{bound}", f"{bound}{le}{letter}",
                 f"{letter}{le}{opposite}", f"{letter}{le}{near}", f"{other}{le}{bound}",
                 f"(-\\infty,{bound}{inverse}", f"{letter}\\ne {bound}", bound]  # fmt: skip
        reference = f"{letter}{le}{bound}"
    return draft([reference], list(right), list(wrong))


def chain(draw: random.Random) -> Draft:
    letter, other = draw.sample("xyatk", 2)
    low, high = draw.randint(-30, 0), draw.randint(1, 30)
    marks = [
        draw.choice(LESS if strict else AT_MOST) for strict in draw.choices((True, False), k=2)
    ]
    strict = [mark in LESS for mark in marks]
    left, right_ = "[("[strict[0]], "])"[strict[1]]
    back = [">" if s else "\\ge " for s in strict]
    other_marks = ["\\le " if s else "<" for s in strict]
    a, b = marks
    right = [f"{low}{a}{letter}{b}{high}", f"{high}{back[1]}{letter}{back[0]}{low}",
             f"{left}{low},{high}{right_}", f"{letter}\\in{left}{low}, {high}{right_}",
             f"\\{{{letter}:{low}{a}{letter}{b}{high}\\}}",
             f"\\{{{letter}\\mid {low}{a}{letter}{b}{high}\\}}"]  # fmt: skip
    wrong = [f"{low}{other_marks[0]}{letter}{b}{high}", f"{low}{a}{letter}{other_marks[1]}{high}",
             f"{low}{a}{other}{b}{high}", f"{-high}{a}{letter}{b}{high + 1}",
             f"{low - 1}{a}{letter}{b}{high}", f"{letter}{b}{high}", f"{low}{a}{letter}",
             f"{'[('[not strict[0]]}{low},{high}{right_}",
             f"{left}{low},{high}{'])'[not strict[1]]}", f"\\{{{low},{high}\\}}"]  # fmt: skip
    return draft([right[0]], list(right), list(wrong))


def outside(draw: random.Random) -> Draft:
    letter, other = draw.sample("xyatk", 2)
    low, high = draw.randint(-30, 0), draw.randint(1, 30)
    strict = draw.random() < 0.5
    lt, gt = ("<", ">") if strict else ("\\le ", "\\ge ")
    no_lt, no_gt = ("\\leq ", "\\geq ") if strict else ("<", ">")
    left, right_ = "])"[strict], "[("[strict]
    right = [f"{letter}{lt}{low}\\text{{ or }}{letter}{gt}{high}",
             f"{letter}{gt}{high}\\text{{ or }}{letter}{lt}{low}",
             f"(-\\infty,{low}{left}\\cup{right_}{high},\\infty)",
             f"{right_}{high},+\\infty) \\cup (-\\infty, {low}{left}",
             f"{letter}\\in(-\\infty,{low}{left}\\cup{right_}{high},\\infty)"]  # fmt: skip
    wrong = [f"{letter}{no_lt}{low}\\text{{ or }}{letter}{gt}{high}",
             f"{letter}{lt}{low}\\text{{ or }}{letter}{no_gt}{high}",
             f"{letter}{lt}{low}", f"{letter}{gt}{high}", f"{low}{lt}{letter}{lt}{high}",
             f"(-\\infty,{low}{left}\\cap{right_}{high},\\infty)",
             f"(-\\infty,{low}{left}\\cup{right_}{high + 1},\\infty)",
             f"{other}{lt}{low}\\text{{ or }}{other}{gt}{high}",
             f"(-\\infty,{low}{'])'[not strict]}\\cup{right_}{high},\\infty)"]  # fmt: skip
    return draft([right[0]], list(right), list(wrong))


def not_equal(draw: random.Random) -> Draft:
    letter, other = draw.sample("xyatk", 2)
    bound, opposite, near = _bound(draw)
    right = [f"{letter}\\neq {bound}", f"{letter} \\ne {bound}", f"{letter}≠{bound}",
             f"(-\\infty,{bound})\\cup({bound},\\infty)",
             f"{letter}<{bound}\\text{{ or }}{letter}>{bound}"]  # fmt: skip
    wrong = [f"{letter}={bound}", bound, f"{letter}\\neq {opposite}", f"{letter}\\neq {near}",
             f"{other}\\neq {bound}", f"(-\\infty,{bound}]\\cup({bound},\\infty)",
             "(-\\infty,\\infty)", f"{letter}>{bound}"]  # fmt: skip
    return draft([f"{letter}\\neq {bound}", f"{letter} \\ne {bound}"], list(right), list(wrong))


MAKERS: dict[str, Maker] = {
    "polynomial": polynomial,
    "two letters": two_letters,
    "rational expression": rational,
    "function": function,
    "letter with value": named_value,
    "named function": named_function,
    "line": line,
    "circle": curve,
    "inequality": inequality,
    "chain": chain,
    "outside": outside,
    "not equal": not_equal,
}
