"""Calling what a user wrote: whatever it raises names file, class, method and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from factory.core.errors import FactoryError
from factory.core.plugins import line_in

Result = TypeVar("Result")


class TrialError(FactoryError):
    """A class of the user's own, or of an installed package, does not do what its kind must."""

    exit_code = 2


def call_own(name: str, method: str, call: Callable[[], Result], remedy: str) -> Result:
    """The result of a user's method. Raises TrialError that names it and the line it failed at."""
    try:
        return call()
    except FactoryError:
        raise
    except (Exception, SystemExit) as error:  # a user's class may raise anything
        file = Path(name.rpartition(":")[0])
        line = line_in(file.resolve(), error) if file.suffix == ".py" else ""
        at = f" at line {line[1:]}" if line else ""
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        advice = f"; {remedy}" if remedy else ""
        raise TrialError(f"{name}: {method} raises {what}{at}{advice}") from error
