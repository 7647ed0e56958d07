"""What the machine refuses a command is one line with a remedy and exit code 5, never a traceback.

benchmarks/faults.py lets real system calls of a real build fail.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from factory.cli import cli
from factory.cli.refusals import explain_refusal
from factory.core import errors
from factory.core.errors import FactoryError
from factory.core.files import REMEDIES, storage_error
from tests.recorded import recipe_file, record

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, "x", "/data/a"), "/data/a: Input/output error. Check the disk, then"),
        (OSError(errno.EMFILE, "Too many open files"), "Raise the limit of open files"),
        (OSError("No space left on device (os error 28): /data/a"), "/data/a. Free some space"),
        (BlockingIOError(errno.EAGAIN, "x"), "raise the limit of processes"),
        (SystemError("<f> returned NULL without setting an exception"), "Free some memory"),
        (SystemError("error return without exception set"), "without a reason"),
        (MemoryError(), "no more memory. Free some memory"),
        (RuntimeError("can't start new thread"), "no more threads. End other programs"),
        (RuntimeError('spawn: Os { code: 11, kind: WouldBlock, message: "" }'), "End other"),
    ],
)
def test_a_refusal_has_a_remedy(error: BaseException, said: str) -> None:
    found = explain_refusal(error)
    assert found is not None
    assert said in found
    assert found.endswith("then run the same command again; everything written before is safe.")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("code: 11"),
        ValueError("a bug"),
        FileNotFoundError(errno.ENOENT, "x", "/data/a"),
        ZeroDivisionError(),
        KeyError(5),
        SystemExit(3),
        SystemError("<f> returned a result with an exception set"),
    ],
)
def test_a_bug_keeps_its_traceback(error: BaseException) -> None:
    assert explain_refusal(error) is None


@pytest.mark.parametrize("number", REMEDIES, ids=os.strerror)
def test_a_failed_write_has_the_same_remedy(number: int) -> None:
    said = str(storage_error(Path("/data/a"), OSError(number, os.strerror(number))))
    assert f"/data/a cannot be written: {os.strerror(number)}. {REMEDIES[number]}, then" in said


def test_a_limit_of_the_shell_is_named(tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, record(tmp_path / "recorded", 1), 1)
    build = [sys.executable, "-m", "factory.cli", "build", str(recipe), "--run"]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 4; exec "$@"', "bash", *build, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 5
    assert "prompts.parquet cannot be written: File too large. Raise the limit" in done.stderr
    assert "Traceback" not in done.stderr
    again = subprocess.run([*build, str(tmp_path / "run")], capture_output=True, cwd=ROOT)
    assert again.returncode == 0


def test_help_lists_every_exit_code() -> None:
    codes = {
        str(kind.exit_code)
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, FactoryError) and kind is not FactoryError
    }
    assert codes <= set(re.findall(r"(\d+) [a-z]", cli.help or ""))
