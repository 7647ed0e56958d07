"""Whether the installed trainers are ones this code was tried with; told before anything loads."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from factory.core.errors import MissingDependency

TESTED = {
    "trl": ("1.16.0", "1.17"),
    "transformers": ("5.17.0", "6"),
    "accelerate": ("1.10.0", "2"),
    "peft": ("0.18.0", "1"),
}
"""Package → the oldest version that is known to fit, and the first that need not."""

INSTALL = "pip install 'r1-factory[train]'"


def check_versions() -> None:
    """Raises MissingDependency for a package that is missing or outside the tested range."""
    unfit = [what for package in TESTED if (what := misfit(package, _installed(package)))]
    if unfit:
        raise MissingDependency(f"training needs other packages: {'; '.join(unfit)}. {INSTALL}")


def misfit(package: str, found: str | None) -> str | None:
    """What is wrong with an installed version; None where it fits."""
    if found is None:
        return f"{package} is not installed"
    oldest, beyond = TESTED[package]
    if release(oldest) <= release(found) < release(beyond):
        return None
    return f"{package} {found} is installed; tested are {oldest} up to below {beyond}"


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def release(text: str) -> tuple[int, ...]:
    """The numbers that a version begins with: 1.16.0.dev0 → (1, 16, 0)."""
    numbers = []
    for part in text.split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
