"""The graph of a pipeline's steps: references between them, their order, cycles."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from factory.recipe.document import Loc


def find_references(value: Any, loc: Loc = ()) -> Iterator[tuple[Loc, str]]:
    """Yield every "@step…" in a step's `set`, with its location."""
    if isinstance(value, str):
        if value.startswith("@"):
            yield loc, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from find_references(item, (*loc, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from find_references(item, (*loc, number))


def fill_seed(value: Any, seed: int, repeated: Collection[str]) -> Any:
    """Return a value of `set` for one seed: `{seed}` filled in, references to the same seed."""
    if isinstance(value, Mapping):
        return {key: fill_seed(item, seed, repeated) for key, item in value.items()}
    if isinstance(value, list):
        return [fill_seed(item, seed, repeated) for item in value]
    if not isinstance(value, str):
        return value
    if value == "{seed}":
        return seed
    if value.startswith("@"):
        other, slash, inside = value[1:].partition("/")
        return f"@{other}-{seed}{slash}{inside}" if other in repeated else value
    return value.replace("{seed}", str(seed))


def sort_steps(edges: Mapping[str, Iterable[str]]) -> list[str]:
    """Sort names so that each comes after those it needs, otherwise in the given order.

    Needed names that are not keys of `edges` are ignored.
    """
    ordered: list[str] = []
    seen: set[str] = set()

    def visit(name: str) -> None:
        if name in edges and name not in seen:
            seen.add(name)
            for other in edges[name]:
                visit(other)
            ordered.append(name)

    for name in edges:
        visit(name)
    return ordered


def find_cycle(edges: Mapping[str, Iterable[str]]) -> list[str]:
    """Return a cycle of names, with the first repeated at the end; empty if there is none."""
    known = {name: [other for other in edges[name] if other in edges] for name in edges}
    try:
        TopologicalSorter(known).prepare()
    except CycleError as error:
        cycle = error.args[1][:0:-1]  # each needs the next one
        start = cycle.index(min(cycle, key=list(edges).index))
        return [*cycle[start:], *cycle[: start + 1]]
    return []
