"""Makers of what is neither formula nor list: units, bases, times, ratios, words, piecewise."""

from __future__ import annotations

import random
from fractions import Fraction

from .drafts import Draft, Maker, draft

# name: (written, symbol, in the first unit of its row)
UNITS: list[dict[str, Fraction]] = [
    {"m": Fraction(1), "cm": Fraction(1, 100), "mm": Fraction(1, 1000), "km": Fraction(1000)},
    {"kg": Fraction(1), "g": Fraction(1, 1000)},
    {"s": Fraction(1), "ms": Fraction(1, 1000), "min": Fraction(60)},
    {"L": Fraction(1), "mL": Fraction(1, 1000)},
    {"m/s": Fraction(1), "km/h": Fraction(5, 18), "cm/s": Fraction(1, 100)},
    {"m^2": Fraction(1), "cm^2": Fraction(1, 10000)},
    {"m^3": Fraction(1), "cm^3": Fraction(1, 10**6)},
    {"J": Fraction(1), "kJ": Fraction(1000)},
    {"V": Fraction(1), "mV": Fraction(1, 1000)},
    {"Hz": Fraction(1), "kHz": Fraction(1000), "MHz": Fraction(10**6)},
]
NAMES = {"m": "meters", "cm": "centimeters", "kg": "kilograms", "g": "grams", "s": "seconds",
         "km": "kilometers", "mm": "millimeters", "min": "minutes", "L": "liters"}  # fmt: skip


def _decimal(value: Fraction) -> str | None:
    """The value in digits where it has at most six decimals."""
    scaled = value * 10**6
    if scaled.denominator != 1 or abs(value) > 10**12:
        return None
    text = f"{value.numerator // value.denominator}.{abs(scaled.numerator) % 10**6:06d}"
    return text.rstrip("0").rstrip(".")


def quantity(draw: random.Random) -> Draft:
    row = draw.choice(UNITS)
    unit = draw.choice(list(row))
    value = Fraction(draw.randint(2, 400), draw.choice((1, 1, 1, 2, 10)))
    text = _decimal(value) or "7"

    def write(number: str, name: str) -> list[str]:
        if "^" in name:
            base, power = name.split("^")
            return [f"{number}\\text{{ {base}}}^{power}",
                    f"{number}~\\mathrm{{{base}}}^{{{power}}}",
                    f"{number}\\,\\text{{{base}}}^{{{power}}}"]  # fmt: skip
        spelled = [f"{number}\\text{{ {name}}}", f"{number} \\mathrm{{~{name}}}",
                   f"{number}\\,\\text{{{name}}}", f"{number}~\\mathrm{{{name}}}"]  # fmt: skip
        if name in NAMES:
            spelled.append(f"{number}\\text{{ {NAMES[name]}}}")
        return spelled

    right, wrong = write(text, unit), []
    for name, size in row.items():
        if name == unit:
            continue
        converted = _decimal(value * row[unit] / size)
        if converted:
            right.append(draw.choice(write(converted, name)))
        wrong.append(draw.choice(write(text, name)))
    near = _decimal(value + 1) or "1"
    wrong += [draw.choice(write(near, unit)), draw.choice(write("-" + text, unit)),
              draw.choice(write(_decimal(value * 10) or near, unit))]  # fmt: skip
    strange = draw.choice([other for other in UNITS if other is not row])
    wrong.append(draw.choice(write(text, next(iter(strange)))))
    return draft([write(text, unit)[0], write(text, unit)[1]], list(right), list(wrong))


def degrees(draw: random.Random) -> Draft:
    value = draw.randint(2, 359)
    right = [f"{value}^\\circ", f"{value}^{{\\circ}}", f"{value}°", f"{value}\\text{{ degrees}}",
             f"{value}\\degree"]  # fmt: skip
    wrong = [f"{value + 1}^\\circ", f"{180 - value}^\\circ" if value != 90 else "91^\\circ",
             f"-{value}^\\circ", f"{value}'", f"{value}^2", f"{value * 10}^\\circ",
             f"{value}\\text{{ radians}}"]  # fmt: skip
    return draft([f"{value}^\\circ", f"{value}^{{\\circ}}"], list(right), list(wrong))


def _in_base(value: int, base: int) -> str:
    digits = ""
    while value:
        value, digit = divmod(value, base)
        digits = "0123456789ABCDEF"[digit] + digits
    return digits or "0"


