"""Countdown-like puzzles: reach a target from given numbers.

The answer is parsed, never evaluated: an abstract syntax tree of + - * / and numbers, in fractions.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from filters.verify.base import Immediate
from filters.verify.latex import normalise
from filters.verify.prose.extract_answer import final_answer
from filters.verify.verification import Verification

MAX_LENGTH = 400
MAX_BITS = 2048

_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_FRACTION = re.compile(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_ALLOWED = re.compile(r"[0-9+\-*/(). ]+")


class ArithmeticVerifier(Immediate):
    """Verifier of `{"kind": "arithmetic", "numbers": […], "target": …}`.

    Every number is used exactly once, or at most once with `"use": "any"`.
    """

    METHOD = "arithmetic"

    def problem(self, spec: Mapping[str, Any]) -> str | None:
        numbers, target = spec.get("numbers"), spec.get("target")
        if not isinstance(numbers, list) or not numbers or not all(map(is_number, numbers)):
            return f"numbers is {numbers!r:.80}; it must be a list of numbers"
        if not is_number(target):
            return f"target is {target!r:.80}; it must be a number"
        if spec.get("use", "all") not in ("all", "any"):
            return f"use is {spec['use']!r}; it must be all or any"
        return None

    def judge(self, spec: Mapping[str, Any], response: str) -> Verification:
        answer = final_answer(response, prefer=("tag", "box"))
        if answer is None:
            return self.say("no_answer", None)
        reached = solve(answer.text, spec["numbers"], exactly=spec.get("use", "all") == "all")
        if isinstance(reached, str):
            state = "unparseable" if reached.startswith("unreadable") else "wrong"
            return self.say("wrong" if state == "wrong" else "unparseable", answer.text, reached)
        right = reached == Fraction(str(spec["target"]))
        return self.say("correct" if right else "wrong", answer.text, f"gives {reached}")


def solve(text: str, numbers: list[int | float], *, exactly: bool) -> Fraction | str:
    """The value of an expression over `numbers`; in words, why it has none."""
    formula = normalise(text).replace("\\text", "")
    left, equals, right = formula.partition("=")
    while (simpler := _FRACTION.sub(r"((\1)/(\2))", left)) != left:
        left = simpler
    if len(left) > MAX_LENGTH or not _ALLOWED.fullmatch(left) or "**" in left or "//" in left:
        return "unreadable: not an expression in + - * / and numbers"
    try:
        tree = ast.parse(left.strip(), mode="eval").body
        used: Counter[Fraction] = Counter()
        value = _value(tree, used)
    except (SyntaxError, RecursionError, MemoryError) as error:
        return f"unreadable: {error}"
    except ZeroDivisionError:
        return "divides by zero"
    given = Counter(Fraction(str(number)) for number in numbers)
    if used != given if exactly else not used <= given:
        return "does not use the numbers given"
    if equals and right.strip() != str(value):
        return "states another result than it gives"
    return value


def _value(node: ast.expr, used: Counter[Fraction]) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        number = Fraction(str(node.value))
        used[number] += 1
        return number
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, used)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        value = _OPERATORS[type(node.op)](_value(node.left, used), _value(node.right, used))
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
            raise SyntaxError("too large")
        return value
    raise SyntaxError(f"{type(node).__name__} is not arithmetic")


def is_number(value: Any) -> bool:
    """Whether a value of a prompt is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
