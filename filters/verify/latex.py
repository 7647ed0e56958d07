"""The surface of a maths answer: many ways to typeset one thing become one way.

`normalise` changes notation only, never a value. What it returns is also the key under which a
verdict is remembered. In it `~` is a space that was typeset on purpose, ` ` one that was not.
"""

from __future__ import annotations

import re

from filters.verify.prose.folding import fold

_DOTTED = re.compile(r"(?<=\d)(\.\d*)\\dot\s*\{?+(\d)\}?+(?:(\d*)\\dot\s*\{?+(\d)\}?+)?+(?![\d\\])")
"""0.1\\dot{6} and 0.\\dot{1}4\\dot{2}: dots over the first and the last digit that recur."""

_COMMANDS = {
    "dfrac": "\\frac",
    "tfrac": "\\frac",
    "cfrac": "\\frac",
    "nicefrac": "\\frac",
    "sfrac": "\\frac",
    "dbinom": "\\binom",
    "tbinom": "\\binom",
    "times": "*",
    "cdot": "*",
    "ast": "*",
    "div": "/",
    "leq": "<=",
    "le": "<=",
    "leqslant": "<=",
    "geq": ">=",
    "ge": ">=",
    "geqslant": ">=",
    "lt": "<",
    "gt": ">",
    "neq": "\\ne",
    "lbrace": "\\{",
    "rbrace": "\\}",
    "lbrack": "[",
    "rbrack": "]",
    "colon": ":",
    "varnothing": "\\emptyset",
    "infin": "\\infty",
    "wedge": "\\land",
    "vee": "\\lor",
    "simeq": "\\approx",
    "doteq": "\\approx",
    "langle": "(",
    "rangle": ")",
    "lvert": "|",
    "rvert": "|",
    "vert": "|",
    "lVert": "\\|",
    "rVert": "\\|",
    "Vert": "\\|",
    "mathit": "\\mathrm",
    "mathsf": "\\mathrm",
    "mathup": "\\mathrm",
    "mbox": "\\text",
    "hbox": "\\text",
    "textbf": "\\text",
    "textit": "\\text",
    "textrm": "\\text",
    "texttt": "\\text",
    "textsf": "\\text",
    "textsc": "\\text",
    "textnormal": "\\text",
    "textup": "\\text",
    "emph": "\\text",
    "operatorname": "\\mathrm",
    "uppi": "\\pi",
    "middle": "",
    "mid": "\\mid",
    "euro": "€",
    "pounds": "£",
    "textdollar": "\\$",
    "setminus": "\\setminus",
    "smallsetminus": "\\setminus",
    "backslash": "\\setminus",
    "slash": "/",
    "textasciicircum": "^",
    "thinspace": "~",
    "enspace": "~",
    "newline": "\\\\",
}
"""Commands with another spelling here; the next table's are dropped."""

