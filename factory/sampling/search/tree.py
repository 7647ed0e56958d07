"""A tree of continuations: the start of a turn, and what was drawn after it. Pure: no engine."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, NamedTuple

ROOT = 0

End = Literal["step", "stop", "length"]
"""`step`: the text may go on. `stop`: the turn is complete. `length`: it was cut off for good."""


class Draw(NamedTuple):
    """A continuation that is asked for: one step, or the whole rest of the turn."""

    parent: int
    whole: bool = False


@dataclass(slots=True)
class Node:
    """One continuation. `text` is what was generated after its parent."""

    number: int
    parent: int
    text: str
    n_tokens: int
    end: End
    whole: bool = False  # drawn to the end of the turn, not for one step
    value: float | None = None


Growth = Generator[list[Draw], list[Node], None]
"""Asks for draws and gets their nodes, which are in the tree by then, in the order asked."""

Plan = Generator[list[Draw], list[Node], Node]
"""A policy: like `Growth`, and returns the node whose path is the answer."""


class Tree:
    """Nodes by number, in the order in which they were asked for. The root has what is given."""

    def __init__(self, start: str = "") -> None:
        self.nodes = [Node(ROOT, ROOT, start, 0, "step")]
        self.spent = 0
        """Generated tokens of all nodes. A shared start was generated once and counts once."""

    def add(self, nodes: list[Node]) -> None:
        """Add nodes, whose numbers follow those in the tree."""
        self.nodes += nodes
        self.spent += sum(node.n_tokens for node in nodes)

    def path(self, number: int) -> list[Node]:
        """Return the nodes from the root to a node."""
        found = [self.nodes[number]]
        while found[-1].number != ROOT:
            found.append(self.nodes[found[-1].parent])
        return found[::-1]

    def text(self, number: int) -> str:
        """Return the whole text up to the end of a node."""
        return "".join(node.text for node in self.path(number))

    def tokens(self, number: int) -> int:
        """Return the tokens generated on the path of a node."""
        return sum(node.n_tokens for node in self.path(number))

    def depth(self, number: int) -> int:
        """Return the number of steps from the root to a node."""
        return len(self.path(number)) - 1

    def best_answer(self) -> Node | None:
        """Return the complete turn with the highest value, the first among equals; else None."""
        return max(
            (node for node in self.nodes if node.end == "stop"),
            key=lambda node: (worth(node), -node.number),
            default=None,
        )


def worth(node: Node) -> float:
    """Return the value of a node. What nobody could score counts as 0."""
    return node.value or 0.0


def finish(tree: Tree, prefix: Node) -> Plan:
    """Return the best complete turn; draw the rest of `prefix` if there is none."""
    answer = tree.best_answer()
    if answer is not None:
        return answer
    (last,) = yield [Draw(prefix.number, whole=True)]
    return last
