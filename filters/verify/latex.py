"""The surface of a maths answer: many ways to typeset one thing become one way.

`normalise` changes notation only, never a value. What it returns is also the key under which a
verdict is remembered.
"""

from __future__ import annotations

import re

from filters.verify.extract_answer import fold

_COMMANDS = {
    "dfrac": "\\frac",
    "tfrac": "\\frac",
    "cfrac": "\\frac",
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
    "degree": "\\degree",
    "infin": "\\infty",
    "land": "\\text{and}",
    "lor": "\\text{or}",
    "wedge": "\\text{and}",
    "vee": "\\text{or}",
    "simeq": "\\approx",
    "langle": "(",
    "rangle": ")",
    "mathrm": "\\text",
    "mathbf": "\\text",
    "mathit": "\\text",
    "mathsf": "\\text",
    "mbox": "\\text",
    "hbox": "\\text",
    "operatorname": "\\text",
    "textbf": "\\text",
    "textit": "\\text",
    "textrm": "\\text",
    "texttt": "\\text",
    "textnormal": "\\text",
    "textup": "\\text",
    "emph": "\\text",
}
"""Commands with another spelling here; the next table's are dropped."""

_FORMATTING = (
    "left right big Big bigg Bigg bigl bigr Bigl Bigr displaystyle textstyle limits nolimits "
    "rm bf it boldsymbol bm nonumber hfill boxed fbox"
)
_DROPPED = frozenset(_FORMATTING.split())
_SPACES = frozenset(("quad", "qquad", "thinspace", "enspace", "hspace"))
_COMMAND = re.compile(r"\\([A-Za-z]+)\s*")
_SPACING = re.compile(r"(?<!\\)\\[,;: ]|~|\s+")  # \\ ends a matrix's row
_DELIMITERS = re.compile(r"^(?:\$\$?|\\\(|\\\[)\s*(.*?)\s*(?:\$\$?|\\\)|\\\])$", re.DOTALL)
_DEGREE = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)|\\degree\b")
_GROUPED = re.compile(r"(?<![\d.])\d{1,3}(?: \d{3})+(?![\d/])")
_REALS = re.compile(r"\\mathbb\s*\{?R\}?|(?<!\w)ℝ(?!\w)")
_PLAIN = re.compile(r"(?<![A-Za-z\\])(sqrt|pi|infinity|binom|sin|cos|tan|ln|log|exp)(?![A-Za-z])")


def normalise(answer: str) -> str:
    """The one spelling of an answer.

    >>> normalise(r"$\\dfrac{1}{2}\\, \\mathrm{cm}$.")
    '\\\\frac{1}{2} \\\\text{cm}'
    """
    text = fold(answer).strip().strip("*").strip()
    for _ in range(2):  # $$…$$ inside \( … \) and the like; never deeper in the wild
        text = text.removesuffix(".").rstrip() if not text.endswith("..") else text
        wrapped = _DELIMITERS.match(text)
        if wrapped is None or "$" in wrapped[1]:
            break
        text = wrapped[1]
    text = text.replace("{,}", ",").replace("{:}", ":")
    if "\\" in text or "~" in text:
        text = text.replace("\\!", "").replace("\\%", "%")
        text = _REALS.sub(r"(-\\infty ,\\infty )", text)
        text = _SPACING.sub(" ", text)
        text = _DEGREE.sub(r"\\degree ", text)
        text = _COMMAND.sub(_spell, text)
    if "$" in text:
        text = re.sub(r"(?<!\\)\$(?=\s*\d)", r"\\$", text)
    text = _PLAIN.sub(lambda name: _plain(name[1]), text)
    text = " ".join(text.replace("**", "^").split())
    text = _GROUPED.sub(lambda number: number[0].replace(" ", ""), text)
    return text.strip(" ,;")


def _plain(name: str) -> str:
    return "\\infty " if name == "infinity" else f"\\{name} "


def _spell(command: re.Match[str]) -> str:
    name = command[1]
    if name in _DROPPED:
        return ""
    if name in _SPACES:
        return " "
    spelling = _COMMANDS.get(name, "\\" + name)
    # A command swallows the space after it, as TeX does; keep one where letters would join.
    joins = spelling[-1:].isalpha() and command.string[command.end() : command.end() + 1].isalpha()
    return spelling + " " if joins else spelling