_FORMATTING = (
    "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle "
    "textstyle scriptstyle tiny scriptsize footnotesize small normalsize "
    "large Large LARGE huge Huge limits nolimits rm bf it nonumber hfill boxed fbox underline uline"
)
_DROPPED = frozenset(_FORMATTING.split())
_COMMAND = re.compile(r"\\([A-Za-z]+)\*?[ \n]*")
_SPACING = re.compile(r"(?<!\\)((?:\\\\)*)\\[,;:> \n]")
_COLOUR = re.compile(
    r"\\(?:textcolor|color|colorbox|definecolor)\s*(?:\[[^\]{}]{0,20}\])?\s*\{[^{}]{0,40}\}"
)
_SKIP = re.compile(r"\\(?:hspace|vspace|mspace|hskip|kern)\*?\s*\{[^{}]{0,20}\}")
_ROW_SPACE = re.compile(r"(\\\\)\s*\[\s*-?\d*\.?\d+\s*(?:pt|ex|em|mm|cm)\s*\]")
_GROUPED_BAR = re.compile(r"(?<=\.)(\d*)\{\s*(\\(?:overline|bar)\s*\{\d+\})\s*\}")
_FRENCH = re.compile(r"([\[\]])([^\[\],;()]+[,;][^\[\],;()]+)([\[\]])")
_TURNED = re.compile(r"^\s*\]|\[\s*$|\[\s*\\cup|\\cup\s*\]")
_VECTOR = r"\\(?:(?:vec|overrightarrow)(?![A-Za-z])|(?:mathbf|boldsymbol|bm|hat)(?![A-Za-z]))"
_CROSS = re.compile(
    r"(?P<del>\\nabla\s*)\\times(?![A-Za-z])"
    rf"|(?P<left>{_VECTOR}\s*(?:\{{\s*[A-Za-z]+\s*\}}|[A-Za-z])\s*)\\times(?![A-Za-z])"
    r"|\\times(?=\s*\\(?:(?:vec|overrightarrow)(?![A-Za-z])"
    r"|(?:mathbf|boldsymbol|bm|hat)\s*\{?\s*[A-Za-z]\s*(?![A-Za-z])))"
)
_TRAILING = frozenset(",;:，；、~ \t\r\n")
_QUAD = re.compile(r"\\q?quad")
_NULL_DELIMITER = re.compile(r"\\(?:left|right)\s*\.")
_PRIMES = re.compile(r"\^\s*(?:\{\s*(?:\\prime\s*)+\}|\\prime(?![A-Za-z]))")
_DEGREE = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|\\degree\b|\\textdegree\b")
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:(?: \d{3})+|(?:~\d{3})+)(?![\d/])")
_TYPESET_COMMA = re.compile(r"(?<=\d),(?:\\[!,;: ]\s*)+(?=\d{3}(?!\d))")
_REALS = re.compile(r"\\mathbb\s*\{?\s*R\s*\}?|ℝ")
_HALF_REALS = re.compile(
    r"\\mathbb\s*\{?\s*R\s*\}?\s*"
    r"(?P<mark>[\^_]\s*(?:\{\s*)?(?:\+|-|\*|>\s*0|<\s*0|\\(?:ge|geq|geqslant|gt)\s*0)(?:\s*\})?)"
)
_PLAIN = re.compile(r"(?<![A-Za-z\\])(sqrt|pi|infinity|infty|inf|oo)(?![A-Za-z])")
_SPELLED = {"infinity": "infty", "inf": "infty", "oo": "infty"}
_ABBREVIATED = re.compile(r"(?<![A-Za-z\\])(sq|cu)\.(?= ?[A-Za-z])")
_UNIT_FRACTION = re.compile(
    r"\\frac\{\\(?:text|mathrm)\{ ?([A-Za-z]+) ?\}\}\{\\(?:text|mathrm)\{ ?([A-Za-z]+) ?\}\}"
)
_BRACED_WORDS = re.compile(r"\{\s*(\\(?:text\w{0,6}|mathrm|mbox)\s*\{[^{}]*\})\s*\}")
_DECIMAL_COMMA = re.compile(r"(?<=\d)\{,\}(?=(?:\d{1,2}|\d{4,})(?!\d|\{,\}))")
_PLAIN_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_DOUBLED = re.compile(r"(?<!\\)\\\\(?=[A-Za-z{}%,]|\$\d)")
_SINGLE = re.compile(r"(?<!\\)(?:\\\\)*\\(?!\\)")
_HTML = re.compile(r"<(/?)(sup|sub|b|i|em|strong|span|p|br)\s*/?>", re.IGNORECASE)
_ENTITIES = {
    "&nbsp;": "~",
    "&lt;": "<",
    "&gt;": ">",
    "&le;": "≤",
    "&ge;": "≥",
    "&ne;": "≠",
    "&pi;": "π",
    "&deg;": "°",
    "&times;": "×",
    "&minus;": "-",
    "&radic;": "√",
    "&infin;": "∞",
    "&amp;": "&",
}
_SHIFT = re.compile(r"(?<!\\)\$+")
_MONEY = re.compile(r"(?<!\\)\$(?=\s*[\d.])|(?<=\d)(?<!\\)\$")
_PARENTHESES = re.compile(r"(?<!\\)\\[()]|(?<!\\)\\[\[\]](?!\s*\d*\.?\d*\s*(?:ex|em|pt|mm))")
_ENDINGS = ("\\)", "\\]")


def normalise(answer: str) -> str:
    """The one spelling of an answer.

    >>> normalise(r"$\\dfrac{1}{2}\\, \\mathrm{cm}$.")
    '\\\\frac{1}{2}~\\\\mathrm{cm}'
    """
    if _PLAIN_NUMBER.fullmatch(answer):
        return answer
    text = answer
    if "<" in text or "&" in text:
        text = _without_html(text)
    if "\\\\" in text:
        text = _ROW_SPACE.sub(r"\1 ", _single_backslashes(text))
    text = _without_cut_space(fold(text).strip().strip("*`").strip())
    if "$" in text or "\\(" in text or "\\[" in text or "\\)" in text:
        text = _without_shifts(text)
    if text[:1] == "{" and (words := _BRACED_WORDS.fullmatch(text)):
        text = words[1]
    text = _DECIMAL_COMMA.sub(".", text).replace("{,}", ",").replace("{:}", ":").replace("{.}", ".")
    text = text.replace('\\"', '"').replace("**", "^").replace("!=", "\\ne ")
    text = text.replace("=<", "<=").replace("=>", ">=") if "\\" not in text else text
    if "\\dot" in text:
        text = _DOTTED.sub(r"\1\\overline{\2\3\4}", text)
    if "\\" in text or "~" in text:
        text = _respell(text)
    text = _without_full_stop(text)
    text = _PLAIN.sub(lambda name: f"\\{_SPELLED.get(name[1], name[1])} ", text)
    text = _ABBREVIATED.sub(r"\1", text).replace("per cent", "percent")
    if ("[" in text or "]" in text) and _TURNED.search(text) is not None:
        text = _FRENCH.sub(_turn, text)
    text = " ".join(text.split())
    text = _GROUPED.sub(lambda number: number[0].replace(" ", "").replace("~", ""), text)
    return text.strip(" ,;~")


