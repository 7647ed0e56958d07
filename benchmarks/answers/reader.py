"""Reads one LaTeX expression into a tree, all of it or none: what the oracle evaluates."""

from __future__ import annotations

import re

from .tree import Node

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|\.\d+|\s+|.", re.S)
_FUNCTIONS = {"sin", "cos", "tan", "cot", "sec", "csc", "ln", "exp", "sinh", "cosh", "tanh",
              "arcsin", "arccos", "arctan"}  # fmt: skip
_GREEK = {
    "alpha",
    "beta",
    "gamma",
    "delta",
    "theta",
    "lambda",
    "mu",
    "omega",
    "phi",
    "rho",
    "sigma",
}
_WORD = re.compile(r"(?<![\\A-Za-z])(?:[A-Za-z]{3,}|pi|ln|lg|tg)(?![A-Za-z])")
_OPEN = {"(": ")", "{": "}", "[": "]"}


class Unread(Exception):
    """Not an expression that this reader knows whole."""


def split_top(text: str, *marks: str) -> list[str]:
    """`text` at each of `marks` outside of brackets, half-open ones included. Raises `Unread`."""
    parts, depth, at, start = [], 0, 0, 0
    while at < len(text):
        if text.startswith(("\\{", "\\}"), at):
            depth += 1 if text[at + 1] == "{" else -1
            at += 2
            continue
        if text[at] in "([{":
            depth += 1
        elif text[at] in ")]}":
            depth -= 1
            if depth < 0:
                raise Unread(text)
        mark = next((m for m in marks if depth == 0 and text.startswith(m, at)), None)
        if mark and not (mark[-1].isalpha() and text[at + len(mark) :][:1].isalpha()):
            parts.append(text[start:at])
            at = start = at + len(mark)
            continue
        at += 1
    if depth:
        raise Unread(text)
    return [*parts, text[start:]]


def read_expression(text: str) -> Node:
    """The tree of one expression. Raises `Unread`."""
    if _WORD.search(text):
        raise Unread(text)
    tokens = _TOKEN.findall(text)
    for before, space, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        # "1 2" is read by nobody; LaTeX sets 12
        if space.isspace() and before[-1].isdigit() and after[0].isdigit():
            raise Unread(text)
    reader = _Reader([token for token in tokens if not token.isspace()])
    tree = reader.sum()
    if reader.peek():
        raise Unread(text)
    return tree


