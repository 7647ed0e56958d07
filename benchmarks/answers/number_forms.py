"""Makers of numbers: integers to complex numbers, in the forms that people write."""

from __future__ import annotations

import random
from fractions import Fraction

from .drafts import Answer, Draft, Maker, draft, draw_fraction, of_tree
from .tree import Node as _Node
from .tree import (
    add,
    const,
    div,
    draw_style,
    equal,
    fn,
    log,
    mul,
    neg,
    num,
    power,
    root,
    spell,
    sub,
)


def _digits_missed(value: int, draw: random.Random) -> list[int]:
    text = str(abs(value))
    at = draw.randrange(len(text))
    changed = text[:at] + draw.choice([d for d in "123456789" if d != text[at]]) + text[at + 1 :]
    swapped = text[:at] + text[at + 1 : at + 2] + text[at] + text[at + 2 :]
    near = [-value, value + 1, value - 1, value * 10, int(changed), int(swapped)]
    if len(text) > 1:
        near.append(int(text[:-1]))
    return [one for one in near if one != value]


def integer(draw: random.Random) -> Draft:
    value = draw.choice((draw.randint(-30, 200), draw.randint(-999, 999)))
    text, k = str(value), draw.randint(2, 9)
    right = [text, f"\\text{{{text}}}", f"\\mathbf{{{text}}}", f"{{{text}}}", f"{text}.0",
             f"\\displaystyle {text}", f"\\color{{red}}{{{text}}}", f"\\boldsymbol{{{text}}}",
             f"{value - k}+{k}={text}", f"x = {text}", f"\\mathrm{{{text}}}",
             text.replace("-", "−")]  # fmt: skip
    wrong = [str(near) for near in _digits_missed(value, draw)]
    wrong += [f"{value - k}+{k + 1}={value + 1}", f"x = {value + k}", f"{text}.5",
              f"\\frac{{1}}{{{value or 7}}}", f"{value}i", f"{text}x", f"{text}+\\pi"]  # fmt: skip
    if value == 0:
        wrong = [one for one in wrong if one not in ("0i", "0x")]
    if abs(value) == 1:
        wrong = [one for one in wrong if not one.startswith("\\frac")]
    return draft([text, f"${text}$"], list(right), list(wrong))


def thousands(draw: random.Random) -> Draft:
    value = draw.randint(1000, 10 ** draw.randint(4, 9)) * draw.choice((1, 1, -1))
    grouped = f"{value:,}"
    right = [str(value), grouped] + [
        grouped.replace(",", mark) for mark in ("{,}", "\\,", ",\\!", ",\\! ", "~", "\\;", " ")
    ]
    wrong = []
    for near in _digits_missed(value, draw):
        mark = draw.choice((",", "{,}", "\\,", ",\\!", ""))
        wrong.append(f"{near:,}".replace(",", mark))
    wrong.append(grouped.replace(",", ".") if grouped.count(",") == 1 else grouped[:-4])
    references = [str(value), grouped, grouped.replace(",", ",\\! "), grouped.replace(",", "{,}")]
    return draft(references, list(right), list(wrong))


def decimal(draw: random.Random) -> Draft:
    places = draw.randint(1, 4)
    value = draw.randint(1, 10 ** draw.randint(2, 6))
    value += not value % 10
    exact = Fraction(value, 10**places)
    text = f"{value / 10**places:.{places}f}"
    right = [text, text + "0", f"{exact.numerator}/{exact.denominator}", f"\\text{{{text}}}",
             f"\\frac{{{value}}}{{{10**places}}}", f"x={text}"]  # fmt: skip
    if text.startswith("0."):
        right.append(text[1:])
    wrong = ["-" + text, text.replace(".", ""), f"{value / 10 ** (places + 1):.{places + 1}f}",
             f"{(value + 1) / 10**places:.{places}f}", f"{exact.denominator}/{exact.numerator}",
             f"{(value + 10) / 10**places:.{places}f}"]  # fmt: skip
    return draft([text], list(right), list(wrong))


def fraction(draw: random.Random) -> Draft:
    value = draw_fraction(draw, -99, 99)
    made = of_tree(num(value), draw)
    a, b = abs(value.numerator), value.denominator
    sign = "-" if value < 0 else ""
    right = [f"{sign}\\frac{{{a}}}{{{b}}}", f"\\frac{{{sign}{a}}}{{{b}}}", f"{sign}{a}/{b}",
             f"{{{sign}{a} \\over {b}}}", f"{sign}\\left(\\frac{{{a}}}{{{b}}}\\right)",

             f"{sign}\\cfrac{{{a}}}{{{b}}}"]  # fmt: skip
    opposite = "" if sign else "-"
    wrong = [f"{opposite}\\frac{{{a}}}{{{b}}}", f"{sign}\\frac{{{b}}}{{{a}}}", f"{sign}{a}{b}",
             f"{sign}\\frac{{{a + 1}}}{{{b}}}", f"{sign}\\frac{{{a}}}{{{b + 1}}}", f"{sign}{a}",
             f"({a},{b})", f"{sign}{a}\\cdot {b}"]  # fmt: skip
    if a == 1:
        wrong = [one for one in wrong if one != f"{sign}{a}{b}"]
    return draft(made.references, [*made.right, *right], [*made.wrong, *wrong])


