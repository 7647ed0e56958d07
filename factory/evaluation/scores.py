"""Score a judged run: one row per prompt, one column per metric; then metrics by source.

pass@1 is the mean over a prompt's decided samples, then over prompts. A sample whose verdict is
undecided (the verifier timed out, or there is none) is neither right nor wrong: it is excluded and
counted, and every result shows the count. The same holds for a sample that was never drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from factory.core.errors import Problem, RecipeError, RunError
from factory.core.run_dir import sample_parts
from factory.evaluation.choices import Drawn, choose
from factory.evaluation.estimators import Bounds, MeanEstimate, Resampling, pass_at_k
from factory.judging.metrics import metrics_file
from factory.judging.verdicts import load_verdicts, verdict_column
from factory.recipe.evaluation import Choice, parse_choice
from filters.base import Filter

FILE = "scores.parquet"
INTERNAL = ("kind", "votes")
"""Columns that are not stored: the verifier's kind, and every sample's answer and scores."""

ALL = "all"
"""The name of the group of all prompts."""

SHARE: Bounds = (0.0, 1.0)
NO_VOTE = ("code",)
"""Kinds of verifiers without cons@k: no two programs are written alike."""


@dataclass(frozen=True)
class GroupResult:
    """The result of one source, or of all prompts.

    `undecided` counts samples without a verdict, `missing` those never drawn. pass@k and cons@k
    exclude prompts that have too few other samples; their estimates say how many prompts they use.
    """

    prompts: int
    samples: int
    undecided: int
    missing: int
    metrics: dict[str, MeanEstimate]


def metric_bounds(metric: str) -> Bounds | None:
    """Return the bounds of a metric; None for a count."""
    return None if metric == "tokens" else SHARE


def score_prompts(
    run: Path, filters: Mapping[str, Filter], k_of: Mapping[str, int], columns: Sequence[str]
) -> pl.DataFrame:
    """Return one row per prompt: prompt_id, source, k, samples, undecided, correct and `columns`.

    A metric that isn't known is null. The columns INTERNAL are there as well. Raises RecipeError
    for a score that no filter measures, or that can't weigh votes.
    """
    choices = {name: found for name in columns if (found := parse_choice(name))}
    used = list(dict.fromkeys(one.score for one in choices.values() if one.score))
    asked = pl.read_parquet(run / "prompts.parquet", columns=["id", "source", "verifier"]).select(
        pl.col("source").replace_strict(k_of, return_dtype=pl.Int64).alias("k"),
        "source",
        prompt_id="id",
        kind=pl.col("verifier").str.json_path_match("$.kind"),
    )
    samples = _samples(run, filters, used).join(asked.select("prompt_id", "k"), on="prompt_id")
    # A run that once had a larger k has more samples.
    samples = samples.filter(pl.col("index") < pl.col("k")).sort("prompt_id", "index")
    _refuse_negative(samples, choices)
    grouped = samples.group_by("prompt_id", maintain_order=True).agg(
        samples=pl.len(),
        undecided=pl.col("right").is_null().sum(),
        correct=pl.col("right").sum(),
        tokens=pl.col("n_tokens").mean(),
        truncated=(pl.col("finish_reason") == "length").mean(),
        format=pl.col("format").mean(),
        language=pl.col("language").mean(),
        votes=pl.struct("extracted", "right", "n_tokens", *used),
    )
    counts = ("samples", "undecided", "correct")
    prompts = asked.join(grouped, on="prompt_id", how="left", maintain_order="left").with_columns(
        pl.col(counts).fill_null(0)
    )
    at_k = [
        pl.Series(name, _at_k(prompts, choice), dtype=pl.Float64).fill_nan(None)
        for name, choice in choices.items()
    ]
    return prompts.with_columns(at_k).select(
        "prompt_id", "source", "k", *counts, *columns, *INTERNAL
    )


def _samples(run: Path, filters: Mapping[str, Filter], scores: Sequence[str]) -> pl.DataFrame:
    """Return one row per sample: answer, verdict, format verdict, language metric, `scores`."""
    decision = pl.col(verdict_column("correctness")).struct.field("decision")
    form: pl.Expr = pl.lit(None, dtype=pl.Boolean)
    if "format" in filters:
        form = pl.col(verdict_column("format")).struct.field("decision") == "keep"
    found = load_verdicts(run).select(
        "sample_id",
        "prompt_id",
        "index",
        "finish_reason",
        "n_tokens",
        right=pl.when(decision == "keep").then(True).when(decision == "drop").then(False),
        format=form,
    )
    measured = [("correctness", "correctness_extracted", "extracted")]
    if "language" in filters:
        measured.append(("language", "language_consistency", "language"))
    else:
        found = found.with_columns(language=pl.lit(None, dtype=pl.Float64))
    for name, column, alias in measured:
        files = [metrics_file(run, name, filters[name], part.stem) for part in sample_parts(run)]
        own = pl.scan_parquet(files).select("sample_id", pl.col(column).alias(alias))
        found = found.join(own, on="sample_id", how="left")
    for score in scores:
        own = pl.scan_parquet(_find_score(run, filters, score))
        found = found.join(
            own.select("sample_id", pl.col(score).cast(pl.Float64)), on="sample_id", how="left"
        )
    return found.collect()


def _find_score(run: Path, filters: Mapping[str, Filter], score: str) -> list[Path]:
    """Return the metrics files with a score. Raises RecipeError where no filter measures it."""
    known: list[str] = []
    for name, filter_ in filters.items():
        files = [metrics_file(run, name, filter_, part.stem) for part in sample_parts(run)]
        schema = pl.read_parquet_schema(files[0]) if files else {}
        if score in schema and schema[score].is_numeric():
            return files
        known += [column for column, dtype in schema.items() if dtype.is_numeric()]
    what = f"has the score {score!r}, which no filter measures; the scores are {', '.join(known)}"
    raise RecipeError([Problem("metrics", what)])


def _refuse_negative(samples: pl.DataFrame, choices: Mapping[str, Choice]) -> None:
    """Raise RecipeError for a vote that is weighted by a score with negative values."""
    problems = []
    for name, choice in choices.items():
        lowest = samples[choice.score].min() if choice.kind == "vote" and choice.score else None
        if isinstance(lowest, float) and lowest < 0:
            what = (
                f"has {name}, but {choice.score} has values down to {lowest:.3g}, which can't be "
                "weights; set sigmoid: true for a reward model, or use best@"
            )
            problems.append(Problem("metrics", what))
    if problems:
        raise RecipeError(problems)


def _at_k(prompts: pl.DataFrame, choice: Choice) -> list[float]:
    """Return a metric of several samples of every prompt; NaN where it has too few."""
    rows = prompts.select("k", "samples", "undecided", "correct", "kind", "votes").rows()
    values = []
    for own, samples, undecided, correct, verifier, votes in rows:
        votes_on_answers = choice.kind in ("cons", "vote")
        if own < (choice.k or 1) or (votes_on_answers and verifier in NO_VOTE):
            values.append(float("nan"))
        elif choice.kind == "pass" and choice.k is not None:
            values.append(pass_at_k(samples - undecided, correct, choice.k))
        else:
            values.append(choose(choice, read_votes(votes, choice.score)))
    return values


def read_votes(votes: Sequence[Mapping[str, Any]] | None, score: str | None = None) -> list[Drawn]:
    """Return a prompt's samples from the column `votes`, each with one of its scores."""
    return [
        Drawn(one["extracted"], one["right"], one["n_tokens"], one[score] if score else None)
        for one in votes or ()
    ]


