"""Makers of answers with several members: tuples, sets, intervals, matrices, solutions."""

from __future__ import annotations

import random
from collections.abc import Sequence

from .drafts import Answer, Draft, Maker, draft, draw_value, draw_values, other_value
from .tree import Node, draw_style, equal, evaluate, neg, num, rewrite, spell

AND = (
    " \\text{ and } ",
    " \\text{ or } ",
    ", ",
    ",",
    "\\text{ and }",
    ",\\ ",
    "\\quad\\text{and}\\quad ",
)


def _spell(values: Sequence[Node], draw: random.Random) -> list[str]:
    """Every value in one style, each perhaps rewritten."""
    style = draw_style(draw)
    out = []
    for value in values:
        other = rewrite(value, draw)
        out.append(spell(other if equal(value, other) is True else value, style))
    return out


def _slip(values: Sequence[Node], draw: random.Random, ordered: bool) -> list[list[Node]]:
    """Near misses of a list: a member changed, missing, added, two swapped where order counts."""
    rows = []
    for _ in range(2):
        at = draw.randrange(len(values))
        row = list(values)
        row[at] = other_value(values[at], draw, list(values))
        rows.append(row)
    rows.append([*values, other_value(values[0], draw, list(values))])
    if len(values) > 1:
        at = draw.randrange(len(values))
        rows.append([value for n, value in enumerate(values) if n != at])
    if ordered and len(values) > 1:
        a, b = draw.sample(range(len(values)), 2)
        row = list(values)
        row[a], row[b] = row[b], row[a]
        if equal(values[a], values[b]) is False:
            rows.append(row)
    return rows


def _shuffled(values: Sequence[Node], draw: random.Random) -> list[Node]:
    return draw.sample(list(values), len(values))


def tuple_(draw: random.Random) -> Draft:
    values = draw_values(draw, draw.choice((2, 2, 3, 4)))

    def write(row: Sequence[Node]) -> str:
        open_, close = draw.choice((("(", ")"), ("\\left(", "\\right)"), ("\\left( ", " \\right)")))
        return open_ + draw.choice((",", ", ", ",\\,")).join(_spell(row, draw)) + close

    right = [write(values) for _ in range(5)]
    if len(values) == 2:
        right.append("(x,y)=" + write(values))
    wrong = [write(row) for row in _slip(values, draw, ordered=True)]
    wrong += ["\\{" + ",".join(_spell(values, draw)) + "\\}", "-" + write(values)]
    return draft([write(values)], list(right), list(wrong))


def set_(draw: random.Random) -> Draft:
    values = draw_values(draw, draw.choice((2, 3, 4)))

    def write(row: Sequence[Node]) -> str:
        open_, close = draw.choice(
            (("\\{", "\\}"), ("\\left\\{", "\\right\\}"), ("\\lbrace ", "\\rbrace "))
        )
        return open_ + draw.choice((",", ", ")).join(_spell(row, draw)) + close

    right = [write(_shuffled(values, draw)) for _ in range(5)]
    wrong = [write(row) for row in _slip(values, draw, ordered=False)]
    wrong += [
        spell(values[0]),
        "\\emptyset",
        "(" + ",".join(_spell(_shuffled(values, draw), draw)) + ")",
    ]
    if len(values) == 2:
        wrong.append("[" + ",".join(_spell(values, draw)) + "]")
    return draft([write(values)], list(right), list(wrong))


def solutions(draw: random.Random) -> Draft:
    values = draw_values(draw, draw.choice((2, 2, 3)))
    letter, other = draw.sample("xyztn", 2)

    def write(row: Sequence[Node], name: str = letter) -> str:
        parts = _spell(row, draw)
        listed = f"{name}\\in\\{{{','.join(parts)}\\}}"
        return draw.choice((
            draw.choice(AND).join(f"{name}={part}" for part in parts),
            f"{name}=" + draw.choice((", ", ",", "\\text{ or }")).join(parts),
            draw.choice(AND).join(parts) if name == letter else listed,
            listed,
            ", ".join(f"{name}_{n}={part}" for n, part in enumerate(parts, 1)),
        ))  # fmt: skip

    right: list[str | Answer] = [write(_shuffled(values, draw)) for _ in range(6)]
    wrong: list[str | Answer] = [write(row) for row in _slip(values, draw, ordered=False)]
    wrong += [spell(values[0]), spell(values[-1]), write(values, other),
              f"{letter}={spell(values[0])}"]  # fmt: skip
    reference = draw.choice((" \\text{ or } ", ", ")).join(
        f"{letter}={spell(one)}" for one in values
    )
    return draft([reference], right, wrong)


