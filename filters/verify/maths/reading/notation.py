"""Notation that is not computed with: dots, congruences, geometry, logic, sets of letters.

It is compared as its sequence of tokens, each sign in one spelling. Two equal sequences say the
same; of two others nothing is known.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from filters.verify.maths.forms import Notation
from filters.verify.maths.nodes import Unreadable
from filters.verify.maths.reading.pieces import flatten
from filters.verify.maths.reading.tokens import GREEK, Token
from filters.verify.maths.vocabulary import word_set

MAX_TOKENS = 200

_SPELLINGS = {
    "\\ldots": "\\dots",
    "\\cdots": "\\dots",
    "\\dotsc": "\\dots",
    "\\dotsb": "\\dots",
    "\\dotsm": "\\dots",
    "\\hdots": "\\dots",
    "\\pmod": "\\mod",
    "\\bmod": "\\mod",
    "\\lnot": "\\neg",
    "\\implies": "\\Rightarrow",
    "\\Longrightarrow": "\\Rightarrow",
    "\\iff": "\\Leftrightarrow",
    "\\Longleftrightarrow": "\\Leftrightarrow",
    "\\rightarrow": "\\to",
    "\\longrightarrow": "\\to",
    "\\measuredangle": "\\angle",
    "\\bot": "\\perp",
}
_PREFIX = word_set(
    r"\triangle \angle \odot \forall \exists \neg \square \complement \nexists \nabla"
)
_INFIX = word_set(
    r"\oplus \otimes \ominus \circ \star \bullet \land \lor \cup \cap \setminus \subset \supset "
    r"\subseteq \supseteq \subsetneq \supsetneq \in \notin \ni \to \Rightarrow \Leftrightarrow "
    r"\equiv \cross \cong \sim \parallel \perp \mid \nmid \mod \not \mapsto \propto \ll \gg "
    r"\vdash \models"
)
_NAMING = _PREFIX | _INFIX | {"\\dots"}
_SIGNS = frozenset("+-*/=<>(),[];:|'^_{}!") | {"<=", ">=", "\\ne", "\\approx", "\\{", "\\}"}
_PLAIN = frozenset(("\\pi", "\\infty", "\\emptyset"))
_WITH_ARGUMENT = frozenset(("\\frac", "\\sqrt", "\\binom", "\\mod", "^", "_"))
_KNOWN = _NAMING | _SIGNS | _PLAIN | _WITH_ARGUMENT | {f"\\{name}" for name in GREEK}
_OPERATORS = _INFIX | (_SIGNS - frozenset("()[]|'!{}") - {"\\{", "\\}"})
_SETS = frozenset(("\\cup", "\\cap", "\\setminus", "\\land", "\\lor"))
_COMMUTATIVE = frozenset(("\\cup", "\\cap", "\\land", "\\lor"))


def read_notation(tokens: Sequence[Token]) -> Notation | None:
    """The tokens in one spelling; None where they hold no such notation, or anything else."""
    if len(tokens) > MAX_TOKENS:
        return None
    try:
        flatten(tokens)
        texts = _without_groups(_spell(tokens))
    except Unreadable:
        return None
    texts = _without_brackets_around_mod(texts)
    if not any(text in _NAMING for text in texts) or not _is_sound(texts):
        return None
    return Notation(tuple(_sorted(texts)))


def _spell(tokens: Sequence[Token]) -> list[str]:
    """The tokens' texts: names letter by letter, three full stops as dots. Raises Unreadable."""
    texts: list[str] = []
    for token in tokens:
        text = _SPELLINGS.get(token.text, token.text)
        if token.kind == "letter" and text.isalpha():
            texts += text
        elif token.kind in ("letter", "number") or text in _KNOWN:
            texts.append(text)
        elif text == "." and not token.space and texts[-1:] == [".."]:
            texts[-1] = "\\dots"
        elif text == "." and texts[-1:] == ["."] and not token.space:
            texts[-1] = ".."
        elif text == ".":
            texts.append(text)
        else:
            raise Unreadable(f"{text!r} in notation")
    if "." in texts or ".." in texts:
        raise Unreadable("a full stop in notation")
    return texts


def _without_groups(texts: list[str]) -> list[str]:
    """Without the braces that only group; ^ and _ always with theirs. Raises Unreadable."""
    made: list[str] = []
    kept: list[bool] = []
    argument = False  # whether a brace that opens here holds an argument
    for text in texts:
        if argument and text != "{":
            bare = made[-1] in ("^", "_", "\\mod") and text not in _NAMING | _SIGNS
            if not bare or (made[-1] == "_" and len(text) > 1 and text.isdigit()):
                raise Unreadable("an argument without braces")
            made += ["{", text, "}"]
            argument = False
            continue
        if text == "{":
            kept.append(argument)
            made += [text] * argument
            argument = False
        elif text == "}":
            if not kept:
                raise Unreadable("a brace that closes another bracket")
            whole = kept.pop()
            made += [text] * whole
            # \frac{a} is followed by a second argument
            argument = whole and _opens_second(made)
        else:
            made.append(text)
            argument = text in _WITH_ARGUMENT
    if argument:
        raise Unreadable("an argument is missing")
    return made


def _opens_second(made: list[str]) -> bool:
    depth = 0
    for at in range(len(made) - 1, -1, -1):
        depth += (made[at] == "}") - (made[at] == "{")
        if not depth:
            return at > 0 and made[at - 1] in ("\\frac", "\\binom")
    return False


def _without_brackets_around_mod(texts: list[str]) -> list[str]:
    """(mod 7) as mod 7, at the end."""
    if "\\mod" not in texts[1:]:
        return texts
    at = texts.index("\\mod")
    rest = texts[at + 1 :]
    if texts[at - 1] == "(" and rest[-1:] == [")"] and rest.count("(") == rest.count(")") - 1:
        return [*texts[: at - 1], "\\mod", *rest[:-1]]
    return texts


def _is_sound(texts: list[str]) -> bool:
    """Whether no operator lacks a side, dots continue something, and sets are no numbers."""
    if texts[0] in _OPERATORS - {"-", "+"} or texts[-1] in _OPERATORS | _PREFIX:
        return False
    if "\\mod" in texts and "\\equiv" not in texts:
        return False
    pairs = [*itertools.pairwise(texts)]
    if texts[0] == "\\dots" or any(b == "\\dots" and a not in _OPERATORS for a, b in pairs):
        return False
    if any({a, b} & _SETS and (a[0].isdigit() or b[0].isdigit()) for a, b in pairs):
        return False
    return not any(a in _OPERATORS - {"\\not"} and b in ",;)*/=" for a, b in pairs)


def _sorted(texts: list[str]) -> list[str]:
    """A \\cup B \\cup C in one order: single letters joined by one sign that commutes."""
    operands, signs = texts[::2], set(texts[1::2])
    lettered = all(len(text) == 1 and text.isalpha() for text in operands)
    if len(texts) % 2 == 0 or len(signs) != 1 or not signs <= _COMMUTATIVE or not lettered:
        return texts
    sign = signs.pop()
    made = [sign] * len(texts)
    made[::2] = sorted(operands)
    return made
