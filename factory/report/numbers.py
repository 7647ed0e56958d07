"""The numbers of a report, computed from a snapshot, as plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from math import ceil, isfinite
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from factory.core.files import read_json, read_lines
from factory.core.intervals import Estimate, wilson
from factory.core.run_dir import engine_seconds, read_manifest
from factory.judging.funnel import (
    Funnel,
    Group,
    Removal,
    SampleCount,
    count_teachers,
    load_funnel,
)
from factory.report.cost import cost_of
from factory.report.snapshot import UNJUDGED, Snapshot, take_snapshot
from factory.sampling.accounting import token_account, worker_account
from factory.sampling.scheduling.forecast import Rates, compare_forecast

Rows = list[dict[str, Any]]

BINS = 40
INTERVAL = 20  # fewest samples in an interval of "reasons over time"

_TOKENS = pl.col("n_tokens").cast(pl.Int64).sum()
_KEPT = pl.col("decision") == "keep"


def gather(snapshot: Snapshot) -> dict[str, Any]:
    """Return everything a report shows, by figure. Figures without data are left out.

    The values are valid JSON: NaN and infinity, such as tokens per row of no rows, become null.
    """
    samples = snapshot.samples
    judged = samples.filter(pl.col("decision") != UNJUDGED)
    funnel = count_funnel(snapshot)
    facts: dict[str, Any] = {
        "run": _run_facts(snapshot),
        "missing": snapshot.missing,
        "funnel": funnel_rows(funnel),
        "teachers": [one.to_row() for one in funnel.by_teacher],
        "groups": [*_groups(judged, "source"), *_groups(judged, "domain")],
        "taken_by_source": _outcomes_by(judged, "source"),
        "taken_by_domain": _outcomes_by(judged, "domain"),
        "pass_rates": _pass_rates(samples),
        "accepted_by_prompt": _accepted_by_prompt(judged),
        "lengths": _lengths(snapshot, judged),
        "reasons_over_time": _reasons_over_time(judged),
        "throughput": throughput(snapshot),
        "workers": worker_account(read_lines(snapshot.run / "events.jsonl")),
        "account": _account(snapshot, judged),
        "cost": cost_of(snapshot, judged),
        "verification": _verification(snapshot),
        "audit": _audit(snapshot),
        "forecast": _forecast(snapshot, judged),
        "languages": _languages(snapshot),
    }
    always = ("run", "missing", "funnel")
    return {key: _replace_nan(value) for key, value in facts.items() if value or key in always}


def _replace_nan(value: Any) -> Any:
    """Replace NaN and infinity by None, at any depth."""
    if isinstance(value, Mapping):
        return {key: _replace_nan(own) for key, own in value.items()}
    if isinstance(value, list):
        return [_replace_nan(own) for own in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def count_funnel(snapshot: Snapshot) -> Funnel:
    """Count the funnel of the samples judged so far. Corpus rows are those of the last build."""
    judged = snapshot.samples.filter(pl.col("decision") != UNJUDGED)
    order = {stage: position for position, stage in enumerate(snapshot.stages)}
    counted = judged.group_by("filter", "reason", "decision").agg(samples=pl.len(), tokens=_TOKENS)
    filtered = [
        Removal(
            row["filter"],
            row["reason"],
            row["decision"],
            SampleCount(row["samples"], row["tokens"]),
        )
        for row in counted.filter(pl.col("decision") != "keep").rows(named=True)
    ]
    filtered.sort(
        key=lambda t: (
            t.decision == "undecided",
            order.get(t.filter, len(order)),
            -t.count.samples,
            t.reason,
        )
    )
    saved = read_json(snapshot.run / "funnel.json") or {}
    rows = saved.get("rows") if snapshot.state == "done" else None
    return Funnel(
        prompts=snapshot.prompts.height,
        drawn=_count(judged),
        taken=filtered,
        kept=_count(judged.filter(_KEPT)),
        by_source=_grouped(snapshot, judged, "source"),
        by_domain=_grouped(snapshot, judged, "domain"),
        failures=_failures(snapshot),
        rows=SampleCount(**rows) if isinstance(rows, dict) else None,
        by_teacher=count_teachers(snapshot.manifest, judged),
    )


def current_funnel(run: Path) -> tuple[Funnel, str | None]:
    """Return the funnel of the last build, or of the samples so far of an unfinished run.

    The second value says how far an unfinished run is. Raises RunError where there is no run.
    """
    manifest = read_manifest(run)
    if manifest.get("state", "done") == "done":
        unasked = manifest.get("unasked_samples", 0)
        note = f"{unasked:,} more samples are of prompts that the sources no longer have"
        return load_funnel(run), note if unasked else None
    snapshot = take_snapshot(run)
    unjudged = snapshot.samples.filter(pl.col("decision") == UNJUDGED).height
    note = f"{run} is unfinished ({snapshot.state}): {snapshot.samples.height:,} samples so far"
    return count_funnel(snapshot), f"{note}, {unjudged:,} of them not judged yet"


def _count(frame: pl.DataFrame) -> SampleCount:
    return SampleCount(**frame.select(samples=pl.len(), tokens=_TOKENS).row(0, named=True))


def _grouped(snapshot: Snapshot, judged: pl.DataFrame, key: str) -> dict[str, Group]:
    prompts = dict(snapshot.prompts.group_by(key).len().iter_rows())
    return {
        row[key]: Group(
            prompts.get(row[key], 0),
            row["covered"],
            SampleCount(row["samples"], row["tokens"]),
            SampleCount(row["kept"], row["kept_tokens"]),
        )
        for row in _groups(judged, key)
    }


def _failures(snapshot: Snapshot) -> dict[str, int]:
    kinds = [str(row.get("kind")) for row in read_lines(snapshot.run / "failures.jsonl")]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def funnel_rows(funnel: Funnel) -> Rows:
    """Return a funnel as table rows, from the drawn samples down to the corpus."""
    left = funnel.drawn
    rows: Rows = [_stage_row("drawn", "", "drawn", left, left)]
    for step in funnel.taken:
        left = SampleCount(left.samples - step.count.samples, left.tokens - step.count.tokens)
        rows.append(_stage_row(step.filter, step.reason, step.decision, step.count, left))
    rows.append(_stage_row("kept", "", "keep", funnel.kept, funnel.kept))
    if funnel.rows is not None:
        rows.append(_stage_row("corpus", "rows after selection", "keep", funnel.rows, funnel.rows))
    for row in rows:
        row["share"] = row["samples"] / max(1, funnel.drawn.samples)
    return rows


def _stage_row(
    stage: str, reason: str, decision: str, count: SampleCount, left: SampleCount
) -> dict[str, Any]:
    return {
        "stage": stage,
        "reason": reason,
        "decision": decision,
        "samples": count.samples,
        "tokens": count.tokens,
        "left": left.samples,
        "left_tokens": left.tokens,
    }


def _run_facts(snapshot: Snapshot) -> dict[str, Any]:
    samples, manifest = snapshot.samples, snapshot.manifest
    return {
        "name": snapshot.name,
        "state": snapshot.state,
        "prompts": snapshot.prompts.height,
        "samples": samples.height,
        "tokens": int(samples["n_tokens"].cast(pl.Int64).sum()),
        "unjudged": samples.filter(pl.col("decision") == UNJUDGED).height,
        "failures": _failures(snapshot),
        "started_at": _format_time(manifest.get("started_at")),
        "engine_seconds": engine_seconds(snapshot.run) or None,
        "versions": manifest.get("versions", {}),
        "unread_fields": manifest.get("unread_fields", {}),
        "models": sorted(
            {str(p.get("model.id")) for p in manifest.get("params", {}).values() if p}
        ),
    }


def _format_time(seconds: float | None) -> str | None:
    return None if seconds is None else f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"


def _groups(judged: pl.DataFrame, key: str) -> Rows:
    counted = (
        judged.group_by(key)
        .agg(
            prompts=pl.col("prompt_id").n_unique(),
            covered=pl.col("prompt_id").filter(_KEPT).n_unique(),
            samples=pl.len(),
            tokens=_TOKENS,
            kept=_KEPT.sum(),
            kept_tokens=pl.col("n_tokens").cast(pl.Int64).filter(_KEPT).sum(),
        )
        .with_columns(kept_share=pl.col("kept") / pl.col("samples"))
        .sort("samples", descending=True)
    )
    return [{"by": key, "group": row[key], **row} for row in counted.rows(named=True)]


def _outcomes_by(judged: pl.DataFrame, key: str) -> Rows:
    counted = judged.group_by(key, "decision", "reason").agg(samples=pl.len(), tokens=_TOKENS)
    named = counted.with_columns(pl.col("reason").cast(pl.String).fill_null("kept"))
    return named.rename({key: "group"}).sort("group", "reason").rows(named=True)


def _pass_rates(samples: pl.DataFrame) -> Rows:
    """Count prompts by the share of their judged samples that were correct, in tenths."""
    rates = samples.unique("prompt_id", keep="any")["pass_rate"].drop_nulls()
    if rates.is_empty():
        return []
    counts, edges = np.histogram(rates.to_numpy(), bins=10, range=(0.0, 1.0))
    return [
        {"low": round(float(low), 1), "high": round(float(low) + 0.1, 1), "prompts": int(count)}
        for low, count in zip(edges[:-1], counts, strict=True)
    ]


def _accepted_by_prompt(judged: pl.DataFrame) -> Rows:
    kept = judged.group_by("prompt_id").agg(accepted=_KEPT.sum())
    return kept.group_by("accepted").agg(prompts=pl.len()).sort("accepted").rows(named=True)


def _lengths(snapshot: Snapshot, judged: pl.DataFrame) -> Rows:
    """Return histograms of tokens and, if the length filter measured them, of both parts."""
    columns = {"tokens": "n_tokens"}
    frame = judged.select("sample_id", "decision", "n_tokens")
    if "length" in snapshot.filters:
        metrics = snapshot.metrics({"length": ("length_reasoning", "length_answer")})
        frame = frame.join(metrics, on="sample_id", how="left")
        if metrics.height:
            columns |= {
                "reasoning, characters": "length_reasoning",
                "answer, characters": "length_answer",
            }
    rows: Rows = []
    for part, column in columns.items():
        values = frame.filter(pl.col(column).is_not_null())
        if values.is_empty():
            continue
        # The longest 1% would compress the rest of the histogram; the last bin counts them.
        # Bin widths are integers, so that each bin covers the same number of values.
        long = max(1.0, values[column].quantile(0.99) or 1.0)
        width = ceil(long / BINS)
        edges = np.arange(0, ceil(long / width) + 1) * width
        for kept in (True, False):
            own = values.filter(_KEPT if kept else ~_KEPT)[column].to_numpy()
            counts, _ = np.histogram(np.minimum(own, edges[-1]), bins=edges)
            rows += [
                {
                    "part": part,
                    "outcome": "accepted" if kept else "rejected",
                    "low": float(low),
                    "high": float(high),
                    "samples": int(count),
                    "share": int(count) / max(1, own.size),
                }
                for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
            ]
    return rows


def _reasons_over_time(judged: pl.DataFrame) -> Rows:
    """Count samples by reason in order of completion, in intervals of equally many samples.

    Intervals of equal time would not do: engines finish samples in bursts, and the shares among a
    few samples mean nothing.
    """
    timed = judged.filter(pl.col("created_at").is_not_null()).sort("created_at")
    intervals = max(1, min(BINS, timed.height // INTERVAL))
    ended = pl.col("created_at").dt.epoch("ms")
    number = pl.int_range(pl.len())
    placed = timed.select(
        pl.col("reason").cast(pl.String).fill_null("kept"),
        number=number,
        interval=number * intervals // pl.len(),
        minute=(ended - ended.min()) / 60_000,
    )
    bounds = placed.group_by("interval").agg(
        pl.col("minute").min(), since=pl.col("number").min(), until=pl.col("number").max() + 1
    )
    counted = placed.group_by("interval", "reason").agg(samples=pl.len())
    rows = counted.join(bounds, on="interval").sort("interval", "reason")
    return rows.select("since", "until", "minute", "reason", "samples").rows(named=True)


def throughput(snapshot: Snapshot) -> Rows:
    """Return tokens/s between two throughput events, and the engine's occupancy if logged."""
    rows: Rows = []
    before: Mapping[str, Any] | None = None
    began: float | None = None
    for event in read_lines(snapshot.run / "events.jsonl"):
        if event.get("event") == "engine_started":
            before = {"at": event["at"], "tokens": 0, "samples": 0, "accepted": 0}
        if event.get("event") != "throughput":
            continue
        began = event["at"] if began is None else began
        if before is not None and event["at"] > before["at"]:
            seconds = event["at"] - before["at"]
            rows.append(
                {
                    "minute": (event["at"] - began) / 60,
                    "tokens_per_second": max(0.0, (event["tokens"] - before["tokens"]) / seconds),
                    "samples": event["samples"],
                    "tokens": event["tokens"],
                    "accepted": event.get("accepted"),
                    "occupancy": event.get("occupancy"),
                }
            )
        before = event
    return rows


