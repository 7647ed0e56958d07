"""Step-level beam search, and its diverse form, DVTS.

Beam: of all continuations of all kept prefixes the best are kept (Snell et al., arXiv 2408.03314,
§5). DVTS: the beams never compete; each keeps the best continuation of its own (Hugging Face,
"Scaling test-time compute", 2024).
"""

from __future__ import annotations

from dataclasses import dataclass

from factory.recipe.search import Search
from factory.sampling.search.tree import Draw, Node, Plan, Tree, finish, worth
from factory.sampling.search.values import Valuer


@dataclass(slots=True)
class _Group:
    """Prefixes that compete for `slots`. A complete turn gives its slot up."""

    prefixes: list[Node]
    slots: int


def search_beam(tree: Tree, options: Search, valuer: Valuer) -> Plan:
    """Keep the best prefixes, step by step. Returns the best complete turn."""
    root = tree.nodes[0]
    count, slots = (options.beams, 1) if options.diverse else (1, options.beams)
    groups = [_Group([root], slots) for _ in range(count)]
    last = root
    for step in range(options.max_steps):
        if not groups or tree.spent >= options.token_limit:
            break
        whole = step == options.max_steps - 1
        draws = [
            Draw(node.number, whole)
            for group in groups
            for node in _repeat(group.prefixes, group.slots)
            for _ in range(options.width)
        ]
        drawn = yield draws
        yield from valuer.assess(drawn)
        waiting = iter(drawn)
        for group in groups:
            own = [next(waiting) for _ in range(group.slots * options.width)]
            _keep_best(group, own)
            last = max(
                (last, *group.prefixes), key=lambda node: (tree.depth(node.number), worth(node))
            )
        groups = [group for group in groups if group.slots and group.prefixes]
    return (yield from finish(tree, last))


def _repeat(prefixes: list[Node], slots: int) -> list[Node]:
    """Return one prefix for each slot; those that are there take turns."""
    return [prefixes[number % len(prefixes)] for number in range(slots)]


def _keep_best(group: _Group, candidates: list[Node]) -> None:
    """Keep the best distinct candidates. Those cut off are lost, complete ones end their beam."""
    alive = [node for node in reversed(candidates) if node.end != "length"]
    distinct = {(node.parent, node.text): node for node in alive}  # the first of equal ones
    kept = sorted(distinct.values(), key=lambda node: (-worth(node), node.number))[: group.slots]
    group.prefixes = [node for node in kept if node.end == "step"]
    group.slots -= len(kept) - len(group.prefixes)
