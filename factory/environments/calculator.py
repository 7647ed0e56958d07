"""A calculator: exact arithmetic on one line."""

from __future__ import annotations

import ast
from collections.abc import Callable
from fractions import Fraction

from factory.environments.tools import ToolEnvironment, ToolError

MAX_CHARACTERS = 400
MAX_DIGITS = 200
"""Of a numerator or denominator: what a power may become."""


class Calculator(ToolEnvironment):
    """Offers `calculate`. The episode ends with the first answer without a call."""

    def calculate(self, expression: str) -> str:
        """Calculate an arithmetic expression, such as (2 + 3) * 4.

        expression: numbers, + - * / // % ** and parentheses
        """
        return calculate(str(expression))


def calculate(expression: str) -> str:
    """Return the value of an expression: exact, or with 12 digits. Raises ToolError."""
    text = expression.strip().replace("×", "*").replace("÷", "/").replace("−", "-")
    if len(text) > MAX_CHARACTERS:
        raise ToolError(f"the expression is longer than {MAX_CHARACTERS} characters")
    try:
        value = _evaluate(ast.parse(text.replace("^", "**"), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ToolError(f"{expression!r} is no arithmetic expression") from None
    except ZeroDivisionError:
        raise ToolError("division by zero") from None
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.12g}"


_BINARY: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
    ast.Mod: lambda a, b: a % b,
}


def _evaluate(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _bounded(Fraction(str(value)))
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_evaluate(inner)
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return _evaluate(inner)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_evaluate(left), _evaluate(right))
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _BINARY:
            return _bounded(_BINARY[type(operator)](_evaluate(left), _evaluate(right)))
    raise ToolError("only numbers, + - * / // % ** and parentheses are understood")


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise ToolError("the exponent must be a whole number")
    digits = max(len(str(base.numerator)), len(str(base.denominator)))
    if abs(exponent) * digits > MAX_DIGITS:
        raise ToolError(f"the result has more than {MAX_DIGITS} digits")
    return Fraction(base**exponent.numerator)


def _bounded(value: Fraction) -> Fraction:
    if max(abs(value.numerator), value.denominator) >= 10**MAX_DIGITS:
        raise ToolError(f"the result has more than {MAX_DIGITS} digits")
    return value