def _verification(snapshot: Snapshot) -> dict[str, Any] | None:
    """Count states by method, the judge's verdicts by state, and the canaries it accepted."""
    if "correctness" not in snapshot.filters:
        return None
    columns = [f"correctness_{name}" for name in ("state", "method", "judge", "canary")]
    metrics = snapshot.metrics({"correctness": columns})
    if metrics.is_empty():
        return None
    renamed = metrics.rename({column: column.removeprefix("correctness_") for column in columns})
    asked = renamed.filter(pl.col("judge").is_not_null())
    canaries = renamed["canary"].drop_nulls()
    return {
        "states": renamed.group_by("state", "method")
        .agg(samples=pl.len())
        .sort("samples", descending=True)
        .rows(named=True),
        "judge": asked.group_by("state", "judge")
        .agg(samples=pl.len())
        .sort("state", "judge")
        .rows(named=True),
        "canaries": _estimate(wilson(int(canaries.sum()), canaries.len())),
    }


def _estimate(estimate: Estimate) -> dict[str, Any] | None:
    return estimate._asdict() if estimate.n else None


def _audit(snapshot: Snapshot) -> Rows:
    """Read the rates with intervals from audit.json; other entries of the file are ignored."""
    found = read_json(snapshot.run / "audit.json") or {}
    parts = {"": found, **(found.get("by_domain") or {}), "reviewers": found.get("people") or {}}
    return [
        {
            "what": f"{name.replace('_', ' ')}{f', {part}' if part else ''}",
            **{key: value.get(key) for key in Estimate._fields},
        }
        for part, rates in parts.items()
        if isinstance(rates, dict)
        for name, value in rates.items()
        if isinstance(value, dict) and value.get("n") and {"rate", "low", "high"} <= value.keys()
    ]


