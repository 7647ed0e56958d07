"""Tree search by PUCT (Silver et al., 2017, as in R1's second attempt, v1 §4.2).

The prior of a continuation is its share among those drawn after the same prefix: the model's own
samples are the policy. The value comes from a reward model or from rollouts.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict

from factory.recipe.search import Search
from factory.sampling.search.tree import ROOT, Draw, Node, Plan, Tree, finish, worth
from factory.sampling.search.values import Valuer


class _Statistics:
    """Visits, values and priors of nodes. Equal continuations of a node are one."""

    def __init__(self, tree: Tree, exploration: float) -> None:
        self.tree, self.exploration = tree, exploration
        self.children: dict[int, list[int]] = {}
        self.visits: Counter[int] = Counter()
        self.total: defaultdict[int, float] = defaultdict(float)
        self.prior: dict[int, float] = {}
        self.closed: set[int] = set()  # nothing is left to draw below

    def select(self) -> Node:
        """Return the prefix to draw from next."""
        number = ROOT
        while number in self.children:
            options = [child for child in self.children[number] if child not in self.closed]
            seen = sum(self.visits[child] for child in self.children[number])
            number = max(options, key=lambda child: (self._score(child, seen), -child))
        return self.tree.nodes[number]

    def _score(self, child: int, seen: int) -> float:
        visits = self.visits[child]
        explored = self.exploration * self.prior[child] * math.sqrt(seen) / (1 + visits)
        return self.total[child] / visits + explored

    def add(self, parent: Node, children: list[Node]) -> None:
        """Add the continuations of a prefix and pass their values up to the root."""
        counts = Counter(child.text for child in children)
        first = {child.text: child for child in reversed(children)}
        kept = sorted(first.values(), key=lambda child: child.number)
        self.children[parent.number] = [child.number for child in kept]
        for child in kept:
            self.prior[child.number] = counts[child.text] / len(children)
            for node in self.tree.path(child.number):
                self.visits[node.number] += 1
                self.total[node.number] += worth(child)
            if child.end != "step":
                self.closed.add(child.number)
        for node in reversed(self.tree.path(parent.number)):
            if self.closed.issuperset(self.children[node.number]):
                self.closed.add(node.number)


def search_tree(tree: Tree, options: Search, valuer: Valuer) -> Plan:
    """Grow the tree by up to `expansions` prefixes. Returns the best complete turn."""
    known = _Statistics(tree, options.exploration)
    for _ in range(options.expansions):
        if ROOT in known.closed or tree.spent >= options.token_limit:
            break
        prefix = known.select()
        whole = tree.depth(prefix.number) >= options.max_steps - 1
        drawn = yield [Draw(prefix.number, whole)] * options.width
        yield from valuer.assess(drawn)
        known.add(prefix, drawn)
    open_nodes = [node for node in tree.nodes if node.end == "step"]
    best = max(open_nodes, key=lambda node: (worth(node), tree.depth(node.number), -node.number))
    return (yield from finish(tree, best))
