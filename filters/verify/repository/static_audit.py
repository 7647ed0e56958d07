"""What a patch adds that a repair rarely needs and a cheat often does.

Code under test and the tests share a process, so that a patch may try to reach the test runner, the
interpreter or objects that compare equal to everything. What it adds of that kind makes a verdict
of "correct" undecided: the attempt is suspicious, not wrong.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

from filters.verify.repository.patch import parse_python

_MODULES_TEXT = """
_pytest atexit builtins code codecs codeop concurrent ctypes dis doctest faulthandler gc
imp importlib inspect linecache marshal mmap multiprocessing nose os pdb pickle pkgutil
pluggy posix pytest resource runpy selectors shutil signal site socket subprocess sys
tempfile threading _thread trace traceback types unittest warnings weakref
"""
_NAMES_TEXT = """
__build_class__ __builtins__ __import__ __loader__ __spec__ breakpoint compile eval exec exit
globals locals open quit setattr delattr vars SystemExit KeyboardInterrupt BaseException
AssertionError
"""
_ATTRIBUTES_TEXT = """
__bases__ __class__ __closure__ __code__ __defaults__ __dict__ __func__ __globals__
__kwdefaults__ __mro__ __subclasses__ __traceback__ __wrapped__ _getframe cr_frame f_back
f_builtins f_code f_globals f_locals gi_frame modules settrace setprofile tb_frame
"""
_METHODS_TEXT = """
__bool__ __class__ __contains__ __del__ __eq__ __getattribute__ __ge__ __gt__ __hash__
__init_subclass__ __instancecheck__ __le__ __len__ __lt__ __ne__ __set_name__
__subclasscheck__
"""
_MODULES, _NAMES, _ATTRIBUTES, _METHODS = (
    frozenset(text.split())
    for text in (_MODULES_TEXT, _NAMES_TEXT, _ATTRIBUTES_TEXT, _METHODS_TEXT)
)
_WORDS = ("pytest", "unittest", "conftest", "test_", "assert", "__", "sys.modules")
"""In a text: names under which the tests and their runner can be found."""


_HARMLESS = frozenset({"os.path", "os.sep", "sys.maxsize", "sys.version_info", "warnings.warn"})


def find_suspicions(after: str, *known: str | None) -> list[str]:
    """What `after` holds of that kind more often than each of the `known` texts, in words.

    All are Python: a file after a patch, before it, and as its authors wrote it.

    >>> find_suspicions("import sys\\nx = 1", "x = 1")
    ['imports sys']
    >>> find_suspicions("import sys\\nx = 2", "import sys\\nx = 1")
    []
    """
    fine: Counter[str] = Counter()
    for text in known:
        if text is not None:
            fine |= Counter(_list_reaches(text))
    return list(Counter(_list_reaches(after)) - fine)


def _list_reaches(text: str) -> Iterator[str]:
    tree = parse_python(text)
    documentation = set(_documentation(tree))
    reached = dict(_reached_modules(tree))
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                for alias in node.names:
                    yield from _import(alias.name)
            case ast.ImportFrom():
                if node.level == 0:
                    yield from _import(node.module or "")
                for alias in node.names:
                    if alias.name in _MODULES | _NAMES | _ATTRIBUTES:
                        yield f"imports {alias.name}"
            case ast.Name() if node.id in _NAMES:
                yield f"uses {node.id}"
            case ast.Name() if node.id in _METHODS:  # __eq__ = lambda …
                yield f"sets {node.id}"
            case ast.Attribute() if node.attr in _ATTRIBUTES or node.attr in _METHODS:
                yield f"uses .{node.attr}"
            case ast.Attribute(value=ast.Name(id=name)) if name in reached:
                used = f"{reached[name]}.{node.attr}"
                if used not in _HARMLESS:
                    yield f"uses {used}"
            case ast.FunctionDef() | ast.AsyncFunctionDef() if node.name in _METHODS:
                yield f"defines {node.name}"
            case ast.Call(func=ast.Name(id="type"), args=[_, _, *_]):
                yield "makes a class by type()"
            case ast.Call(func=ast.Name(id="getattr"), args=[_, name, *_]) if not isinstance(
                name, ast.Constant
            ):
                yield "gets an attribute by a computed name"
            case ast.ClassDef() if node.keywords:
                yield "gives a class a metaclass or keywords"
            case ast.Constant() if isinstance(node.value, str) and id(node) not in documentation:
                yield from (f"holds the text {word!r}" for word in _WORDS if word in node.value)
            case ast.Try() | ast.TryStar():
                for handler in node.handlers:
                    if handler.type is None:
                        yield "catches everything"


def _import(name: str) -> Iterator[str]:
    root = name.partition(".")[0]
    if root in _MODULES:
        yield f"imports {root}"


def _reached_modules(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The names under which a file has those modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                if root in _MODULES:
                    yield alias.asname or root, root


def _documentation(tree: ast.Module) -> Iterator[int]:
    """The ids of the nodes that are docstrings or texts without effect."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield id(node.value)
