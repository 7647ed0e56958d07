"""Compares the rows of an assembly's runs with its quotas, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from factory.core.errors import RunError
from factory.corpus.assembly.inputs import open_run, scan_rows
from factory.corpus.assembly.selection import refuse_other_models
from factory.corpus.assembly.statistics import count_rows
from factory.recipe.assembly import Assembly


def preview_assembly(recipe: Assembly) -> Iterator[str]:
    """Yield lines about each run's rows by domain and model, and about each quota.

    A run that is not built yet is reported and skipped, so that a recipe can be checked early.
    Raises RunError for rows of models that the recipe doesn't list.
    """
    inputs = []
    for source in recipe.runs:
        try:
            inputs.append(open_run(source))
        except RunError as error:
            yield f"{source.label}: {error}"
    if not any(given.shards for given in inputs):
        yield "no run has rows yet, so the quotas were not checked"
        return
    rows = scan_rows(inputs).cast({"domain": pl.String, "model": pl.String})
    refuse_other_models(recipe, inputs, rows)
    for number, given in enumerate(inputs):
        own = rows.filter(run=number)
        counts = {name: _format_counts(own, name) for name in ("domain", "model")}
        yield f"{given.label}: {counts['domain'] or 'no row'}; {counts['model'] or 'no model'}"
    for domain, quota in recipe.quotas.items():
        offered = rows.filter(domain=domain)
        have, want, unit = offered.height, quota.rows, "rows"
        if want is None:
            have, want, unit = count_rows(offered).tokens, quota.tokens or 0, "tokens"
        short = "" if have >= want else ": cannot be filled by any selection"
        yield f"quota {domain}: {want:,} {unit} of {have:,} offered{short}"
    if len(inputs) < len(recipe.runs):
        yield f"{len(recipe.runs) - len(inputs)} of {len(recipe.runs)} runs are not counted"


def _format_counts(rows: pl.DataFrame, column: str) -> str:
    counted = rows[column].value_counts().sort("count", column, descending=[True, False])
    return ", ".join(f"{name} {number:,}" for name, number in counted.iter_rows())