class _Reader:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def next(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def expect(self, token: str) -> None:
        if self.next() != token:
            raise Unread(token)

    def sum(self) -> Node:
        terms = [self.term()]
        while self.peek() in ("+", "-", "−"):
            minus = self.next() != "+"
            term = self.term()
            terms.append(Node("neg", (term,)) if minus else term)
        return terms[0] if len(terms) == 1 else Node("add", tuple(terms))

    def term(self) -> Node:
        if self.peek() in ("+", "-", "−"):
            minus = self.next() != "+"
            if self.peek() in ("+", "-", "−"):
                raise Unread("two signs")
            term = self.term()
            return Node("neg", (term,)) if minus else term
        node = self.factor()
        divided = False
        while True:
            token = self.peek()
            if token in ("\\cdot", "\\times", "*", "·", "×"):
                self.next()
                node = Node("mul", (node, self.factor()))
            elif token in ("/", "\\div", "÷"):
                self.next()
                node, divided = Node("div", (node, self.factor())), True
            elif self.starts(token):
                if divided:
                    raise Unread("a/bc")
                whole = node.op == "num" and node.name.isdigit()
                if whole and token in ("\\frac", "\\dfrac", "\\tfrac"):
                    part = self.factor()
                    if part.op != "div" or any(arg.op != "num" for arg in part.args):
                        if part.op != "div":
                            raise Unread("2\\frac12^2")
                        node = Node("mul", (node, part))
                    else:
                        node = Node("add", (node, part))
                elif token[0].isdigit() or token[0] == ".":
                    raise Unread("a number after a factor")
                else:
                    node = Node("mul", (node, self.factor()))
            else:
                return node

    def starts(self, token: str) -> bool:
        if not token:
            return False
        if token[0] == "\\":
            return token[1:] in _FUNCTIONS | _GREEK | {
                "frac",
                "dfrac",
                "tfrac",
                "sqrt",
                "pi",
                "log",
                "mathrm",
            }
        return token in "({π" or (token.isascii() and token.isalnum()) or token[0] in ".0123456789"

    def factor(self) -> Node:
        node = self.base()
        while self.peek() in ("^", "!"):
            if self.next() == "!":
                node = Node("factorial", (node,))
                continue
            if node.op == "pow":
                raise Unread("a^b^c")
            node = Node("pow", (node, self.argument()))
        return node

    def argument(self) -> Node:
        """What stands in braces, or the one token that LaTeX takes without."""
        if self.peek() == "{":
            return self.bracketed()
        token = self.peek()
        if token[:1].isdigit():
            self.tokens[self.at : self.at + 1] = [token[0], token[1:]] if token[1:] else [token]
            if token[1:]:
                # \frac12 takes one digit each; x^12 is x^1 2, which nobody means
                self.at += 1
                return Node("num", name=token[0])
        return self.base()

    def bracketed(self) -> Node:
        close = _OPEN[self.next()]
        node = self.sum()
        self.expect(close)
        return node

    def base(self) -> Node:
        token = self.next()
        if not token:
            raise Unread("end")
        if token[0].isdigit() or token[0] == ".":
            if not token[-1].isdigit():
                raise Unread(token)
            return Node("num", name=token)
        if token in ("(", "{"):
            self.at -= 1
            return self.bracketed()
        if token in ("\\pi", "π"):
            return Node("const", name="pi")
        if token in ("\\mathrm", "\\text") and self.tokens[self.at : self.at + 3] in (
            ["{", "e", "}"], ["{", "i", "}"]
        ):  # fmt: skip
            letter = self.tokens[self.at + 1]
            self.at += 3
            return Node("const", name=letter)
        if token in ("e", "i"):
            return Node("const", name=token)
        if (len(token) == 1 and token.isascii() and token.isalpha()) or token[1:] in _GREEK:
            return Node("sym", name=token + self.index())
        if token in ("\\frac", "\\dfrac", "\\tfrac"):
            return Node("div", (self.argument(), self.argument()))
        if token == "\\sqrt":
            index = "2"
            if self.peek() == "[":
                self.next()
                index = self.next()
                self.expect("]")
            if not index.isdigit() or int(index) < 2:
                raise Unread("index of a root")
            return Node("root", (self.argument(),), index)
        if token == "\\log" and self.peek() == "_":
            self.next()
            return Node("log", (self.argument(), self.operand()))
        if token[1:] in _FUNCTIONS:
            power = None
            if self.peek() == "^":
                self.next()
                power = self.argument()
            node = Node(token[1:], (self.operand(),))
            if power is not None and (power.op != "num" or power.name.startswith("-")):
                raise Unread("an inverse function or a power")
            return node if power is None else Node("pow", (node, power))
        raise Unread(token)

    def index(self) -> str:
        """What follows `_`, as part of a name."""
        if self.peek() != "_":
            return ""
        self.next()
        token = self.next()
        if token == "{":
            token = self.next()
            self.expect("}")
        if not token.isalnum():
            raise Unread("index")
        return "_" + token

    def operand(self) -> Node:
        """A function's argument: in brackets, or factors up to the next sign or function."""
        if self.peek() in ("(", "{"):
            return self.bracketed()
        node = self.factor()
        while self.starts(self.peek()) and self.peek()[1:] not in _FUNCTIONS | {"log"}:
            if self.peek()[0].isdigit() or self.peek() == "(":
                raise Unread("a function's argument")
            node = Node("mul", (node, self.factor()))
        return node
