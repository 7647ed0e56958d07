"""Reference answers are not taken on trust: bad ones before sampling, suspect ones after it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from factory.core.nouns import Prompt
from factory.core.run_dir import sample_parts, write_atomic
from factory.judging.audit import check_references, settle, suspect_references
from filters.verify.verifiers import Verifiers

BAD = "bad_references.jsonl"
SUSPECT = "suspect_references.jsonl"

NO_CHANGES = pl.DataFrame(schema={"sample_id": pl.String, "state": pl.String})


class References(BaseModel):
    """What becomes of prompts whose reference answer is bad or suspect."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bad: Literal["skip", "sample"] = Field(
        "skip",
        description="Prompts whose reference does not pass its own verifier: left out and listed "
        f"in {BAD}, or sampled all the same (their samples stay undecided).",
    )
    suspect: Literal["leave", "drop", "majority"] = Field(
        "leave",
        description="Prompts nobody solved though most samples agree on another answer, listed in "
        f"{SUSPECT}: left alone, undecided (`drop`), or judged by the majority's answer.",
    )
    min_samples: int = Field(
        8, ge=2, description="Judged samples a prompt needs before its reference can be suspect."
    )


def sound_prompts(prompts: Sequence[Prompt], run: Path) -> list[Prompt]:
    """The prompts whose reference passes its own verifier; the others are listed in BAD."""
    with Verifiers() as verifiers:
        bad = check_references(prompts, verifiers)
    _list(run / BAD, [asdict(reference) for reference in bad])
    refused = {reference.prompt_id for reference in bad}
    return [prompt for prompt in prompts if prompt.id not in refused]


def settled_states(
    run: Path,
    prompts: pl.DataFrame,
    rates: pl.DataFrame,
    metrics: Mapping[str, Path],
    by: References,
) -> pl.DataFrame:
    """The samples whose state a policy on suspect references changes: sample_id and state.

    `metrics` names each part's correctness metrics. Lists the suspects in the run directory.
    """
    unsolved = rates.filter((pl.col("n_correct") == 0) & (pl.col("n_judged") >= by.min_samples))
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
        _list(run / SUSPECT, [])
        return NO_CHANGES
    table = pl.concat(frames).sort("sample_id")
    suspects = suspect_references(table, min_samples=by.min_samples).sort("prompt_id")
    _list(run / SUSPECT, suspects.rows(named=True))
    after = settle(table, suspects, by.suspect)
    changed = after["state"].ne_missing(table["state"])
    return after.filter(changed).select("sample_id", "state")


def _list(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a listing, or take away the one of an earlier build."""
    if rows:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_atomic(path, text)
    else:
        path.unlink(missing_ok=True)