def _account(snapshot: Snapshot, judged: pl.DataFrame) -> Rows:
    """Return the outcome of every token by source, and the cost of an accepted sample."""
    seconds = engine_seconds(snapshot.run) or None
    plain = judged.with_columns(pl.col("source", "decision", "finish_reason").cast(pl.String))
    return token_account(plain, seconds).rows(named=True)


def _forecast(snapshot: Snapshot, judged: pl.DataFrame) -> Rows:
    """Return the pilot's forecast for the run's policy, with the actual values of a done run."""
    saved = read_json(snapshot.run / "forecast.json") or {}
    try:
        forecasts = pl.DataFrame(saved.get("all") or [])
        rates = Rates(**saved["rates"])
        policy, per_prompt = str(saved["policy"]), saved["per_prompt"]
        if snapshot.state != "done":
            unknown = {"actual": None, "inside": None}
            return [{**row, **unknown} for row in forecasts.filter(policy=policy).rows(named=True)]
    except (KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        if saved:
            snapshot.missing.append(f"forecast.json: {error!r}")
        return []
    seconds = engine_seconds(snapshot.run)
    if seconds:
        speed = float(judged["n_tokens"].cast(pl.Int64).sum()) / seconds
        rates = replace(rates, tokens_per_second=max(speed, 1e-9))
    prompts = snapshot.prompts.select("source", id="prompt_id")
    outcome = compare_forecast(forecasts, judged, prompts, policy, rates, per_prompt)
    return outcome.rows(named=True)


def _languages(snapshot: Snapshot) -> Rows:
    """Count the samples with a span in another language or script, by language."""
    if "language" not in snapshot.filters:
        return []
    spans = ("language_thinking_spans", "language_response_spans")
    metrics = snapshot.metrics({"language": spans})
    rows: Rows = []
    for column in spans:
        if column not in metrics.columns:
            continue
        found = (
            metrics.select("sample_id", spans=column)
            .explode("spans")
            .drop_nulls("spans")
            .unnest("spans")
        )
        counted = found.group_by("language").agg(
            samples=pl.col("sample_id").n_unique(), stretches=pl.len()
        )
        part = "reasoning" if "thinking" in column else "answer"
        rows += [{"part": part, **row} for row in counted.sort("language").rows(named=True)]
    return rows
