"""Runs a repository's tests by pytest and reports each through a pipe, as soon as it ends.

The code under test shares this process. What makes it hard to lie: records go through a pipe, so
that none can be taken back; each carries a nonce; tests that must fail stand between the others;
whatever a test raises is noted where it is called, so that nothing around it can swallow it; and
`guards` compares functions with what they were and watches what changed files do.

All that is the same for every attempt is made once, in the warm process (`warm_up`).
"""

from __future__ import annotations

import fnmatch
import gc
import importlib
import json
import os
import pathlib
import random
import sys
import types
from collections.abc import Callable, Iterator
from functools import partial
from json.encoder import encode_basestring_ascii
from typing import Any, NoReturn

from . import guards
from .guards import ROOT
from .programs import RESULT_FD

_MOST_DETAILS = 8
_DETAIL = 300
_OPTIONS_TEXT = (
    "-p no:cacheprovider -p no:doctest -p no:faulthandler -p no:junitxml -p no:pastebin"
    " -p no:terminal -p no:threadexception -p no:unraisableexception -s"
    " --continue-on-collection-errors --rootdir=/repository -o addopts="
)
"""Without the parts that write files or run the collector at the end of every test."""
_OFTEN_ASKED = ("cacheprovider", "doctest", "junitxml", "terminal")
"""Those of them whose options or fixtures a conftest.py may ask for."""
_OPTIONS = tuple(_OPTIONS_TEXT.split())
_FIXTURES_TEXT = """
doctest_namespace record_property record_testsuite_property record_xml_attribute
"""
_FIXTURES = tuple(_FIXTURES_TEXT.split())
_PATTERNS_TEXT = """
*.egg .* _darcs build CVS dist node_modules venv {arch} test_*.py *_test.py
"""
"""Of pytest's own settings `norecursedirs` and `python_files`."""
_COLLECTOR = 20_000, 20, 20
"""The thresholds of the collector of garbage: pytest makes much that is not."""


_REPLACES = "functions of another module"


class Warm:
    """pytest with its own plugins, configured as far as that needs no repository.

    `without`: plugins that no test of the repository can notice.
    """

    def __init__(self, without: list[str]) -> None:
        from _pytest.config import get_config

        os.chdir(ROOT)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        self.config = get_config([*_OPTIONS])
        for pattern in _PATTERNS_TEXT.split():
            fnmatch.fnmatch("", pattern)  # which keeps what it makes of a pattern
        for name in _OFTEN_ASKED:
            _offer(self.config, name)
        for name in without:  # now that their options are there, which others ask for
            self.config.pluginmanager.set_blocked(name)
        _keep_parser(self.config._parser)
        os.chdir("/box")
        self.guards = guards.Guards()


def _offer(config: Any, name: str) -> None:
    """Give what asks for the options and fixtures of a plugin that is left out their defaults."""
    plugin = importlib.import_module(f"_pytest.{name}")
    plugin.pytest_addoption(config._parser)
    fixtures = {key: getattr(plugin, key) for key in _FIXTURES if hasattr(plugin, key)}
    if fixtures:
        holder = types.ModuleType(name)
        holder.__dict__.update(fixtures)
        config.pluginmanager.register(holder, f"fixtures of {name}")


def _keep_parser(options: Any) -> None:
    """Let pytest's parser of options be made once, and not at each of six uses."""
    make = options._getparser
    kept: dict[int, Any] = {}

    def get() -> Any:
        count = sum(len(group.options) for group in [options._anonymous, *options._groups])
        if count not in kept:  # a conftest.py may add options
            kept[count] = make()
        return kept[count]

    options._getparser = get
    get()


