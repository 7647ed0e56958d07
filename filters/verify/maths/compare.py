"""Whether an answer's form equals a reference's: one rule a pair of forms, and no other pair equal.

True, False, or None for undecided. With `hard` values are also compared by numbers (`numeric`), in
a worker; without, by exact arithmetic alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from filters.verify.maths import nodes
from filters.verify.maths.families import rename, same_families, with_constants
from filters.verify.maths.forms import (
    Based,
    Choice,
    Family,
    Form,
    Group,
    Matrix,
    Named,
    Notation,
    Phrase,
    Piecewise,
    Ratio,
    Region,
    Relation,
    Value,
    Words,
)
from filters.verify.maths.integrals import evaluate_integral
from filters.verify.maths.intervals import same_regions
from filters.verify.maths.naming import (
    bound_letters,
    distinct_names,
    names_another,
    plain,
    same_function,
    spread,
    states,
    without_indices,
)
from filters.verify.maths.piecewise import same_piecewise
from filters.verify.maths.reading.conditions import letters
from filters.verify.maths.relations import chain_values, same_relations, to_relation
from filters.verify.maths.same_values import Values
from filters.verify.truth import Truth, every, matched, some

_CLOCK = re.compile(r"(\d+):(\d\d) ([ap])m")


@dataclass(frozen=True, slots=True)
class Comparison:
    """How values are compared. `whole`: these are answers, no items of one: a + b = 7 may then say
    what was asked for."""

    values: Values
    whole: bool = True

    def same(self, reference: Form, answer: Form) -> Truth:
        """Whether any reading of the answer equals any reading of the reference."""
        found = some(
            [
                self.forms(wanted, given)
                for wanted in _readings(reference)
                for given in _readings(answer)
            ]
        )
        return None if found is True and _is_split(reference, answer) else found

    def forms(self, reference: Form, answer: Form) -> Truth:
        if isinstance(reference, Notation) or isinstance(answer, Notation):
            return True if reference == answer else None
        if isinstance(reference, Choice) or isinstance(answer, Choice):
            return self.choices(reference, answer)
        if isinstance(reference, Family) or isinstance(answer, Family):
            return same_families(reference, answer, self.same, self.values.approximate)
        if isinstance(reference, Named) or isinstance(answer, Named):
            return self.named(reference, answer)
        if isinstance(reference, Relation) or isinstance(answer, Relation):
            return self.relations(reference, answer)
        if isinstance(reference, Region) or isinstance(answer, Region):
            return self.regions(reference, answer)
        if isinstance(reference, Phrase) or isinstance(answer, Phrase):
            return self.phrases(reference, answer)
        if isinstance(reference, Words) or isinstance(answer, Words):
            return self.words(reference, answer)
        if isinstance(reference, Matrix) or isinstance(answer, Matrix):
            return self.matrices(reference, answer)
        if isinstance(reference, Group) or isinstance(answer, Group):
            return self.groups(reference, answer)
        if isinstance(reference, Piecewise) and isinstance(answer, Piecewise):
            return same_piecewise(reference, answer, self.same, self.values)
        if isinstance(reference, Ratio) and isinstance(answer, Ratio):
            return self.ratios(reference, answer)
        if isinstance(reference, Ratio) and isinstance(answer, Value) and len(reference.parts) == 2:
            quotient = nodes.Node("divide", tuple(part.node for part in reference.parts))
            plain = answer.node.head == "divide" and answer.unit is None
            if plain and _may_be_time([part.node for part in reference.parts]):
                return None
            return plain and self.values.nodes(quotient, answer.node)
        if isinstance(reference, Based) and isinstance(answer, Based):
            return reference == answer
        if isinstance(reference, Based) and isinstance(answer, Value):
            number = answer.node.value
            bare = answer.unit is None and not answer.percent
            return bare and number is not None and str(number) == reference.digits
        if isinstance(reference, Value) and isinstance(answer, Value):
            area = evaluate_integral(reference.node)
            if area is not None and not nodes.has(answer.node, "opaque"):
                reference = replace(reference, node=area)
            return self.plain(reference, answer)
        return False

    def plain(self, reference: Value, answer: Value) -> Truth:
        """Of two expressions; constants of integration may have other letters."""
        found = self.values.same(reference, answer)
        if found is True:
            return True
        renamed = [
            self.values.same(reference, other) for other in with_constants(reference, answer)
        ]
        return some([found, *renamed])

    def ratios(self, reference: Ratio, answer: Ratio) -> Truth:
        """The same proportions; what may be a time of day, to the letter."""
        wanted = [part.node for part in reference.parts]
        given = [part.node for part in answer.parts]
        if len(wanted) != len(given) or _may_be_time(wanted) or _may_be_time(given):
            return self.each(reference.parts, answer.parts)
        if nodes.number(0) in (*wanted, *given):
            return self.each(reference.parts, answer.parts)
        products = [
            (nodes.Node("multiply", (a, given[0])), nodes.Node("multiply", (b, wanted[0])))
            for a, b in zip(wanted, given, strict=True)
        ]
        return every([self.values.nodes(*pair) for pair in products[1:]])

    def each(self, wanted: Sequence[Form], given: Sequence[Form]) -> Truth:
        """Item by item, in order."""
        if len(wanted) != len(given):
            return False
        return every([self.same(a, b) for a, b in zip(wanted, given, strict=True)])

    def matched(self, wanted: Sequence[Form], given: Sequence[Form]) -> Truth:
        """The same things in some order."""
        return matched(wanted, given, self.same)

    def phrases(self, reference: Form, answer: Form) -> Truth:
        """The same words at the same places, and equal formulas between them."""
        if not (isinstance(reference, Phrase) and isinstance(answer, Phrase)):
            return False
        if len(reference.parts) != len(answer.parts):
            return False
        verdicts: list[Truth] = []
        for wanted, given in zip(reference.parts, answer.parts, strict=True):
            if isinstance(wanted, str) or isinstance(given, str):
                verdicts.append(wanted == given)
            else:
                verdicts.append(self.as_percent("strict").same(wanted, given))
        return every(verdicts)

    def choices(self, reference: Form, answer: Form) -> Truth:
        """A letter equals a letter; (C) 14 equals C, and 14."""
        if isinstance(reference, Choice) and isinstance(answer, Choice):
            if reference.letter != answer.letter:
                return False
            if reference.form is None or answer.form is None:
                return True
            return self.same(reference.form, answer.form)
        if isinstance(reference, Choice):
            if reference.form is not None:
                return self.same(reference.form, answer)
            return _is_symbol(answer, reference.letter)
        assert isinstance(answer, Choice)
        if answer.form is not None:
            return self.same(reference, answer.form)
        return _is_symbol(reference, answer.letter)

    def named(self, reference: Form, answer: Form) -> Truth:
        indexed = without_indices(reference, answer)
        if indexed is not None:
            return self.same(reference, indexed)
        for one, other in ((reference, answer), (answer, reference)):
            several = spread(one) if isinstance(one, Named) else None
            if several is not None and _has_relations(other):
                sides = (several, other) if one is reference else (other, several)
                return self.groups(*sides)
        if names_another(reference, answer) or names_another(answer, reference):
            return False
        if isinstance(reference, Named) and isinstance(answer, Named):
            names = plain(reference.name), plain(answer.name)
            if names[0] == names[1] or same_function(*names, reference.form):
                return self.same(reference.form, answer.form)
            bound = bound_letters(*names, reference.form)
            if bound is not None:
                renamed = rename(answer.form, {bound[1]: bound[0]})
                return bound[0] not in letters(answer.form) and self.same(reference.form, renamed)
            return self.relations(reference, answer)
        if isinstance(reference, Named):
            if isinstance(answer, Relation):
                if to_relation(reference) is None:
                    return replace(self, whole=False).forms(reference.form, answer)
                return self.relations(reference, answer)
            if isinstance(answer, Group) and not answer.ends:
                assigned = self.assigned(reference, answer)
                if assigned is not None:
                    return assigned
            return self.forms(reference.form, answer)
        assert isinstance(answer, Named)
        if isinstance(reference, Relation):
            chained = chain_values(reference, self.values)
            if chained:
                return self.forms(reference, answer.form)
            undecided = chained is None and not self.values.hard
            return None if undecided else self.relations(reference, answer)
        if isinstance(reference, Value) and not isinstance(answer.form, Value | Group):
            return self.same(reference, answer.form)
        if isinstance(reference, Group) and not reference.ends:
            assigned = self.assigned(answer, reference)
            if assigned is not None:
                return assigned
        return self.same(reference, answer.form)

    def assigned(self, whole: Named, parts: Group) -> Truth:
        """(x, y) = (3, 4) against x = 3, y = 4; None where it is not that."""
        names = whole.name.strip("()").split(",")
        tuple_ = whole.form
        if len(names) < 2 or not isinstance(tuple_, Group) or tuple_.ends != "()":
            return None
        found = {form.name: form.form for form in parts.items if isinstance(form, Named)}
        if set(found) != set(names) or len(parts.items) != len(names):
            return None
        return self.each(tuple_.items, [found[name] for name in names])

    def relations(self, reference: Form, answer: Form) -> Truth:
        wanted, given = to_relation(reference), to_relation(answer)
        if isinstance(reference, Relation) and isinstance(answer, Relation):
            if "~" in reference.signs and (sides := chain_values(reference, self.values)):
                return some([self.same(side, answer) for side in sides])
            return same_relations(reference, answer, self.values)
        if isinstance(reference, Relation) and not isinstance(answer, Named):
            chained = chain_values(reference, self.values)
            return None if chained is None else some([self.same(one, answer) for one in chained])
        if isinstance(answer, Relation) and not isinstance(reference, Named):
            chained = chain_values(answer, self.values, quantities=self.whole)
            return None if chained is None else some([self.same(reference, one) for one in chained])
        if wanted is not None and given is not None:
            return same_relations(wanted, given, self.values)
        return False

    def words(self, reference: Form, answer: Form) -> Truth:
        if isinstance(reference, Words) and isinstance(answer, Words):
            return reference.text == answer.text or (
                answer.text == reference.short or reference.text == answer.short
            )
        text, other = (reference.text, answer) if isinstance(reference, Words) else ("", reference)
        if isinstance(answer, Words):
            text = answer.text
        clock = _CLOCK.fullmatch(text)
        if clock is not None and isinstance(other, Ratio):
            hours, minutes = int(clock[1]) % 12 + 12 * (clock[3] == "p"), int(clock[2])
            parts = [part.node.value for part in other.parts]
            return parts == [hours, minutes] if hours > 12 else None
        return text == "all real numbers" and _is_real_line(other)

    def regions(self, reference: Form, answer: Form) -> Truth:
        sides = []
        for side in (reference, answer):
            if isinstance(side, Words) and side.text == "all real numbers":
                from filters.verify.maths.reading.brackets import REAL_LINE

                side = Region((REAL_LINE,))
            elif isinstance(side, Group) and side.ends:
                side = Region((side,))
            if not isinstance(side, Region):
                return False
            sides.append(side)
        found = same_regions(sides[0], sides[1], self.values)
        if found is not None:
            return found
        if not (sides[0].without or sides[1].without):
            return True if self.matched(sides[0].pieces, sides[1].pieces) is True else None
        same_whole = self.matched(sides[0].pieces, sides[1].pieces)
        same_holes = self.matched(sides[0].without, sides[1].without)
        return True if same_whole is same_holes is True else None

    def matrices(self, reference: Form, answer: Form) -> Truth:
        wanted, given = _rows(reference), _rows(answer)
        if wanted is None or given is None:
            return self.groups(reference, answer) if _has_basis(reference, answer) else False
        if not (isinstance(reference, Matrix) and isinstance(answer, Matrix)):
            wanted, given = _column(wanted), _column(given)
        if len(wanted) != len(given):
            return False
        return every([self.each(a, b) for a, b in zip(wanted, given, strict=True)])

    def groups(self, reference: Form, answer: Form) -> Truth:
        if not (isinstance(reference, Group) and isinstance(answer, Group)):
            basis = _by_components(reference, answer)
            if basis is not None:
                return self.values.same(*basis)
            return self.single(reference, answer)
        kinds = {reference.ends, answer.ends}
        if "{|}" in kinds:
            return self.each(reference.items, answer.items) if len(kinds) == 1 else False
        if len(kinds) == 2 and not kinds <= {"{}", ""}:
            if "" in kinds and "()" in kinds:
                bare = reference if reference.ends == "" else answer
                other = answer if reference.ends == "" else reference
                if distinct_names(bare):
                    inner = [item.form for item in bare.items if isinstance(item, Named)]
                    sides = (other.items, inner) if other is reference else (inner, other.items)
                    return self.each(*sides)
            return False
        flags = [
            {item.percent for item in side.items if isinstance(item, Value)}
            for side in (reference, answer)
        ]
        if flags[0] != flags[1] and {True, False} not in flags:
            # The signs mean one thing throughout.
            read = [self.as_percent(mode).items(reference, answer) for mode in ("bare", "scaled")]
            return some(read)
        return self.as_percent("strict").items(reference, answer)

    def as_percent(self, mode: str) -> Comparison:
        return Comparison(replace(self.values, percent=mode), whole=False)

    def items(self, reference: Group, answer: Group) -> Truth:
        if not {reference.ends, answer.ends} <= {"", "{}"}:
            return self.each(reference.items, answer.items)
        if reference.ends == answer.ends == "{}":
            missing = [self.found(item, answer.items) for item in reference.items]
            surplus = [
                some([self.same(other, item) for other in reference.items]) for item in answer.items
            ]
            return every([*missing, *surplus])
        sides = (reference, answer)
        if (reference.joined == "or") != (answer.joined == "or") and any(map(states, sides)):
            return False  # x = 1 or y = 2 is not both
        for one, other in (sides, sides[::-1]):
            # x = 1, y = 2 against 1, 2: the order says which is which.
            if distinct_names(one) and not any(isinstance(i, Named) for i in other.items):
                return self.each(reference.items, answer.items)
        given = answer.items
        if len(given) > len(reference.items) > 1 and len(set(reference.items)) == len(
            reference.items
        ):
            given = tuple(dict.fromkeys(given))  # a solution listed twice
        return self.matched(reference.items, given)

    def found(self, item: Form, among: Sequence[Form]) -> Truth:
        return some([self.same(item, other) for other in among])

    def single(self, reference: Form, answer: Form) -> Truth:
        """A set or list of one thing is that thing."""
        sides: list[Form] = []
        for side in (reference, answer):
            if isinstance(side, Group):
                if len(side.items) != 1 or side.ends not in ("", "{}"):
                    return False
                side = side.items[0]
            sides.append(side)
        return self.same(*sides)


def _readings(form: Form) -> tuple[Form, ...]:
    if isinstance(form, Value) and form.others:
        return (replace(form, others=()), *form.others)
    return (form,)


def _is_split(reference: Form, answer: Form) -> bool:
    """Whether the answer divides on purpose what is most likely one number: 1,234 as 1; 234."""
    listed = isinstance(answer, Group) and answer.joined != "" and len(answer.items) > 1
    number = isinstance(reference, Value) and reference.node.value is not None
    return listed and number


def _is_symbol(form: Form, name: str) -> bool:
    return isinstance(form, Value) and form.node == nodes.symbol(name) and form.unit is None


def _has_relations(form: Form) -> bool:
    return isinstance(form, Group) and not form.ends and isinstance(form.items[0], Relation)


def _may_be_time(parts: Sequence[nodes.Node]) -> bool:
    values = [part.value for part in parts]
    whole = all(value is not None and value.denominator == 1 for value in values)
    return len(values) == 2 and whole and 0 <= (values[0] or 0) < 24 and 10 <= (values[1] or 0) < 60


def _is_real_line(form: Form) -> bool:
    from filters.verify.maths.reading.brackets import REAL_LINE

    return form == REAL_LINE


def _rows(form: Form) -> tuple[tuple[Form, ...], ...] | None:
    if isinstance(form, Matrix):
        return form.rows
    if isinstance(form, Group) and form.ends == "()":
        return tuple((item,) for item in form.items)
    if isinstance(form, Group) and form.ends == "[]":  # [[1, 2], [3, 4]] as programs print it
        rows = [row.items for row in form.items if isinstance(row, Group) and row.ends == "[]"]
        if len(rows) == len(form.items) and len({len(row) for row in rows}) == 1:
            return tuple(rows)
    return None


def _column(rows: tuple[tuple[Form, ...], ...]) -> tuple[tuple[Form, ...], ...]:
    return tuple((item,) for item in rows[0]) if len(rows) == 1 else rows


def _has_basis(*forms: Form) -> bool:
    return any(
        isinstance(form, Value)
        and any(name.startswith("basis ") for name in nodes.symbols(form.node))
        for form in forms
    )


def _by_components(reference: Form, answer: Form) -> tuple[Value, Value] | None:
    """3i + 4j against (3, 4): both as sums of basis vectors."""
    if not _has_basis(reference, answer):
        return None
    sides: list[Value] = []
    for side in (reference, answer):
        rows = _rows(side) if isinstance(side, Group | Matrix) else None
        if rows is not None:
            cells = [row[0] for row in _column(rows)]
            if not 2 <= len(cells) <= 3 or not all(isinstance(cell, Value) for cell in cells):
                return None
            terms = tuple(
                nodes.Node("multiply", (cell.node, nodes.symbol(f"basis {name}")))
                for cell, name in zip(cells, "ijk", strict=False)
                if isinstance(cell, Value)
            )
            side = Value(nodes.Node("add", terms))
        if not isinstance(side, Value):
            return None
        sides.append(side)
    return sides[0], sides[1]
