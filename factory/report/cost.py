"""The cost of a useful accepted sample, and that of a fixed number of samples per prompt."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from factory.core.yaml_files import read_yaml
from factory.report.snapshot import Snapshot

FIXED_N = (1, 2, 4, 8, 16, 32, 64)

_KEPT = pl.col("decision") == "keep"
_TOKENS = pl.col("n_tokens").cast(pl.Int64).sum()


def cost_of(snapshot: Snapshot, judged: pl.DataFrame) -> dict[str, Any] | None:
    """Return the generated tokens per useful accepted sample, actual and for each fixed n.

    At most `cap` accepted samples per prompt are useful; the cap is the recipe's
    `select.per_prompt` or `sampling.accept`. The estimate for a fixed n uses each prompt's observed
    acceptance rate and mean length. Returns None if nothing was accepted.
    """
    by_prompt = judged.group_by("prompt_id").agg(
        drawn=pl.len(), kept=_KEPT.sum(), mean=pl.col("n_tokens").mean(), tokens=_TOKENS
    )
    if by_prompt.is_empty() or not by_prompt["kept"].sum():
        return None
    cap = _cap(snapshot)
    drawn, kept = by_prompt["drawn"].to_numpy(), by_prompt["kept"].to_numpy()
    mean, chance = by_prompt["mean"].to_numpy(), kept / drawn
    tokens = int(by_prompt["tokens"].sum())
    useful = kept if cap is None else np.minimum(kept, cap)
    fixed = []
    for n in FIXED_N:
        expected = n * chance if cap is None else expected_capped(n, chance, cap)
        fixed.append(
            {
                "n": n,
                "tokens_per_useful": float(n * mean.sum() / expected.sum()),
                "accepted": float(expected.sum()),
            }
        )
    return {
        "cap": cap,
        "drawn_per_prompt": float(drawn.mean()),
        "tokens_per_useful": tokens / int(useful.sum()),
        "accepted": int(useful.sum()),
        "fixed_n": fixed,
    }


def _cap(snapshot: Snapshot) -> int | None:
    try:
        recipe = read_yaml(snapshot.run / "recipe.yaml")
        caps = [recipe.get("select", {}).get("per_prompt"), recipe["sampling"].get("accept")]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return min((cap for cap in caps if isinstance(cap, int)), default=None)


def expected_capped(n: int, chance: np.ndarray[Any, Any], cap: int) -> np.ndarray[Any, Any]:
    """Return E[min(X, cap)] for X ~ binomial(n, chance), by iterating the capped distribution."""
    states = np.zeros((chance.size, cap + 1))
    states[:, 0] = 1.0
    for _ in range(n):
        step = states[:, :-1] * chance[:, None]
        states[:, :-1] -= step
        states[:, 1:] += step
    expected: np.ndarray[Any, Any] = states @ np.arange(cap + 1)
    return expected
