"""Runs a repository's tests by pytest and reports each through a pipe, as soon as it ends.

The code under test shares this process. What makes it hard to lie: records go through a pipe, so
that none can be taken back; each carries a nonce; tests that must fail stand between the others;
pytest's own functions are compared with what they were before each test; and an audit hook reports
at once when a changed file reaches for frames, the collector or the like.
"""

from __future__ import annotations

import builtins
import json
import operator
import os
import random
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from .programs import RESULT_FD

_ROOT = "/repository/"
_MOST_DETAILS = 8
_DETAIL = 300
_OPTIONS = (
    "-p no:cacheprovider -p no:doctest -p no:faulthandler -p no:junitxml -p no:pastebin"
    " -p no:terminal -p no:threadexception -p no:unraisableexception -s"
    " --continue-on-collection-errors --rootdir=/repository -o addopts="
)
"""Without the parts that write files or run the collector at the end of every test."""
_GUARDED = ("_pytest", "pluggy", "unittest", "pytest")
_NO_PART = """
_pytest._io.pprint _pytest._py.error _pytest._py.path _pytest.cacheprovider
_pytest.config.argparsing _pytest.debugging _pytest.doctest _pytest.helpconfig _pytest.hookspec
_pytest.mark.expression _pytest.pytester _pytest.terminal unittest.loader unittest.main
unittest.result unittest.runner unittest.suite
"""
"""Modules that take no part in whether a test passes."""
_EVENTS = """
code.__new__ function.__new__ gc.get_objects gc.get_referents gc.get_referrers
marshal.loads object.__delattr__ object.__getattr__ object.__setattr__
sys._current_exceptions sys._current_frames sys._getframe sys.addaudithook sys.setprofile
sys.settrace
"""
_WATCHED = frozenset(_EVENTS.split())
"""Audit events by which code gets at what runs it."""

Owner = dict[str, Any] | types.MappingProxyType[str, Any]
Guarded = tuple[Owner, str, Any, Any]
"""Where a function is found, its name there, the function and its code."""


