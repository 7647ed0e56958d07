"""Numbers of a plan, each with its unit and the formula it comes from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

Unit = Literal["bytes", "tokens", "tokens/s", "s", "GPU-hours", "parameters", "FLOPs", "samples"]

_SCALES = (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3))


class Quantity(NamedTuple):
    """One number, and how it was computed."""

    name: str
    value: float
    unit: Unit
    formula: str

    def show(self) -> str:
        """Return the value with its unit, rounded for people."""
        if self.unit == "bytes":
            return show_bytes(self.value)
        if self.unit == "s":
            return show_seconds(self.value)
        if self.unit == "parameters":
            return show_count(self.value)
        return f"{show_count(self.value)} {self.unit}"


def add_up(parts: Iterable[Quantity]) -> float:
    return sum(part.value for part in parts)


def show_bytes(value: float) -> str:
    """
    >>> show_bytes(15_231_000_000)
    '15.2 GB'
    """
    return f"{value / 1e9:,.1f} GB"


def show_seconds(value: float) -> str:
    """
    >>> show_seconds(90), show_seconds(7_200), show_seconds(864_000)
    ('1.5 min', '2.0 h', '10.0 days')
    """
    for unit, seconds, limit in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 172_800)):
        if value < limit:
            return f"{value / seconds:.1f} {unit}"
    return f"{value / 86_400:,.1f} days"


def show_count(value: float) -> str:
    """
    >>> show_count(7_615_616_512), show_count(4100), show_count(87.4)
    ('7.62B', '4.1k', '87')
    """
    for letter, scale in _SCALES:
        if value >= scale:
            return f"{value / scale:.3g}{letter}" if value < 10 * scale else _whole(value, letter)
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def _whole(value: float, letter: str) -> str:
    return f"{value / dict(_SCALES)[letter]:,.0f}{letter}"
