"""Why samples became no rows: the dominant reason, one example and the usual remedy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from factory.core.errors import QuotaError
from factory.core.run_dir import sample_parts
from factory.judging.funnel import Funnel
from factory.judging.metrics import metrics_folder, prompt_frame, scan_samples
from factory.judging.verdicts import load_verdicts
from filters.base import Filter
from filters.verify.verification import CONSENSUS

MIN_SAMPLES = 8
"""Samples of a source below which its loss is not worth a line."""

SELECTION = "selection"
"""The reason of samples that filters keep and the selection leaves out."""

REMEDIES = {
    "wrong": "check that `columns.answer` names the reference and that the verifier's kind fits "
    "it; or the questions are too hard for this model",
    "no_answer": "ask for the answer in the form that the verifier reads "
    "(`prompting.instruction`), raise `sampling.max_tokens`, or set "
    "`filters.correctness.think: optional` for a model that does not think",
    "unparseable": "use the kind of verifier that fits the answers, or ask for their form "
    "(`prompting.instruction`)",
    "bad_reference": "correct the references, or choose the kind of verifier that can read them",
    "unverifiable": "give the source a `verifier`, or set `filters.correctness.unverifiable: keep`",
    "consensus": "the source has votes instead of references: to use what agrees with them, set "
    "`filters.correctness.consensus: keep`",
    "no_think": "the model does not think or the server hides its reasoning: start the server "
    "without a reasoning parser or with one that returns `reasoning_content`, write `<think>` "
    "with `prompting.prefill`, or set `filters.format.thinking: optional` and "
    "`filters.correctness.think: optional`",
    "unopened_think": "the model's template opens the think section: set "
    '`prompting.prefill: "<think>\\n"`',
    "unclosed_think": "the reasoning does not end: raise `sampling.max_tokens`",
    "empty_text": "the server returns no text: try one request by hand, check the chat template "
    "and the stop texts, and whether all tokens went into hidden reasoning "
    "(raise `sampling.max_tokens`)",
    "empty_answer": "raise `sampling.max_tokens`, and check the stop texts",
    "truncated": "raise `sampling.max_tokens`",
    "too_long": "raise `filters.length.max_tokens`",
    "too_short": "lower `filters.length.min_tokens`",
    "aborted": "run the same command again",
    "environment_failed": "`factory explain` says why the environment ended the episode; correct "
    "it, or raise `sampling.episode.step_cpu_s`, `step_s` or `memory_mb`",
    "too_many_turns": "raise `sampling.episode.max_turns`, or `filters.episode.max_turns`",
    "malformed_call": "set `sampling.episode.tool_format` to the format that the model writes",
    SELECTION: "widen `select.pass_rate`, or correct the other keys of `select`",
}
"""The usual remedy for each reason. Others: look at samples of that reason."""


def require_rows(run: Path, min_rows: int, filters: Mapping[str, Filter], funnel: Funnel) -> None:
    """Raise QuotaError where a finished corpus has fewer than `min_rows` rows.

    The samples, verdicts, corpus and report stay as they are.
    """
    rows = funnel.rows.samples if funnel.rows else 0
    if rows >= min_rows:
        return
    lack = "no row" if not rows else f"only {rows:,} row{'s' if rows > 1 else ''}"
    wanted = "" if min_rows == 1 else f", {min_rows:,} are required (corpus.min_rows)"
    raise QuotaError(
        f"{run}: {funnel.drawn.samples:,} samples became {lack}{wanted}.\n"
        + "\n".join(_explain(run, filters, load_verdicts(run)))
        + "\nThe samples are saved; with a corrected recipe the same command judges them again."
    )


def explain_lost_sources(run: Path, filters: Mapping[str, Filter], funnel: Funnel) -> Iterator[str]:
    """Yield a text for each source of which no sample is kept: rather a mistake in the set-up than
    hard questions."""
    for source, group in funnel.by_source.items():
        if group.drawn.samples >= MIN_SAMPLES and not group.kept.samples:
            lines = _explain(run, filters, load_verdicts(run).filter(source=source))
            head = f"NOTHING KEPT: none of {group.drawn.samples:,} samples of {source} is kept."
            yield "\n".join((head, *lines))


def _explain(run: Path, filters: Mapping[str, Filter], verdicts: pl.LazyFrame) -> Iterator[str]:
    reason = pl.coalesce(pl.col("reason").cast(pl.String), pl.lit(SELECTION))
    outcomes = verdicts.select("sample_id", reason=reason).sort("sample_id").collect()
    counts = (
        outcomes["reason"].value_counts(sort=True).sort("count", "reason", descending=[True, False])
    )
    listed = ", ".join(f"{n:,} {name}" for name, n in counts.iter_rows())
    dominant = str(counts["reason"][0])
    yield f"Reasons: {listed}."
    chosen = outcomes.filter(reason=dominant)["sample_id"]
    example = _read_example(run, filters, chosen)
    yield f"An example of {dominant}, sample {example['sample_id']}:"
    yield f"  question   {shorten(example['question'])}"
    yield f"  reference  {shorten(example['reference'])}"
    yield f"  read       {shorten(example['extracted'])}"
    yield f"  response   {shorten(example['text'], tail=True)}"
    other = f"look at more with `factory samples {run} --reason {dominant}`"
    yield f"Usual remedy: {REMEDIES.get(dominant, other)}."


def _read_example(run: Path, filters: Mapping[str, Filter], chosen: pl.Series) -> Mapping[str, Any]:
    """Return question, reference, extracted answer and text of one of the samples `chosen`,
    of one with an extracted answer where there is one."""
    extracted = pl.Series("extracted", [None], dtype=pl.String)
    name = str(chosen[0])
    if "correctness" in filters:
        folder = metrics_folder(run, "correctness", filters["correctness"])
        read = (
            pl.scan_parquet([folder / part.name for part in sample_parts(run)])
            .filter(pl.col("sample_id").is_in(chosen.implode()))
            .select("sample_id", extracted="correctness_extracted")
            .sort(pl.col("extracted").is_null(), "sample_id")
            .head(1)
            .collect()
        )
        name, extracted = str(read["sample_id"][0]), read["extracted"]
    prompt_id, _, index = name.rpartition("-")
    prompt = prompt_frame(run).row(by_predicate=pl.col("prompt_id") == prompt_id, named=True)
    text = (
        scan_samples(sample_parts(run))
        .filter(pl.col("prompt_id") == prompt_id, pl.col("index") == int(index))
        .select("text")
        .collect()
        .item()
    )
    return {
        "sample_id": name,
        "question": prompt["question"],
        "reference": read_reference(prompt["verifier"]),
        "extracted": extracted[0],
        "text": text,
    }


def read_reference(verifier: str | None) -> str | None:
    """Return the reference answer of a verifier mapping in JSON; None where it has none.

    An answer by vote is no reference, and says so: "19 (no reference: the vote of 6 of 8)".
    """
    texts = (
        pl.Series([verifier], dtype=pl.String)
        .to_frame("v")
        .select(
            pl.coalesce(
                pl.col("v").str.json_path_match(path) for path in ("$.answer", "$.entry.answer")
            )
        )
    )
    found: str | None = texts.item()
    return found if found is None else f"{found}{describe_vote(verifier)}"


def describe_vote(verifier: str | None) -> str:
    """Return a remark on the answer of a verifier mapping in JSON, empty unless it is by vote."""
    vote = json.loads(verifier).get(CONSENSUS) if verifier else None
    if not isinstance(vote, Mapping):
        return ""
    return f" (no reference: the vote of {vote.get('votes')} of {vote.get('of')})"


def shorten(text: str | None, width: int = 160, *, tail: bool = False) -> str:
    """Return a text on one line, its start or its tail where it is longer than `width`."""
    if text is None:
        return "nothing"
    line = " ".join(text.split())
    if not line:
        return "an empty text"
    if len(line) <= width:
        return line
    return f"…{line[1 - width :]}" if tail else f"{line[: width - 1]}…"
