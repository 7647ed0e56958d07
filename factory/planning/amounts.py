"""How much work a recipe asks for, as far as it shows without a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import comb
from pathlib import Path
from typing import Any

from factory.prompts.source import Source
from factory.recipe.sampling import Sampling

SET_ROWS = {
    "gsm8k": 7_473,
    "numina_math": 896_000,
    "deepscaler": 40_000,
    "dapo_math": 17_400,
    "big_math": 251_000,
    "openr1_math": 225_000,
    "open_math_reasoning": 3_200_000,
    "deep_math": 103_000,
    "prm800k": 12_000,
    "taco": 26_000,
    "apps": 10_000,
    "gpqa": 198,
    "live_code_bench": 279,
}
"""Rows of the named sets, as their cards say; of live_code_bench those of R1's months."""

HUB_ROWS = {
    "HuggingFaceH4/aime_2024": 30,
    "math-ai/aime25": 30,
    "HuggingFaceH4/MATH-500": 500,
    "allenai/ai2_arc": 2_000,
}
"""The same for data sets of `kind: hub`."""


def count_prompts(sources: Iterable[Source]) -> tuple[int, list[str]]:
    """Return the prompts of all sources, at most, and the labels of sources that don't show it."""
    total, unknown = 0, []
    for source in sources:
        rows = _count_source(source)
        if rows is None:
            unknown.append(source.label)
        else:
            total += rows
    return total, unknown


def _count_source(source: Source) -> int | None:
    size: Any = getattr(source, "size", None)
    rows = SET_ROWS.get(source.kind)
    if isinstance(size, int):
        rows = size * len(getattr(source, "tasks", ("",)))
    elif source.kind == "hub":
        rows = HUB_ROWS.get(str(getattr(source, "dataset", "")))
    elif source.kind == "files":
        rows = _count_lines(getattr(source, "path", ()))
    if rows is None:
        return source.limit
    return rows if source.limit is None else min(rows, source.limit)


def _count_lines(given: Path | str | Sequence[Any]) -> int | None:
    """Return the lines of JSON Lines files; None for other files and patterns."""
    paths = [Path(given)] if isinstance(given, str | Path) else [Path(one) for one in given]
    if not paths or any(path.suffix != ".jsonl" or not path.is_file() for path in paths):
        return None
    return sum(len(path.read_bytes().splitlines()) for path in paths)


def expected_draws(sampling: Sampling, acceptance: float) -> tuple[float, float, str]:
    """Return the samples and the accepted samples of a prompt, and how they were computed.

    Every sample is accepted with the same probability, so real prompts, which differ, need fewer
    samples where many are easy, and give fewer rows where many are hopeless.
    """
    n, p = sampling.n, acceptance
    if sampling.policy not in ("until", "difficulty") or sampling.accept is None:
        return float(n), n * p, f"{n} samples of each prompt"
    wanted = sampling.accept
    draws = 0.0
    for drawn in range(n):  # is another one drawn after `drawn`?
        few = range(min(wanted, drawn + 1))
        draws += sum(comb(drawn, k) * p**k * (1 - p) ** (drawn - k) for k in few)
    formula = f"until {wanted} of {n} are accepted, each with probability {p:g}"
    return draws, min(float(wanted), draws * p), formula


def count_corpus(path: Path) -> int | None:
    """Return the training rows of a finished corpus; None where there is none yet."""
    import pyarrow.parquet as pq

    folder = path / "corpus" if (path / "corpus").is_dir() else path
    files = [
        file
        for file in sorted(folder.glob("*.parquet"))
        if not file.name.startswith(("validation-", "test-"))
    ]
    return sum(int(pq.read_metadata(file).num_rows) for file in files) if files else None
