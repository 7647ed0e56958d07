"""Forms of schools and exams: families of solutions, identities, dates, labelled points."""

from __future__ import annotations

import random
from fractions import Fraction
from math import gcd

from .drafts import Draft, Maker, draft

MONTHS = ("January", "February", "March", "April", "June", "July", "August", "September", "October",
          "November", "December")  # fmt: skip
ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
        "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
        "nineteen")  # fmt: skip
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def _in_words(value: int) -> str:
    if value < 20:
        return ONES[value]
    return TENS[value // 10] + (f"-{ONES[value % 10]}" if value % 10 else "")


def minutes_of_arc(draw: random.Random) -> Draft:
    d, m = draw.randint(1, 89), draw.randint(1, 59)
    right = [
        f"{d}^\\circ {m}'",
        f"{d}^{{\\circ}}{m}'",
        f"{d}°{m}'",
        f"{d}°{m}′",
        f"{d}^\\circ\\,{m}'",
        f"{d}^\\circ {m}^{{\\prime}}",
        f"{d}^\\circ {m}^\\prime",
    ]
    wrong = [f"{d}^\\circ {m + 1}'", f"{d + 1}^\\circ {m}'", f"{d}.{m:02d}^\\circ", f"{d}^\\circ",
             f"{d}^\\circ {m}''", f"-{d}^\\circ {m}'", f"{m}^\\circ {d}'"]  # fmt: skip
    if m == d:
        wrong.pop()
    return draft(right[:2], list(right), list(wrong))


def date(draw: random.Random) -> Draft:
    month, other = draw.sample(MONTHS, 2)
    day = draw.randint(13, 28)
    end = {21: "st", 22: "nd", 23: "rd"}.get(day, "th")
    right = [f"\\text{{{month} {day}}}", f"{month} {day}", f"\\text{{{month} {day}{end}}}",
             f"\\text{{{day} {month}}}", f"\\text{{{month}}} {day}"]  # fmt: skip
    wrong = [f"\\text{{{month} {day + 1}}}", f"\\text{{{other} {day}}}", f"\\text{{{month}}}",
             f"{day}", f"\\text{{{month} {day - 10}}}"]  # fmt: skip
    return draft(right[:2], list(right), list(wrong))


def labelled_point(draw: random.Random) -> Draft:
    a, b = draw.sample(range(-12, 30), 2)
    name = draw.choice("ABCDPQ")
    right = [f"{name}({a},{b})", f"{name}=({a},{b})", f"{name}\\left({a}, {b}\\right)",
             f"({a},{b})", f"{name} = \\left({a},{b}\\right)"]  # fmt: skip
    wrong = [f"{name}({b},{a})", f"{name}({a},{b + 1})", f"{name}({-a - 1},{b})", f"({a})",
             f"{name}({a},{b},0)", f"{name}[{a},{b}]"]  # fmt: skip
    return draft([f"{name}({a},{b})", f"{name}({a}, {b})"], list(right), list(wrong))


def no_solution(draw: random.Random) -> Draft:
    right = ["\\text{no solution}", "\\text{No solutions}", "\\emptyset", "\\varnothing", "\\{\\}",
             "\\text{There is no solution}", "\\text{no real solutions}"]  # fmt: skip
    references = ["\\text{no solution}", "\\varnothing", "No solution"]
    right = right[:6]
    wrong = ["0", "\\{0\\}", "\\mathbb{R}", "\\{\\varnothing\\}", f"x={draw.randint(1, 9)}",
             "\\text{infinitely many solutions}", "\\text{one solution}"]  # fmt: skip
    return draft(references, list(right), list(wrong))


def numeral(draw: random.Random) -> Draft:
    value = draw.randint(2, 99)
    word = _in_words(value)
    right = [f"\\text{{{word}}}", word, f"\\text{{{word.capitalize()}}}", f"{value}"]
    wrong = [f"\\text{{{_in_words(value + 1 if value < 99 else 3)}}}", f"{value * 10}",
             f"\\text{{minus {word}}}", f"\\text{{{word} hundred}}", f"\\text{{{word} tenths}}",
             f"\\text{{half of {word}}}"]  # fmt: skip
    return draft([str(value), f"\\text{{{word}}}"], list(right), list(wrong))


def family(draw: random.Random) -> Draft:
    n = draw.choice((3, 4, 6, 8))
    step = draw.choice((1, 2))
    k = draw.choice("knm")
    other = draw.choice([letter for letter in "knm" if letter != k])
    times = f"{step if step > 1 else ''}"
    first = f"\\frac{{\\pi}}{{{n}}}"
    reference = f"x=\\frac{{\\pi}}{{{n}}}+{times}{k}\\pi,\\ {k}\\in\\mathbb{{Z}}"
    right = [
        f"x={first}+{times}{other}\\pi,\\; {other}\\in\\mathbb{{Z}}",
        f"x={times}{k}\\pi+{first},\\ {k}\\in\\mathbb Z",
        f"{first}+{times}\\pi {k},\\ {k}\\in\\mathbb{{Z}}",
        f"x={first}+{times}{k}\\pi \\text{{ for any integer }} {k}",
        f"x=\\frac{{{step * n}{k}\\pi+\\pi}}{{{n}}},\\ {k}\\in\\mathbb{{Z}}",
        f"x=-\\frac{{{step * n - 1}\\pi}}{{{n}}}+{times}{k}\\pi,\\ {k}\\in\\mathbb{{Z}}",
    ]
    wrong = [f"x={first}+{3 - step if step == 1 else ''}{k}\\pi,\\ {k}\\in\\mathbb{{Z}}",
             f"x={first}+{times}{k}\\pi,\\ {k}\\in\\mathbb{{N}}", f"x={first}",
             f"x=-{first}+{times}{k}\\pi,\\ {k}\\in\\mathbb{{Z}}",
             f"x=\\pm{first}+{times}{k}\\pi,\\ {k}\\in\\mathbb{{Z}}",
             f"x=\\frac{{\\pi}}{{{n + 1}}}+{times}{k}\\pi,\\ {k}\\in\\mathbb{{Z}}"]  # fmt: skip
    return draft([reference], list(right), list(wrong))


def all_but(draw: random.Random) -> Draft:
    a = draw.randint(-9, 9)
    right = [f"x\\ne {a}", f"x \\neq {a}", f"(-\\infty,{a})\\cup({a},\\infty)",
             f"\\mathbb{{R}}\\setminus\\{{{a}\\}}", f"\\{{x\\in\\mathbb{{R}} : x\\ne {a}\\}}",
             f"\\left(-\\infty, {a}\\right) \\cup \\left({a}, +\\infty\\right)",
             f"\\text{{all real numbers except }} {a}", f"x<{a} \\text{{ or }} x>{a}"]  # fmt: skip
    wrong = [f"x\\ne {a + 1}", f"(-\\infty,{a}]\\cup({a},\\infty)", "\\mathbb{R}", f"x={a}",
             f"({a},\\infty)", f"x<{a}", f"\\text{{all integers except }} {a}",
             f"(-\\infty,{a + 1})\\cup({a + 1},\\infty)"]  # fmt: skip
    return draft(right[:4], list(right), list(wrong))


def builder(draw: random.Random) -> Draft:
    a = draw.randint(-9, 9)
    b = a + draw.randint(1, 9)
    right = [f"\\{{x \\mid {a}<x\\le {b}\\}}", f"\\{{x : {a} < x \\leq {b}\\}}", f"({a},{b}]",
             f"{a}<x\\le {b}", f"x\\in({a},{b}]", f"\\left({a}, {b}\\right]",
             f"\\{{x\\in\\mathbb{{R}} \\mid {a}<x\\le {b}\\}}", f"{b}\\ge x>{a}"]  # fmt: skip
    wrong = [f"[{a},{b}]", f"({a},{b})", f"\\{{x \\mid {a}\\le x\\le {b}\\}}", f"[{a},{b})",
             f"\\{{x\\in\\mathbb{{Z}} \\mid {a}<x\\le {b}\\}}", f"({a},{b + 1}]", f"x>{a}",
             f"\\{{{a},{b}\\}}"]  # fmt: skip
    return draft(right[:4], list(right), list(wrong))


def identity(draw: random.Random) -> Draft:
    k = draw.choice((1, 2, 3))
    x = "x" if k == 1 else f"{k}x"
    rows = [
        ([f"\\sin {2 * k}x", f"2\\sin {x}\\cos {x}", f"\\sin({2 * k}x)", f"2\\cos({x})\\sin({x})"],
         [f"2\\sin {x}", f"\\sin^2 {x}", f"\\sin {x}\\cos {x}", f"\\cos {2 * k}x",
          f"-2\\sin {x}\\cos {x}"]),
        ([f"\\cos {2 * k}x", f"1-2\\sin^2 {x}", f"2\\cos^2 {x}-1", f"\\cos^2 {x}-\\sin^2 {x}",
          f"(\\cos {x})^2-(\\sin {x})^2"],
         [f"1-\\sin^2 {x}", f"2\\cos^2 {x}+1", f"\\sin^2 {x}-\\cos^2 {x}", "1", f"2\\cos {x}"]),
        ([f"\\tan {x}", f"\\frac{{\\sin {x}}}{{\\cos {x}}}", f"\\frac{{1}}{{\\cot {x}}}"],
         [f"\\cot {x}", f"\\frac{{\\cos {x}}}{{\\sin {x}}}", f"\\sin {x}\\cos {x}",
          f"-\\tan {x}"]),
        ([f"\\sec^2 {x}", f"1+\\tan^2 {x}", f"\\frac{{1}}{{\\cos^2 {x}}}"],
         [f"\\tan^2 {x}-1", f"\\csc^2 {x}", f"\\sec {x}", f"1-\\tan^2 {x}"]),
    ]  # fmt: skip
    right, wrong = draw.choice(rows)
    return draft(right[:2], list(right), list(wrong))


def log_of_letter(draw: random.Random) -> Draft:
    b = draw.choice((2, 3, 5, 7))
    n = draw.randint(2, 5)
    right = [f"\\log_{b} x", f"\\log_{{{b}}}(x)", f"\\frac{{\\ln x}}{{\\ln {b}}}",
             f"\\frac{{\\log_{b} x^{n}}}{{{n}}}", f"\\frac{{1}}{{{n}}}\\log_{b}(x^{n})",
             f"-\\log_{b}\\frac{{1}}{{x}}"]  # fmt: skip
    wrong = [f"\\log_{b + 1} x", f"\\frac{{\\ln {b}}}{{\\ln x}}", "\\ln x", f"\\log_{b} x^{n}",
             f"\\ln\\frac{{x}}{{{b}}}", f"\\log_x {b}"]  # fmt: skip
    return draft(right[:3], [one for one in right if f"^{n}" not in one], list(wrong))


def choose(draw: random.Random) -> Draft:
    rows = [
        (["\\binom{n}{2}", "\\frac{n(n-1)}{2}", "\\frac{n^2-n}{2}", "\\frac12 n(n-1)"],
         ["\\frac{n(n+1)}{2}", "\\binom{n}{3}", "n(n-1)", "\\frac{n^2}{2}", "\\binom{2}{n}"]),
        (["\\frac{n(n+1)}{2}", "\\binom{n+1}{2}", "\\frac{n^2+n}{2}", "\\frac{(n+1)n}{2}"],
         ["\\frac{n(n-1)}{2}", "\\binom{n}{2}", "n(n+1)", "\\frac{n+1}{2}", "\\frac{n^2+1}{2}"]),
        (["(n+1)!", "(n+1)\\cdot n!", "(n+1)n!"], ["n!+1", "(n-1)!", "n\\cdot n!", "(2n+1)!"]),
        (["2^{n+1}-1", "2\\cdot 2^n-1", "-1+2^{n+1}"],
         ["2^{n+1}+1", "2^n-1", "2^{n-1}-1", "2^{2n}-1", "4^n-1"]),
    ]  # fmt: skip
    right, wrong = draw.choice(rows)
    return draft(right[:1], list(right), list(wrong))


def polar(draw: random.Random) -> Draft:
    r = draw.randint(2, 9)
    p, q = draw.choice(((1, 3), (1, 4), (1, 6), (2, 3), (3, 4), (5, 6)))
    angle = f"\\frac{{{p if p > 1 else ''}\\pi}}{{{q}}}"
    times = p if p > 1 else ""
    right = [f"{r}e^{{i{angle}}}", f"{r}e^{{{angle}i}}", f"{r} e^{{i {times}\\pi/{q}}}",
             f"{r}\\left(\\cos {angle}+i\\sin {angle}\\right)"]  # fmt: skip
    wrong = [
        f"{r}e^{{-i{angle}}}",
        f"{r + 1}e^{{i{angle}}}",
        f"e^{{{r}i{angle}}}",
        f"{r}e^{{{angle}}}",
        f"{r}\\left(\\cos {angle}-i\\sin {angle}\\right)",
        f"{r}\\left(\\sin {angle}+i\\cos {angle}\\right)" if (p, q) != (1, 4) else f"{r}",
    ]
    return draft(right[:2], list(right), list(wrong))


def compound_unit(draw: random.Random) -> Draft:
    value = draw.randint(2, 90)
    top, below, power = draw.choice((("m", "s", 1), ("m", "s", 2), ("km", "h", 1), ("g", "L", 1)))
    sup = f"^{power}" if power > 1 else ""
    right = [f"{value}\\text{{ {top}/{below}}}{sup}", f"{value}\\,\\mathrm{{{top}/{below}{sup}}}",
             f"{value}~\\text{{{top}}}/\\text{{{below}}}{sup}",
             f"{value}\\ \\mathrm{{{top}\\,{below}^{{-{power}}}}}"]  # fmt: skip
    wrong = [
        f"{value + 1}\\text{{ {top}/{below}}}{sup}",
        f"{value}\\text{{ {top}}}",
        f"{value}\\text{{ {below}/{top}}}{sup}",
        f"{value}\\text{{ {top}}}\\cdot\\text{{{below}}}",
        f"{value}\\text{{ {top}/{below}}}^{power + 1}",
        f"{10 * value}\\text{{ {top}/{below}}}{sup}",
    ]
    return draft(right[:2], list(right), list(wrong))


def recurring(draw: random.Random) -> Draft:
    a, b = draw.randint(1, 9), draw.randint(1, 8)
    value = Fraction(a, 10) + Fraction(b, 90)
    right = [f"0.{a}\\overline{{{b}}}", f"0.{a}\\dot{{{b}}}", f"0.{a}\\bar{{{b}}}",
             f"\\frac{{{value.numerator}}}{{{value.denominator}}}"]  # fmt: skip
    wrong = [f"0.\\overline{{{a}{b}}}", f"0.{a}{b}", f"0.{a}\\overline{{{b + 1}}}",
             f"0.{(a + 1) % 10}\\overline{{{b}}}", f"0.0{a}\\overline{{{b}}}"]  # fmt: skip
    if a == b:
        wrong.pop(0)
    return draft([right[0], right[3]], list(right), list(wrong))


def line_through(draw: random.Random) -> Draft:
    a, b = draw.sample(range(-9, 10), 2)
    c, d = draw.sample([n for n in range(-9, 10) if n], 2)
    right = [
        f"y-{b}=\\frac{{{d}}}{{{c}}}(x-{a})".replace("--", "+"),
        f"{d}x-{c}y={d * a - c * b}".replace("--", "+"),
        f"{c}y={d}x+{c * b - d * a}".replace("+-", "-"),
    ]
    wrong = [
        f"{d}x+{c}y={d * a - c * b}".replace("+-", "-"),
        f"{d}x-{c}y={d * a - c * b + 1}".replace("--", "+"),
    ]
    return draft([right[1]], list(right), list(wrong))


def factors(draw: random.Random) -> Draft:
    a, b, c = sorted(draw.sample((2, 3, 5, 7, 11), 3))
    m, n = draw.randint(2, 5), draw.randint(1, 3)
    one = f"^{n}" if n > 1 else ""
    right = [f"{a}^{m}\\cdot {b}{one}\\cdot {c}", f"{a}^{{{m}}} \\times {b}{one} \\times {c}",
             f"{c}\\cdot {b}{one}\\cdot {a}^{m}", str(a**m * b**n * c)]  # fmt: skip
    wrong = [f"{a}^{m + 1}\\cdot {b}{one}\\cdot {c}", f"{a}^{m}\\cdot {b}{one}",
             f"{a}^{m}+{b}{one}+{c}", f"{a}^{m}, {b}{one}, {c}",
             str(a**m * b**n * c + 1)]  # fmt: skip
    return draft(right[:2], list(right), list(wrong))


def surd_over(draw: random.Random) -> Draft:
    a = draw.choice((2, 3, 5, 6, 7, 10, 11, 13))
    b = draw.randint(1, 12)
    g = gcd(b, a)
    top, below = b // g, a // g
    scaled = (
        f"\\frac{{{top if top > 1 else ''}\\sqrt{{{a}}}}}{{{below}}}"
        if below > 1
        else (f"{top if top > 1 else ''}\\sqrt{{{a}}}")
    )
    right = [
        f"\\frac{{{b}}}{{\\sqrt{{{a}}}}}",
        scaled,
        f"{b}/\\sqrt{{{a}}}",
        f"{b}\\cdot {a}^{{-1/2}}",
    ]
    wrong = [
        f"\\frac{{\\sqrt{{{a}}}}}{{{b + 1}}}" if (b + 1) * b != a else "0",
        f"\\frac{{{b + 1}}}{{\\sqrt{{{a}}}}}",
        f"\\frac{{{b}}}{{{a}}}",
        f"-\\frac{{{b}}}{{\\sqrt{{{a}}}}}",
        f"\\frac{{{b}}}{{\\sqrt[3]{{{a}}}}}",
    ]
    return draft(right[:2], list(right), list(wrong))


MAKERS: dict[str, Maker] = {
    "minutes of arc": minutes_of_arc,
    "date": date,
    "labelled point": labelled_point,
    "no solution": no_solution,
    "numeral in words": numeral,
    "family of solutions": family,
    "all but one number": all_but,
    "set builder": builder,
    "identity": identity,
    "logarithm of a letter": log_of_letter,
    "binomial and factorial": choose,
    "polar form": polar,
    "compound unit": compound_unit,
    "recurring decimal": recurring,
    "line through a point": line_through,
    "prime factors": factors,
    "surd in a denominator": surd_over,
}