def group_scores(
    scores: pl.DataFrame, columns: Sequence[str], resampling: Resampling
) -> dict[str, GroupResult]:
    """Return the result of each source, and with several sources also that of all prompts.

    The values of `all` are means over prompts, not over sources. A metric that a source can't have,
    because its k is smaller, is not given for `all`.
    """
    names = scores["source"].unique(maintain_order=True).to_list()
    found = {name: _group(scores.filter(source=name), columns, resampling) for name in names}
    if len(found) > 1:
        common = [c for c in columns if all(group.metrics[c].prompts for group in found.values())]
        found[ALL] = _group(scores, common, resampling)
    return found


def _group(scores: pl.DataFrame, columns: Sequence[str], resampling: Resampling) -> GroupResult:
    estimates = resampling.estimate(to_matrix(scores, columns), [metric_bounds(c) for c in columns])
    samples = int(scores["samples"].sum())
    return GroupResult(
        prompts=scores.height,
        samples=samples,
        undecided=int(scores["undecided"].sum()),
        missing=int(scores["k"].sum()) - samples,
        metrics=dict(zip(columns, estimates, strict=True)),
    )


def to_matrix(scores: pl.DataFrame, columns: Sequence[str]) -> Any:
    """Return the metrics as an array, one row per prompt; null becomes NaN."""
    if not columns:
        return np.empty((scores.height, 0))
    return scores.select(pl.col(columns).cast(pl.Float64).fill_null(float("nan"))).to_numpy()


def load_scores(directory: Path) -> pl.DataFrame:
    """Load the scores of an evaluation. Raises RunError where there are none."""
    try:
        return pl.read_parquet(directory / FILE)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(
            f"{directory} holds no finished evaluation ({error}); run `factory eval` first"
        ) from error