def based(draw: random.Random) -> Draft:
    base = draw.choice((2, 3, 4, 5, 6, 7, 8, 9, 12, 16))
    value = draw.randint(20, 5000)
    digits, near = _in_base(value, base), _in_base(value + 1, base)
    right = [f"{digits}_{{{base}}}", f"{digits}_{base}" if base < 10 else f"{digits}_{{{base}}}",
             f"({digits})_{{{base}}}", f"{digits}_{{\\text{{{base}}}}}",
             f"{{{digits}}}_{{{base}}}"]  # fmt: skip
    wrong = [f"{near}_{{{base}}}", f"{digits}_{{{base + 1}}}", f"{digits}0_{{{base}}}",
             f"-{digits}_{{{base}}}", f"{digits[::-1]}_{{{base}}}",
             f"{digits}^{{{base}}}"]  # fmt: skip
    if digits[::-1] == digits:
        wrong.pop(4)
    return draft([f"{digits}_{{{base}}}"], list(right), list(wrong))


def clock(draw: random.Random) -> Draft:
    hour, minute = draw.randint(1, 12), draw.randint(1, 59)
    half, other = draw.sample(("a.m.", "p.m."), 2)
    text = f"{hour}:{minute:02d}"
    bare = half.replace(".", "")
    right = [f"{text}\\text{{ {half}}}", f"{text} \\text{{ {bare}}}",
             f"\\text{{{text} {bare.upper()}}}",
             f"\\text{{{text} {half}}}", f"{text}\\,\\text{{{bare.upper()}}}"]  # fmt: skip
    wrong = [f"{text}\\text{{ {other}}}", f"{hour}:{(minute + 1) % 60:02d}\\text{{ {half}}}",
             f"{hour % 12 + 1}:{minute:02d}\\text{{ {half}}}",
             f"{minute}:{hour:02d}\\text{{ {half}}}",
             f"{hour}.{minute:02d}"]  # fmt: skip
    if minute == hour:
        wrong.pop(3)
    return draft([f"{text}\\text{{ {half}}}", f"{text} {bare}"], list(right), list(wrong))


def ratio(draw: random.Random) -> Draft:
    a, b = draw.sample(range(1, 60), 2)
    value = Fraction(a, b)
    a, b = value.numerator, value.denominator
    right = [
        f"{a}:{b}",
        f"{a} : {b}",
        f"{a}\\colon {b}",
        f"{a}\\text{{ to }}{b}",
        f"\\text{{{a}:{b}}}",
    ]
    wrong = [f"{b}:{a}", f"{a}:{b + 1}", f"{a + 1}:{b}", f"-{a}:{b}", f"{a}", f"{a}{b}",
             f"({a},{b})",
             f"{a}:{b}:1"]  # fmt: skip
    if b == 1:
        wrong = [one for one in wrong if one != str(a)]
    return draft([f"{a}:{b}"], list(right), list(wrong))


def duration(draw: random.Random) -> Draft:
    hours, minutes = draw.randint(1, 20), draw.randint(1, 59)
    right = [f"{hours}\\text{{ hours }}{minutes}\\text{{ minutes}}",
             f"{hours}\\text{{ hr }}{minutes}\\text{{ min}}",
             f"\\text{{{hours} hours {minutes} minutes}}",
             f"\\text{{{hours} hours and {minutes} minutes}}",
             f"{hours * 60 + minutes}\\text{{ minutes}}"]  # fmt: skip
    wrong = [f"{hours}\\text{{ hours }}{minutes + 1}\\text{{ minutes}}",
             f"{hours + 1}\\text{{ hours }}{minutes}\\text{{ minutes}}",
             f"{hours}\\text{{ minutes }}{minutes}\\text{{ seconds}}", f"{hours}\\text{{ hours}}",
             f"{minutes}\\text{{ minutes}}", f"{hours}.{minutes:02d}\\text{{ hours}}"]  # fmt: skip
    return draft([right[0]], list(right), list(wrong))


def lettered(draw: random.Random) -> Draft:
    letter, other = draw.sample("ABCDE", 2)
    value = draw.randint(2, 900)
    right = [f"\\textbf{{({letter})}}\\ {value}", f"\\textbf{{({letter}) }}{value}",
             f"\\text{{({letter}) }}{value}", f"({letter})\\ {value}", str(value),
             f"\\mathrm{{({letter})}}\\ {value}"]  # fmt: skip
    wrong = [f"\\textbf{{({other})}}\\ {value + 1}", f"\\textbf{{({letter})}}\\ {value + 1}",
             str(value + 1), f"({other})", f"-{value}",
             f"\\text{{({other}) }}{value * 10}"]  # fmt: skip
    return draft([f"\\textbf{{({letter})}}\\ {value}", f"\\text{{({letter})}}\\ {value}"],
                 list(right), list(wrong))  # fmt: skip


