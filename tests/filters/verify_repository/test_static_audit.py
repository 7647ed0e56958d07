"""What reading a patch finds, each with the honest line that is nearest to it."""

from __future__ import annotations

import pytest

from filters.verify.repository.static_audit import find_suspicions

FOUND = [
    ("import urllib.parse\nx = urllib.parse.sys", "uses .sys"),
    ("import json.decoder\nx = json.decoder.code", "uses json.code"),
    ("look = getattr", "passes on getattr"),
    ("x = map(getattr, things, names)", "passes on getattr"),
    ("x = getattr(*pair)", "passes on getattr"),
    ("x = getattr(thing, name)", "gets an attribute by a computed name"),
    ("x = getattr(thing, 'modules')", "uses .modules"),
    ("x = form.format(thing)", "formats a computed text"),
    ("x = ('{0.f_' + 'code}').format(thing)", "formats a computed text"),
    ("x = form.format_map(things)", "uses .format_map"),
    ("wrap = functools.update_wrapper\nwrap(a, b)", "passes on update_wrapper"),
    ("update_wrapper(a, b, ['x'])", "passes on update_wrapper"),
    ("f = wraps(g, assigned=names)", "copies attributes by name"),
    ("from operator import *", "imports all of operator"),
    ("match x:\n    case object(modules=y): pass", "uses .modules"),
    ("match x:\n    case [*__eq__]: pass", "sets __eq__"),
    ("class A:\n    import operator as __eq__", "sets __eq__"),
    ("class A:\n    class __bool__: pass", "sets __bool__"),
    ("try: f()\nexcept E as __len__: pass", "sets __len__"),
    ("def pytest_pyfunc_call(pyfuncitem): return True", "defines the hook pytest_pyfunc_call"),
    ("pytest_runtest_call = call", "sets the hook pytest_runtest_call"),
    ("def __reduce__(self): pass", "defines __reduce__"),
]
HONEST = [
    "import urllib.parse\nx = urllib.parse.quote(y)",
    "x = self.code + response.code + site.test",
    "x = getattr(thing, 'name', None)",
    "x = '{} {name}'.format(1, name=2) + f'{y}'.format(1)",
    "@functools.wraps(function)\ndef g(): pass",
    "update_wrapper(a, b)",
    "from .parts import *",
    "match x:\n    case Point(x=0, y=other) | [*rest]: pass",
    "try: f()\nexcept ValueError as error: pass",
    "class A:\n    class Meta: pass",
    "import numpy as np\nx = np.array(1)",
]


@pytest.mark.parametrize(("text", "expected"), FOUND)
def test_what_is_found(text: str, expected: str) -> None:
    assert expected in find_suspicions(text, "x = 1\n")


@pytest.mark.parametrize("text", HONEST)
def test_what_is_not(text: str) -> None:
    assert find_suspicions(text, "x = 1\n") == []


OUTSIDE = [
    ("import helpers", True),
    ("from helpers.cases import EXPECTED", True),
    ("def f():\n    import helpers.cases as x", True),
    ("from .helpers import x", False),
    ("from pkg.helpers import x", False),
    ("helpers = 1", False),
]


@pytest.mark.parametrize(("text", "found"), OUTSIDE)
def test_modules_next_to_the_package(text: str, found: bool) -> None:
    expected = ["imports helpers, which is outside of the package"] * found
    assert find_suspicions(text, "x = 1\n", outside=frozenset({"helpers"})) == expected
