"""The trees of all searches of a run: `samples/search.jsonl`.

One record per continuation and per value, each with a checksum, written at once. Nothing is ever
removed: the answer of a search is a sample like any other, and this file has all that was drawn
for it. A killed run grows its unfinished trees on from here.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

from factory.core.files import storage_error
from factory.core.journal import read_records
from factory.core.nouns import sample_id
from factory.sampling.append_log import AppendLog, open_append
from factory.sampling.engine import Request
from factory.sampling.search.tree import Draw, Node, Tree

FILE = "search.jsonl"


class First(NamedTuple):
    """What the first continuation of a search says of its sample."""

    prompt_text: str
    n_prompt_tokens: int
    model: str
    params_fp: str


class Recorded:
    """What an earlier process drew and valued of one search, by number of the node."""

    def __init__(self) -> None:
        self.first: First | None = None
        self._nodes: dict[int, dict[str, Any]] = {}
        self._values: dict[int, dict[str, Any]] = {}

    def add(self, record: dict[str, Any]) -> None:
        if "value" in record:
            self._values[record["number"]] = record
            return
        if record["first"] is not None:
            self.first = First(**record["first"])
        self._nodes[record["node"]["number"]] = record

    def find_node(self, number: int, draw: Draw, text: str) -> Node | None:
        """Return the node that was drawn for this, after this very text; else None."""
        record = self._nodes.get(number)
        if record is None or record["after"] != digest(text):
            return None
        node = Node(**{**record["node"], "value": None})
        return node if (node.parent, node.whole) == draw else None

    def grow(self) -> Tree | None:
        """Return the tree as far as it is recorded; None without a node."""
        tree = Tree()
        while (record := self._nodes.get(len(tree.nodes))) is not None:
            tree.add([Node(**{**record["node"], "value": None})])
        for node in tree.nodes:
            _, node.value = self.find_value(node, tree.text(node.number))
        return tree if len(tree.nodes) > 1 else None

    def find_value(self, node: Node, text: str) -> tuple[bool, float | None]:
        """Return whether a node with this very text was valued, and its value."""
        record = self._values.get(node.number)
        if record is None or record["of"] != digest(text):
            return False, None
        return True, record["value"]


class NodeLog(AppendLog):
    """The log of one run's searches. `drawn` has the ids of samples that are finished.

    `damaged` counts records that can't be read; what they had is drawn again.
    """

    def __init__(self, folder: Path, drawn: Collection[str]) -> None:
        path = folder / FILE
        self._recorded: dict[str, Recorded] = {}  # of searches that are not finished
        self.damaged = 0
        finished = frozenset(drawn)
        for record in read_search_log(folder):
            if record is None:
                self.damaged += 1
                continue
            name = sample_id(record["prompt_id"], record["index"])
            if name not in finished:
                self._recorded.setdefault(name, Recorded()).add(record)
        _drop_torn_line(path)
        super().__init__(path, open_append(path))

    def take(self, name: str) -> Recorded:
        """Return what is recorded of a search, and what will be."""
        known = self._recorded.get(name)
        if known is None or known.first is None:  # the record of its input is damaged: begin again
            known = self._recorded[name] = Recorded()
        return known

    def forget(self, name: str) -> None:
        """Drop a finished search from memory. It stays in the file."""
        self._recorded.pop(name, None)

    def add_node(self, request: Request, node: Node, after: str, first: First | None) -> None:
        """Record a continuation of the text `after`. Raises StorageError if the disk fails."""
        known = self._recorded[request.sample_id].first is not None
        self._add(
            request,
            node={name: value for name, value in asdict(node).items() if name != "value"},
            cut=len(after),
            after=digest(after),
            first=None if known or first is None else first._asdict(),
        )

    def add_value(self, request: Request, node: Node, text: str) -> None:
        """Record the value of a node, whose whole text is `text`."""
        self._add(request, number=node.number, value=node.value, of=digest(text))

    def _add(self, request: Request, **fields: Any) -> None:
        record = {"prompt_id": request.prompt.id, "index": request.index, **fields}
        self.write(record)
        self._recorded[request.sample_id].add(record)


def digest(text: str) -> str:
    return xxhash.xxh3_64_hexdigest(text.encode("utf-8", "surrogatepass"))


def read_search_log(folder: Path) -> Iterator[dict[str, Any] | None]:
    """Yield the records of a run's searches in order, and None for each damaged one."""
    path = folder / FILE
    if path.exists():
        yield from read_records(path)


def read_tree(folder: Path, prompt_id: str, index: int) -> Tree | None:
    """Return the tree of one sample with its values; None if it was found by no search."""
    recorded = Recorded()
    for record in read_search_log(folder):
        if record is not None and (record["prompt_id"], record["index"]) == (prompt_id, index):
            recorded.add(record)
    return recorded.grow()


def _drop_torn_line(path: Path) -> None:
    """Cut off a last line without an end, which a killed process left."""
    try:
        if not path.exists():
            return
        with open(path, "rb+") as stream:
            end = stream.seek(0, os.SEEK_END)
            place = end
            while place > 0:
                start = max(0, place - 65536)
                stream.seek(start)
                found = stream.read(place - start).rfind(b"\n")
                if found >= 0:
                    place = start + found + 1
                    break
                place = start
            if place < end:
                stream.truncate(place)
    except OSError as error:
        raise storage_error(path, error) from error