def run_tests(warm: Warm, request: bytes, how: str) -> NoReturn:
    """Run the tests that `request` names, or all, and end the process.

    It is JSON: `nonce`; `ids`, the tests to run (null: all there are); `failing`, those of them
    that are there to fail; `paths`, the folders to import from; `changed`, the attempt's files;
    `where`, what to collect from; `compile`, whether to keep what is compiled.
    """
    job = json.loads(request)
    sys.dont_write_bytecode = not job["compile"]
    sys.path[:0] = [os.path.normpath(ROOT + path) for path in job["paths"]]
    os.environ.update(TMPDIR="/tmp", HOME="/tmp", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    sys.set_int_max_str_digits(4300)  # Python's own limit
    gc.set_threshold(*_COLLECTOR)
    say = _make_speaker(job["nonce"])
    guards.forget_modules()
    try:
        say("begin", how)
        files = {ROOT + path for path in job["changed"]}
        look = warm.guards.classes.watch(say, files)
        hook, unseen = guards.watch(say, files, frozenset(job["where"]))
        sys.addaudithook(hook)
        reporter = _make_reporter(job["ids"], set(job["failing"]), warm.guards, say, unseen, look)
        status = _run_pytest(warm.config, [*_OPTIONS, *job["where"]], reporter)
        say("end", str(status))
        os._exit(0)
    except BaseException as error:  # whatever ends pytest: tests without a record have failed
        say("broken", f"{type(error).__name__}: {error}"[:_DETAIL])
        os._exit(1)


def _run_pytest(config: Any, arguments: list[str], reporter: Any) -> int:
    """What `pytest.main` does once it has a configuration. Returns the exit status."""
    import pytest

    manager = config.pluginmanager
    manager.register(reporter)
    config.invocation_params = config.InvocationParams(
        args=arguments, plugins=[reporter], dir=pathlib.Path.cwd()
    )
    try:
        config = manager.hook.pytest_cmdline_parse(pluginmanager=manager, args=arguments)
        return int(config.hook.pytest_cmdline_main(config=config))
    except pytest.UsageError:
        return 4


def _make_speaker(
    nonce: str,
    descriptor: int = RESULT_FD,
    write: Callable[[int, bytes], int] = os.write,
    quote: Callable[[str], str] = encode_basestring_ascii,
    text: type[str] = str,
) -> Callable[..., None]:
    """A function that writes a record as JSON. It uses nothing that can be replaced."""

    def say(*record: str | int) -> None:
        parts = [quote(part) if part.__class__ is text else f"{part}" for part in (nonce, *record)]
        write(descriptor, f"[{', '.join(parts)}]\n".encode())

    return say


def _make_reporter(
    ids: list[str] | None,
    failing: set[str],
    guarded: guards.Guards,
    say: Callable[..., None],
    unseen: guards.Unseen,
    look_at_classes: Callable[[], None],
) -> Any:
    """The pytest plugin that selects, orders and reports tests."""
    import pytest

    wanted = None if ids is None else {name: place for place, name in enumerate(ids)}
    outcomes: dict[str, str] = {}
    raised: set[str] = set()
    details = [_MOST_DETAILS]

    class Reporter:
        def pytest_configure(self, config: Any) -> None:
            config.option.tbstyle = "value"  # a long traceback costs more than most tests
            self.path = None

        def pytest_load_initial_conftests(self) -> None:
            # Before the repository's first line runs, and after pytest's own changes to itself.
            guarded.at_every_test.renew()
            guarded.runner.renew()

        def pytest_internalerror(self, excinfo: Any) -> None:
            say("broken", excinfo.exconly(tryshort=True).strip().partition("\n")[0][:_DETAIL])

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
            if found := unseen(partial(guarded.find_tampering, item.path != self.path)):
                say("tampered", found)
            self.path = item.path

        @pytest.hookimpl(wrapper=True, trylast=True)
        def pytest_pyfunc_call(self, pyfuncitem: Any) -> Iterator[None]:
            try:
                return (yield)
            except BaseException:
                raised.add(pyfuncitem.nodeid)
                raise

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(self, item: Any, call: Any) -> Iterator[None]:
            report = yield
            name = item.nodeid
            outcome = _judge_phase(report, call)
            if outcome == "passed" and call.when == "call" and name in raised:
                outcome = "failed"  # something around the call swallowed what it raised
            if call.when == "setup" or outcomes.get(name, "passed") == "passed":
                outcomes[name] = outcome
            if call.when == "teardown":
                place = name if wanted is None else wanted[name]
                say("test", place, outcomes.pop(name), *self._explain(item, call))
            elif outcome not in ("passed", "skipped") and details[0] and name not in failing:
                details[0] -= 1
                text = "what it raised was swallowed"
                if call.excinfo is not None:
                    text = call.excinfo.exconly(tryshort=True)
                item.stash[failure] = text.strip().partition("\n")[0][:_DETAIL]
            return report

        def _explain(self, item: Any, call: Any) -> list[str]:
            return [item.stash[failure]] if failure in item.stash else []

        @pytest.hookimpl(trylast=True)
        def pytest_sessionfinish(self) -> None:
            if found := unseen(partial(guarded.find_tampering, True, thorough=True)):
                say("tampered", found)
            if guarded.others.find_change(False):
                say("reached", _REPLACES, "")
            look_at_classes()

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
    """passed, skipped, asserted (an AssertionError), not set up (by its fixtures), or failed."""
    raised = call.excinfo
    if report.outcome == "skipped":
        return "skipped"
    if raised is not None and call.when == "setup":
        return "not set up"
    if raised is not None:
        return "asserted" if raised.errisinstance(AssertionError) else "failed"
    return "passed" if report.outcome == "passed" else "failed"