THINGS = ("apples", "white t-shirts", "years old", "miles", "dollars", "square feet")


def as_data_sets_write(draw: random.Random) -> Draft:
    a, b = draw.randint(2, 60), draw.randint(2, 40)
    value, thing = a * b, draw.choice(THINGS)
    references = [
        f"{value} ({thing})",
        f"There are {a}*{b}=<<{a}*{b}={value}>>{value} {thing}.\n#### {value}",
        f"There are ${a}\\cdot {b}$ of them, hence $\\boxed{{{value}}}$.",
        f"We count {a} rows of {b}.\n\n#### {value:,}",
    ]
    right = [str(value), f"{value:,}", f"{value}\\text{{ {thing}}}", f"{a}\\cdot {b}={value}"]
    wrong = [str(value + 1), str(a), str(b), f"-{value}", f"{value}0", f"{a}+{b}={a + b}"]
    if a + b == value:
        wrong.pop()
    return draft(references, list(right), list(wrong))


WORDS = ("Monday", "Thursday", "even", "odd", "isosceles", "equilateral", "parabola", "ellipse",
         "hyperbola", "converges", "diverges", "increasing", "decreasing", "Yes", "No", "Carla",
         "Dmitri", "red", "blue", "acute", "obtuse", "neither", "always", "never")  # fmt: skip


def word(draw: random.Random) -> Draft:
    name, other = draw.sample(WORDS, 2)
    right = [f"\\text{{{name}}}", name, f"\\textbf{{{name}}}", f"\\mathrm{{{name}}}",
             f"\\text{{ {name} }}", f"\\text{{{name}.}}", f"\\textit{{{name}}}"]  # fmt: skip
    wrong = [f"\\text{{{other}}}", f"\\text{{not {name}}}", f"\\text{{{name} or {other}}}",
             f"\\text{{{name}, {other}}}", f"\\text{{{name[:-1]}}}",
             f"\\text{{neither {name} nor {other}}}"]  # fmt: skip
    return draft([f"\\text{{{name}}}", name], list(right), list(wrong))


def piecewise(draw: random.Random) -> Draft:
    a, b, c = draw.randint(2, 9), draw.randint(1, 9), draw.randint(-5, 9)
    x = draw.choice("xt")
    n = draw.randint(2, 4)

    def write(first: str, second: str, left: str, right: str, head: str = "") -> str:
        said = draw.choice(("", "\\text{if } ", "\\text{ if }", "\\text{for }"))
        end = draw.choice(("\\\\", " \\\\ "))
        return (f"{head}\\begin{{cases}}{first}&{said}{x}{left}{c}{end}{second}&{said}{x}{right}{c}"
                "\\end{cases}")  # fmt: skip

    one, two = f"{a}{x}+{b}", f"{x}^{n}"
    right = [write(one, two, "<", "\\ge "), write(two, one, "\\geq ", "<"),
             write(f"{b}+{a}{x}", two, "<", "\\geq "), write(one, two, "<", "\\ge ",
             "f(x)=") if x == "x"
             else write(one, f"{x}^{{{n}}}", "<", "\\ge ")]  # fmt: skip
    wrong = [write(one, two, "\\ge ", "<"), write(two, one, "<", "\\ge "),
             write(f"{a}{x}-{b}", two, "<", "\\ge "), write(one, f"{x}^{n + 1}", "<", "\\ge "),
             one, two, write(one, two, "<", "\\ge ").replace(f"{c}", f"{c + 1}")
             if str(c) not in f"{a}{b}{n}" else one]  # fmt: skip
    if a * c + b != c**n:  # else both belong at the joint
        wrong.append(write(one, two, "\\le ", ">"))
    first, second = f"{one}&\\text{{if }}{x}<{c}", f"{two}&\\text{{if }}{x}\\ge {c}"
    reference = f"\\begin{{cases}}{first}\\\\{second}\\end{{cases}}"
    return draft([reference], list(right), list(wrong))


MAKERS: dict[str, Maker] = {
    "quantity": quantity,
    "degrees": degrees,
    "base n": based,
    "time": clock,
    "ratio": ratio,
    "duration": duration,
    "lettered": lettered,
    "as data sets write": as_data_sets_write,
    "word": word,
    "piecewise": piecewise,
}
