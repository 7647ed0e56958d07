"""Tokens of a normalised answer: one pass of one regular expression; words are no variables."""

from __future__ import annotations

import re
from typing import NamedTuple

from filters.verify.maths.nodes import Unreadable
from filters.verify.maths.reading.unit_text import read_unit_text
from filters.verify.maths.units import is_unit_name
from filters.verify.maths.vocabulary import word_set

MAX_TOKENS = 1_200


class Token(NamedTuple):
    """`kind`: number, letter (a symbol), word, command, sign. `space` before it: 0 none, 1 plain,
    2 typeset. `upright`: it stood in \\mathrm or \\text."""

    kind: str
    text: str
    space: int = 0
    upright: bool = False


FUNCTIONS = word_set(
    "sin cos tan cot sec csc sinh cosh tanh coth arcsin arccos arctan arccot ln log lg exp max min "
    "gcd lcm det cis arg Re Im deg dim ker sgn sign mod erf asin acos atan sech csch arcsinh "
    "arccosh arctanh rank tr trace Var Cov abs cbrt"
)
AND = frozenset(("and", "et", "und", "y", "e", "и", "和", "与", "及", "以及", "と", "및", "그리고"))
OR = frozenset(
    ("or", "ou", "oder", "o", "или", "或", "或者", "または", "又は", "もしくは", "또는", "혹은")
)
_ASCII_JOINS = frozenset(("and", "or"))
_CJK_JOINS = r"或者|或|以及|和|与|及|または|又は|もしくは|と|또는|혹은|그리고|및"
_SHORT_WORDS = word_set(
    "yes no odd max min sum mon tue wed thu fri sat sun if for per in to of at on by is not dne "
    "red the am pm all any one two six ten"
)
_BASIS = frozenset("ijk")
_DECORATIONS = {
    "vec": "vec",
    "mathbf": "vec",
    "boldsymbol": "vec",
    "bm": "vec",
    "pmb": "vec",
    "overrightarrow": "vec",
    "hat": "hat",
    "widehat": "hat",
    "bar": "bar",
    "overline": "bar",
    "tilde": "tilde",
    "widetilde": "tilde",
    "dot": "dot",
    "ddot": "ddot",
    "mathcal": "cal",
    "mathscr": "cal",
    "mathfrak": "frak",
    "mathbb": "bb",
    "overset": "",
    "textcircled": "circled",
    "widearc": "arc",
    "overparen": "arc",
}
_BOLD = frozenset(("mathbf", "boldsymbol", "bm", "pmb"))
GREEK = word_set(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi "
    "rho sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon "
    "Phi Psi Omega ell hbar odot oplus_ Re Im aleph"
)

_TOKEN = re.compile(
    r"(?P<space>[ ~]+)"
    r"|(?P<number>(?<!\d,)[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)(?:\.\d+)?|\d+(?:\.(?=\\(?:overline|bar)\b|[*/^)])|\.\d+)?(?:[eE][-+]?\d{1,4}(?![\d.]))?"
    r"|\.\d+(?:[eE][-+]?\d{1,4}(?![\d.]))?)"
    r"|(?P<based>(?<=[0-9])_)"
    r"|(?P<command>\\[A-Za-z]+|\\[{}|$\\])"
    rf"|(?P<join>{_CJK_JOINS})"
    r"|(?P<letters>[A-Za-z]+)"
    r"|(?P<foreign>[^\W\d_A-Za-z]+)"
    r"|(?P<sign><=|>=|[-+*/^_=<>(){}\[\],;:!|%'?&.€£¥₹¢@#\"’`])"
)
_TEXT_TOKEN = re.compile(
    r"(?P<space>\s+|~)"
    r"|(?P<number>[1-9]\d{0,2}(?:,\d{3})+(?![\d])(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    rf"|(?P<join>{_CJK_JOINS})"
    r"|(?P<word>[^\W\d_]+(?:['’-][^\W\d_]+)*)"
    r"|(?P<sign><=|>=|[-+*/^=<>(),;:!%'?&.|€£¥₹¢$\"’])"
)
_NESTED = re.compile(r"\\(?:text|mathrm|mathbf|boldsymbol)\s*\{([^{}]*)\}")
_HYPHENATED = re.compile(
    r"(?=[A-Za-z'’-]*[A-Za-z]{4})[A-Za-z]+(?:-[A-Za-z]+)+(?![A-Za-z^_])"
    r"|[A-Za-z]{3,}['’][a-z]{1,2}(?![A-Za-z])"
)
_MORE_WORDS = re.compile(r" [a-z-]{4,}(?![a-z^_])| [A-Z][a-z]{3,}")
_APART = re.compile(r"(?<=[A-Z])[ ~]+(?=[A-Z])")
_SIGNED = re.compile(r"\d+e[-+]\d+")
_LONE_E = re.compile(r"(?<![A-Za-z\\])e(?![A-Za-z]|[-+]?\d)|\\mathrm\s*\{?\s*e")
_REPEATS = re.compile(r"\d*\.\d*")


