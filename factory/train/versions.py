"""Check that the installed training packages have tested versions, before they are loaded."""

from __future__ import annotations

from packaging.version import Version

from factory.core.errors import MissingDependency
from factory.core.machine import find_version

TESTED = {
    "trl": ("1.16.0", "1.17"),
    "transformers": ("5.17.0", "6"),
    "accelerate": ("1.10.0", "2"),
    "peft": ("0.18.0", "1"),
}
"""Package → the oldest tested version, and the first that is not covered by the tests."""

INSTALL = "pip install 'r1-factory[train]'"


def check_versions() -> None:
    """Raise MissingDependency for a package that is missing or outside the tested range."""
    checked = (describe_mismatch(package, find_version(package)) for package in TESTED)
    problems = [problem for problem in checked if problem]
    if problems:
        listing = "; ".join(problems)
        raise MissingDependency(f"training needs other package versions: {listing}. {INSTALL}")


def describe_mismatch(package: str, found: str | None) -> str | None:
    """Describe why an installed version can't be used; None if it can."""
    if found is None:
        return f"{package} is not installed"
    oldest, beyond = TESTED[package]
    if parse_release(oldest) <= parse_release(found) < parse_release(beyond):
        return None
    return f"{package} {found} is installed; tested are {oldest} up to below {beyond}"


def parse_release(text: str) -> tuple[int, ...]:
    """Return the release numbers of a version: 1.16.0.dev0 → (1, 16, 0)."""
    return Version(text).release
