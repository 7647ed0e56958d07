"""Makers of notation that few parsers know whole: where a fallback sees only its numbers.

Labels are by construction alone: the right ones differ in typography or in the order of a sum, the
wrong ones in a number, an operator or a letter that changes the meaning.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction

from .drafts import Draft, Maker, draft

Rows = list[tuple[list[str], list[str]]]
"""Spellings of one thing, the first of them the reference, and near misses of it."""


def _one_of(rows: Callable[[random.Random], Rows]) -> Maker:
    def make(draw: random.Random) -> Draft:
        same, other = draw.choice(rows(draw))
        return draft([same[0]], list(same), list(other))

    return make


def _three(draw: random.Random, low: int = 2, high: int = 19) -> list[int]:
    return draw.sample(range(low, high), 3)


def _vectors(draw: random.Random) -> Rows:
    a, b, c = _three(draw)
    return [
        (
            [f"{a}\\mathbf{{i}}+{b}\\mathbf{{j}}", f"{b}\\mathbf{{j}}+{a}\\mathbf{{i}}",
             f"{a} \\mathbf{{i}} + {b} \\mathbf{{j}}"],
            [f"{a}\\mathbf{{i}}-{b}\\mathbf{{j}}", f"{b}\\mathbf{{i}}+{a}\\mathbf{{j}}",
             f"{a}\\mathbf{{i}}", f"{a}\\mathbf{{i}}+{b}\\mathbf{{k}}", f"{a + b}",
             f"{a}\\mathbf{{i}}+{c}\\mathbf{{j}}"],
        ),
        (
            [f"{a}\\vec{{u}}-{b}\\vec{{v}}", f"{a} \\vec u - {b} \\vec v",
             f"-{b}\\vec{{v}}+{a}\\vec{{u}}"],
            [f"{a}\\vec{{v}}-{b}\\vec{{u}}", f"{a}\\vec{{u}}+{b}\\vec{{v}}", f"{a}\\vec{{u}}",
             f"{a}\\vec{{u}}-{c}\\vec{{v}}"],
        ),
        (
            ["\\overrightarrow{AB}", "\\overrightarrow{ AB }", "\\overrightarrow{A B}"],
            ["\\overrightarrow{BA}", "\\overrightarrow{AC}", "-\\overrightarrow{AB}",
             "\\overline{BC}"],
        ),
        (
            [f"{a}\\hat{{i}}+{b}\\hat{{j}}-{c}\\hat{{k}}", f"{a}\\hat i+{b}\\hat j-{c}\\hat k"],
            [f"{a}\\hat{{i}}+{b}\\hat{{j}}+{c}\\hat{{k}}",
             f"{a}\\hat{{i}}-{b}\\hat{{j}}-{c}\\hat{{k}}",
             f"{c}\\hat{{i}}+{b}\\hat{{j}}-{a}\\hat{{k}}"],
        ),
    ]  # fmt: skip


def _congruences(draw: random.Random) -> Rows:
    m = draw.randint(5, 30)
    a = draw.randint(1, m - 1)
    other = a % (m - 1) + 1
    return [
        (
            [f"x\\equiv {a}\\pmod{{{m}}}", f"x \\equiv {a} \\pmod {{{m}}}",
             f"x\\equiv {a}\\ (\\text{{mod }}{m})", f"x\\equiv{a}\\bmod {m}"],
            [f"x\\equiv {other}\\pmod{{{m}}}", f"x\\equiv {a}\\pmod{{{m + 1}}}", f"x={a}", f"{a}",
             f"x\\not\\equiv {a}\\pmod{{{m}}}", f"y\\equiv {a}\\pmod{{{m}}}",
             f"x\\equiv {m}\\pmod{{{a + 1}}}"],
        ),
        (
            [f"n={m}k+{a}", f"n = {m}k + {a}", f"n={a}+{m}k"],
            [f"n={m}k-{other}" if (a + other) % m else f"n={m}k",
             f"n={a}k+{m}" if a != m else "n=k",
             f"n={m + 1}k+{a}", f"n={m}k", f"n={a}"],
        ),
    ]  # fmt: skip


def _calculus(draw: random.Random) -> Rows:
    a, b, c = _three(draw, 2, 12)
    third = Fraction(a**3, 3)
    value = (
        str(third)
        if third.denominator == 1
        else f"\\frac{{{third.numerator}}}{{{third.denominator}}}"
    )
    return [
        (
            [f"\\frac{{dy}}{{dx}}={a}x+{b}", f"\\dfrac{{dy}}{{dx}} = {a}x + {b}",
             f"\\frac{{dy}}{{dx}}={b}+{a}x"],
            [f"\\frac{{dy}}{{dx}}={a}x-{b}", f"\\frac{{d^2y}}{{dx^2}}={a}x+{b}",
             f"\\frac{{dx}}{{dy}}={a}x+{b}", f"\\frac{{dy}}{{dx}}={b}x+{a}", f"y={a}x+{b}"],
        ),
        (
            [f"f'(x)={a}x^{{{b}}}", f"f'(x) = {a}x^{{{b}}}", f"f^{{\\prime}}(x)={a}x^{{{b}}}"],
            [f"f''(x)={a}x^{{{b}}}", f"f(x)={a}x^{{{b}}}", f"f'(x)={a}x^{{{c}}}",
             f"f'(x)={b}x^{{{a}}}", f"f'(x)=-{a}x^{{{b}}}"],
        ),
        (
            [f"\\int_0^{{{a}}} x^2\\,dx", f"\\int_{{0}}^{{{a}}} x^{{2}} dx", value],
            [f"\\int_0^{{{a + 1}}} x^2\\,dx", f"\\int_1^{{{a}}} x^2\\,dx",
             f"\\int_0^{{{a}}} x^3\\,dx",
             f"\\int_{{{a}}}^0 x^2\\,dx", str(a**3)],
        ),
        (
            [f"y''+{a}y'+{b}y=0", f"y'' + {a}y' + {b}y = 0", f"{b}y+{a}y'+y''=0"],
            [f"y''+{b}y'+{a}y=0", f"y''-{a}y'+{b}y=0", f"y'+{a}y''+{b}y=0", f"y''+{a}y'+{b}y={c}",
             f"y''+{a}y'+{c}y=0"],
        ),
        (
            [f"\\sum_{{k=1}}^{{n}} k^{{{a}}}", f"\\sum\\limits_{{k=1}}^n k^{{{a}}}"],
            [f"\\sum_{{k=2}}^{{n}} k^{{{a}}}", f"\\sum_{{k=1}}^{{n-1}} k^{{{a}}}",
             f"\\sum_{{k=1}}^{{n}} k^{{{b}}}", f"\\prod_{{k=1}}^{{n}} k^{{{a}}}", f"k^{{{a}}}"],
        ),
    ]  # fmt: skip


def _dots(draw: random.Random) -> Rows:
    a, b, c = _three(draw, 2, 12)
    return [
        (
            [f"1+{a}+{a**2}+\\cdots+{a}^n", f"1+{a}+{a**2}+\\dots+{a}^n",
             f"1 + {a} + {a**2} + \\cdots + {a}^{{n}}", f"1+{a}+{a**2}+\\ldots+{a}^{{n}}"],
            [f"1+{a}+{a**2}+\\cdots+{a}^{{n+1}}", f"{a}+{a**2}+\\cdots+{a}^n",
             f"1+{a}+{a**2}+\\cdots", f"1+{a}+{a**2}-\\cdots-{a}^n", f"1+{b}+{b**2}+\\cdots+{b}^n"],
        ),
        (
            [f"{a},{a + b},{a + 2 * b},\\dots", f"{a}, {a + b}, {a + 2 * b}, \\ldots"],
            [f"{a},{a + b},{a + 2 * b + 1},\\dots", f"{a},{a + b},{a + 2 * b}",
             f"{a + b},{a},{a + 2 * b},\\dots", f"{a + 2 * b},\\dots"],
        ),
        (
            [f"a_{{n+1}}={a}a_n+{b}", f"a_{{n+1}} = {b} + {a}a_n", f"a_{{n+1}}={a}a_{{n}}+{b}"],
            [f"a_{{n+1}}={a}a_n-{b}", f"a_{{n+1}}={a}a_{{n-1}}+{b}", f"a_{{n+1}}={b}a_n+{a}",
             f"a_{{n}}={a}a_n+{b}", f"a_{{n+1}}={c}a_n+{b}", f"a_{{n+1}}={b}"],
        ),
    ]  # fmt: skip


def _operators(draw: random.Random) -> Rows:
    a, b, c = _three(draw)
    return [
        ([f"{a}\\oplus {b}", f"{a} \\oplus {b}"],
         [f"{a}\\otimes {b}", f"{a}\\oplus {c}", f"{b}", f"{a}+{c}", f"{a}\\ominus {b}"]),
        (["f\\circ g", "f \\circ g", "f\\,\\circ\\, g"],
         ["g\\circ f", "f\\cdot g", "f+g", "f\\circ h", "f"]),
        (["A^T", "A^{T}", "A^{\\mathrm{T}}"], ["A^{-1}", "A", "B^T", "A^2", "-A^T"]),
        ([f"P(A\\mid B)=\\frac{{{a}}}{{{a + b}}}", f"P(A|B)=\\frac{{{a}}}{{{a + b}}}",
          f"P(A\\mid B) = \\dfrac{{{a}}}{{{a + b}}}"],
         [f"P(B\\mid A)=\\frac{{{a}}}{{{a + b}}}", f"P(A\\mid B)=\\frac{{{b}}}{{{a + b}}}",
          f"P(A\\cap B)=\\frac{{{a}}}{{{a + b}}}", f"P(A\\mid B)=\\frac{{{a}}}{{{a + b + 1}}}"]),
        ([f"\\frac{{-{a}\\pm\\sqrt{{{c}}}}}{{{b}}}", f"\\dfrac{{-{a} \\pm \\sqrt{{{c}}}}}{{{b}}}"],
         [f"\\frac{{{a}\\pm\\sqrt{{{c}}}}}{{{b}}}", f"\\frac{{-{a}+\\sqrt{{{c}}}}}{{{b}}}",
          f"\\frac{{-{a}\\pm\\sqrt{{{c + 1}}}}}{{{b}}}",
          f"\\frac{{-{a}\\pm\\sqrt{{{c}}}}}{{{b + 1}}}",
          f"\\frac{{-{a}-\\sqrt{{{c}}}}}{{{b}}}"]),
        ([f"a_{{{a}}}+a_{{{b}}}", f"a_{{{a}}} + a_{{{b}}}", f"a_{{{b}}}+a_{{{a}}}"],
         [f"a_{{{a}}}+a_{{{c}}}", f"a_{{{a}}}-a_{{{b}}}", f"a_{{{a}}}", f"b_{{{a}}}+a_{{{b}}}"]),
    ]  # fmt: skip


def _geometry(draw: random.Random) -> Rows:
    p, q, r, s = draw.sample("ABCDEFGH", 4)
    return [
        ([f"\\angle {p}{q}{r}", f"\\angle{{{p}{q}{r}}}", f"\\angle {p} {q} {r}"],
         [f"\\angle {q}{p}{r}", f"\\angle {p}{r}{q}", f"\\angle {p}{q}{s}",
          f"\\triangle {p}{q}{r}"]),
        ([f"{p}{q}\\parallel {r}{s}", f"{p}{q} \\parallel {r}{s}"],
         [f"{p}{q}\\perp {r}{s}", f"{p}{r}\\parallel {q}{s}", f"{p}{q}", f"{p}{q}={r}{s}"]),
        ([f"\\triangle {p}{q}{r}\\cong\\triangle {s}{q}{r}",
          f"\\triangle {p}{q}{r} \\cong \\triangle {s}{q}{r}"],
         [f"\\triangle {p}{q}{r}\\sim\\triangle {s}{q}{r}",
          f"\\triangle {p}{q}{r}\\cong\\triangle {s}{r}{q}",
          f"\\triangle {p}{q}{r}"]),
        ([f"\\text{{plane }}{p}{q}{r}", f"\\text{{plane }} {p}{q}{r}"],
         [f"\\text{{plane }}{p}{q}{s}", f"\\text{{line }}{p}{q}", f"{p}{q}{r}{s}"]),
    ]  # fmt: skip


def _logic(draw: random.Random) -> Rows:
    return [
        (["p\\land q", "p \\land q", "p\\wedge q"], ["p\\lor q", "p\\land r", "\\neg p\\land q",
          "p"]),
        (["\\neg p\\lor q", "\\lnot p \\lor q"], ["p\\lor q", "\\neg p\\land q",
          "\\neg(p\\lor q)"]),
        (["\\forall x\\,\\exists y\\,P(x,y)", "\\forall x\\exists y P(x,y)"],
         ["\\exists y\\,\\forall x\\,P(x,y)", "\\exists x\\,\\forall y\\,P(x,y)",
          "\\forall x\\,\\exists y\\,P(y,x)", "\\forall x\\,\\forall y\\,P(x,y)"]),
        (["A\\cup B", "A \\cup B", "A∪B"], ["A\\cap B", "A\\setminus B", "A\\cup C", "A", "B"]),
        (["A\\setminus B", "A \\setminus B"], ["B\\setminus A", "A\\cup B", "A", "A\\cap B"]),
        (["A\\subseteq B", "A \\subseteq B"], ["B\\subseteq A", "A\\supseteq B", "A\\nsubseteq B",
          "A=B"]),
        (["\\emptyset", "\\varnothing", "∅", "\\{\\}"], ["\\{\\emptyset\\}", "0", "\\{0\\}",
          "\\mathbb{R}"]),
        (["\\mathbb{R}", "\\mathbb R", "(-\\infty,\\infty)"],
         ["\\mathbb{Z}", "\\mathbb{Q}", "\\emptyset", "[0,\\infty)", "\\mathbb{R}^2"]),
        (["x\\in\\mathbb{Z}", "x \\in \\mathbb Z"],
         ["x\\notin\\mathbb{Z}", "x\\in\\mathbb{R}", "y\\in\\mathbb{Z}", "x\\in\\mathbb{N}"]),
    ]  # fmt: skip


def _equations(draw: random.Random) -> Rows:
    a, b, c = _three(draw)
    return [
        ([f"x^2+{a}=0", f"x^{{2}} = -{a}", f"x^2 + {a} = 0", f"{a}+x^2=0"],
         [f"x^2+{b}=0", f"x^2-{a}=0", f"y^2+{a}=0", f"x^4+{a}=0", f"x^2+{a}={c}", "\\emptyset"]),
        ([f"\\log(0.01)=-{a}"], [f"\\log(0.01)={a}", f"\\log(0.01)=-{b}", f"\\log(0.1)=-{a}"]),
        ([f"x^2+y^2=-{a}", f"x^2+y^2+{a}=0", f"x^{{2}}+y^{{2}}=-{a}"],
         [f"x^2+y^2=-{b}", f"x^2+y^2={a}", f"x^2-y^2=-{a}", f"x^2+z^2=-{a}"]),
        ([f"e^x={a}x", f"e^{{x}} = {a}x", f"{a}x=e^x"],
         [f"e^x={b}x", f"e^{{-x}}={a}x", f"e^x=-{a}x", f"e^y={a}y", f"e^x={a}"]),
        ([f"xy={a}", f"yx={a}", f"x y = {a}", f"xy-{a}=0"],
         [f"xy=-{a}", f"x+y={a}", f"xy={b}", f"xz={a}", f"x^2y={a}", f"xy>{a}"]),
    ]  # fmt: skip


def false_equation(draw: random.Random) -> Draft:
    a, b, _ = _three(draw)
    value = a + b + draw.choice((1, -1, 2, 10))
    true = a + b
    wrong = [f"{a}+{b}={value}", f"{a}+{b}={true}={value}" if value != true else f"{a}={value}",
             f"{value}={a}+{b}",
             f"{a}\\cdot {b}={value}" if a * b != value else f"{a}={value}"]  # fmt: skip
    k = draw.randint(1, 9)
    right = [f"{value}", f"{value - k}+{k}={value}", f"{2 * value}-{value}={value}"]
    return draft([str(value)], list(right), list(wrong))


def words_and_numbers(draw: random.Random) -> Draft:
    n = draw.randint(2, 60)
    wrong = [f"{n}\\text{{ tenths}}", f"{n}\\text{{ squared}}", f"{n}\\text{{ dozen}}",
             f"{n}\\text{{ thousand}}", f"{n}\\text{{ or }}{n + 1}", f"\\text{{at least }}{n}",
             f"\\text{{more than }}{n}", f"\\text{{not }}{n}", f"{n}\\text{{ less than }}x",
             f"{n}\\text{{ to the power }}2", f"{n}\\text{{ hundredths}}",
             f"{n - 1}\\text{{ to }}{n}",
             f"\\text{{either }}{n - 1}\\text{{ or }}{n}", f"\\sqrt{{{n}}}\\text{{ or so}}",
             f"{n}\\text{{ factorial}}", f"\\text{{between }}{n - 1}\\text{{ and }}{n}",
             f"-\\text{{}}{n}", f"\\text{{minus }}{n}", f"{n}\\text{{ million}}"]  # fmt: skip
    right = [f"{n}", f"\\text{{{n}}}", f"\\text{{ {n} }}", f"\\mathbf{{{n}}}"]
    return draft([str(n)], list(right), list(wrong))


def indeterminate(draw: random.Random) -> Draft:
    n = draw.choice((0, 1, draw.randint(2, 30)))
    wrong = ["\\infty-\\infty", "0\\cdot\\infty", "\\frac{\\infty}{\\infty}", "\\infty^0",
             "\\frac{0}{0}",
             f"{n}+0\\cdot\\infty", f"\\frac{{{n}}}{{0}}", "1^\\infty", "-\\infty", "\\infty",
             f"{n}+\\frac{{0}}{{0}}", f"{n}\\cdot\\frac{{\\infty}}{{\\infty}}", "\\ln 0",
             f"{n}+\\infty-\\infty", "\\text{undefined}", "\\text{DNE}"]  # fmt: skip
    return draft([str(n)], [str(n), f"{n}.0", f"x={n}", f"\\text{{{n}}}"], list(wrong))


def hidden_digits(draw: random.Random) -> Draft:
    n, m = draw.sample(range(2, 99), 2)
    wrong = [f"\\phantom{{{n}}}", f"{m}\\phantom{{{n}}}", f"\\hphantom{{{n}}}", f"{m}\\tag{{{n}}}",
             f"{m}\\label{{{n}}}", f"{m}\\hspace{{{n}pt}}", f"\\cancel{{{n}}}",
             f"{m}\\cancel{{{n}}}",
             f"\\sout{{{n}}}{m}", f"{m}\\%{n}", f"{n}\\ldots", f"\\overline{{{n}}}i",
             f"{m}^{{\\text{{{n}}}}}", f"{m}_{{{n}}}", f"{n}\\_\\_", f"\\underset{{{n}}}{{{m}}}",
             f"\\stackrel{{{n}}}{{{m}}}"]  # fmt: skip
    right = [str(n), f"{n}\\hspace{{3pt}}", f"\\mbox{{{n}}}", f"\\textbf{{{n}}}", f"{{{n}}}"]
    return draft([str(n)], list(right), list(wrong))


SEPARATORS = (
    " \\to ", " \\\\ ", "\\text{ 或 }", " \\& ", " \\cup ", "; ", " \\mid ", " \\quad ",
    " \\qquad ",
    "\\text{ vs }", " \\sim ", "\\text{ and also }", "\\text{ oder }", "\\text{ ou }",
    "\\text{ или }",
    "、", "，", " \\vee ", " \\lor ", " \\wedge ", "\\text{ und }", "\\text{ y }", "\\text{ e }",
    "\\text{ respectively }", " \\cap ", " \\bigcup ", "\\newline ", " \\leftrightarrow ",
    "\\text{, but maybe }", "\\text{ / }", " \\text{(or)} ", "\\text{ 和 }", "\\text{ または }",
)  # fmt: skip


def odd_separators(draw: random.Random) -> Draft:
    """A second member after whatever separator is never the first alone, nor the last."""
    a, b = draw.sample(range(2, 90), 2)
    mark = draw.choice(SEPARATORS)
    wrong = [f"{a}{mark}{b}", f"{b}{mark}{a}", f"x={a}{mark}{b}", f"x={b}{mark}x={a}"]
    return draft([str(a)], [str(a), f"x={a}", f"\\ {a}\\ ", f"\\quad {a}"], list(wrong))


def repeating(draw: random.Random) -> Draft:
    n = draw.randint(1, 98)
    n += n % 11 == 0
    digits = f"{n:02d}"
    value = Fraction(n, 99)
    right = [f"0.\\overline{{{digits}}}", f"0.\\overline {{{digits}}}",
             f"0.{{\\overline{{{digits}}}}}",
             f"\\frac{{{value.numerator}}}{{{value.denominator}}}",
             f"{value.numerator}/{value.denominator}"]  # fmt: skip
    wrong = [f"0.{digits}", f"0.\\overline{{{digits[0]}}}{digits[1]}",
             f"0.\\overline{{{n % 98 + 1:02d}}}",
             f"0.0\\overline{{{digits}}}", f"1.\\overline{{{digits}}}",
             f"\\frac{{{n}}}{{100}}"]  # fmt: skip
    if digits[1] == "0":
        wrong = [one for one in wrong if one != f"0.\\overline{{{digits[0]}}}{digits[1]}"]
    return draft([f"0.\\overline{{{digits}}}"], list(right), list(wrong))


def _bars(draw: random.Random) -> Rows:
    a, b, _ = _three(draw)
    big, small = max(a, b), min(a, b)
    low, exact = big // small, big % small == 0
    value = [str(low)]
    up = [f"\\lceil\\frac{{{big}}}{{{small}}}\\rceil", str(low + 1), f"\\frac{{{big}}}{{{small}}}"]
    return [
        ([f"|x-{a}|", f"\\left|x-{a}\\right|", f"|{a}-x|", f"\\lvert x-{a}\\rvert",
          f"\\vert x-{a}\\vert"],
         [f"|x+{a}|", f"x-{a}", f"|x|-{a}", f"|x-{b}|", f"-|x-{a}|", f"|y-{a}|"]),
        ([f"\\left\\lfloor\\frac{{{big}}}{{{small}}}\\right\\rfloor",
          f"\\lfloor {big}/{small}\\rfloor", *value],
         [str(low + 1), str(-low)] if exact else up),
        ([f"|x-{a}|<{b}", f"\\left|x-{a}\\right|<{b}", f"{b}>|x-{a}|"],
         [f"|x-{a}|\\le {b}", f"|x-{a}|>{b}", f"|x-{b}|<{a}", f"x-{a}<{b}", f"|x+{a}|<{b}",
          f"[{a - b},{a + b}]"]),
        (["\\lfloor x\\rfloor", "\\left\\lfloor x \\right\\rfloor"],
         ["\\lceil x\\rceil", "x", "\\lfloor y\\rfloor", "-\\lfloor x\\rfloor",
          "\\lfloor x+1\\rfloor"]),
        (["\\sin^{-1}(x)", "\\arcsin(x)", "\\arcsin x"],
         ["\\frac{1}{\\sin x}", "\\sin(x)", "\\cos^{-1}(x)", "\\csc(x)", "\\sin^2(x)",
          "\\arcsin(y)"]),
        (["\\overline{z}", "\\bar{z}", "\\bar z"], ["z", "-z", "\\overline{w}", "|z|", "z^{-1}"]),
        (["\\max(x,y)", "\\max\\{x,y\\}", "\\max(y,x)"], ["\\min(x,y)", "x", "\\max(x,z)",
          "(x,y)"]),
    ]  # fmt: skip


MAKERS: dict[str, Maker] = {
    "vectors in letters": _one_of(_vectors),
    "congruence": _one_of(_congruences),
    "calculus": _one_of(_calculus),
    "dots": _one_of(_dots),
    "operators": _one_of(_operators),
    "geometry": _one_of(_geometry),
    "sets and logic": _one_of(_logic),
    "equation": _one_of(_equations),
    "false equation": false_equation,
    "words and numbers": words_and_numbers,
    "indeterminate": indeterminate,
    "hidden digits": hidden_digits,
    "odd separators": odd_separators,
    "repeating decimal": repeating,
    "bars": _one_of(_bars),
}