def several_boxes(draw: random.Random) -> Draft:
    values = draw_values(draw, draw.choice((2, 2, 3)))

    def write(row: Sequence[Node]) -> Answer:
        boxes = [f"\\boxed{{{part}}}" for part in _spell(row, draw)]
        text = draw.choice((
            "The solutions are " + " and ".join(f"${box}$" for box in boxes) + ".",
            "Hence\n\n\\[" + " \\quad ".join(boxes) + "\\]",
            "So $x$ is " + ", ".join(f"${box}$" for box in boxes[:-1]) + f" or ${boxes[-1]}$.",
            "Answers:\n" + "\n".join(f"- ${box}$" for box in boxes),
            "$$" + "\\text{ or }".join(boxes) + "$$",
            "The two answers are $" + "$, $".join(boxes) + "$.",
            "\n".join(f"{n}. ${box}$" for n, box in enumerate(boxes, 1)),
            "所以答案是 " + " 和 ".join(f"${box}$" for box in boxes) + "。",
        ))  # fmt: skip
        return Answer(text, whole=True)

    plain = ", ".join(spell(value) for value in values)
    right: list[str | Answer] = [write(_shuffled(values, draw)) for _ in range(4)]
    wrong: list[str | Answer] = [
        write(row) for row in _slip(values, draw, ordered=False) if len(row) > 1
    ]
    wrong += [spell(values[-1]), spell(values[0])]
    return draft([plain, plain.replace(", ", " \\text{ and } ")], right, wrong)


def extra_box(draw: random.Random) -> Draft:
    value = draw_value(draw)
    other = other_value(value, draw)
    a, b = spell(value), spell(other)
    right = [
        Answer(f"The answer is $\\boxed{{{a}}}$.", True),
        Answer(f"So $\\boxed{{{a}}}$.\n\n**Final answer:** $\\boxed{{{a}}}$", True),
    ]
    pairs = ((a, b), (b, a))
    wrong = [
        Answer(f"The answers are $\\boxed{{{p}}}$ and $\\boxed{{{q}}}$.", True) for p, q in pairs
    ]
    wrong += [Answer(f"\\[\\boxed{{{p}}}\\text{{ or }}\\boxed{{{q}}}\\]", True) for p, q in pairs]
    wrong += [Answer(f"The answer is $\\boxed{{{p}, {q}}}$.", True) for p, q in pairs]
    wrong += [Answer(f"The answer is $\\boxed{{{p}\\text{{ or }}{q}}}$.", True) for p, q in pairs]
    return draft([a], list(right), list(wrong))


def plus_minus(draw: random.Random) -> Draft:
    value = draw_value(draw)
    while (
        equal(value, neg(value)) is not False or spell(value).startswith("-") or value.op == "add"
    ):
        value = draw_value(draw)
    text = spell(value)
    other = spell(other_value(value, draw, [neg(value)]))
    right = [f"\\pm {text}", f"{text}, -{text}", f"-{text} \\text{{ and }} {text}",
             f"x=\\pm {text}",
             f"\\pm{text}", f"\\{{-{text},{text}\\}}", f"\\mp {text}"]  # fmt: skip
    wrong = [text, f"-{text}", f"\\pm {other.removeprefix('-')}", f"{text}, {text}",
             f"0, {text}", f"\\pm {text}, 0"]  # fmt: skip
    return draft([f"\\pm {text}", f"{text}, -{text}"], list(right), list(wrong))


