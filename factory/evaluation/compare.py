"""Compare two models on the same prompts, with paired confidence intervals.

Most of the uncertainty of a benchmark's mean comes from the choice of its prompts. Both models
answered the same prompts, so the per-prompt differences are resampled. The paired interval is much
narrower than two independent intervals suggest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from factory.core.errors import RunError
from factory.evaluation.estimators import Resampling
from factory.evaluation.result import Evaluation, ModelComparison
from factory.evaluation.scores import load_scores, metric_bounds, to_matrix
from factory.evaluation.selection import DIFFERENCE, split_sources

if TYPE_CHECKING:
    from factory.recipe.evaluation import Against


def compare_scores(
    found: Evaluation,
    scores: pl.DataFrame,
    other: Evaluation,
    against: Against,
    resampling: Resampling,
) -> ModelComparison:
    """Return `found` minus `other` on their common prompts, with counts of the other prompts.

    Raises RunError where they have no prompt in common.
    """
    theirs = load_scores(against.path)
    common = scores.join(theirs.select("prompt_id"), on="prompt_id", how="semi")
    if common.is_empty():
        raise RunError(
            f"against: {against.path} has none of these prompts, so nothing can be compared; "
            "evaluate both models with the same sources"
        )
    # Join by id: the rows of the two need not be in the same order.
    paired = common.select("prompt_id").join(
        theirs, on="prompt_id", how="left", maintain_order="left"
    )
    columns = [c for c in found.columns if c in theirs.columns]
    differences = pl.DataFrame(
        to_matrix(common, columns) - to_matrix(paired, columns), schema=columns, orient="row"
    ).with_columns(common["source"])
    bounds = [DIFFERENCE if metric_bounds(column) else None for column in columns]
    groups = {}
    for name, part in split_sources(differences).items():
        wanted = found.groups[name].metrics
        estimates = resampling.estimate(to_matrix(part, columns), bounds)
        groups[name] = {c: e for c, e in zip(columns, estimates, strict=True) if c in wanted}
    first = differences[next((c for c in columns if c == "pass@1"), columns[0])]
    return ModelComparison(
        name=against.name or other.name,
        model=other.model,
        prompts=common.height,
        only_here=scores.height - common.height,
        only_there=theirs.height - common.height,
        better=int((first > 0).sum()),
        worse=int((first < 0).sum()),
        settings=_describe_differences(found, other),
        groups=groups,
    )


def _describe_differences(found: Evaluation, other: Evaluation) -> list[str]:
    """List the settings other than the model that differ; they affect the comparison too."""
    keys = sorted(found.settings.keys() | other.settings.keys())
    return [
        f"{key}: {found.settings.get(key)!r} here, {other.settings.get(key)!r} there"
        for key in keys
        if not key.startswith("model.") and found.settings.get(key) != other.settings.get(key)
    ]
