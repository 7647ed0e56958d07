"""The one way by which classes are found: table, entry point, a user's own file."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from factory.core.plugins import PluginError, find_class, find_function, own_module
from filters import FILTERS, GROUP, filter_class
from filters.base import Filter
from filters.verify import verifier_class

pytestmark = pytest.mark.usefixtures("trusted_code")

OWN = """
from collections.abc import Sequence
from filters.base import Filter, Rule
from filters.length import Length

class Mine(Filter):
    limit: int = 3
    def rules(self) -> Sequence[Rule]:
        return []

class Other:
    pass

def score(rows):
    return [1.0 for _ in rows]
"""

PLUGIN = """
from collections.abc import Sequence
from filters.base import Filter, Rule

class Installed(Filter):
    def rules(self) -> Sequence[Rule]:
        return []

constant = 3
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN, encoding="utf-8")
    return path


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path, as an installer would have left it."""
    (tmp_path / "a_plugin.py").write_text(PLUGIN, encoding="utf-8")
    add_distribution(
        tmp_path,
        "a-plugin",
        "[factory.filters]\ninstalled = a_plugin:Installed\nlength = a_plugin:Installed\n"
        "gone = a_plugin:Gone\nconstant = a_plugin:constant\n",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def add_distribution(folder: Path, name: str, points: str) -> None:
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)


def find(name: str) -> type[Filter]:
    return find_class(FILTERS, name, Filter, GROUP)


def test_a_shipped_name_an_own_class_and_an_entry_point(own: Path, installed: Path) -> None:
    assert find("length").__name__ == "Length"  # what ships wins over an entry point of its name
    assert find(f"{own}:Mine").__name__ == "Mine"
    assert find("installed").__name__ == "Installed"
    assert find("installed").REFERENCE == "installed"
    assert find("installed").SOURCE
    assert not find("length").SOURCE


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("lenght", r"'lenght' is unknown; .*did you mean length\?"),
        ("own.py:Mine", "own.py cannot be read"),
        ("{own}", "path/to/file.py:Class"),
        ("{own}:Nine", "own.py has no class Nine; it has Mine, Other"),
        ("{own}:score", "has no class score; it has Mine, Other"),
        ("{own}:Length", "imports Length and does not define it"),
        ("{own}:Other", "own.py: class Other is no filters.base.Filter; derive it"),
        ("{own}:", "path/to/file.py:Class"),
        ("length:Length", "path/to/file.py:Class"),
        ("gone", "a_plugin:Gone, which a-plugin 1.0 provides as gone, cannot be loaded: Attr"),
        ("constant", "a_plugin:constant, .* is no class"),
    ],
)
def test_what_cannot_be_found_is_refused_by_name(
    own: Path, installed: Path, name: str, complaint: str
) -> None:
    with pytest.raises(PluginError, match=complaint):
        find(name.format(own=own))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("import nothing_of_that_name", "own.py:1 fails: ModuleNotFoundError"),
        ("x = 1\ny = x / 0\n", "own.py:2 fails: ZeroDivisionError"),
        ("x = 1\n\ndef (:\n", "own.py:3 fails: SyntaxError"),
        ("import sys\nsys.exit(0)\n", "own.py:2 fails: SystemExit"),
    ],
)
def test_a_file_that_fails_is_named_with_its_line(own: Path, text: str, complaint: str) -> None:
    own.write_text(text, encoding="utf-8")
    with pytest.raises(PluginError, match=complaint):
        find(f"{own}:Mine")


def test_a_file_that_changed_is_another_module(own: Path) -> None:
    """Same second, same size: neither the module table nor bytecode may keep the old one."""
    before = find(f"{own}:Mine")
    own.write_text(OWN.replace("= 3", "= 4"), encoding="utf-8")
    after = find(f"{own}:Mine")
    assert (before.model_fields["limit"].default, after.model_fields["limit"].default) == (3, 4)
    assert before.SOURCE != after.SOURCE
    assert own_module(own, "class Mine") is own_module(own, "class Mine")
    assert not list(own.parent.rglob("__pycache__"))


def test_two_packages_of_one_name_are_refused(installed: Path) -> None:
    (installed / "b_plugin.py").write_text(PLUGIN, encoding="utf-8")
    add_distribution(installed, "b-plugin", "[factory.filters]\ninstalled = b_plugin:Installed\n")
    with pytest.raises(PluginError, match=r"a-plugin 1\.0, b-plugin 1\.0; uninstall all but one"):
        find("installed")


def test_a_name_out_of_a_row_runs_no_file(own: Path) -> None:
    ran = own.with_name("ran")
    own.write_text(f"open({str(ran)!r}, 'w').close()", encoding="utf-8")
    with pytest.raises(PluginError, match="is unknown"):
        verifier_class(f"{own}:Mine")
    assert not ran.exists()


def test_filters_cross_processes(own: Path, installed: Path) -> None:
    for name in (f"{own}:Mine", "installed"):
        made = filter_class(name)()
        again = pickle.loads(pickle.dumps(made))  # noqa: S301 (our own bytes)
        assert again == made
        assert again.cache_key() == made.cache_key()


def test_functions(own: Path) -> None:
    assert find_function(f"{own}:score")([1, 2]) == [1.0, 1.0]
    with pytest.raises(PluginError, match="has no function scare; it has"):
        find_function(f"{own}:scare")