def interval(draw: random.Random) -> Draft:
    low, high = sorted(draw_values(draw, 2), key=lambda value: float(evaluate(value)))
    left, right_ = draw.choice("(["), draw.choice(")]")
    closed, opened = {"(": "[", "[": "("}[left], {")": "]", "]": ")"}[right_]

    def write(p: str, a: Node, b: Node, q: str) -> str:
        first, last = _spell((a, b), draw)
        if draw.random() < 0.4:
            p, q = f"\\left{p}", f"\\right{q}"
        return p + first + draw.choice((",", ", ", ",\\,")) + last + q

    a, b = "<" if left == "(" else "\\le ", "<" if right_ == ")" else "\\leq "
    right = [write(left, low, high, right_) for _ in range(3)]
    right += ["x\\in " + write(left, low, high, right_), f"{spell(low)}{a}x{b}{spell(high)}"]
    beyond = other_value(high, draw, [low])
    wrong = [write(closed, low, high, right_), write(left, low, high, opened),
             write(closed, low, high, opened), write(left, low, beyond, right_),
             write(left, high, low, right_), f"\\{{{spell(low)},{spell(high)}\\}}",
             write(left, low, high, right_) + "\\cup\\{100\\}"]  # fmt: skip
    reference = f"{left}{spell(low)},{spell(high)}{right_}"
    wrong = [one for one in wrong if one.replace(" ", "") != reference]
    return draft([reference], list(right), list(wrong))


def union(draw: random.Random) -> Draft:
    a, b, c, d = sorted(draw.sample(range(-40, 60), 4))
    ends = [draw.choice("(["), draw.choice(")]"), draw.choice("(["), draw.choice(")]")]

    def write(points: Sequence[int], marks: Sequence[str], swap: bool = False) -> str:
        gap = draw.choice((",", ", "))
        first = f"{marks[0]}{points[0]}{gap}{points[1]}{marks[1]}"
        second = f"{marks[2]}{points[2]}{gap}{points[3]}{marks[3]}"
        join = draw.choice(("\\cup", " \\cup ", "∪"))
        return join.join((second, first) if swap else (first, second))

    points = (a, b, c, d)
    right = [write(points, ends), write(points, ends, True), "x \\in " + write(points, ends)]
    wrong = [f"{ends[0]}{a},{b}{ends[1]}", f"{ends[2]}{c},{d}{ends[3]}",
             f"{ends[0]}{a},{d}{ends[3]}",
             write(points, ends).replace("\\cup", "\\cap").replace("∪", "\\cap "),
             write((a, b, c, d + 1), ends), write((a - 1, b, c, d), ends)]  # fmt: skip
    for at in range(4):
        flipped = list(ends)
        flipped[at] = {"(": "[", "[": "(", ")": "]", "]": ")"}[ends[at]]
        wrong.append(write(points, flipped))
    return draft(
        [f"{ends[0]}{a},{b}{ends[1]}\\cup{ends[2]}{c},{d}{ends[3]}"], list(right), list(wrong)
    )


def points(draw: random.Random) -> Draft:
    pairs = [tuple(draw_values(draw, 2)) for _ in range(draw.choice((2, 2, 3)))]
    if len({spell(a) + "," + spell(b) for a, b in pairs}) < len(pairs):
        return points(draw)

    def write(rows: Sequence[Sequence[Node]]) -> str:
        return draw.choice((", ", ",", "\\text{ and }", ",\\ ", ";\\ ")).join(
            "(" + ",".join(_spell(row, draw)) + ")" for row in rows
        )

    right = [write(draw.sample(pairs, len(pairs))) for _ in range(5)]
    right.append("\\{" + ",".join("(" + ",".join(_spell(row, draw)) + ")" for row in pairs) + "\\}")
    turned = [tuple(reversed(pairs[0])), *pairs[1:]]
    slipped = [(pairs[0][0], other_value(pairs[0][1], draw)), *pairs[1:]]
    wrong = [write(slipped), write(pairs[1:]), write([*pairs, (num(97), num(89))])]
    known = {(spell(a), spell(b)) for a, b in pairs}
    if (spell(turned[0][0]), spell(turned[0][1])) not in known:
        wrong.append(write(turned))
    return draft([write(pairs)], list(right), list(wrong))


