"""Two models on the same prompts: differences with paired intervals.

Most of what makes a benchmark's mean uncertain is which prompts it holds. Both models met the same
ones, so each prompt's own difference is resampled, which is far surer than two intervals apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from factory.core.errors import RunError
from factory.evaluation.estimators import Resampling, Span
from factory.evaluation.result import Comparison, Evaluation
from factory.evaluation.scores import ALL, load_scores, matrix, span_of

if TYPE_CHECKING:
    from factory.recipe.evaluation import Against

DIFFERENCE: Span = (-1.0, 1.0)


def compare_scores(
    found: Evaluation,
    scores: pl.DataFrame,
    other: Evaluation,
    against: Against,
    resampling: Resampling,
) -> Comparison:
    """`found` less `other`, on the prompts that both asked; how many only one asked is told.

    Raises RunError where no prompt is in both.
    """
    theirs = load_scores(against.path)
    common = scores.join(theirs.select("prompt_id"), on="prompt_id", how="semi")
    if common.is_empty():
        raise RunError(
            f"against: {against.path} asked none of these prompts, so that nothing can be "
            "compared; evaluate both models with the same sources"
        )
    # Joined by id: rows of the two stand in the same order only by chance.
    paired = common.select("prompt_id").join(
        theirs, on="prompt_id", how="left", maintain_order="left"
    )
    columns = [c for c in found.columns if c in theirs.columns]
    differences = pl.DataFrame(
        matrix(common, columns) - matrix(paired, columns), schema=columns, orient="row"
    ).with_columns(common["source"])
    sources = differences["source"].unique(maintain_order=True).to_list()
    parts = {name: differences.filter(source=name) for name in sources}
    if len(parts) > 1:
        parts[ALL] = differences
    spans = [DIFFERENCE if span_of(column) else None for column in columns]
    groups = {}
    for name, part in parts.items():
        wanted = found.groups[name].metrics
        estimates = resampling.estimates(matrix(part, columns), spans)
        groups[name] = {c: e for c, e in zip(columns, estimates, strict=True) if c in wanted}
    first = differences[next((c for c in columns if c == "pass@1"), columns[0])]
    return Comparison(
        name=against.name or other.name,
        model=other.model,
        prompts=common.height,
        only_here=scores.height - common.height,
        only_there=theirs.height - common.height,
        better=int((first > 0).sum()),
        worse=int((first < 0).sum()),
        settings=_differing(found, other),
        groups=groups,
    )


def _differing(found: Evaluation, other: Evaluation) -> list[str]:
    """What besides the model was not the same: such a difference is not the model's alone."""
    keys = sorted(found.settings.keys() | other.settings.keys())
    return [
        f"{key}: {found.settings.get(key)!r} here, {other.settings.get(key)!r} there"
        for key in keys
        if not key.startswith("model.") and found.settings.get(key) != other.settings.get(key)
    ]