def _half_line(found: re.Match[str]) -> str:
    """\\mathbb{R}^+, \\mathbb{R}_{\\geq 0} as intervals."""
    mark = "".join(found["mark"].split()).strip("^_{}")
    if mark in ("-", "<0"):
        return r"(-\infty ,0)"
    if mark == "*":
        return r"((-\infty ,\infty )\setminus \{0\})"
    return r"(0,\infty )" if mark in ("+", ">0", "\\gt0") else r"[0,\infty )"


def _without_full_stop(text: str) -> str:
    end = len(text)
    while end and (
        text[end - 1] in _TRAILING
        or (text[end - 1] in ".。" and text[end - 2 : end - 1] not in ".…")
    ):
        end -= 1
    return text[:end]


def _respell(text: str) -> str:
    text = _TYPESET_COMMA.sub(",", text)
    text = text.replace("\\!", "").replace("\\%", "%").replace("\\#", "#").replace("\\_", "_")
    text = text.replace("\\&", "&")
    if "\\times" in text:  # of two vectors: it does not commute
        text = _CROSS.sub(lambda cross: f"{cross['del'] or cross['left'] or ''}\\cross ", text)
    text = _GROUPED_BAR.sub(r"\1\2", text)
    text = _PRIMES.sub(lambda found: "'" * found[0].count("prime"), text)
    text = _NULL_DELIMITER.sub("", text)
    text = _COLOUR.sub("", text)
    text = _SKIP.sub("~", text)
    text = _QUAD.sub("~~ ", text)
    text = _HALF_REALS.sub(_half_line, text)
    text = _REALS.sub(r"(-\\infty ,\\infty )", text)
    text = _SPACING.sub(r"\1~", text)
    text = _DEGREE.sub(r"\\degree ", text)
    text = _COMMAND.sub(_spell, text)
    return _UNIT_FRACTION.sub(r"\\text{ \1/\2}", text)


def _spell(command: re.Match[str]) -> str:
    name = command[1]
    spelling = "" if name in _DROPPED else _COMMANDS.get(name, "\\" + name)
    # A command swallows the space after it, as TeX does; keep one where letters would join.
    following = command.string[command.end() : command.end() + 1]
    return spelling + " " if spelling[-1:].isalpha() and following.isalpha() else spelling


def _turn(interval: re.Match[str]) -> str:
    """]a, b[ as (a, b)."""
    opening, inside, closing = interval.groups()
    return f"{'[' if opening == '[' else '('}{inside}{']' if closing == ']' else ')'}"


def _without_cut_space(text: str) -> str:
    """Without the backslash of a typeset space whose blank was stripped."""
    odd = (len(text) - len(text.rstrip("\\"))) % 2
    return text[:-1] if odd else text


def _without_html(text: str) -> str:
    for entity, sign in _ENTITIES.items():
        text = text.replace(entity, sign)

    def tag(found: re.Match[str]) -> str:
        closing, name = found[1], found[2].lower()
        if name in ("sup", "sub"):
            return "}" if closing else "^{" if name == "sup" else "_{"
        return " "

    return _HTML.sub(tag, text)


def _single_backslashes(text: str) -> str:
    """Text that was escaped twice: every command in it starts with two backslashes."""
    if _SINGLE.search(text) is None and _DOUBLED.search(text) is not None:
        return text.replace("\\\\", "\\")
    return text


def _without_shifts(text: str) -> str:
    """Without $…$ and \\(…\\); what stands outside them and holds letters is marked as text."""
    pieces, math = _pieces(text)
    if not math:
        return pieces[0]
    if not any(piece.strip() for piece, inside in zip(pieces, math, strict=True) if inside):
        return "".join(pieces)  # a$ $b: the outer marks were lost
    made = []
    for piece, inside in zip(pieces, math, strict=True):
        words = not inside and any(map(str.isalpha, piece)) and "\\" not in piece
        words = words and "{" not in piece and "}" not in piece
        made.append(f"\\text{{{piece}}}" if words else piece)
    return " ".join(made)


def _pieces(text: str) -> tuple[list[str], list[bool]]:
    """The text between its marks of mathematics, and which pieces are inside; empty if unpaired."""
    if _SHIFT.search(text) is not None:
        pieces = _SHIFT.split(text)
        if len(pieces) % 2 == 0:
            return [_MONEY.sub(r"\\$", text)], []
        return pieces, [bool(i % 2) for i in range(len(pieces))]
    marks = list(_PARENTHESES.finditer(text))
    inside = bool(marks) and marks[0][0] in _ENDINGS
    pieces, math, start = [], [], 0
    for mark in marks:
        pieces.append(text[start : mark.start()])
        math.append(inside)
        inside, start = mark[0] not in _ENDINGS, mark.end()
    pieces.append(text[start:])
    math.append(inside)
    return pieces, math