def mixed(draw: random.Random) -> Draft:
    whole, part = draw.randint(1, 30), abs(draw_fraction(draw, 1, 8)) % 1
    part = part or Fraction(1, 3)
    value = whole + part
    a, b = part.numerator, part.denominator
    text = f"{whole}\\frac{{{a}}}{{{b}}}"
    right = [text, f"\\frac{{{value.numerator}}}{{{b}}}", f"{whole} {a}/{b}",
             f"{whole}\\dfrac{{{a}}}{{{b}}}",
             f"{whole} \\frac{{{a}}}{{{b}}}",
             f"{whole}\\tfrac{a}{b}" if b < 10 else text]  # fmt: skip
    wrong = [f"{whole}\\cdot\\frac{{{a}}}{{{b}}}", f"{whole + 1}\\frac{{{a}}}{{{b}}}",
             f"{whole}-\\frac{{{a}}}{{{b}}}", f"\\frac{{{whole * a}}}{{{b}}}",
             f"-{text}", f"{whole}\\frac{{{a + 1}}}{{{b}}}", f"{whole}{a}/{b}"]  # fmt: skip
    if Fraction(int(f"{whole}{a}"), b) == value:  # 20 3/10 and 203/10
        wrong.pop()
    return draft([text, f"\\frac{{{value.numerator}}}{{{b}}}"], list(right), list(wrong))


def percent(draw: random.Random) -> Draft:
    value = draw.choice((str(draw.randint(1, 99)), f"{draw.randint(1, 99)}.{draw.randint(1, 9)}"))
    right = [f"{value}\\%", f"{value} \\%", f"{value}%", f"{value}\\,\\%",
             f"{value}\\text{{ percent}}", f"\\text{{{value}\\%}}"]  # fmt: skip
    other = f"{float(value) + draw.choice((1, 2, 10)):g}"
    wrong = [f"{other}\\%", f"-{value}\\%", f"{value}0\\%" if "." not in value else f"1{value}\\%",
             f"{float(value) / 100 + 1:g}", f"{other}\\text{{ percent}}"]  # fmt: skip
    return draft([f"{value}\\%", f"{value}%"], list(right), list(wrong))


def money(draw: random.Random) -> Draft:
    cents = draw.randint(100, 10 ** draw.randint(3, 7))
    text = f"{cents / 100:.2f}"
    grouped = f"{cents / 100:,.2f}"
    sign = draw.choice(("\\$", "€", "£", "₹"))
    word = {"\\$": "dollars", "€": "euros", "£": "pounds", "₹": "rupees"}[sign]
    right = [f"{sign}{text}", f"{sign}{grouped}", f"{sign} {text}", f"{text}", f"{grouped}",
             f"{text}\\text{{ {word}}}", f"\\text{{{sign}}}{text}"]  # fmt: skip
    wrong = [f"{sign}{(cents + step) / 100:.2f}" for step in (1, 10, 100, 1000)]
    wrong += [f"{sign}{cents / 1000:.3f}", f"-{sign}{text}", f"{sign}{cents}.00"]
    return draft([f"{sign}{text}", f"{sign}{grouped}"], list(right), list(wrong))


def scientific(draw: random.Random) -> Draft:
    lead, exponent = draw.randint(11, 99), draw.randint(-9, 14)
    lead += lead % 10 == 0
    text = f"{lead / 10}"
    right = [f"{text} \\times 10^{{{exponent}}}", f"{text}\\cdot 10^{{{exponent}}}",
             f"{text}\\times10^{{{exponent}}}", f"{text}e{exponent}",
             f"{lead}\\times 10^{{{exponent - 1}}}"]  # fmt: skip
    if 1 <= exponent <= 9:
        right += [str(lead * 10 ** (exponent - 1)), f"{lead * 10 ** (exponent - 1):,}"]
    wrong = [f"{text} \\times 10^{{{exponent + 1}}}", f"{text} \\times 10^{{{exponent - 1}}}",
             f"-{text} \\times 10^{{{exponent}}}", f"{lead}\\times 10^{{{exponent}}}",
             f"{(lead + 1) / 10} \\times 10^{{{exponent}}}", f"{text}e{exponent + 1}",
             f"{text}"]  # fmt: skip
    if exponent:
        wrong.append(f"{text} \\times 10^{{{-exponent}}}")
    else:
        wrong = wrong[:-1]
    return draft([f"{text} \\times 10^{{{exponent}}}"], list(right), list(wrong))


