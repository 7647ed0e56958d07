"""Whether two values are equal: exact arithmetic, numbers, rounding, percent and units.

- An answer to an exact reference is exact, or a decimal of six significant digits or more that
  rounds right; where the reference is a number with an end (1/8, 2019), exact.
- A decimal reference of three significant digits or more is taken as rounded: an exact answer is
  right if it rounds to it, a decimal one if it also has two digits more.
- Arithmetic left to the reader (12 + 7, 7!/6!, cos(π/3)) is no answer where the reference is a
  rational number written as one.
- 50% equals 0.5; where one side alone writes the sign the bare numbers may also be equal.
- A unit on one side alone is ignored, if it is one; two units must measure the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from filters.verify.maths import nodes, units
from filters.verify.maths.forms import Value
from filters.verify.maths.nodes import Literal, Node
from filters.verify.maths.polynomials import Undecided, approximate, equal, expression_of
from filters.verify.maths.reading.expressions import DEGREE
from filters.verify.truth import Truth, some

MIN_DIGITS = 6
MIN_ROUNDED = 3
FINER = 2
MAX_TERMINATING = 10**9


LARGE = 10**6
"""Factorials and binomials below it are to be worked out."""


@dataclass(frozen=True, slots=True)
class Values:
    """`hard`: numbers decide what exact arithmetic leaves open. `percent`: what a sign on one side
    alone means: "either" the bare number or a hundredth, "bare", "scaled", or "strict" (as scaled).
    Where the answer alone has it, the bare number is undecided: 12% is 12 only to a question for a
    percentage.
    """

    hard: bool = False
    percent: str = "either"

    def same(self, reference: Value, answer: Value) -> Truth:
        if reference.percent != answer.percent and (reference.unit or answer.unit):
            return False
        if answer.approximate and not reference.approximate and _is_exact(reference.node):
            return None  # about 12 is no 12
        pair = self._in_one_unit(reference, answer)
        if pair is None:
            return False
        reference, answer = pair
        if reference.percent == answer.percent:
            return self.number(reference.node, answer.node)
        modes = {"either": ("bare", "scaled"), "strict": ("scaled",)}.get(
            self.percent, (self.percent,)
        )
        verdicts: list[Truth] = []
        for mode in modes:
            if mode == "bare" and is_rational(reference.node) and is_rational(answer.node):
                same = self.number(reference.node, answer.node)
                verdicts.append(None if same is True and answer.percent else same)
            elif mode == "scaled":
                verdicts.append(self.nodes(_scaled(reference), _scaled(answer)))
        return some(verdicts)

    def number(self, reference: Node, answer: Node) -> Truth:
        """Of bare values: equality, then the policy for arithmetic left undone and rounding."""
        verdict = self.nodes(reference, answer)
        if verdict is True:
            return not (_is_number(reference) and not is_finished(answer))
        literals = literal_of(reference), literal_of(answer)
        if literals == (None, None) or nodes.symbols(reference) or nodes.symbols(answer):
            return verdict
        wanted, given = self.approximate(reference), self.approximate(answer)
        if wanted is None or given is None:
            return verdict if verdict is not None or not self.hard else None
        if not agrees(wanted, literals[0], given, literals[1]):
            return False
        return not (_is_number(reference) and not is_finished(answer) and literals[0] is None)

    def nodes(self, reference: Node, answer: Node) -> Truth:
        """Whether two expressions have the same value."""
        if any(n[0] == "(" for n in nodes.symbols(reference) ^ nodes.symbols(answer)):
            return None  # (AB)^2 against AB^2
        if reference.head == answer.head == "number":
            return reference.value == answer.value
        if nodes.has_infinity(reference) or nodes.has_infinity(answer):
            signed = nodes.is_signed_infinity(reference) and nodes.is_signed_infinity(answer)
            return signed and reference == answer
        try:
            left, right = expression_of(reference), expression_of(answer)
            if equal(left, right):
                return True
            if not (left.opaque or right.opaque):
                return False
        except (Undecided, RecursionError):
            pass
        if not self.hard:
            return None
        from filters.verify.maths import numeric

        return numeric.equal(reference, answer)

    def approximate(self, node: Node) -> Fraction | None:
        """A number's value to about sixty digits; None where it cannot be had here."""
        if node.head == "number":
            return node.value
        try:
            made = expression_of(node)
            if made.numeric:
                return approximate(made)
        except (Undecided, RecursionError):
            pass
        if not self.hard or not nodes.is_numeric(node):
            return None
        from filters.verify.maths import numeric

        return numeric.value(node)

    def _in_one_unit(self, reference: Value, answer: Value) -> tuple[Value, Value] | None:
        """The two with their units gone, the answer's converted; None for unlike units."""
        wanted, given = reference.unit, answer.unit
        if wanted == given:
            return reference, answer
        if wanted is not None and given is not None:
            if reference.percent or answer.percent:
                return None
            if {wanted, given} == {_DEGREES, _RADIANS}:
                return _in_radians(reference), _in_radians(answer)
            factor = units.factor(given, wanted)
            if factor is None:
                return None
            if factor == 1:
                return reference, answer
            return reference, Value(_times(answer.node, factor))
        if reference.compound or answer.compound:
            return None
        only = wanted or given
        assert only is not None
        if not (only.known or (only.note and wanted)) or only.powers in (
            (("am", 1),),
            (("pm", 1),),
        ):
            return None
        if only == _DEGREES:
            bare = answer if wanted else reference
            if any(node == nodes.PI for node in nodes.walk(bare.node)):
                return _in_radians(reference), _in_radians(answer)
        return reference, answer


