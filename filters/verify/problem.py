"""What the verifiers of programs and repositories read of a prompt's mapping in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ProblemError(ValueError):
    """The mapping cannot be used; says where and why."""


def read_number(
    spec: Mapping[str, Any], key: str, default: float, least: float, most: float
) -> float:
    """Return a number of a mapping, or `default` where it is absent. Raises ProblemError."""
    value = spec.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ProblemError(f"{key} is {value!r}; it must be a number from {least:g} to {most:g}")
    return float(value)