def _matrix(rows: Sequence[Sequence[Node]], draw: random.Random) -> str:
    kind = draw.choice(("pmatrix", "bmatrix", "pmatrix"))
    gap, end = draw.choice(("&", " & ")), draw.choice(("\\\\", " \\\\ ", "\\\\\n"))
    style = draw_style(draw)
    body = end.join(gap.join(spell(value, style) for value in row) for row in rows)
    return f"\\begin{{{kind}}}{draw.choice(('', ' '))}{body}\\end{{{kind}}}"


def matrix(draw: random.Random) -> Draft:
    n, m = draw.choice(((2, 2), (2, 2), (3, 3), (2, 3), (1, 3)))
    rows = [[draw_value(draw) for _ in range(m)] for _ in range(n)]
    right = [_matrix(rows, draw) for _ in range(4)]
    plain = "\\\\".join("&".join(spell(value) for value in row) for row in rows)
    right.append(f"\\left[\\begin{{array}}{{{'c' * m}}}{plain}\\end{{array}}\\right]")
    right.append(f"A=\\begin{{pmatrix}}{plain}\\end{{pmatrix}}")
    wrong = []
    for _ in range(3):
        slipped = [list(row) for row in rows]
        i, j = draw.randrange(n), draw.randrange(m)
        slipped[i][j] = other_value(rows[i][j], draw)
        wrong.append(_matrix(slipped, draw))
    turned = [list(column) for column in zip(*rows, strict=True)]
    if turned[0] != rows[0]:
        wrong.append(_matrix(turned, draw))
    if n > 1:
        wrong.append(_matrix(rows[:-1], draw))
        wrong.append(
            f"\\begin{{vmatrix}}{plain}\\end{{vmatrix}}" if n == m else _matrix(rows[1:], draw)
        )
        if rows[0] != rows[-1]:
            wrong.append(_matrix(rows[::-1], draw))
    return draft([f"\\begin{{pmatrix}}{plain}\\end{{pmatrix}}"], list(right), list(wrong))


def vector(draw: random.Random) -> Draft:
    values = draw_values(draw, draw.choice((2, 3)))
    column = [[value] for value in values]

    def write(rows: Sequence[Sequence[Node]]) -> str:
        return _matrix(rows, draw)

    right = [write(column) for _ in range(4)]
    right.append("\\mathbf{v}=" + write(column))
    wrong = [write([[value] for value in row]) for row in _slip(values, draw, ordered=True)]
    reference = (
        "\\begin{pmatrix}" + " \\\\ ".join(spell(value) for value in values) + "\\end{pmatrix}"
    )
    return draft([reference], list(right), list(wrong))


def named_values(draw: random.Random) -> Draft:
    p, q = sorted(draw.sample("abmnpqxy", 2))
    a, b = draw_values(draw, 2)
    s, t = spell(a), spell(b)
    u = spell(other_value(b, draw, [a]))
    right = [f"{p}={s}, {q}={t}", f"{q}={t},{p}={s}", f"{p}={s}\\text{{ and }}{q}={t}",
             f"({p},{q})=({s},{t})", f"{p} = {s},\\quad {q} = {t}", f"({q},{p})=({t},{s})",
             f"\\begin{{cases}}{p}={s}\\\\{q}={t}\\end{{cases}}"]  # fmt: skip
    wrong = [f"{p}={t}, {q}={s}", f"{p}={s}, {q}={u}", f"{p}={s}", f"{q}={t}",
             f"({p},{q})=({t},{s})",
             f"({q},{p})=({s},{t})", f"{p}={s}, {q}={t}, r={t}", f"{p}={u},{q}={t}"]  # fmt: skip
    return draft([f"{p}={s}, {q}={t}"], list(right), list(wrong))


MAKERS: dict[str, Maker] = {
    "tuple": tuple_,
    "set": set_,
    "solutions": solutions,
    "several boxes": several_boxes,
    "extra value": extra_box,
    "plus or minus": plus_minus,
    "interval": interval,
    "union": union,
    "points": points,
    "matrix": matrix,
    "vector": vector,
    "named values": named_values,
}