_DEGREES = units.Unit((("degree", 1),))
_RADIANS = units.Unit((("radian", 1),))


def _in_radians(value: Value) -> Value:
    if value.unit != _DEGREES:
        return Value(value.node)
    return Value(Node("multiply", (value.node, DEGREE)))


def _times(node: Node, factor: Fraction) -> Node:
    if node.head == "number" and node.value is not None:
        return nodes.number(node.value * factor)
    return Node("multiply", (node, nodes.number(factor)))


def _scaled(value: Value) -> Node:
    return _times(value.node, Fraction(1, 100)) if value.percent else value.node


def literal_of(node: Node) -> Literal | None:
    """How precisely a decimal was written; None for anything else."""
    return node.args[0].literal if node.head == "negate" else node.literal


def is_rational(node: Node) -> bool:
    """Whether it is a rational number written as one."""
    if node.head == "negate":
        return is_rational(node.args[0])
    if node.head == "divide":
        return all(arg.head == "number" for arg in node.args)
    return node.head == "number"


def _is_exact(node: Node) -> bool:
    """Whether it is a rational number that no decimal was written for."""
    return is_rational(node) and literal_of(node) is None


def _is_number(node: Node) -> bool:
    """Whether it is a rational number with nothing left to work out."""
    return is_rational(node) and is_finished(node)


def is_finished(node: Node) -> bool:
    """Whether a rational number is written with nothing left for the reader to work out.

    A literal, a quotient of two that is no whole number, one power, and one factorial or binomial
    of a million and more are finished; sums, products, roots and functions are not.
    """
    if node.head == "negate":
        return is_finished(node.args[0])
    if node.head == "divide":
        try:
            value = expression_of(node).rational
        except Undecided:
            return False
        whole = value is not None and value.denominator == 1
        return not whole and all(_is_single(arg) for arg in node.args)
    if node.head in ("factorial", "call"):
        return _is_single(node) and _is_large(node)
    return _is_single(node)


def _is_large(node: Node) -> bool:
    """Whether a factorial or a binomial is too large to be written out by everybody."""
    try:
        value = expression_of(node).rational
    except Undecided:
        return True
    return value is None or value >= LARGE


def _is_single(node: Node) -> bool:
    if node.head == "negate":
        return _is_single(node.args[0])
    if node.head == "power":
        base, exponent = node.args
        return is_rational(base) and _is_whole(exponent) and exponent.value != 1
    if node.head == "factorial":
        return _is_whole(node.args[0])
    if node.head == "call":
        return node.name == "binomial" and all(_is_whole(arg) for arg in node.args)
    return node.head == "number"


def _is_whole(node: Node) -> bool:
    if node.head == "negate":
        node = node.args[0]
    return node.value is not None and node.value.denominator == 1


def agrees(
    reference: Fraction, written: Literal | None, answer: Fraction, given: Literal | None
) -> bool:
    """The rounding policy for two different numbers, at least one of them written as a decimal."""
    if written is not None:
        finer = given is None or given.decimals >= written.decimals + FINER
        rounded = written.significant >= MIN_ROUNDED
        return finer and rounded and _rounds_to(answer, reference, written.decimals)
    if given is None or given.significant < MIN_DIGITS or _terminates(reference):
        return False
    return _rounds_to(reference, answer, given.decimals)


def _terminates(value: Fraction) -> bool:
    """Whether it has a short decimal, which an answer can write out."""
    rest = value.denominator
    if rest > MAX_TERMINATING:
        return False
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def _rounds_to(value: Fraction, written: Fraction, decimals: int) -> bool:
    return abs(value - written) <= Fraction(1, 2) / Fraction(10) ** decimals
