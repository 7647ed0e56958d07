"""Versions of installed packages, by the names that pip knows."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version


def find_version(package: str) -> str | None:
    """Return the installed version of a package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def list_versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of those packages that are installed."""
    found = {package: find_version(package) for package in packages}
    return {
        "python": platform.python_version(),
        **{package: number for package, number in found.items() if number is not None},
    }
