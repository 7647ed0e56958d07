"""Selects the rows of several runs that become one corpus, step by step, on narrow columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
import xxhash

from factory.core.errors import QuotaError, RunError
from factory.corpus.assembly.inputs import Input, read_rows, scan_rows
from factory.corpus.assembly.questions import Questions, read_questions, skip_questions
from factory.corpus.assembly.quotas import Shortfall, fill_quota, measure_shortfall
from factory.corpus.assembly.statistics import CONTAMINATED, SelectionStep, count_rows
from factory.corpus.selection import pass_rate_in_band, rank_by_preference, split_and_shuffle
from factory.judging.funnel import SampleCount
from factory.recipe.assembly import Assembly

if TYPE_CHECKING:
    from factory.corpus.diversity import Sketches

_ORDER = ("run", "prompt_id", "index", "sample_id")


@dataclass(frozen=True)
class Choice:
    """The selected rows with split and rank, and what each step left out."""

    rows: pl.DataFrame
    offered: SampleCount
    steps: list[SelectionStep]
    shortfalls: list[Shortfall]


def choose(recipe: Assembly, inputs: Sequence[Input]) -> Choice:
    """Select rows: pass-rate bands, duplicates, decontamination, per-prompt limit, quotas, split.

    Raises QuotaError if no row is left.
    """
    rows = scan_rows(inputs)
    refuse_other_models(recipe, inputs, rows)
    offered, steps = count_rows(rows), list[SelectionStep]()

    def keep(kept: pl.DataFrame, left_out_as: str) -> pl.DataFrame:
        left = rows.join(kept.select("sample_id"), on="sample_id", how="anti")
        if left.height:
            steps.append(SelectionStep(left_out_as, count_rows(left)))
        return kept

    banded = _by_domain(
        rows, lambda domain, part: part.filter(pass_rate_in_band(recipe.select_of(domain)))
    )
    rows = keep(banded, "pass rate outside the band")
    rows = keep(_drop_copies(recipe, inputs, rows), "same text as another sample")
    questions = _read_questions(recipe, inputs, rows)
    if recipe.near_duplicates is not None:
        rows = keep(
            _restrict(questions.drop_near_duplicates(recipe.near_duplicates), rows),
            "near-duplicate prompt",
        )
    if recipe.contamination.against:
        clean = pl.col("share") <= recipe.contamination.max_share
        rows = keep(_restrict(questions.prompts.filter(clean), rows), CONTAMINATED)
    groups = questions.groups()
    del questions  # the sketches need more memory than all rows
    uncapped = rows
    rows = keep(
        _by_domain(rows, lambda *part: _limit_per_prompt(recipe, inputs, *part)), "rows per prompt"
    )
    if recipe.quotas:
        listed = rows.filter(pl.col("domain").cast(pl.String).is_in(list(recipe.quotas)))
        rows = keep(listed, "domain without a quota")
    shortfalls = []
    for domain, quota in recipe.quotas.items():
        of_domain = pl.col("domain") == domain
        short = measure_shortfall(
            domain,
            quota,
            rows.filter(of_domain),
            uncapped.filter(of_domain),
            recipe.select_of(domain).per_prompt,
            inputs,
        )
        shortfalls += [short] if short else []
    rows = keep(_by_domain(rows, lambda *part: _apply_quota(recipe, *part)), "over its quota")
    if not rows.height:
        listing = ", ".join(f"{step.name} {step.left_out.samples:,}" for step in steps)
        raise QuotaError(
            f"nothing is left of {offered.samples:,} rows: {listing or 'none offered'}"
        )
    rows = rows.join(groups, on="prompt_id", how="left", maintain_order="left")
    return Choice(split_and_shuffle(rows, recipe.corpus, "group"), offered, steps, shortfalls)


def refuse_other_models(recipe: Assembly, inputs: Sequence[Input], rows: pl.DataFrame) -> None:
    """Raise RunError for rows of models that the recipe's `models` doesn't list.

    R1 mixed its own rows with V3's on purpose. A row doesn't show if mixing was intended.
    """
    if not recipe.models:
        return
    found = rows.group_by("run", pl.col("model").cast(pl.String)).len().sort("run", "model")
    other = found.filter(~pl.col("model").is_in(recipe.models))
    if other.height:
        listing = "\n".join(
            f"  {inputs[run].label}: {count:,} rows of {model}"
            for run, model, count in other.rows()
        )
        raise RunError(
            f"these runs have rows of models that `models` does not list:\n{listing}\n"
            "Add the models to the list, or remove those runs."
        )


def _by_domain(
    rows: pl.DataFrame, step: Callable[[str, pl.DataFrame], pl.DataFrame]
) -> pl.DataFrame:
    """Apply a step to the rows of each domain and restore the order of `scan_rows`."""
    parts = rows.partition_by("domain", maintain_order=True)
    kept = [step(str(part["domain"][0]), part) for part in parts]
    return pl.concat(kept).sort(_ORDER) if kept else rows


def _drop_copies(recipe: Assembly, inputs: Sequence[Input], rows: pl.DataFrame) -> pl.DataFrame:
    """Drop all but the first of a prompt's rows with the same text.

    Each run has already removed its own duplicates. So text is read only for rows with the same
    number of tokens and for prompts with answers of several models.
    """
    wanted = [d for d in rows["domain"].unique() if recipe.select_of(d).drop_exact_duplicates]
    models = pl.col("model").to_physical().n_unique().over("prompt_id")
    suspects = rows.filter(
        pl.col("domain").cast(pl.String).is_in(wanted)
        & ((pl.len().over("prompt_id", "n_tokens") > 1) | (models > 1))
    )
    hashed = [
        some.with_columns(
            text=pl.Series([xxhash.xxh3_64_intdigest(t.encode()) for t in texts], dtype=pl.UInt64)
        )
        for some, texts in _texts(inputs, suspects)
    ]
    if not hashed:
        return rows
    copies = (
        pl.concat(hashed).sort(_ORDER).filter(~pl.struct("prompt_id", "text").is_first_distinct())
    )
    return rows.join(copies, on="sample_id", how="anti", maintain_order="left")


def _read_questions(recipe: Assembly, inputs: Sequence[Input], rows: pl.DataFrame) -> Questions:
    """Return the questions of the rows' prompts. Reads text only if a step needs it."""
    near = recipe.near_duplicates is not None
    if near or recipe.contamination.against or recipe.corpus.validation:
        return read_questions(inputs, rows, recipe.contamination, near=near)
    return skip_questions(rows)


