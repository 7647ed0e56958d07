"""One expression from tokens, by recursive descent: all of them or Unreadable.

Where two readings are common (1/2x, sin(x)^2) there is none here.
"""

from __future__ import annotations

from collections.abc import Sequence

from filters.verify.maths import nodes
from filters.verify.maths.nodes import Node, Unreadable
from filters.verify.maths.reading.numerals import mixed_number, number_of, scientific
from filters.verify.maths.reading.operators import (
    at_value,
    is_differential,
    read_determinant,
    read_operator,
)
from filters.verify.maths.reading.tokens import FUNCTIONS, GREEK, Token
from filters.verify.maths.vocabulary import word_set

MAX_DEPTH = 40

_TRIGONOMETRIC = word_set("sin cos tan cot sec csc sinh cosh tanh coth")
_INVERSES = {
    "sin": "arcsin",
    "cos": "arccos",
    "tan": "arctan",
    "cot": "arccot",
    "sinh": "arcsinh",
    "cosh": "arccosh",
    "tanh": "arctanh",
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
}
_SEVERAL = frozenset(("max", "min", "gcd", "lcm"))
_ARGUING = frozenset(("\\pi", "\\frac", "\\sqrt", "\\degree"))
_CALLED = frozenset("fghFGH")
_BIG = {"\\sum": "sum", "\\prod": "prod", "\\int": "int", "\\lim": "lim"}
_CONSTANTS = {"\\pi": nodes.PI, "\\infty": nodes.INFINITY}
DEGREE = Node("constant", name="degree")
_END = Token("end", "")
_CLOSING = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}


def parse_expression(tokens: Sequence[Token]) -> Node:
    """The expression that all the tokens spell. Raises Unreadable."""
    reader = Reader(tokens)
    made = reader.whole()
    if reader.at != len(tokens):
        raise Unreadable(f"{reader.peek().text!r} after an expression")
    return made


def parse_prefix(tokens: Sequence[Token]) -> tuple[Node, int]:
    """The longest expression the tokens start with, and where it ends."""
    reader = Reader(tokens)
    return reader.whole(), reader.at


