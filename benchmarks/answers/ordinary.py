"""(reference, answer) pairs in the mix of competition answers, for measuring speed."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction


def ordinary(n: int, seed: int = 0) -> list[tuple[str, str]]:
    """`n` pairs, half of them wrong."""
    draw = random.Random(seed)

    def integer() -> tuple[str, str, str]:
        value = draw.choice(
            (draw.randint(-20, 200), draw.randint(0, 10_000), draw.randint(0, 10**7))
        )
        return str(value), draw.choice((f"{value}", f"{value:,}", f"{value}.0")), str(value + 1)

    def fraction() -> tuple[str, str, str]:
        value = Fraction(draw.randint(1, 99), draw.randint(2, 60))
        top, bottom = value.numerator, value.denominator
        spelled = draw.choice(
            (f"{top}/{bottom}", rf"\dfrac{{{top}}}{{{bottom}}}", rf"\tfrac{{{top}}}{{{bottom}}}")
        )
        return rf"\frac{{{top}}}{{{bottom}}}", spelled, f"{top + 1}/{bottom}"

    def decimal() -> tuple[str, str, str]:
        value = draw.randint(1, 99_999)
        return f"{value / 100:.2f}", f"{value / 100:.2f}", f"{(value + 2) / 100:.2f}"

    def closed() -> tuple[str, str, str]:
        a, b, root = draw.randint(2, 30), draw.randint(1, 30), draw.choice((2, 3, 5, 7, 11, 13))
        return (
            rf"{b}+{a}\sqrt{{{root}}}",
            rf"{a}\sqrt{root}+{b}" if root < 10 else rf"{a}\sqrt{{{root}}}+{b}",
            rf"{b}-{a}\sqrt{{{root}}}",
        )

    def circle() -> tuple[str, str, str]:
        a, b = draw.randint(1, 60), draw.randint(2, 12)
        return (
            rf"\frac{{{a}\pi}}{{{b}}}",
            rf"\frac{{{a}}}{{{b}}}\pi",
            rf"\frac{{{a + 1}\pi}}{{{b}}}",
        )

    def polynomial() -> tuple[str, str, str]:
        a, b = draw.randint(1, 30), draw.randint(1, 30)
        return f"x^2+{a + b}x+{a * b}", f"(x+{a})(x+{b})", f"(x-{a})(x-{b})"

    def pair() -> tuple[str, str, str]:
        a, b = draw.randint(-30, 30), draw.randint(31, 60)
        return f"({a},{b})", rf"\left({a}, {b}\right)", f"({b},{a})"

    def roots() -> tuple[str, str, str]:
        a, b = draw.randint(-30, 30), draw.randint(31, 60)
        return f"{a}, {b}", rf"\{{{b}, {a}\}}", f"{a}, {b + 1}"

    def interval() -> tuple[str, str, str]:
        a, b = draw.randint(-30, 30), draw.randint(31, 60)
        return f"[{a},{b})", rf"{a} \le x < {b}", f"({a},{b})"

    def word() -> tuple[str, str, str]:
        name = draw.choice(("Monday", "Alice", "even", "Yes", "isosceles", "Carla"))
        return name, rf"\text{{{name}}}", r"\text{neither}"

    def measured() -> tuple[str, str, str]:
        value = draw.randint(1, 900)
        return str(value), rf"{value} \text{{ cm}}", rf"{value + 3} \text{{ cm}}"

    def function() -> tuple[str, str, str]:
        a, b = draw.randint(2, 9), draw.randint(2, 9)
        return rf"\log_{{{a}}} {b}", rf"\frac{{\ln {b}}}{{\ln {a}}}", rf"\log_{{{b}}} {a + 1}"

    makers: list[tuple[int, Callable[[], tuple[str, str, str]]]] = [
        (550, integer), (130, fraction), (50, decimal), (70, closed), (50, circle), (5, function),
        (40, polynomial), (30, pair), (20, roots), (20, interval), (20, word), (15, measured),
    ]  # fmt: skip
    pairs = []
    for _ in range(n):
        (make,) = draw.choices([make for _, make in makers], [weight for weight, _ in makers])
        reference, right, wrong = make()
        pairs.append((reference, right if draw.random() < 0.5 else wrong))
    return pairs