def tokenize(text: str) -> list[Token]:
    """The tokens of a normalised answer. Raises Unreadable at a character it does not know."""
    return _Lexer(text).run()


class _Lexer:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.space = 0
        self.tokens: list[Token] = []

    def run(self) -> list[Token]:
        text, end = self.text, len(self.text)
        while self.at < end:
            found = _TOKEN.match(text, self.at)
            if found is None:
                raise Unreadable(f"{text[self.at]!r} is no notation known here")
            kind, piece = found.lastgroup, found[0]
            self.at = found.end()
            if kind == "space":
                self.space = max(self.space, 2 if "~" in piece else 1)
                continue
            if kind == "letters":
                self.letters(piece)
            elif kind == "command":
                self.command(piece)
            elif kind == "join" or kind == "foreign":
                self.add("word", piece)
            elif kind == "based":
                self.add("sign", "_")
            elif kind == "number" and self._is_product(found):
                digits = piece.partition("e")[0]
                self.at = found.start() + len(digits)
                self.add("number", digits)
            else:
                self.add(kind or "sign", piece)
            if len(self.tokens) > MAX_TOKENS:
                raise Unreadable("too long")
        return self.tokens

    def _is_product(self, number: re.Match[str]) -> bool:
        """Whether 2e-3 is 2·e - 3: in the braces of a command, or where e stands elsewhere too."""
        if _SIGNED.fullmatch(number[0]) is None:
            return False
        inside = self.text.count("{", 0, number.start()) > self.text.count("}", 0, number.start())
        rest = self.text[: number.start()] + " " + self.text[number.end() :]
        return inside or _LONE_E.search(rest) is not None

    def add(self, kind: str, text: str, *, upright: bool = False) -> None:
        self.tokens.append(Token(kind, text, self.space, upright))
        self.space = 0

    def letters(self, run: str) -> None:
        """A run of plain letters: a function, a word, a name in capitals, or single variables."""
        whole = _HYPHENATED.match(self.text, self.at - len(run))
        if whole is not None and self.text[self.at - len(run) - 1 : self.at - len(run)] != "\\":
            self.at = whole.end()
            return self.add("word", whole[0])
        size = len(run)
        if run in ("frac", "binom"):  # its backslash was lost
            raise Unreadable(run)
        if size == 1:
            return self.add("letter", run)
        if run in FUNCTIONS:
            return self.add("command", "\\" + run)
        lowered = run.lower()
        follows = self.tokens[-1] if self.tokens else None
        after = follows is not None and (
            follows.kind == "number"
            or follows.text in (")", "}", "%", "\\degree", "!")
            or (follows.text == "/" and len(self.tokens) > 1 and self.tokens[-2].kind == "word")
            or (follows.text == "(" and self.text[self.at : self.at + 1] == ")")
        )
        apart = self.space or not self.tokens or self.tokens[-1].text == "("
        if lowered in _ASCII_JOINS or (lowered in _SHORT_WORDS and apart):
            return self.add("word", run)
        if after and is_unit_name(run):
            return self.add("word", run)
        if after and run in ("AM", "PM"):
            return self.add("word", run)
        if run.isupper() and size <= 5:
            return self.add("letter", run)
        mixed = size <= 4 and any(map(str.isupper, run[1:])) and not run.isupper()
        if mixed or (size == 2 and self._is_coefficient(run)):
            for letter in run:  # kT, GMm: no word is spelled so
                self.add("letter", letter)
            return None
        if run.islower() and not self._in_prose() and (size <= 3 or self._attached(run)):
            if lowered == "sqrt":
                raise Unreadable(run)
            for letter in run:
                self.add("letter", letter)
            return None
        return self.add("word", run)

    def _is_coefficient(self, run: str) -> bool:
        """Ae^{x}, Bx+C: a constant in capitals and what it multiplies."""
        after = self.text[self.at : self.at + 1]
        before = self.tokens[-1].text if self.tokens else ""
        joined = after in ("^", "+", "-", "=") or before in ("=", "+", "-", "(", "{")
        return run[0].isupper() and run[1] in "extyz" and joined and not self._in_prose()

    def _in_prose(self) -> bool:
        """Whether a longer run of letters comes next, or came last, with a space between."""
        before = self.tokens[-1] if self.tokens else None
        if before is not None and before.kind == "word" and self.space:
            return True
        return _MORE_WORDS.match(self.text, self.at) is not None

    def _attached(self, run: str) -> bool:
        """Whether a longer run of letters stands in a formula rather than among words."""
        if self.space or not self.tokens:
            return False
        before = self.tokens[-1]
        after = self.text[self.at : self.at + 1]
        return before.text in ("{", "+", "-", "*", "/", "^") and after not in (" ", "")

    def command(self, name: str) -> None:
        if name == "\\text":
            return self.upright(self.argument(), text=True)
        if name == "\\mathrm":
            return self.upright(self.argument(), text=False)
        bare = name[1:]
        if bare in _DECORATIONS:
            return self.decorated(_DECORATIONS[bare], bold=bare in _BOLD)
        if bare in ("hphantom", "phantom", "vphantom", "cancel", "bcancel", "xcancel", "sout"):
            raise Unreadable(name)
        return self.add("command", name)

    def argument(self) -> str:
        """What the braces after a command hold, or its next character."""
        text, end = self.text, len(self.text)
        while self.at < end and text[self.at] in " ~":
            self.at += 1
        if self.at >= end:
            raise Unreadable("a command without its argument")
        if text[self.at] != "{":
            whole = re.compile(r"\\[A-Za-z]+|.").match(text, self.at)
            assert whole is not None
            self.at = whole.end()
            return whole[0]
        depth, start = 0, self.at + 1
        for position in range(self.at, end):
            if text[position] in "{}" and text[position - 1] != "\\":
                depth += 1 if text[position] == "{" else -1
                if not depth:
                    self.at = position + 1
                    return text[start:position]
        raise Unreadable("a brace left open")

    def upright(self, inner: str, *, text: bool) -> None:
        """Words and numbers in \\text or \\mathrm become tokens of their own."""
        for _ in range(3):
            if "\\" not in inner:
                break
            inner = _NESTED.sub(r"\1", inner)
        inner = inner.replace("{", "").replace("}", "") if "\\" not in inner else inner
        name = inner.strip()
        if name in FUNCTIONS and not (self._after_value() and is_unit_name(name)):
            return self.add("command", "\\" + name)
        if self._units(inner):
            return None
        if "\\" in inner or "^" in inner or "_" in inner:
            self.tokens.extend(tokenize(inner))
            return None
        at = 0
        while at < len(inner):
            found = _TEXT_TOKEN.match(inner, at)
            if found is None:
                raise Unreadable(f"{inner[at]!r} in text")
            kind, piece = found.lastgroup, found[0]
            at = found.end()
            if kind == "space":
                self.space = max(self.space, 1)
            elif kind in ("word", "join"):
                self.word(piece, text=text)
            else:
                self.add(kind or "sign", "\\$" if piece == "$" else piece, upright=True)
        self.space = max(self.space, int(inner[-1:] in (" ", "~")))
        return None

    def _units(self, inner: str) -> bool:
        """Whether it holds units with powers after a value; they become tokens then."""
        micro = len(self.tokens) > 1 and self.tokens[-1].text == "\\mu"
        if micro:
            last = self.tokens.pop()
            inner = f"\\mu {inner}"
        plain = not micro and "\\" not in inner and "^" not in inner and "(" not in inner
        units = read_unit_text(inner) if self._after_value() and not plain else None
        if units is None:
            if micro:
                self.tokens.append(last)
            return False
        for name, power in units:
            self.add("word", name, upright=True)
            if power != 1:
                spelled = ["{", *("-" * (power < 0)), str(abs(power)), "}"]
                self.tokens += [Token("sign", text) for text in ("^", *spelled)]
        return True

    def _after_value(self) -> bool:
        """Whether a value, or another unit, came just before."""
        return bool(self.tokens) and (
            self.tokens[-1].kind in ("number", "word")
            or self.tokens[-1].text in (")", "}", "/", "%", "*")
        )

    def word(self, piece: str, *, text: bool) -> None:
        after_number = self._after_value()
        if len(piece) == 1 and piece in "ei" and not self.space:
            return self.add("letter", piece, upright=True)
        if not text and len(piece) == 1 and not (after_number and is_unit_name(piece)):
            return self.add("letter", piece, upright=True)
        if not text and piece.isupper() and piece.isascii() and not after_number:
            return self.add("letter", piece, upright=True)
        return self.add("word", piece, upright=True)

    def decorated(self, mark: str, *, bold: bool) -> None:
        """A symbol with an arrow, a hat, a bar or in bold; digits and text lose their bold."""
        inner = self.argument()
        if not mark:  # \overset{x}{y}
            raise Unreadable("one sign above another")
        for _ in range(3):
            if "\\" not in inner:
                break
            inner = re.sub(r"\\([A-Za-z]+)\s*\{([^{}]*)\}", self._undecorated, inner)
        name = _APART.sub("", inner.strip().lstrip("\\"))
        if mark == "bar" and name.isdigit():
            last = self.tokens[-1] if self.tokens else None
            if last is not None and last.kind == "number" and _REPEATS.fullmatch(last.text):
                self.tokens[-1] = last._replace(text=f"{last.text}({name})")
                return None
            if last is not None and last.text == "." and not self.space:
                self.tokens.pop()
                self.tokens.append(Token("number", f".({name})", last.space))
                return None
            raise Unreadable("a bar over a number")
        if mark == "dot" and name.isdigit():
            raise Unreadable("a dot over a number")
        if mark == "circled":
            return self.add("word", f"circled {name}")
        if mark in ("vec", "hat") and name.removeprefix("hat ") in _BASIS | {"imath", "jmath"}:
            return self.add("letter", "basis " + name.removeprefix("hat ")[0])
        if re.fullmatch(r"[A-Za-z]+|(?:vec|hat|bar|tilde|dot) [A-Za-z]+", name):
            if mark == "vec" and len(name) > 1 and not name.isupper() and " " not in name:
                if inner.strip().startswith("\\") and name in GREEK:
                    return self.add("letter", f"vec {name}")
                return self.upright(inner, text=True)
            return self.add("letter", f"{mark} {name}")
        if mark == "vec" and bold:  # bold digits, or bold words and brackets
            return self.upright(inner, text=True)
        raise Unreadable(f"a decorated {name!r:.20}")

    @staticmethod
    def _undecorated(found: re.Match[str]) -> str:
        mark = _DECORATIONS.get(found[1])
        if mark in ("vec", "hat") and found[2].strip() in _BASIS:
            return f"hat {found[2].strip()}"
        if mark == "vec" or found[1] in ("text", "mathrm"):
            return found[2]
        return f"{mark} {found[2]}" if mark else found[0]
