"""What honest suites do to their own process and to pytest: none of it looks like interference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from filters.verify.repository.environments import Environments
from filters.verify.repository.problem import limits
from filters.verify.repository.snapshots import pack_files
from filters.verify.repository.trial import Records, make_trial, run_once
from filters.verify.sandbox import Boxes, available

PACKAGE = """
import logging

log = logging.getLogger(__name__)


class Meta(type):
    def __new__(mcs, name, bases, space):
        return super().__new__(mcs, name, bases, {**space, "made": True})


class Base(metaclass=Meta):
    def __eq__(self, other):
        return type(self) is type(other)

    __hash__ = object.__hash__


def add(one, other):
    log.info("adding %s", one)
    return one + other
"""
CONFTEST = """
import logging, os, sys, unittest
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "more"))
unittest.TestCase.assertItemsEqual = unittest.TestCase.assertCountEqual
logging.basicConfig(level=logging.DEBUG)


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true")


def pytest_collection_modifyitems(config, items):
    assert config.getoption("verbose") == 0
    assert not config.getoption("--doctest-modules")
    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip("slow"))


@pytest.fixture(autouse=True)
def names(doctest_namespace, monkeypatch):
    doctest_namespace["x"] = 1
    monkeypatch.setenv("IN_TESTS", "1")


@pytest.fixture(autouse=True)
def ready():
    import pkg
    pkg.add(0, 0)
"""
TESTS = """
import atexit, builtins, contextlib, dataclasses, enum, gc, inspect, io, json, logging, os, sys
import tempfile, threading, time, unittest, warnings
from unittest import mock
import pytest
import pkg, helper


def test_metaclass():
    class Other(pkg.Base): pass
    assert Other() == Other() and Other.made and helper.VALUE

def test_mocks():
    made = mock.MagicMock()
    made.__eq__.return_value = True
    assert made == 5 == mock.ANY

def test_a_class_that_is_equal_to_all():
    assert type("Any", (), {"__eq__": lambda self, other: True})() == 1

def test_generated_classes():
    point = dataclasses.make_dataclass("Point", ["x"], order=True)
    assert point(1) < point(2) and enum.Enum("Kind", "A B").A

def test_functions_replaced(monkeypatch):
    monkeypatch.setattr(json, "dumps", lambda *some: "x")
    monkeypatch.setattr(builtins, "open", lambda *some: "x")
    monkeypatch.setattr(sys, "stdin", io.StringIO("a"))
    assert json.dumps(1) == open("y") == "x"

def test_modules_replaced(monkeypatch):
    monkeypatch.setitem(sys.modules, "json", None)
    with pytest.raises(ImportError):
        import json

@mock.patch("time.sleep")
def test_patched(sleep):
    time.sleep(100)
    sleep.assert_called_once()

def test_output(capsys):
    print("hi")
    assert capsys.readouterr().out == "hi\\n"

def test_log(caplog):
    with caplog.at_level(logging.INFO):
        pkg.add(1, 1)
    assert "adding 1" in caplog.text

def test_warnings():
    with pytest.warns(UserWarning):
        warnings.warn("x")

def test_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("x")
    with tempfile.TemporaryDirectory() as folder:
        assert open("a").read() == "x" and os.listdir(folder) == []

def test_its_own_source():
    assert "assert" in inspect.getsource(test_its_own_source) and open(__file__).read()

def test_threads():
    got = []
    thread = threading.Thread(target=got.append, args=(1,))
    thread.start()
    thread.join()
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    assert got == [1]

def test_the_process():
    atexit.register(print, "the end")
    sys.settrace(lambda *some: None)
    sys.settrace(None)
    assert gc.collect() >= 0 and gc.get_objects() and eval("1 + 1") == 2

def test_records(record_property):
    record_property("a", 1)

@pytest.mark.slow
def test_slow():
    assert False

class Cases(unittest.TestCase):
    def test_items(self):
        self.assertItemsEqual([1, 2], [2, 1])

    def test_parts(self):
        for number in range(3):
            with self.subTest(number=number):
                self.assertEqual(number, number)

    def test_log(self):
        with self.assertLogs("pkg", "INFO"):
            pkg.add(1, 1)
"""
FILES = {
    "pkg.py": PACKAGE,
    "conftest.py": CONFTEST,
    "more/helper.py": "VALUE = 1\n",
    "tests/test_all.py": TESTS,
}


@pytest.fixture(scope="module")
def boxes(cache: Path) -> Iterator[Boxes]:
    reason = available()
    if reason is not None:
        pytest.skip(reason)
    environments = Environments(1)
    snapshot = pack_files({path: text.encode() for path, text in FILES.items()})
    yield environments.boxes(snapshot, (), (".",))
    environments.close()


def test_nothing_looks_like_interference(boxes: Boxes) -> None:
    records = _run(boxes, PACKAGE)
    assert (records.tampered, records.broken, records.reached) == (None, None, [])
    others = {name for name, state in records.outcomes.items() if state != "passed"}
    assert others == {"tests/test_all.py::test_slow"}, records.details


def test_an_attempt_whose_tests_cannot_be_set_up_is_broken_and_no_cheat(boxes: Boxes) -> None:
    """A fixture that all tests use fails, and with it the tests that are there to fail."""
    records = _run(boxes, PACKAGE.replace("one + other", "None + other"))
    assert records.tampered is None
    assert set(records.outcomes.values()) == {"not set up", "skipped"}


def test_an_internal_error_of_pytest_says_why(boxes: Boxes) -> None:
    wrong = CONFTEST.replace('config.getoption("--doctest-modules")', 'config.getoption("--no")')
    records = _run(boxes, PACKAGE, {"conftest.py": wrong})
    assert (records.broken or "").startswith("pytest says: internal error: ValueError: no option")


def _run(boxes: Boxes, package: str, more: Mapping[str, str] | None = None) -> Records:
    files = {"pkg.py": package, **(more or {})}
    ids = [f"tests/test_all.py::{name}" for name in NAMES]
    return run_once(boxes, make_trial(files, limits(), ids=ids, paths=["."], changed=["pkg.py"]))


NAMES = [
    line.split("(")[0].removeprefix("def ")
    for line in TESTS.splitlines()
    if line.startswith("def test_")
] + [f"Cases::{name}" for name in ("test_items", "test_parts", "test_log")]