class Reader:
    """A position in a token list. Stops, rather than fails, at what cannot continue."""

    nested = staticmethod(parse_expression)

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.bars = 0  # absolute values open
        self.integrals = 0

    def peek(self, ahead: int = 0) -> Token:
        at = self.at + ahead
        return self.tokens[at] if at < len(self.tokens) else _END

    def take(self) -> Token:
        token = self.peek()
        if token is _END:
            raise Unreadable("cut off")
        self.at += 1
        return token

    def expect(self, text: str) -> None:
        if self.take().text != text:
            raise Unreadable(f"no {text}")

    def whole(self) -> Node:
        """A sum, or TeX's a \\over b and n \\choose k, which divide all around them."""
        made = self.sum()
        if self.peek().text in ("\\over", "\\choose"):
            over = self.take().text == "\\over"
            parts = made, self.sum()
            made = Node("divide", parts) if over else nodes.call("binomial", *parts)
        return made

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("nested too deeply")
        terms = [self.signed()]
        while self.peek().text in ("+", "-", "\\pm", "\\mp") and self.peek().kind != "word":
            terms.append(self.signed())
        self.depth -= 1
        return terms[0] if len(terms) == 1 else Node("add", tuple(terms))

    def signed(self) -> Node:
        sign = self.peek().text
        if sign == "+":
            self.at += 1
            return self.signed_term()
        if sign == "-":
            self.at += 1
            return nodes.negate(self.signed_term())
        if sign in ("\\pm", "\\mp"):
            self.at += 1
            return Node("plusminus", (self.signed_term(),), "+" if sign == "\\pm" else "-")
        return self.term()

    def signed_term(self) -> Node:
        """A term after a sign; a second sign only directly after an operator: 2+-3."""
        negative = self.peek().text == "-"
        self.at += negative
        return nodes.negate(self.term()) if negative else self.term()

    def term(self) -> Node:
        factors = [self.factor()]
        divided = ""
        while True:
            token = self.peek()
            if token.text == "*" and token.kind == "sign":
                self.at += 1
                factors.append(self.operand())
                factors = scientific(factors)
                divided = ""
            elif token.text == "/" and token.kind == "sign" and self.peek(1).kind != "word":
                self.at += 1
                left = factors[0] if len(factors) == 1 else Node("multiply", tuple(factors))
                right = self.operand()
                if divided:
                    raise Unreadable("a quotient divided again")
                factors = [Node("divide", (left, right))]
                divided = "number" if left.head == right.head == "number" else "other"
            elif self.starts_operand(token):
                if divided == "other" or (
                    divided == "number" and not (token.space or token.kind != "letter")
                ):
                    raise Unreadable("a quotient and a factor: which is divided?")
                divided = ""
                marked = factors[-1].head == "factorial" and self.peek(1).text == "!"
                if token.kind == "number" and not marked and factors[-1] != nodes.IMAGINARY:
                    factors = [self.mixed(factors)]
                    continue
                if token.text == "\\frac" and factors[-1].head == "number":
                    factors[-1] = self.mixed_fraction(factors[-1])
                    continue
                factors.append(self.factor())
            else:
                break
        return factors[0] if len(factors) == 1 else Node("multiply", tuple(factors))

    def operand(self) -> Node:
        """A factor after * or /, which may have a sign of its own."""
        negative = self.peek().text == "-"
        self.at += negative
        return nodes.negate(self.factor()) if negative else self.factor()

    def starts_operand(self, token: Token) -> bool:
        if self.at_differential() or (token.text == "|" and not self.bars):
            return token.text == "|"
        if token.kind in ("letter", "number"):
            return True
        if token.kind == "command":
            return (
                token.text in _CONSTANTS
                or token.text in _BIG
                or token.text[1:] in FUNCTIONS - {"mod"}
                or token.text[1:] in GREEK
                or token.text
                in ("\\frac", "\\sqrt", "\\binom", "\\lfloor", "\\lceil", "\\degree", "\\begin")
            )
        return token.kind == "sign" and token.text in ("(", "{", "[")

    def at_differential(self) -> bool:
        """Whether the dx of an integral comes next."""
        return self.integrals > 0 and self.peek().text == "d" and self.peek(1).kind == "letter"

    def mixed(self, factors: list[Node]) -> Node:
        """3 1/2, written with a space. Any other number after an operand is unreadable."""
        whole, space = factors[-1], self.peek().space
        top, slash, bottom = self.take(), self.take(), self.take()
        parts = [number_of(t.text).value for t in (top, bottom) if t.kind == "number"]
        if len(factors) > 1 or slash.text != "/" or len(parts) != 2 or space != 1:
            raise Unreadable("numbers side by side")
        return mixed_number(whole, *parts)

    def mixed_fraction(self, whole: Node) -> Node:
        start = self.at
        fraction = self.factor()
        top, bottom = (*fraction.args, whole, whole)[:2]
        plain = fraction.head == "divide" and top.head == bottom.head == "number"
        if plain and whole.literal is None:
            return mixed_number(whole, top.value, bottom.value)
        if plain:
            self.at = start
            raise Unreadable("a decimal and a fraction side by side")
        return Node("multiply", (whole, fraction))

    def factor(self) -> Node:
        first, made = self.peek().text, self.primary()
        while True:
            token = self.peek()
            if token.text == "!" and token.kind == "sign":
                self.at += 1
                if made.head == "factorial":
                    raise Unreadable("a double factorial")
                made = Node("factorial", (made,))
            elif token.text == "^":
                self.at += 1
                if self.peek().text == "\\circ":
                    self.at += 1
                    made = Node("multiply", (made, DEGREE))
                    continue
                made = Node("power", (nodes.base(made, first), self.argument(exponent=True)))
                if self.peek().text == "^":
                    raise Unreadable("a tower of powers")
            elif token.text == "\\degree":
                self.at += 1
                made = Node("multiply", (made, DEGREE))
            else:
                return made

    def argument(self, *, exponent: bool = False) -> Node:
        """What a command or ^ applies to: a group, or one token, of a number one digit.

        Plain x^12 is meant as twelve though TeX would set x¹2.
        """
        token = self.peek()
        if token.text == "{" or (token.text == "(" and exponent):
            return self.group()
        if token.kind == "letter" and len(token.text) > 1 and token.text.isupper():
            raise Unreadable("several capitals where one letter should be")  # A^TB
        if token.kind == "number":
            self.at += 1
            if len(token.text) > 1 and token.text.isdigit() and not exponent:
                self.at -= 1
                rest = token._replace(text=token.text[1:], space=0)
                self.tokens = [*self.tokens[: self.at], rest, *self.tokens[self.at + 1 :]]
                return number_of(token.text[0])
            return number_of(token.text)
        if token.text == "-" and exponent:
            self.at += 1
            return nodes.negate(self.argument(exponent=True))
        return self.primary()

    def group(self) -> Node:
        closing = _CLOSING[self.take().text]
        bars, self.bars = self.bars, 0
        made = self.whole() if closing == "}" else self.sum()
        self.expect(closing)
        self.bars = bars
        return made

    def primary(self) -> Node:
        token = self.take()
        if token.kind == "number":
            return number_of(token.text)
        if token.kind == "letter":
            return self.symbol(token)
        if token.kind == "word" and len(token.text) == 1 and token.text.isascii():
            return self.symbol(token)
        if token.text in ("(", "{", "["):
            self.at -= 1
            return self.group()
        if token.text in ("|", "\\|"):
            self.bars += 1
            made = self.sum()
            self.bars -= 1
            self.expect(token.text)
            return nodes.call("abs" if token.text == "|" else "norm", made)
        if token.kind == "command":
            return self.command(token)
        raise Unreadable(f"{token.text!r} where a value should be")

    def symbol(self, token: Token) -> Node:
        name, decorated = token.text, False
        if self.peek().text == "_":
            self.at += 1
            name += "_" + self.subscript()
            decorated = True
        while self.peek().text in ("'", "’"):
            self.at += 1
            name += "'"
            decorated = True
        if not decorated and name in ("e", "i"):
            return nodes.E if name == "e" else nodes.IMAGINARY
        if self.peek().text == "(" and (token.text in _CALLED or at_value(self)):
            return nodes.call(f"function {name}", *self.arguments())
        return nodes.symbol(name)

    def subscript(self) -> str:
        """What stands in a subscript, as its tokens spell it: it is part of a name."""
        if self.peek().text != "{":
            token = self.take()
            if token.kind not in ("letter", "number", "command", "word"):
                raise Unreadable("a subscript")
            if token.kind == "number" and len(token.text) > 1:
                raise Unreadable("a subscript of several digits without braces")
            return token.text.lstrip("\\")
        start, depth = self.at + 1, 0
        while True:
            text = self.take().text
            depth += (text == "{") - (text == "}")
            if not depth:
                inside = self.tokens[start : self.at - 1]
                if not inside:
                    raise Unreadable("an empty subscript")
                return "".join(token.text.lstrip("\\") for token in inside)

    def arguments(self) -> list[Node]:
        """(a, b, …) or {a, b, …} after a function's name."""
        closing = "\\}" if self.peek().text == "\\{" else ")"
        self.expect("\\{" if closing == "\\}" else "(")
        found = [self.sum()]
        while self.peek().text == ",":
            self.at += 1
            found.append(self.sum())
        self.expect(closing)
        return found

    def command(self, token: Token) -> Node:
        name = token.text
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        if name == "\\frac":
            return self.fraction()
        if name == "\\sqrt":
            return self.root()
        if name == "\\binom":
            top = self.argument()
            return nodes.call("binomial", top, self.argument())
        if name in ("\\lfloor", "\\lceil"):
            made = self.sum()
            self.expect(name.replace("l", "r", 1))
            return nodes.call(name[2:], made)
        if name[1:] in FUNCTIONS:
            return self.function(name[1:])
        if name[1:] in GREEK:
            return self.symbol(token._replace(text=name[1:]))
        if name in _BIG:
            return read_operator(self, _BIG[name])
        if name == "\\begin":
            return read_determinant(self)
        raise Unreadable(f"{name} is no notation known here")

    def fraction(self) -> Node:
        middle = self._group_end(self.at)
        end = self._group_end(middle)
        halves = self.tokens[self.at : middle], self.tokens[middle:end]
        if all(map(is_differential, halves)):
            self.at = end
            spelled = " ".join(token.text for half in halves for token in half)
            return Node("opaque", (), f"derivative {spelled}")
        top = self.argument()
        return Node("divide", (top, self.argument()))

    def _group_end(self, at: int) -> int:
        """The index after the braces that open at `at`; `at` itself where none do."""
        depth = 0
        for position in range(at, len(self.tokens)):
            text = self.tokens[position].text
            depth += (text == "{") - (text == "}")
            if not depth:
                return position + 1 if text == "}" else at
        return at

    def root(self) -> Node:
        degree = nodes.number(2)
        if self.peek().text == "[":
            degree = self.group()
        return nodes.call("root", self.argument(), degree)

    def function(self, name: str) -> Node:
        if name == "mod":
            raise Unreadable("mod")
        name = {"lg": "log", "tr": "trace"}.get(name, name)
        base: Node | None = None
        exponent: Node | None = None
        if name == "log" and self.peek().text == "_":
            self.at += 1
            base = self.argument()
        if self.peek().text == "^":
            self.at += 1
            exponent = self.argument(exponent=True)
            if name == "log" and self.peek().text == "_":
                self.at += 1
                base = self.argument()
        if exponent == nodes.number(-1) and name in _INVERSES:
            name, exponent = _INVERSES[name], None
        elif exponent is not None and name not in _TRIGONOMETRIC | {"ln", "log"}:
            raise Unreadable("a power of this function")
        elif exponent is not None and nodes.is_numeric(exponent) and nodes.is_negative(exponent):
            raise Unreadable("a negative power of a function")
        name = _INVERSES.get(name, name) if name[0] == "a" else name
        if name in _SEVERAL:
            return nodes.call(name, *self.arguments())
        if self.peek().text in ("(", "{", "[", "|"):
            bracket = self.peek().text
            argument = self.primary()
            if self.peek().text in ("^", "!"):
                # {x}^2 belongs to the argument; (x)^2 could be either.
                if bracket != "|" or exponent is not None:
                    raise Unreadable("a power after a function's brackets")
                self.at += 1
                argument = Node("power", (argument, self.argument(exponent=True)))
        else:
            argument = self.bare_argument()
        if name == "exp":
            made = Node("power", (nodes.E, argument))
        elif name == "cbrt":
            made = nodes.call("root", argument, nodes.number(3))
        elif name == "log":
            made = nodes.call("log", argument, base or nodes.number(10))
        else:
            made = nodes.call(name, argument)
        return made if exponent is None else Node("power", (made, exponent))

    def bare_argument(self) -> Node:
        """A function's argument without brackets ends at a function or operator: sin 2x cos x."""
        negative = self.peek().text == "-"
        self.at += negative
        factors = [self.factor()]
        while True:
            token = self.peek()
            if token.kind == "number" or token.text in ("{", "["):
                raise Unreadable("where a function's argument ends")
            if self.at_differential():
                break
            greek = token.kind == "command" and token.text[1:] in GREEK
            if greek or token.kind == "letter" or token.text in _ARGUING:
                factors.append(self.factor())
            elif token.text == "/" and self.peek(1).kind in ("number", "letter"):
                raise Unreadable("where a function's argument ends")
            else:
                break
        made = factors[0] if len(factors) == 1 else Node("multiply", tuple(factors))
        return nodes.negate(made) if negative else made
