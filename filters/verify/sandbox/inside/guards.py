"""What notices that code under test reaches for the process that it shares with the test runner.

Functions are recorded before any attempt, in the warm process, and compared by identity later.
Nothing here is found by name afterwards: whoever runs an attempt first calls `forget_modules`.
"""

from __future__ import annotations

import builtins
import operator
import os
import sys
import threading
import types
from collections.abc import Callable, Collection, Iterator
from typing import Any

from .classes import Classes

ROOT = "/repository/"
"""The folder of the repository."""

_RUNNERS = frozenset({"_pytest", "pluggy", "unittest", "pytest"})
"""Packages whose functions decide whether a test passes."""
_NO_PART_TEXT = """
_pytest._io.pprint _pytest._py.error _pytest._py.path _pytest.cacheprovider
_pytest.config.argparsing _pytest.debugging _pytest.doctest _pytest.helpconfig _pytest.hookspec
_pytest.mark.expression _pytest.pytester _pytest.terminal unittest.loader unittest.main
unittest.result unittest.runner unittest.suite
"""
_NO_PART = frozenset(_NO_PART_TEXT.split())
"""Modules of theirs that take no part in it."""
_AT_EVERY_TEST_TEXT = """
_pytest._code.code _pytest.assertion _pytest.assertion.rewrite _pytest.assertion.util
_pytest.fixtures _pytest.nodes _pytest.outcomes _pytest.python _pytest.python_api _pytest.raises
_pytest.reports _pytest.runner _pytest.skipping _pytest.unittest unittest.case
"""
_AT_EVERY_TEST = frozenset(_AT_EVERY_TEST_TEXT.split())
"""Modules of theirs, besides pluggy's, that each test goes through. The others are looked at
between two modules of tests."""
_CHANGED_BY_PYTEST = frozenset({"pdb", "warnings"})
"""Modules of which pytest replaces functions itself."""
_EVENTS = """
code.__new__ compile exec function.__new__ gc.get_objects gc.get_referents gc.get_referrers
marshal.loads object.__delattr__ object.__getattr__ object.__setattr__
sys._current_exceptions sys._current_frames sys._getframe sys.addaudithook sys.setprofile
sys.settrace
"""
_WATCHED = frozenset(_EVENTS.split())
"""Audit events by which code gets at what runs it."""
_LOOKS_FOR_OTHERS = ("/inspect.py", "/traceback.py")
"""Modules that give their caller the frames that they look at."""
_RUNS_FOR_OTHERS = (*_LOOKS_FOR_OTHERS, "/typing.py", "/functools.py")
"""Modules that run for their caller what an annotation says."""

Owner = dict[str, Any] | types.MappingProxyType[str, Any]
Unseen = Callable[[Callable[[], str | None]], str | None]
Guarded = tuple[Owner, str, Any, Any]
"""Where a function is found, its name there, the function and its code."""