def radical(draw: random.Random) -> Draft:
    n = draw.choice((2, 3, 5, 6, 7, 10, 11, 13, 15))
    a, b = draw.randint(2, 12), draw.randint(2, 9)
    surd = root(num(n), draw.choice((2, 2, 2, 3)))
    kind = draw.randrange(5)
    if kind == 0:
        tree = mul(num(a), surd)
        return of_tree(tree, draw)
    if kind == 1:
        return of_tree(draw.choice((add, sub))(num(a), mul(num(b), surd)), draw)
    if kind == 2:
        return of_tree(div(add(num(a), surd), num(b)), draw)
    if kind == 3:
        surd = root(num(n))
        return of_tree(div(num(a), surd), draw, (div(mul(num(a), surd), num(n)),))
    surd, rest = root(num(n)), a * a - n
    if rest == 0:
        return of_tree(surd, draw)
    return of_tree(div(num(1), sub(num(a), surd)), draw, (div(add(num(a), surd), num(rest)),))


def nested_radical(draw: random.Random) -> Draft:
    a, b = draw.sample((2, 3, 5, 6, 7, 10, 11, 13), 2)
    if draw.random() < 0.5:
        tree = root(add(num(a + b), mul(num(2), root(num(a * b)))))
        return of_tree(tree, draw, (add(root(num(a)), root(num(b))),))
    inner = draw.choice((add, sub))(num(b + 4), root(num(a)))
    return of_tree(draw.choice((root(inner), div(root(inner), num(draw.randint(2, 9))))), draw)


def pi_or_e(draw: random.Random) -> Draft:
    a, b, c = draw.randint(2, 40), draw.randint(2, 12), draw.randint(1, 20)
    circle = const("pi")
    tree = draw.choice(
        (
            mul(num(a), circle),
            div(mul(num(a), circle), num(b)),
            draw.choice((add, sub))(mul(num(a), circle), num(c)),
            sub(num(c), div(num(1), const("e"))),
            add(num(c), div(num(1), const("e"))),
            mul(num(a), power(const("e"), b)),
            sub(power(const("e"), num(a)), num(c)),
            div(power(circle, 2), num(6 + b)),
            sub(mul(num(a), root(num(3))), mul(num(b), circle)),
        )
    )
    return of_tree(tree, draw)


def powers(draw: random.Random) -> Draft:
    base, exponent = draw.randint(2, 19), draw.randint(5, 40)
    tree = power(num(base), exponent)
    made = of_tree(tree, draw)
    value = base**exponent
    half = exponent // 2
    right = [f"{base}^{{{half}}}\\cdot {base}^{{{exponent - half}}}"]
    if value < 10**12:
        right += [str(value), f"{value:,}"]
    wrong = [f"{base}^{{{exponent + 1}}}", f"{base}^{{-{exponent}}}", f"-{base}^{{{exponent}}}",
             f"{base}^{{{exponent}}}+1", f"{base}^{{{exponent}}}-1", f"{base}{exponent}",
             f"{base + 1}^{{{exponent}}}", f"{base}\\cdot {exponent}"]  # fmt: skip
    return draft(made.references, [*made.right, *right], [*made.wrong, *wrong])


def factorials(draw: random.Random) -> Draft:
    n = draw.randint(4, 12)
    k = draw.randint(2, n - 2)
    count = 1
    for at in range(k):
        count = count * (n - at) // (at + 1)
    right = [f"\\binom{{{n}}}{{{k}}}", f"\\dbinom{{{n}}}{{{k}}}", f"\\binom{{{n}}}{{{n - k}}}",
             str(count), f"\\frac{{{n}!}}{{{k}!\\cdot {n - k}!}}",
             f"\\frac{{{n}!}}{{{k}!{n - k}!}}"]  # fmt: skip
    wrong = [f"\\binom{{{n + 1}}}{{{k}}}", f"\\frac{{{n}!}}{{{n - k}!}}", f"\\frac{{{n}}}{{{k}}}",
             str(count + 1), f"-{count}", f"{n}!"]  # fmt: skip
    return draft([f"\\binom{{{n}}}{{{k}}}"], list(right), list(wrong))


