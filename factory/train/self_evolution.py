"""What a policy learns by itself over the steps of RL: reflection, and accuracy by difficulty.

R1 counted ten words over the steps of R1-Zero, and the accuracy at each level of MATH (v2, C.1 and
C.2).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from factory.core.errors import Problem, RecipeError
from factory.core.nouns import Prompt

REFLECTION_WORDS = (
    *("wait", "mistake", "however", "but", "retry"),
    *("error", "verify", "wrong", "evaluate", "check"),
)
"""The words that R1 counted over the steps of R1-Zero (v2, C.2)."""

REFLECTION = "reflection"
ACCURACY = "accuracy_at"
"""Names of metrics: `reflection` and `reflection/WORD`, `accuracy_at/DIFFICULTY`."""

LEVELS = 8
"""More different numbers than this become quarters, and rarer texts become `other`."""

UNKNOWN = "unknown"


def reflection_shares(texts: pl.Series) -> dict[str, float]:
    """Return the share of each reflection word, and of all, among the words of all texts.

    >>> shares = reflection_shares(pl.Series(["Wait, that is wrong.", "Checked."]))
    >>> shares["reflection"], shares["reflection/wait"], shares["reflection/check"]
    (0.4, 0.2, 0.0)
    """
    words = texts.str.to_lowercase().str.extract_all(r"\p{L}+").explode().drop_nulls()
    found = Counter(words.filter(words.is_in(REFLECTION_WORDS)).to_list())
    total = max(1, len(words))
    shares = {f"{REFLECTION}/{word}": found[word] / total for word in REFLECTION_WORDS}
    return {REFLECTION: sum(found.values()) / total, **shares}


def label_difficulty(prompts: Sequence[Prompt], field: str) -> dict[str, str]:
    """Return prompt id → its difficulty, from a field of the prompts' `meta`.

    Up to eight different numbers stay as they are, more become quarters of the questions, from the
    lowest. Texts are put into lower case. What is neither, and a missing field, is `unknown`.
    Raises RecipeError where no question has the field.
    """
    values = {prompt.id: prompt.meta.get(field) for prompt in prompts}
    numbers = sorted(_list_numbers(values.values()))
    texts = Counter(value.strip().lower() for value in values.values() if isinstance(value, str))
    if not numbers and not texts:
        fields = sorted({key for prompt in prompts for key in prompt.meta})
        known = f"their meta has {', '.join(fields)}" if fields else "their meta is empty"
        what = f"is {field!r}, which no question has as a number or a text; {known}"
        raise RecipeError([Problem("difficulty", what)])
    common = {text for text, _ in texts.most_common(LEVELS)}
    edges = _find_quarters(numbers) if len(set(numbers)) > LEVELS else None

    def label(value: Any) -> str:
        if _is_number(value):
            return f"{value:g}" if edges is None else _name_quarter(float(value), edges)
        if isinstance(value, str):
            text = value.strip().lower()
            return text if text in common else "other"
        return UNKNOWN

    return {name: label(value) for name, value in values.items()}


def accuracy_by_difficulty(
    labels: Mapping[str, str], prompt_ids: Sequence[str], accuracy: Sequence[float | None]
) -> dict[str, float]:
    """Return the mean accuracy of a batch's completions by difficulty, as metrics.

    Completions without a decided accuracy count nowhere.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for name, value in zip(prompt_ids, accuracy, strict=True):
        if value is not None and not math.isnan(value):
            found[labels[name]].append(value)
    return {f"{ACCURACY}/{label}": sum(own) / len(own) for label, own in sorted(found.items())}


def _list_numbers(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values if _is_number(value)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _find_quarters(numbers: Sequence[float]) -> list[float]:
    """Return the upper edges of the quarters of sorted numbers."""
    return [numbers[max(0, len(numbers) * part // 4 - 1)] for part in (1, 2, 3, 4)]


def _name_quarter(value: float, edges: Sequence[float]) -> str:
    place = next(place for place, edge in enumerate(edges) if value <= edge)
    return f"quarter {place + 1}, up to {edges[place]:g}"
