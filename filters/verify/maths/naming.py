"""What the names in two answers say of each other."""

from __future__ import annotations

import re

from filters.verify.maths import nodes
from filters.verify.maths.forms import Form, Group, Named, Relation, Value


def names_another(one: Form, other: Form) -> bool:
    """Whether a list about one name meets another: x = 1, 2 is not y = 1, x = 2."""
    if not (isinstance(one, Named) and isinstance(other, Group) and not other.ends):
        return False
    if isinstance(one.form, Group) and one.form.ends == "()":
        return False  # (x, y) = (3, 4)
    names = {plain(item.name) for item in other.items if isinstance(item, Named)}
    return bool(names - {plain(one.name)})


def without_indices(one: Form, other: Form) -> Form | None:
    """x_1 = 3, x_2 = 5 against a list about x as such a list itself; None where it is not that."""
    if not (isinstance(one, Named) and isinstance(one.form, Group) and not one.form.ends):
        return None
    if not (isinstance(other, Group) and not other.ends and distinct_names(other)):
        return None
    items = [item for item in other.items if isinstance(item, Named)]
    wanted = {f"{plain(one.name)}_{index}" for index in range(1, len(items) + 1)}
    if {plain(item.name) for item in items} != wanted:
        return None
    return Named(one.name, Group("", tuple(item.form for item in items), other.joined))


def same_function(one: str, other: str, form: Form) -> bool:
    """y = … against f(x) = …, y(x) = … against y = …, where x is the unknown."""
    for name, called in ((one, other), (other, one)):
        if name.endswith("'") and re.fullmatch(rf"d{re.escape(name[:-1])}/d[a-z]", called):
            return True  # y' and dy/dx
        short = len(called) == 4 and called[1::2] == "()"
        if short and (name == called[0] or (name == "y" and called[0] in "fgh")):
            unknown = nodes.symbols(form.node) if isinstance(form, Value) else frozenset()
            return unknown <= {called[2]} or name == called[0]
    return False


def bound_letters(one: str, other: str, form: Form) -> tuple[str, str] | None:
    """The letters of f(x) and f(t): two spellings of one function's argument, if what it equals
    depends on it. P(A) = 0.3 is not P(B) = 0.3."""
    found = [re.fullmatch(r"([A-Za-z])\(([A-Za-z])\)", name) for name in (one, other)]
    if found[0] is None or found[1] is None or found[0][1] != found[1][1]:
        return None
    depends = isinstance(form, Value) and found[0][2] in nodes.symbols(form.node)
    return (found[0][2], found[1][2]) if depends else None


def plain(name: str) -> str:
    """A name without what only sets it apart: spaces, braces, the sign of an angle."""
    for mark in (" ", "{", "}", "\\", "measuredangle", "angle"):
        name = name.replace(mark, "")
    return name


def distinct_names(group: Group) -> bool:
    names = [item.name for item in group.items if isinstance(item, Named)]
    return len(names) == len(group.items) == len(set(names)) > 1


def spread(named: Named) -> Group | None:
    """y = 3 - x or x + 1 as two equations; None where it gives no several values."""
    if not (isinstance(named.form, Group) and not named.form.ends):
        return None
    items = tuple(Named(named.name, item) for item in named.form.items)
    return Group("", items, named.form.joined)


def states(group: Group) -> bool:
    return any(isinstance(item, Named | Relation) for item in group.items)
