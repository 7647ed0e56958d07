"""What the runs of an assembly offer against what its quotas want, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from factory.core.errors import RunError
from factory.corpus.assembly.inputs import open_run, scan
from factory.corpus.assembly.selection import refuse_other_models
from factory.corpus.assembly.statistics import count
from factory.recipe.assembly import Assembly


def offers(recipe: Assembly) -> Iterator[str]:
    """Each run's rows by domain and model, then each quota: an account, line by line.

    A run that is not there yet is said and left out, so that a recipe can be checked before its
    runs are built. Raises RunError for models that the recipe does not want to be mixed.
    """
    inputs = []
    for source in recipe.runs:
        try:
            inputs.append(open_run(source))
        except RunError as error:
            yield f"{source.label}: {error}"
    if not any(given.shards for given in inputs):
        yield "no run offers a row yet, so the quotas were not looked at"
        return
    rows = scan(inputs).cast({"domain": pl.String, "model": pl.String})
    refuse_other_models(recipe, inputs, rows)
    for number, given in enumerate(inputs):
        own = rows.filter(run=number)
        counts = {name: _counts(own, name) for name in ("domain", "model")}
        yield f"{given.label}: {counts['domain'] or 'no row'}; {counts['model'] or 'no model'}"
    for domain, quota in recipe.quotas.items():
        offered = rows.filter(domain=domain)
        have, want, unit = offered.height, quota.rows, "rows"
        if want is None:
            have, want, unit = count(offered).tokens, quota.tokens or 0, "tokens"
        short = "" if have >= want else ": cannot be filled, whatever is selected"
        yield f"quota {domain}: {want:,} {unit} of {have:,} offered{short}"
    if len(inputs) < len(recipe.runs):
        yield f"{len(recipe.runs) - len(inputs)} of {len(recipe.runs)} runs are not counted"


def _counts(rows: pl.DataFrame, column: str) -> str:
    counted = rows[column].value_counts().sort("count", column, descending=[True, False])
    return ", ".join(f"{name} {number:,}" for name, number in counted.iter_rows())
