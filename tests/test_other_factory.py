"""Another package named `factory` (factory_boy) in the same environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A folder of installed packages with one like factory_boy."""
    (tmp_path / "factory").mkdir()
    (tmp_path / "factory" / "__init__.py").write_text('"""Fixtures replacement."""\n')
    record = tmp_path / "factory_boy-3.3.3.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: factory_boy\nVersion: 3.3.3\n")
    (record / "RECORD").write_text(
        "factory/__init__.py,,\nfactory_boy-3.3.3.dist-info/METADATA,,\n"
    )
    return tmp_path


def run(*path: Path, arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.argv = ['factory', *{arguments.split()!r}]; import r1_factory as r; "
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(
        [sys.executable, "-c", f"{code}r.main()"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        cwd=path[0],
    )


def test_the_first_line_says_which_package_lies_over_which(other: Path) -> None:
    launcher = other / "r1_factory.py"
    launcher.write_text((ROOT / "r1_factory.py").read_text())
    done = run(other, ROOT, arguments="doctor")
    assert done.returncode == 8
    first = done.stderr.splitlines()[0]
    place = other / "factory" / "__init__.py"
    assert f"factory_boy 3.3.3 lies over R1 Factory: {place} belongs to it" in first
    assert "python -m venv factory-env" in first
    assert "Traceback" not in done.stderr


def test_doctor_warns_before_it_bites(other: Path) -> None:
    done = run(ROOT, other, arguments="doctor")
    assert done.returncode == 0, done.stderr
    assert "!!  name         factory_boy 3.3.3 also brings a package `factory`" in done.stdout
    assert "whichever is installed last breaks the other. Remedy: give R1 Factory" in done.stdout


def test_alone_it_starts() -> None:
    done = run(ROOT, arguments="--help")
    assert done.returncode == 0, done.stderr
    assert "Make a corpus" in done.stdout
