"""Limits that may differ by domain: `8192`, or `{math: 8192, default: 16384}`.

R1's corpus averages 7,436 tokens per sample in code and 1,420 in general (v2 Table 5), so one limit
does not fit all. A domain that is not in the mapping, without a `default`, has no limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, TypeVar

import polars as pl
from pydantic import Field

T = TypeVar("T", int, float, str)

Scope = str
"""A domain, or `default`."""

NonNegative = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]

Counts = NonNegative | dict[Scope, NonNegative]
Shares = Share | dict[Scope, Share]


def by_domain(value: T | Mapping[Scope, T] | None) -> pl.Expr:
    """Return an expression for the limit of each row by its `domain`; null without a limit."""
    if not isinstance(value, Mapping):
        return pl.lit(value)
    limit = pl.lit(value.get("default"))
    for domain, own in value.items():
        if domain != "default":
            limit = pl.when(pl.col("domain") == domain).then(pl.lit(own)).otherwise(limit)
    return limit


def contradictions(
    low: float | Mapping[Scope, float] | None, high: float | Mapping[Scope, float] | None
) -> Iterator[tuple[Scope | None, float, float]]:
    """Yield each domain (None: all) whose floor is above its limit, with both."""
    scopes: list[Scope | None] = [*low] if isinstance(low, Mapping) else []
    scopes += [scope for scope in high if scope not in scopes] if isinstance(high, Mapping) else []
    for scope in scopes or [None]:
        floor, limit = _limit_of(low, scope), _limit_of(high, scope)
        if floor is not None and limit is not None and floor > limit:
            yield scope, floor, limit


def _limit_of(value: float | Mapping[Scope, float] | None, scope: Scope | None) -> float | None:
    if not isinstance(value, Mapping):
        return value
    return value.get(scope or "default", value.get("default"))


def format_bound(relation: str, value: T | Mapping[Scope, T]) -> str:
    """Format a limit for a rule: "at most 8192 (math), 16384 (default)"."""
    if not isinstance(value, Mapping):
        return f"{relation} {value}"
    return f"{relation} " + ", ".join(f"{own} ({domain})" for domain, own in value.items())