def forget_modules() -> None:
    """Take this package out of the table of modules, so that no import finds it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "inside"]:
        del sys.modules[name]
    sys.modules["__main__"] = types.ModuleType("__main__")


class Guards:
    """The functions of the test runner, and of everything else that is imported so far."""

    def __init__(self) -> None:
        seen: set[int] = set()
        owner = builtins.__dict__
        every: list[Guarded] = [(owner, name, value, None) for name, value in owner.items()]
        every += _guard_modules(_is_at_every_test, seen)
        self.at_every_test = Baseline(every)
        self.runner = Baseline(_guard_modules(lambda name: _root(name) in _RUNNERS, seen))
        left_out = _RUNNERS | _CHANGED_BY_PYTEST | {"inside", "__main__"}
        self.others = Baseline(_guard_modules(lambda name: _root(name) not in left_out, seen))
        self.classes = Classes()

    def find_tampering(self, between_modules: bool, thorough: bool = False) -> str | None:
        """What is no longer as it was of that by which tests are run."""
        found = self.at_every_test.find_change(between_modules or thorough)
        return found or (self.runner.find_change(thorough) if between_modules else None)


def _is_at_every_test(name: str) -> bool:
    return name in _AT_EVERY_TEST or _root(name) == "pluggy"


def _root(name: str) -> str:
    return name.partition(".")[0]


def watch(
    say: Callable[..., None],
    changed: Collection[str],
    tests: Collection[str],
    frame: Callable[[int], Any] = sys._getframe,
    thread: Callable[[], int] = threading.get_ident,
    resolve: Callable[[str], str] = os.path.realpath,
) -> tuple[Callable[[str, Any], None], Unseen]:
    """An audit hook, and what lets a check pass it by. The hook cannot be removed. It reports what
    a file of `changed` does itself, and that one opens, by whatever module and under whatever name,
    a file of `tests`."""
    said: set[str] = set()
    identify = _make_identifier()
    secret = {identify(path) for path in _list_secret(tests)} - {None}
    near = _list_folders(tests, changed)
    looking = 0  # the thread that looks at frames or functions, which is an event itself

    def report(event: str, place: str | None) -> None:
        if place is not None and event not in said:
            said.add(event)
            say("reached", event, place.removeprefix(ROOT))

    def hook(event: str, arguments: Any) -> None:
        nonlocal looking
        if looking and looking == thread():
            return
        if event == "open":
            looking = thread()
            try:
                place = _find_caller(frame(1), changed)
                if place is not None and (found := identify(arguments[0])) is not None:
                    if found in secret:
                        report("the file of a test", place)
                    elif resolve(os.fsdecode(arguments[0])).startswith(near):
                        report("a file next to the tests", place)
            finally:
                looking = 0
        elif event in _WATCHED or event.startswith("ctypes"):
            looking = thread()
            try:
                others = _RUNS_FOR_OTHERS if event == "exec" else _LOOKS_FOR_OTHERS
                place = _name_caller(frame(1), others)
            finally:
                looking = 0
            report(event, place if place in changed else None)

    def unseen(check: Callable[[], str | None]) -> str | None:
        nonlocal looking
        looking = thread()
        try:
            return check()
        finally:
            looking = 0

    return hook, unseen


def _make_identifier(
    stat: Callable[[Any], os.stat_result] = os.stat,
) -> Callable[[Any], tuple[int, int] | None]:
    """A function that says which file a path leads to, whatever links and folders it names."""

    def identify(path: Any) -> tuple[int, int] | None:
        if type(path) is not str and type(path) is not bytes:
            return None
        try:
            found = stat(path)
        except (OSError, ValueError):
            return None
        return found.st_dev, found.st_ino

    return identify


def _list_folders(tests: Collection[str], changed: Collection[str]) -> tuple[str, ...]:
    """The folders of tests, as paths begin that lead into them, without those that hold code."""
    folders = {f"{os.path.dirname(ROOT + path)}/" for path in tests}
    return tuple(one for one in folders if not any(file.startswith(one) for file in changed))


def _list_secret(tests: Collection[str]) -> Iterator[str]:
    """The files of tests, and what Python has compiled of them."""
    for path in tests:
        yield ROOT + path
        folder, name = os.path.split(ROOT + path)
        compiled, stem = os.path.join(folder, "__pycache__"), name.removesuffix("py")
        if os.path.isdir(compiled):
            for entry in os.listdir(compiled):
                if entry.startswith(stem):
                    yield os.path.join(compiled, entry)


def _find_caller(caller: Any, changed: Collection[str]) -> str | None:
    """The innermost file of `changed` that has called, by way of whatever others."""
    while caller is not None:
        place: str = caller.f_code.co_filename
        if place in changed:
            return place
        caller = caller.f_back
    return None


def _name_caller(caller: Any, others: tuple[str, ...]) -> str:
    """The file whose code did something: by itself, by way of a module of `others`, or by code
    that was made from a text."""
    place: str = caller.f_code.co_filename
    made = False
    while caller.f_back is not None:
        made = made or (place.startswith("<") and not place.startswith("<frozen "))
        if not place.endswith(others) and (not made or place.startswith(ROOT)):
            break
        caller = caller.f_back
        place = caller.f_code.co_filename
    return place


def _guard_modules(wanted: Callable[[str], bool], seen: set[int]) -> list[Guarded]:
    guarded: list[Guarded] = []
    for name, module in list(sys.modules.items()):
        if name in _NO_PART or not isinstance(module, types.ModuleType):
            continue
        if wanted(name):
            guarded += _list_functions(module.__dict__, name, seen)
    return guarded


def _list_functions(owner: Owner, module: str, seen: set[int]) -> Iterator[Guarded]:
    """The functions of a module, or a class of it, and of its classes."""
    for name, value in list(owner.items()):
        if isinstance(value, types.FunctionType):
            yield owner, name, value, value.__code__
        elif isinstance(value, classmethod | staticmethod | property):
            yield owner, name, value, None
        elif isinstance(value, type) and value.__module__ == module:
            yield owner, name, value, None
            if id(value) not in seen:
                seen.add(id(value))
                yield from _list_functions(value.__dict__, module, seen)


class Baseline:
    """What functions were, to be compared before every test: by identity, in C, a few thousand."""

    def __init__(self, guarded: list[Guarded]) -> None:
        self._owners = [owner for owner, _, _, _ in guarded]
        self._names = [name for _, name, _, _ in guarded]
        self._values = [value for _, _, value, _ in guarded]
        self._functions = [value for _, _, value, code in guarded if code is not None]
        self._codes = [code for _, _, _, code in guarded if code is not None]
        self._same, self._get = operator.is_, operator.getitem
        self._code_of = operator.attrgetter("__code__")

    def renew(self) -> None:
        """Take what is there now for what was: pytest has changed itself."""
        self._values = list(map(self._get, self._owners, self._names))

    def find_change(self, thorough: bool) -> str | None:
        """What is no longer as it was. `thorough`: the code of each function too, which costs an
        audit event each."""
        try:
            there = map(self._get, self._owners, self._names)
            if not all(map(self._same, there, self._values)):
                return "a function was replaced"
            codes = map(self._code_of, self._functions)
            if thorough and not all(map(self._same, codes, self._codes)):
                return "a function has other code"
        except KeyError as error:
            return f"{error} is gone"
        return None
