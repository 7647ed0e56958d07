"""Suspect references: prompts without a correct sample, where most samples agree on one answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from factory.core.run_dir import sample_parts
from factory.prompts.references import SUSPECT, References, write_listing
from filters.verify.exact import compare
from filters.verify.latex import normalise

ACCEPTED = "correct"


def suspect_references(
    verdicts: pl.DataFrame, *, min_samples: int = 8, majority: float = 0.5
) -> pl.DataFrame:
    """Find prompts without a correct sample where a majority gives the same answer.

    Their reference may be wrong: OpenReasoning found that 0 of 16 means a wrong reference more
    often than a hard question. Returns `prompt_id`, `reference`, `majority`, `votes`, `n`.
    """
    solved = (pl.col("state") == ACCEPTED).any()
    unsolved = verdicts.group_by("prompt_id", maintain_order=True).agg(
        n=pl.len(),
        solved=solved,
        reference=pl.col("reference").first(),
        answers=pl.col("extracted").filter(pl.col("state") == "wrong").drop_nulls(),
    )
    found: list[dict[str, Any]] = []
    for row in unsolved.filter((pl.col("n") >= min_samples) & ~pl.col("solved")).iter_rows(
        named=True
    ):
        answer, votes = _majority_answer(row["answers"])
        if answer is not None and votes > majority * row["n"]:
            found.append(
                {
                    "prompt_id": row["prompt_id"],
                    "reference": row["reference"],
                    "majority": answer,
                    "votes": votes,
                    "n": row["n"],
                }
            )
    return pl.DataFrame(found, schema=SUSPECTS)


SUSPECTS = pl.Schema(
    {
        "prompt_id": pl.String,
        "reference": pl.String,
        "majority": pl.String,
        "votes": pl.UInt32,
        "n": pl.UInt32,
    }
)


Policy = Literal["leave", "drop", "majority"]


def apply_policy(verdicts: pl.DataFrame, suspects: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Apply a policy on suspect references to a verdict table.

    `leave` changes nothing. `drop` sets the state of their samples to `bad_reference`. `majority`
    sets samples with the majority answer to `correct`, with the method `majority`.
    """
    if policy == "leave" or suspects.is_empty():
        return verdicts
    suspected = pl.col("prompt_id").is_in(suspects["prompt_id"].implode())
    if policy == "drop":
        state = pl.when(suspected).then(pl.lit("bad_reference")).otherwise(pl.col("state"))
        return verdicts.with_columns(state=state)
    answers = dict(suspects.select("prompt_id", "majority").iter_rows())
    agrees = [
        answer is not None and prompt in answers and _same_value(answers[prompt], answer)
        for prompt, answer in verdicts.select("prompt_id", "extracted").iter_rows()
    ]
    agreed = pl.Series(agrees, dtype=pl.Boolean)
    return verdicts.with_columns(
        state=pl.when(agreed).then(pl.lit(ACCEPTED)).otherwise(pl.col("state")),
        method=pl.when(agreed).then(pl.lit("majority")).otherwise(pl.col("method")),
    )


def _majority_answer(answers: Sequence[str]) -> tuple[str | None, int]:
    """Return the most frequent answer and its count. Equal values in other spellings are merged."""
    counted: Counter[str] = Counter()
    for answer in answers:
        same = next((known for known in counted if _same_value(known, answer)), answer)
        counted[same] += 1
    return counted.most_common(1)[0] if counted else (None, 0)


def _same_value(a: str, b: str) -> bool:
    return normalise(a) == normalise(b) or compare(a, b) is True


NO_CHANGES = pl.DataFrame(schema={"sample_id": pl.String, "state": pl.String})


def resolve_suspects(
    run: Path,
    prompts: pl.DataFrame,
    rates: pl.DataFrame,
    metrics: Mapping[str, Path],
    options: References,
) -> pl.DataFrame:
    """Return the samples whose state the policy on suspect references changes.

    Columns: sample_id, state. `metrics` maps each part to its file of correctness metrics. Writes
    the list of suspects to the run directory.
    """
    unsolved = rates.filter(
        (pl.col("n_correct") == 0) & (pl.col("n_judged") >= options.min_samples)
    )
    answers = pl.col("verifier").str.json_path_match("$.answer")
    asked = prompts.select("prompt_id", reference=answers).join(
        unsolved, on="prompt_id", how="semi"
    )
    frames = []
    for part in sample_parts(run):
        keys = pl.read_parquet(part, columns=["prompt_id", "index"]).select(
            "prompt_id", sample_id=pl.format("{}-{}", "prompt_id", "index")
        )
        own = keys.join(asked, on="prompt_id")
        if own.height:
            columns = ["state", "extracted", "method"]
            known = pl.read_parquet(metrics[part.stem]).select(
                "sample_id", *(pl.col(f"correctness_{name}").alias(name) for name in columns)
            )
            frames.append(own.join(known, on="sample_id"))
    if not frames:
        write_listing(run / SUSPECT, [])
        return NO_CHANGES
    table = pl.concat(frames).sort("sample_id")
    suspects = suspect_references(table, min_samples=options.min_samples).sort("prompt_id")
    write_listing(run / SUSPECT, suspects.rows(named=True))
    after = apply_policy(table, suspects, options.suspect)
    changed = after["state"].ne_missing(table["state"])
    return after.filter(changed).select("sample_id", "state")