def _restrict(prompts: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of these prompts."""
    return rows.join(prompts, on="prompt_id", how="semi", maintain_order="left")


def _limit_per_prompt(
    recipe: Assembly, inputs: Sequence[Input], domain: str, rows: pl.DataFrame
) -> pl.DataFrame:
    """Limit the rows per prompt. Adds `nth`, the position among the prompt's rows."""
    select = recipe.select_of(domain)
    if select.pick == "best" and rows["score"].null_count() == rows.height:
        raise RunError(
            f"pick: best needs the column score of the runs, and no row of {domain} has one: set "
            "select.score in their recipes and build them again (no model is needed)"
        )
    ranked = rank_by_preference(
        rows, select, recipe.corpus.seed, lambda some: _sketches(inputs, some)
    )
    return ranked if select.per_prompt is None else ranked.filter(pl.col("nth") < select.per_prompt)


def _apply_quota(recipe: Assembly, domain: str, rows: pl.DataFrame) -> pl.DataFrame:
    quota = recipe.quota_of(domain)
    return fill_quota(rows, quota, recipe.balance, recipe.corpus.seed) if quota else rows


def _texts(inputs: Sequence[Input], rows: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, pl.Series]]:
    """Yield rows and their generated texts, in batches and in file order."""
    for some, table in read_rows(inputs, rows, ("thinking", "response")):
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        text = pl.concat_str("thinking", "response", separator="\n", ignore_nulls=True)
        yield some, frame.select(text=text).to_series()


def _sketches(inputs: Sequence[Input], rows: pl.DataFrame) -> Sketches:
    from factory.corpus.diversity import compute_sketches, empty_sketches

    sketches = empty_sketches(rows.height)
    wanted = rows.select("file", "row", at=pl.int_range(pl.len()))
    for some, texts in _texts(inputs, wanted):
        sketches[some["at"].to_numpy()] = compute_sketches(texts)
    return sketches