def run_tests(request: bytes, how: str) -> NoReturn:
    """Run the tests that `request` names, or all, and end the process.

    It is JSON: `nonce`; `ids`, the tests to run (null: all there are); `failing`, those of them
    that are there to fail; `paths`, the folders to import from; `changed`, the attempt's files;
    `where`, what to collect from; `compile`, whether to keep what is compiled.
    """
    job = json.loads(request)
    sys.dont_write_bytecode = not job["compile"]
    sys.path[:0] = [os.path.normpath(_ROOT + path) for path in job["paths"]]
    os.environ.update(TMPDIR="/tmp", HOME="/tmp", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    sys.set_int_max_str_digits(4300)  # Python's own limit
    say = _speaker(job["nonce"])
    try:
        import pytest

        say("begin", how)
        sys.addaudithook(_watch(say, {_ROOT + path for path in job["changed"]}))
        reporter = _reporter(job["ids"], set(job["failing"]), say)
        status = pytest.main([*_OPTIONS.split(), *job["where"]], plugins=[reporter])
        say("end", str(int(status)))
        os._exit(0)
    except BaseException as error:  # whatever ends pytest: tests without a record have failed
        say("broken", f"{type(error).__name__}: {error}"[:_DETAIL])
        os._exit(1)


def _speaker(nonce: str, write: Callable[[int, bytes], int] = os.write) -> Callable[..., None]:
    dumps = json.dumps

    def say(*record: str | int) -> None:
        write(RESULT_FD, dumps([nonce, *record]).encode() + b"\n")

    return say


def _reporter(ids: list[str] | None, failing: set[str], say: Callable[..., None]) -> Any:
    """The pytest plugin that selects, orders and reports tests."""
    import pytest

    wanted = None if ids is None else {name: place for place, name in enumerate(ids)}
    outcomes: dict[str, str] = {}
    details = [_MOST_DETAILS]

    class Reporter:
        def pytest_configure(self, config: Any) -> None:
            config.option.tbstyle = "value"  # a long traceback costs more than most tests

        def pytest_load_initial_conftests(self) -> None:
            # Before the repository's first line runs, and after pytest's own changes to itself.
            self.changed, self.path = _fingerprint(), None

        @pytest.hookimpl(trylast=True)
        def pytest_collection_modifyitems(self, items: list[Any]) -> None:
            if wanted is not None:
                items[:] = _place(failing, [item for item in items if item.nodeid in wanted])

        def pytest_collectreport(self, report: Any) -> None:
            if report.failed:
                text = str(report.longrepr).strip().rpartition("\n")[2]
                say("uncollected", report.nodeid, text[:_DETAIL])

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_protocol(self, item: Any) -> None:
            if found := self.changed(item.path != self.path):
                say("tampered", str(found)[:_DETAIL])
            self.path = item.path

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(self, item: Any, call: Any) -> Iterator[None]:
            report = yield
            name = item.nodeid
            outcome = _judge_phase(report, call)
            if call.when == "setup" or outcomes.get(name, "passed") == "passed":
                outcomes[name] = outcome
            if call.when == "teardown":
                place = name if wanted is None else wanted[name]
                say("test", place, outcomes.pop(name), *self._explain(item, call))
            elif outcome not in ("passed", "skipped") and details[0] and name not in failing:
                details[0] -= 1
                text = str(call.excinfo and call.excinfo.exconly(tryshort=True))
                item.stash[failure] = text.strip().partition("\n")[0][:_DETAIL]
            return report

        def _explain(self, item: Any, call: Any) -> list[str]:
            return [item.stash[failure]] if failure in item.stash else []

        @pytest.hookimpl(trylast=True)
        def pytest_sessionfinish(self) -> None:
            if found := self.changed(True):
                say("tampered", str(found)[:_DETAIL])

    failure = pytest.StashKey[str]()
    return Reporter()


def _place(failing: set[str], items: list[Any]) -> list[Any]:
    """The tests, with those that are there to fail put between any two modules."""
    placed = [item for item in items if item.nodeid not in failing]
    for item in items:
        if item.nodeid in failing:
            starts = [0, len(placed)]
            starts += [
                place
                for place in range(1, len(placed))
                if placed[place].path != placed[place - 1].path
            ]
            placed.insert(random.SystemRandom().choice(starts), item)
    return placed


def _judge_phase(report: Any, call: Any) -> str:
    """passed, skipped, asserted (an AssertionError), or failed."""
    raised = call.excinfo
    if report.outcome == "skipped":
        return "skipped"
    if raised is not None:
        return "asserted" if raised.errisinstance(AssertionError) else "failed"
    return "passed" if report.outcome == "passed" else "failed"


def _fingerprint() -> Callable[[bool], str | None]:
    """A function that says which of pytest's functions, or the builtins, are no longer theirs.

    It runs before every test: a few thousand comparisons by identity, in C. Their code is looked
    at where `thorough`, which costs an audit event each.
    """
    guarded: list[Guarded] = []
    seen: set[int] = set()
    for name, module in list(sys.modules.items()):
        if name in _NO_PART.split() or not isinstance(module, types.ModuleType):
            continue
        if name.partition(".")[0] in _GUARDED:
            guarded += _functions(module.__dict__, name, seen)
    guarded += [(builtins.__dict__, name, value, None) for name, value in vars(builtins).items()]
    owners = [owner for owner, _, _, _ in guarded]
    names = [name for _, name, _, _ in guarded]
    values = [value for _, _, value, _ in guarded]
    functions = [value for _, _, value, code in guarded if code is not None]
    codes = [code for _, _, _, code in guarded if code is not None]
    same, get, code_of = operator.is_, operator.getitem, operator.attrgetter("__code__")

    def changed(thorough: bool) -> str | None:
        try:
            if not all(map(same, map(get, owners, names), values)):
                return "a function was replaced"
            if thorough and not all(map(same, map(code_of, functions), codes)):
                return "a function has other code"
        except KeyError as error:
            return f"{error} is gone"
        return None

    return changed


def _functions(owner: Owner, module: str, seen: set[int]) -> Iterator[Guarded]:
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
                yield from _functions(value.__dict__, module, seen)


def _watch(
    say: Callable[..., None], changed: set[str], frame: Callable[[int], Any] = sys._getframe
) -> Callable[[str, Any], None]:
    """An audit hook. It cannot be removed, and looks only at what a changed file does itself."""
    said: set[str] = set()
    looking = False  # to look at a frame is an event itself

    def hook(event: str, arguments: Any) -> None:
        nonlocal looking
        if looking or (event not in _WATCHED and not event.startswith("ctypes")):
            return
        looking = True
        try:
            place = _caller_file(frame(1))
        finally:
            looking = False
        if place in changed and event not in said:
            said.add(event)
            say("reached", event, place.removeprefix(_ROOT))

    return hook


def _caller_file(caller: Any) -> str:
    """The file whose code did something, by itself or by way of `inspect`."""
    place: str = caller.f_code.co_filename
    if place.endswith("/inspect.py") and caller.f_back is not None:
        place = caller.f_back.f_code.co_filename
    return place
