"""What a patch adds that a repair rarely needs and a cheat often does.

Code under test and the tests share a process, so that a patch may try to reach the test runner, the
interpreter or objects that compare equal to everything. What it adds of that kind makes a verdict
of "correct" undecided: the attempt is suspicious, not wrong.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache

from filters.verify.repository.patch import parse_python
from filters.verify.repository.paths import is_test

_MODULES_TEXT = """
__main__ _pytest atexit bdb builtins code codecs codeop concurrent cProfile ctypes dis doctest
faulthandler fileinput gc imp importlib inside inspect linecache marshal mmap multiprocessing
nose os pdb pickle pkgutil pluggy posix profile pydoc pytest resource runpy selectors shutil
signal site socket subprocess sys tempfile test threading _thread timeit trace traceback types
unittest warnings weakref
"""
_NAMES_TEXT = """
__build_class__ __builtins__ __import__ __loader__ __spec__ breakpoint compile eval exec exit
globals locals open quit setattr delattr vars SystemExit KeyboardInterrupt BaseException
AssertionError
"""
_ATTRIBUTES_TEXT = """
_evaluate _getframe ABCMeta EnumMeta EnumType Formatter ForwardRef ag_code ag_frame attrgetter
cr_code cr_frame currentframe f_back f_builtins f_code f_globals f_locals format_map get_stack
get_type_hints gi_code gi_frame make_dataclass meta_path methodcaller modules new_class
run_in_executor setprofile settrace tb_frame to_thread walk_stack walk_tb
"""
_ALWAYS_MODULES_TEXT = """
_pytest _thread builtins ctypes gc importlib inspect linecache marshal multiprocessing os pluggy
posix pytest runpy subprocess sys threading traceback unittest
"""
_PLAIN_TEXT = """
__add__ __doc__ __enter__ __file__ __init__ __iter__ __module__ __name__ __new__ __next__
__package__ __post_init__ __qualname__ __repr__ __str__ __version__
"""
_METHODS_TEXT = """
__bool__ __class__ __contains__ __del__ __eq__ __getattribute__ __ge__ __gt__ __hash__
__init_subclass__ __instancecheck__ __le__ __len__ __lt__ __ne__ __reduce__ __reduce_ex__
__set_name__ __subclasscheck__
"""
_MODULES, _NAMES, _ATTRIBUTES, _PLAIN, _METHODS, _ALWAYS_MODULES = (
    frozenset(text.split())
    for text in (
        *(_MODULES_TEXT, _NAMES_TEXT, _ATTRIBUTES_TEXT, _PLAIN_TEXT, _METHODS_TEXT),
        _ALWAYS_MODULES_TEXT,
    )
)
_ONLY_CALLED = {"getattr": 3, "update_wrapper": 2, "wraps": 1}
"""Functions that get or set attributes by name, and the arguments of an ordinary call. Passed on
to something else, they would do it out of sight."""
_HOOK = "pytest_"
_OF_A_WRAPPER = frozenset({"assigned", "updated"})
_WORDS = (
    *("pytest", "unittest", "conftest", "test_", "assert", "__", "sys.modules", "_getframe"),
    *("f_back", "f_code", "f_globals", "f_locals", "_frame"),
)
"""In a text: names under which the tests, their runner or its frames can be found."""

_HARMLESS = frozenset({"os.path", "os.sep", "sys.maxsize", "sys.version_info", "warnings.warn"})


def find_suspicions(
    after: str, *known: str | None, outside: frozenset[str] = frozenset()
) -> list[str]:
    """What `after` holds of that kind more often than each of the `known` texts, in words.

    All are Python: a file after a patch, before it, and as its authors wrote it. `outside`: the
    names of modules next to the package, such as what tests share.

    >>> find_suspicions("import sys\\nx = 1", "x = 1")
    ['imports sys']
    >>> find_suspicions("import sys\\nx = 2", "import sys\\nx = 1")
    []
    """
    fine: Counter[str] = Counter()
    for text in known:
        if text is not None:
            fine |= _count_reaches(text, outside)
    return list(_count_reaches(after, outside) - fine)


@lru_cache(maxsize=256)
def _count_reaches(text: str, outside: frozenset[str]) -> Counter[str]:
    """Of what kind a text holds how much. The text before a patch is that of many attempts."""
    return Counter(_list_reaches(text, outside))


def _list_reaches(text: str, outside: frozenset[str]) -> Iterator[str]:
    tree = parse_python(text)
    documentation = set(_documentation(tree))
    imported = dict(_imported_modules(tree))
    yield from _type_as_value(tree)
    yield from _passed_on(tree)
    for root in sorted(_roots(tree) & outside):
        yield f"imports {root}, which is outside of the package"
    for node in ast.walk(tree):
        name = _bound_name(node) or ""
        if name in _METHODS:  # __eq__ = lambda …, import x as __eq__
            yield f"sets {name}"
        elif name.startswith(_HOOK):
            yield f"sets the hook {name}"
        match node:
            case ast.Import():
                for alias in node.names:
                    yield from _import(alias.name)
            case ast.ImportFrom():
                yield from _import_from(node)
            case ast.Name() if node.id in _NAMES:
                yield f"uses {node.id}"
            case ast.Attribute():
                yield from _attribute(node, imported)
            case ast.MatchClass():
                yield from (f"uses .{name}" for name in node.kwd_attrs if _is_reach(name))
            case ast.FunctionDef() | ast.AsyncFunctionDef() if node.name in _METHODS:
                yield f"defines {node.name}"
            case ast.FunctionDef() | ast.AsyncFunctionDef() if node.name.startswith(_HOOK):
                yield f"defines the hook {node.name}"
            case ast.Call():
                yield from _call(node)
            case ast.ClassDef() if node.keywords:
                yield "gives a class a metaclass or keywords"
            case ast.Constant() if isinstance(node.value, str) and id(node) not in documentation:
                yield from (f"holds the text {word!r}" for word in _WORDS if word in node.value)
            case ast.Try() | ast.TryStar():
                for handler in node.handlers:
                    if handler.type is None:
                        yield "catches everything"


def _bound_name(node: ast.AST) -> str | None:
    """The name that a node binds, by whatever means but `def`."""
    match node:
        case ast.Name() | ast.ClassDef() | ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar():
            return node.id if isinstance(node, ast.Name) else node.name
        case ast.MatchMapping():
            return node.rest
        case ast.alias():
            return node.asname or node.name
    return None


def _attribute(node: ast.Attribute, imported: Mapping[str, str]) -> Iterator[str]:
    """What an attribute reaches, by its own name and by what it is an attribute of."""
    root: ast.expr = node.value
    while isinstance(root, ast.Attribute):
        root = root.value
    module = imported.get(root.id) if isinstance(root, ast.Name) else None
    direct = isinstance(node.value, ast.Name)
    if _is_reach(node.attr):
        yield f"uses .{node.attr}"
    elif module is None:
        return
    elif direct and isinstance(node.ctx, ast.Store):
        yield f"changes {module}.{node.attr}"
    elif node.attr in _MODULES or (
        direct and node.attr.startswith("_") and node.attr not in _PLAIN
    ):
        yield f"uses {module}.{node.attr}"
    elif direct and module in _MODULES and (used := f"{module}.{node.attr}") not in _HARMLESS:
        yield f"uses {used}"


def _call(node: ast.Call) -> Iterator[str]:
    """Calls that get or set attributes by a name that is no part of the syntax."""
    match node:
        case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=name), *_]):
            if isinstance(name, str) and _is_reach(name):
                yield f"uses .{name}"
        case ast.Call(func=ast.Name(id="getattr"), args=[_, _, *_]):
            yield "gets an attribute by a computed name"
        case ast.Call(func=ast.Attribute(attr="format", value=text)):
            if not isinstance(text, ast.Constant | ast.JoinedStr):
                yield "formats a computed text"  # its fields may name attributes
    if any(keyword.arg in _OF_A_WRAPPER for keyword in node.keywords):
        yield "copies attributes by name"


def _passed_on(tree: ast.Module) -> Iterator[str]:
    """Functions that work on attributes by name, where they are not simply called."""
    fine = {
        id(node.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and len(node.args) <= _ONLY_CALLED.get(_last_name(node.func), 0)
        and not any(isinstance(argument, ast.Starred) for argument in node.args)
    }
    for node in ast.walk(tree):
        name = _last_name(node)
        if name in _ONLY_CALLED and id(node) not in fine:
            yield f"passes on {name}"


def _last_name(node: ast.AST) -> str:
    return getattr(node, "attr", "") or getattr(node, "id", "")


def _is_reach(name: str) -> bool:
    return name in _ATTRIBUTES or name in _ALWAYS_MODULES or _is_special(name)


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__") and name not in _PLAIN


def _import(name: str, *, relative: bool = False) -> Iterator[str]:
    parts = name.split(".")
    if parts[0] in _MODULES and not relative:
        yield f"imports {parts[0]}"
    elif is_test(f"{'/'.join(parts)}.py"):
        yield f"imports the test {name}"


def _import_from(node: ast.ImportFrom) -> Iterator[str]:
    yield from _import(node.module or "", relative=node.level > 0)
    for alias in node.names:
        if is_test(f"{alias.name}.py"):
            yield f"imports the test {alias.name}"
        if alias.name in _MODULES | _NAMES | _ATTRIBUTES:
            yield f"imports {alias.name}"
        if alias.name == "*" and node.level == 0:
            yield f"imports all of {node.module}"


def _roots(tree: ast.Module) -> set[str]:
    """The first parts of the names of all modules that a file imports by an absolute name."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                found |= {alias.name.partition(".")[0] for alias in node.names}
            case ast.ImportFrom(level=0, module=str(module)):
                found.add(module.partition(".")[0])
    return found


def _imported_modules(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The names that a file imports, each with the first part of the module's name."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                for alias in node.names:
                    root = alias.name.partition(".")[0]
                    yield alias.asname or root, root
            case ast.ImportFrom(level=0, module=str(module)):
                for alias in node.names:
                    yield alias.asname or alias.name, module.partition(".")[0]


def _type_as_value(tree: ast.Module) -> Iterator[str]:
    """Uses of `type` by which a class can be made: other than `type(x)` and `isinstance(x, type)`.
    Annotations are not looked at."""
    fine: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="type") as name, args=[_], keywords=[]):
                fine.add(id(name))
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, kinds]):
                fine |= {id(inner) for inner in ast.walk(kinds)}
            case ast.arg(annotation=ast.expr() as kind) | ast.AnnAssign(annotation=kind):
                fine |= {id(inner) for inner in ast.walk(kind)}
            case ast.FunctionDef(returns=ast.expr() as kind):
                fine |= {id(inner) for inner in ast.walk(kind)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "type" and id(node) not in fine:
            yield "uses type as a value"


def _documentation(tree: ast.Module) -> Iterator[int]:
    """The ids of the nodes that are docstrings or texts without effect."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield id(node.value)
