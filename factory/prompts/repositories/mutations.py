"""Bugs: small changes of Python code at the places that its syntax tree names.

The new text is spliced in at a node's position, so that layout and comments stay as they are.
Nothing here knows whether a change is a bug: the project's tests decide that.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

Kind = Literal[
    "operator",
    "comparison",
    "condition",
    "off_by_one",
    "swapped_arguments",
    "removed_check",
    "wrong_default",
    "wrong_variable",
    "returns_none",
]
"""What is changed:

operator           + and -, * and //, % and // change places
comparison         < becomes <=, == becomes !=, `in` becomes `not in`
condition          a `not` goes, a condition is negated, `and` becomes `or`
off_by_one         a number is one more or one less
swapped_arguments  the first two arguments of a call change places
removed_check      an `if` that only raises, returns or skips goes
wrong_default      another default of a parameter
wrong_variable     one parameter in place of another
returns_none       a value is not returned
"""

KINDS: tuple[Kind, ...] = get_args(Kind)

_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.FloorDiv: "*",
    ast.Div: "*",
    ast.Mod: "//",
    ast.BitAnd: "|",
    ast.BitOr: "&",
    ast.LShift: ">>",
    ast.RShift: "<<",
}
_COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
}
"""How a comparison is written, and what it becomes."""
_ENDS = (ast.Raise, ast.Return, ast.Continue, ast.Break)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Edit:
    """One change: bytes `start` to `end` of the file become `new`."""

    kind: Kind
    function: str  # where it is: Class.method
    line: int
    start: int
    end: int
    new: str


def find_edits(text: str, kinds: Sequence[Kind] = KINDS) -> list[Edit]:
    """Every change of these kinds that can be made inside the functions of a file, by place.

    >>> [edit.new for edit in find_edits("def f(a, b):\\n    return a + b\\n", ["operator"])]
    ['a - b']
    """
    source = _Source(text)
    found = {
        edit: None
        for name, function in _functions(ast.parse(text), "")
        for edit in _of_function(source, name, function)
        if edit.kind in kinds and source.text(edit.start, edit.end) != edit.new
    }
    return sorted(found, key=lambda edit: (edit.start, edit.end, edit.kind, edit.new))


def apply_edits(text: str, edits: Sequence[Edit]) -> str | None:
    """The text with edits that do not overlap; None if it is no Python then or means the same."""
    content = text.encode()
    ordered = sorted(edits, key=lambda edit: edit.start)
    if any(one.end > other.start for one, other in pairwise(ordered)):
        return None
    for edit in reversed(ordered):
        content = content[: edit.start] + edit.new.encode() + content[edit.end :]
    changed = content.decode()
    try:
        same = ast.dump(ast.parse(changed)) == ast.dump(ast.parse(text))
    except (SyntaxError, ValueError):
        return None
    return None if same else changed


def draw_bugs(
    text: str, kinds: Sequence[Kind], several: float, draw: random.Random
) -> Iterator[tuple[Edit, ...]]:
    """Edits of one file in random order, a share `several` of them two or three at once.

    Kinds take turns, so that the most frequent one does not crowd out the others.
    """
    edits = find_edits(text, kinds)
    by_kind = {kind: [edit for edit in edits if edit.kind == kind] for kind in kinds}
    for some in by_kind.values():
        draw.shuffle(some)
    while any(by_kind.values()):
        for kind in kinds:
            if by_kind[kind]:
                bug = [by_kind[kind].pop()]
                if draw.random() < several:
                    bug += draw.sample(edits, min(len(edits), draw.randint(1, 2)))
                yield tuple(dict.fromkeys(bug))


class _Source:
    """A file's text, addressed by the lines and byte columns of syntax trees."""

    def __init__(self, text: str) -> None:
        self._content = text.encode()
        self._starts = [0]
        for line in self._content.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, start: int, end: int) -> str:
        return self._content[start:end].decode()

    def of(self, node: ast.expr | ast.stmt) -> str:
        return self.text(*self.span(node))


def _functions(tree: ast.AST, outer: str) -> Iterator[tuple[str, Function]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield f"{outer}{node.name}", node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{outer}{node.name}.")


def _of_function(source: _Source, name: str, function: Function) -> Iterator[Edit]:
    def edit(kind: Kind, node: ast.expr | ast.stmt, new: str) -> Edit:
        return Edit(kind, name, node.lineno, *source.span(node), new)

    names = [argument.arg for argument in function.args.args if argument.arg not in ("self", "cls")]
    yield from (edit("wrong_default", node, new) for node, new in _defaults(function))
    for statement in function.body:
        for node in ast.walk(statement):
            match node:
                case ast.BinOp() | ast.Compare() | ast.BoolOp() | ast.UnaryOp() | ast.AugAssign():
                    yield from (edit(kind, node, new) for kind, new in _operations(source, node))
                case ast.Constant(value=int() as value) if not isinstance(value, bool):
                    yield edit("off_by_one", node, str(value + 1))
                    if value > 0:
                        yield edit("off_by_one", node, str(value - 1))
                case ast.Call(args=[first, second, *_]) if not (
                    isinstance(first, ast.Starred) or isinstance(second, ast.Starred)
                ):
                    start, end = source.span(first)[0], source.span(second)[1]
                    between = source.text(source.span(first)[1], source.span(second)[0])
                    new = f"{source.of(second)}{between}{source.of(first)}"
                    yield Edit("swapped_arguments", name, first.lineno, start, end, new)
                case ast.If(test=test, body=body, orelse=orelse):
                    if not orelse and len(body) == 1 and isinstance(body[0], _ENDS):
                        yield edit("removed_check", node, "pass")
                    yield edit("condition", test, f"not ({source.of(test)})")
                case ast.Return(value=ast.expr() as value) if not _is_none(value):
                    yield edit("returns_none", value, "None")
                case ast.Name(id=used, ctx=ast.Load()) if used in names:
                    for other in names:
                        if other != used:
                            yield edit("wrong_variable", node, other)


def _operations(source: _Source, node: ast.AST) -> Iterator[tuple[Kind, str]]:
    match node:
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            if not (isinstance(op, ast.Mod) and _is_text(left)):
                yield "operator", f"{source.of(left)} {_OPERATORS[type(op)]} {source.of(right)}"
        case ast.AugAssign(target=target, op=op, value=value) if type(op) in _OPERATORS:
            yield "operator", f"{source.of(target)} {_OPERATORS[type(op)]}= {source.of(value)}"
        case ast.Compare(left=left, ops=ops, comparators=others):
            for place in range(len(ops)):
                new = source.of(left)
                for number, (compared, other) in enumerate(zip(ops, others, strict=True)):
                    sign, opposite = _COMPARISONS[type(compared)]
                    new += f" {opposite if number == place else sign} {source.of(other)}"
                yield "comparison", new
        case ast.BoolOp(op=op, values=[first, second]):
            word = "or" if isinstance(op, ast.And) else "and"
            yield "condition", f"{source.of(first)} {word} {source.of(second)}"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "condition", source.of(operand)


def _defaults(function: Function) -> Iterator[tuple[ast.expr, str]]:
    for node in (*function.args.defaults, *function.args.kw_defaults):
        match node:
            case ast.Constant(value=bool() as value):
                yield node, str(not value)
            case ast.Constant(value=int() as value):
                yield node, str(value + 1)
            case ast.Constant(value=None):
                yield node, "0"
            case ast.Constant(value=str() as text):
                yield node, repr("" if text else " ")


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
