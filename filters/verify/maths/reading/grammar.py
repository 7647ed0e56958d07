"""What a rule of the grammar may ask of the reader that calls it.

Rules that stand in files of their own (sums, integrals, determinants) read expressions inside them.
They know this protocol, and not the reader of expressions that knows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from filters.verify.maths.nodes import Node
from filters.verify.maths.reading.tokens import Token


class Grammar(Protocol):
    """A position in a token list, and the rules that read on from it."""

    tokens: Sequence[Token]
    at: int
    integrals: int
    """Integrals that are open: inside one, d ends the integrand."""

    def peek(self, ahead: int = 0) -> Token: ...

    def take(self) -> Token: ...

    def expect(self, text: str) -> None: ...

    def sum(self) -> Node: ...

    def term(self) -> Node: ...

    def primary(self) -> Node: ...

    def argument(self, *, exponent: bool = False) -> Node: ...

    def at_differential(self) -> bool: ...

    def nested(self, tokens: Sequence[Token]) -> Node:
        """An expression of other tokens, read whole."""