def logarithm(draw: random.Random) -> Draft:
    a, b, c = draw.randint(2, 9), draw.randint(2, 30), draw.randint(2, 9)
    b += b == a
    first = log(num(a), num(b))
    kind = draw.randrange(4)
    if kind == 0:
        return of_tree(first, draw, (div(fn("ln", num(b)), fn("ln", num(a))),))
    if kind == 1:
        product = add(fn("ln", num(a)), fn("ln", num(b)))
        return of_tree(fn("ln", num(a * b)), draw, (product,))
    if kind == 2:
        return of_tree(mul(num(c), fn("ln", num(a))), draw, (fn("ln", num(a**c)),))
    return of_tree(draw.choice((add, sub))(num(c), first), draw)


def trigonometric(draw: random.Random) -> Draft:
    k, n = draw.randint(1, 10), draw.choice((7, 9, 11, 13, 15))
    angle = div(const("pi") if k == 1 else mul(num(k), const("pi")), num(n))
    kind = draw.randrange(4)
    if kind == 0:
        return of_tree(fn("sin", angle), draw, (fn("cos", sub(div(const("pi"), num(2)), angle)),))
    if kind == 1:
        return of_tree(mul(num(draw.randint(2, 9)), fn(draw.choice(("cos", "tan")), angle)), draw)
    if kind == 2:
        known = draw.choice((
            (fn("sin", div(const("pi"), num(3))), div(root(num(3)), num(2))),
            (fn("cos", div(const("pi"), num(4))), div(root(num(2)), num(2))),
            (fn("tan", div(const("pi"), num(6))), div(num(1), root(num(3)))),
        ))  # fmt: skip
        return of_tree(known[0], draw, (known[1],))
    return of_tree(fn("arctan", num(draw_fraction(draw, 1, 30))), draw)


def in_degrees(draw: random.Random) -> Draft:
    a = draw.choice([one for one in range(1, 90) if one % 15])
    turn = Fraction(a, 180)
    k = "" if turn.numerator == 1 else turn.numerator
    right = [f"\\sin {a}^\\circ", f"\\sin({a}^{{\\circ}})", f"\\cos {90 - a}^\\circ",
             f"\\sin\\left({a}^\\circ\\right)", f"\\sin {a}°", f"\\sin {180 - a}^\\circ",
             f"\\sin\\frac{{{k}\\pi}}{{{turn.denominator}}}"]  # fmt: skip
    wrong = [f"\\cos {a}^\\circ", f"\\sin {a + 1}^\\circ", f"\\sin {a}", f"-\\sin {a}^\\circ",
             f"\\tan {a}^\\circ", f"{a}^\\circ", f"\\sin^2 {a}^\\circ",
             f"\\sin {180 + a}^\\circ"]  # fmt: skip
    return draft([right[0], right[1]], list(right), list(wrong))


def nested_fraction(draw: random.Random) -> Draft:
    a, b, c, d = (draw.randint(2, 12) for _ in range(4))
    value = Fraction(a) / (b + Fraction(c, d))
    tree = div(num(a), add(num(b), div(num(c), num(d))))
    return of_tree(tree, draw, (num(value),))


def complex_number(draw: random.Random) -> Draft:
    a, b = draw.randint(1, 20), draw.randint(2, 20)
    b += a == b
    unit = const("i")
    tree: _Node = draw.choice((
        draw.choice((add, sub))(num(a), mul(num(b), unit)),
        add(neg(num(a)), mul(num(b), unit)),
        div(draw.choice((add, sub))(num(a), mul(num(b), unit)), num(draw.choice((7, 11, 13)))),
        sub(num(a), mul(root(num(draw.choice((2, 3, 5)))), unit)),
        mul(num(b), unit),
    ))  # fmt: skip
    made = of_tree(tree, draw)
    turned = [
        Answer(spell(other, draw_style(draw)))
        for other in (sub(num(a), mul(num(b), unit)), add(num(b), mul(num(a), unit)))
        if equal(tree, other) is False
    ]
    polar = fn("exp", num(1))
    if draw.random() < 0.2:
        polar = power(const("e"), div(mul(num(2), const("pi"), unit), num(3)))
        half = add(neg(div(num(1), num(2))), mul(div(root(num(3)), num(2)), unit))
        return of_tree(polar, draw, (half,))
    return made._replace(wrong=[*made.wrong, *turned])


MAKERS: dict[str, Maker] = {
    "integer": integer,
    "thousands": thousands,
    "decimal": decimal,
    "fraction": fraction,
    "mixed number": mixed,
    "percent": percent,
    "money": money,
    "scientific": scientific,
    "radical": radical,
    "nested radical": nested_radical,
    "pi or e": pi_or_e,
    "power": powers,
    "factorial": factorials,
    "logarithm": logarithm,
    "trigonometric": trigonometric,
    "degrees of an angle": in_degrees,
    "nested fraction": nested_fraction,
    "complex": complex_number,
}
