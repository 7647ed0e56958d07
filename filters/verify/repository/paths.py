"""What a patch may change: Python files of the package, and nothing that runs or is a test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from filters.verify.repository.patch import PatchError

_TEST_FOLDERS = frozenset({"test", "tests", "testing", "_tests"})
_TEST_SETTINGS = frozenset(
    {
        "conftest.py",
        "noxfile.py",
        "pytest.ini",
        ".pytest.ini",
        "tox.ini",
        "setup.cfg",
        "pyproject.toml",
        "pytest.py",
        "_pytest.py",
        "sitecustomize.py",
        "usercustomize.py",
    }
)


def require_allowed(path: str, packages: Sequence[str]) -> None:
    """Raise PatchError unless `path` is a Python file of one of `packages`.

    A package is a folder or one file, relative to the repository.
    """
    parts = PurePosixPath(path).parts
    if not path or "\\" in path or any(ord(char) < 32 for char in path):
        raise PatchError("forbidden_path", f"{path[:80]!r} is no path")
    if path.startswith("/") or ".." in parts or "/".join(parts) != path or parts[0][1:2] == ":":
        raise PatchError("forbidden_path", f"{path} is not a plain path inside the repository")
    if is_test(path):
        raise PatchError("forbidden_path", f"{path} belongs to the tests", in_tests=True)
    if any(part.startswith(".") or part == "__pycache__" for part in parts):
        raise PatchError("forbidden_path", f"{path} is hidden or compiled")
    if not path.endswith(".py"):
        raise PatchError("forbidden_path", f"{path} is no Python file")
    if not any(path == package or path.startswith(f"{package}/") for package in packages):
        raise PatchError("forbidden_path", f"{path} is outside of {', '.join(packages)}")


def is_test(path: str) -> bool:
    """Whether a path is a test, or sets how tests are run."""
    *folders, name = PurePosixPath(path).parts or ("",)
    lowered = name.lower()
    return (
        lowered in _TEST_SETTINGS
        or not _TEST_FOLDERS.isdisjoint(folder.lower() for folder in folders)
        or lowered.startswith("test_")
        or lowered.endswith(("_test.py", "_tests.py"))
        or lowered in ("test.py", "tests.py")
    )
