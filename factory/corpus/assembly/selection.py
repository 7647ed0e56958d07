"""Which rows of several runs become one corpus: decided on narrow columns, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
import xxhash

from factory.core.errors import RunError
from factory.corpus.assembly.inputs import Input, read, scan
from factory.corpus.assembly.questions import Asked, read_questions, unread
from factory.corpus.assembly.quotas import Shortfall, fill, shortfall
from factory.corpus.assembly.statistics import CONTAMINATED, Step, count
from factory.corpus.selection import in_band, in_preference, place
from factory.judging.funnel import Count
from factory.recipe.assembly import Assembly

if TYPE_CHECKING:
    from factory.corpus.diversity import Sketches

_ORDER = ("run", "prompt_id", "index", "sample_id")


@dataclass(frozen=True)
class Choice:
    """The rows of the corpus with their split and rank, and where the others went."""

    rows: pl.DataFrame
    offered: Count
    steps: list[Step]
    shortfalls: list[Shortfall]


def choose(recipe: Assembly, inputs: Sequence[Input]) -> Choice:
    """Pass-rate bands, duplicates, decontamination, rows a prompt, quotas, split and shuffle."""
    rows = scan(inputs)
    refuse_other_models(recipe, inputs, rows)
    offered, steps = count(rows), list[Step]()

    def keep(kept: pl.DataFrame, left_out_as: str) -> pl.DataFrame:
        left = rows.join(kept.select("sample_id"), on="sample_id", how="anti")
        if left.height:
            steps.append(Step(left_out_as, count(left)))
        return kept

    banded = _by_domain(rows, lambda domain, part: part.filter(in_band(recipe.select_of(domain))))
    rows = keep(banded, "pass rate outside the band")
    rows = keep(_without_copies(recipe, inputs, rows), "same text as another sample")
    asked = _asked(recipe, inputs, rows)
    if recipe.near_duplicates is not None:
        rows = keep(_of(asked.first_of_kind(recipe.near_duplicates), rows), "near-duplicate prompt")
    if recipe.contamination.against:
        clean = pl.col("share") <= recipe.contamination.max_share
        rows = keep(_of(asked.prompts.filter(clean), rows), CONTAMINATED)
    groups = asked.groups()
    del asked  # the sketches take more than all the rows
    uncapped = rows
    rows = keep(_by_domain(rows, lambda *part: _capped(recipe, inputs, *part)), "rows a prompt")
    if recipe.quotas:
        listed = rows.filter(pl.col("domain").cast(pl.String).is_in(list(recipe.quotas)))
        rows = keep(listed, "domain without a quota")
    shortfalls = []
    for domain, quota in recipe.quotas.items():
        of_domain = pl.col("domain") == domain
        short = shortfall(
            domain,
            quota,
            rows.filter(of_domain),
            uncapped.filter(of_domain),
            recipe.select_of(domain).per_prompt,
            inputs,
        )
        shortfalls += [short] if short else []
    rows = keep(_by_domain(rows, lambda *part: _within_quota(recipe, *part)), "over its quota")
    if not rows.height:
        listing = ", ".join(f"{step.name} {step.left_out.samples:,}" for step in steps)
        raise RunError(f"nothing is left of {offered.samples:,} rows: {listing or 'none offered'}")
    rows = rows.join(groups, on="prompt_id", how="left", maintain_order="left")
    return Choice(place(rows, recipe.corpus, "group"), offered, steps, shortfalls)


def refuse_other_models(recipe: Assembly, inputs: Sequence[Input], rows: pl.DataFrame) -> None:
    """Rows of a model that the recipe does not name are there by mistake: say whose and how many.

    R1 mixed its own rows with V3's on purpose; nothing in a row tells purpose from accident.
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
            f"`models` does not name all whose rows these runs hold:\n{listing}\n"
            "Add them to it, or leave those runs out."
        )


def _by_domain(
    rows: pl.DataFrame, step: Callable[[str, pl.DataFrame], pl.DataFrame]
) -> pl.DataFrame:
    """Rows after a step that goes by the domain; in the order of `scan` again."""
    parts = rows.partition_by("domain", maintain_order=True)
    kept = [step(str(part["domain"][0]), part) for part in parts]
    return pl.concat(kept).sort(_ORDER) if kept else rows


def _without_copies(recipe: Assembly, inputs: Sequence[Input], rows: pl.DataFrame) -> pl.DataFrame:
    """All but the first of a prompt's rows with the same text.

    A run's own selection has seen to its rows, so that little text has to be read here: that of
    rows with the same number of tokens, and of prompts that several models answered.
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


def _asked(recipe: Assembly, inputs: Sequence[Input], rows: pl.DataFrame) -> Asked:
    """What is to be known of the rows' prompts; their questions are read only for a reason."""
    near = recipe.near_duplicates is not None
    if near or recipe.contamination.against or recipe.corpus.validation:
        return read_questions(inputs, rows, recipe.contamination, near=near)
    return unread(rows)


def _of(prompts: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of these prompts."""
    return rows.join(prompts, on="prompt_id", how="semi", maintain_order="left")


def _capped(
    recipe: Assembly, inputs: Sequence[Input], domain: str, rows: pl.DataFrame
) -> pl.DataFrame:
    """The rows with their place among their prompt's (`nth`), as many a prompt as it may keep."""
    select = recipe.select_of(domain)
    if select.pick == "best" and rows["score"].null_count() == rows.height:
        raise RunError(
            f"pick: best needs the runs' column score, and no row of {domain} has one: set "
            "select.score in their recipes and build them again (no model is needed)"
        )
    ranked = in_preference(rows, select, recipe.corpus.seed, lambda some: _sketches(inputs, some))
    return ranked if select.per_prompt is None else ranked.filter(pl.col("nth") < select.per_prompt)


def _within_quota(recipe: Assembly, domain: str, rows: pl.DataFrame) -> pl.DataFrame:
    quota = recipe.quota_of(domain)
    return fill(rows, quota, recipe.balance, recipe.corpus.seed) if quota else rows


def _texts(inputs: Sequence[Input], rows: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, pl.Series]]:
    """Rows with what was generated for each, batch by batch in the files' order."""
    for some, table in read(inputs, rows, ("thinking", "response")):
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        text = pl.concat_str("thinking", "response", separator="\n", ignore_nulls=True)
        yield some, frame.select(text=text).to_series()


def _sketches(inputs: Sequence[Input], rows: pl.DataFrame) -> Sketches:
    from factory.corpus.diversity import no_sketches, small_sketches

    sketches = no_sketches(rows.height)
    wanted = rows.select("file", "row", at=pl.int_range(pl.len()))
    for some, texts in _texts(inputs, wanted):
        sketches[some["at"].to_numpy()] = small_sketches(texts)
    return sketches
