"""Compare two runs: funnels, distributions, and the samples and rows that differ.

Samples with the same id and text are treated as the same sample; a changed verdict is then an
effect of the recipe. Runs that sampled different texts are compared by prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from factory.judging.metrics import sample_key
from factory.report.numbers import count_funnel, funnel_rows, gather
from factory.report.snapshot import Snapshot, scan_part, take_snapshot

Rows = list[dict[str, Any]]

EXAMPLES = 50
SHOWN = 8  # examples shown on a terminal
QUANTILES = {"5%": 0.05, "25%": 0.25, "50%": 0.5, "75%": 0.75, "95%": 0.95}
QUESTION = 160  # characters shown of a question


@dataclass(frozen=True)
class RunComparison:
    """The differences between two runs. `changed` counts changed verdicts of common samples."""

    first: str
    second: str
    missing: list[str]
    funnel: Rows  # stage, reason, samples and share of each, change
    distributions: Rows  # measure, run, and one column per quantile
    same_samples: int
    changed: Rows  # before, after, samples; changes from or to "keep" first
    changed_samples: Rows  # sample_id, before, after; in the same order
    prompts: Rows  # prompt_id, question, share kept in each run; largest differences first
    only_first: int  # corpus rows
    only_second: int
    lengths: Rows  # rows of the figure
    pass_rates: Rows  # rows of the figure

    def text(self) -> str:
        """Format the comparison for a terminal."""
        return "\n".join(self._format_lines())

    def html(self) -> str:
        """Format the comparison as one self-contained HTML page."""
        from factory.report.figures import compared_lengths, compared_pass_rates
        from factory.report.page import comparison_page

        figures = [compared_lengths(self.lengths)] if self.lengths else []
        figures += [compared_pass_rates(self.pass_rates)] if self.pass_rates else []
        return comparison_page(f"{self.first} and {self.second}", figures, comparison=self)

    def _format_lines(self) -> Iterator[str]:
        yield f"{self.first} against {self.second}"
        yield from (f"missing: {what}" for what in self.missing)
        yield ""
        yield f"{'stage':<14} {'reason':<26} {'first':>10} {'second':>10} {'change':>10}"
        for row in self.funnel:
            yield (
                f"{row['stage']:<14} {row['reason']:<26} {row['first']:>10,} "
                f"{row['second']:>10,} {row['change']:>+10,}"
            )
        yield ""
        yield f"{'quantiles':<22} {'':<6}" + "".join(f" {name:>9}" for name in QUANTILES)
        for row in self.distributions:
            values = "".join(f" {_format_number(row[name]):>9}" for name in QUANTILES)
            yield f"{row['measure']:<22} {row['run']:<6}{values}"
        yield ""
        if self.same_samples:
            yield f"{self.same_samples:,} samples are in both runs; changed verdicts:"
            for row in self.changed:
                yield f"  {row['samples']:>8,}  {row['before']} → {row['after']}"
            for row in self.changed_samples[:SHOWN]:
                yield f"    {row['sample_id']}  {row['before']} → {row['after']}"
            if not self.changed:
                yield "  none"
        else:
            yield "no sample is in both runs"
        if self.prompts:
            yield "prompts whose acceptance differs most:"
        for row in self.prompts[:SHOWN]:
            yield f"    {row['prompt_id']}  {row['first']:.0%} → {row['second']:.0%}"
        only = f"{self.only_first:,}, only in the second: {self.only_second:,}"
        yield f"corpus rows only in the first: {only}"


def compare(run_a: Path, run_b: Path) -> RunComparison:
    """Compare what can be read of two runs. Raises RunError if one is not a run directory."""
    first, second = take_snapshot(run_a), take_snapshot(run_b)
    same = _same_samples(first, second)
    kept = (pl.col("before") == "keep") | (pl.col("after") == "keep")
    differing = same.filter(pl.col("before") != pl.col("after")).with_columns(other=~kept)
    changed = differing.group_by("other", "before", "after").agg(samples=pl.len())
    names = _names(first, second)
    rows_a, rows_b = _corpus_ids(first), _corpus_ids(second)
    return RunComparison(
        first=names[0],
        second=names[1],
        missing=[
            f"{name}: {what}"
            for name, snapshot in zip(names, (first, second), strict=True)
            for what in snapshot.missing
        ],
        funnel=_funnels(first, second),
        distributions=_distributions(first, second),
        same_samples=same.height,
        changed=changed.sort(
            "other", "samples", "before", "after", descending=[False, True, False, False]
        )
        .drop("other")
        .to_dicts(),
        changed_samples=differing.sort("other", "sample_id")
        .drop("other")
        .head(EXAMPLES)
        .to_dicts(),
        prompts=_prompts(first, second),
        only_first=len(rows_a - rows_b),
        only_second=len(rows_b - rows_a),
        lengths=_figure_rows(names, (first, second), "lengths"),
        pass_rates=_figure_rows(names, (first, second), "pass_rates"),
    )


def _names(first: Snapshot, second: Snapshot) -> tuple[str, str]:
    if first.name != second.name:
        return first.name, second.name
    return str(first.run), str(second.run)


def _funnels(first: Snapshot, second: Snapshot) -> Rows:
    """Join both funnels by stage and reason. What one of them lacks counts as zero."""
    sides = [
        {(row["stage"], row["reason"]): row for row in funnel_rows(count_funnel(snapshot))}
        for snapshot in (first, second)
    ]
    last = [key for key in sides[0] | sides[1] if key[0] in ("kept", "corpus")]
    keys = [key for key in sides[0] | sides[1] if key not in last] + last
    nothing: dict[str, Any] = {"samples": 0, "share": 0.0}
    both = [(key, sides[0].get(key, nothing), sides[1].get(key, nothing)) for key in keys]
    return [
        {
            "stage": stage,
            "reason": reason,
            "first": one["samples"],
            "second": other["samples"],
            "first_share": one["share"],
            "second_share": other["share"],
            "change": other["samples"] - one["samples"],
        }
        for (stage, reason), one, other in both
    ]


def _distributions(first: Snapshot, second: Snapshot) -> Rows:
    sides = {"first": _measures(first), "second": _measures(second)}
    return [
        {
            "measure": measure,
            "run": run,
            **{name: sides[run][measure].quantile(share) for name, share in QUANTILES.items()},
        }
        for measure in sides["first"]
        for run in sides
        if any(side[measure].len() for side in sides.values())
    ]


def _measures(snapshot: Snapshot) -> dict[str, pl.Series]:
    samples = snapshot.samples
    return {
        "tokens": samples["n_tokens"].drop_nulls(),
        "tokens, kept": samples.filter(decision="keep")["n_tokens"].drop_nulls(),
        "pass rate of prompts": samples.unique("prompt_id")["pass_rate"].drop_nulls(),
    }


def _same_samples(first: Snapshot, second: Snapshot) -> pl.DataFrame:
    """Return the samples with the same id and text, with their verdict in each run."""
    sides = [
        snapshot.samples.select(
            "sample_id",
            pl.concat_str(
                pl.col("decision").cast(pl.String), pl.col("reason").cast(pl.String),
                separator=": ", ignore_nulls=True,
            ).alias(name),
        ).join(_hashes(snapshot), on="sample_id")
        for snapshot, name in ((first, "before"), (second, "after"))
    ]  # fmt: skip
    return sides[0].join(sides[1], on=["sample_id", "hash"]).select("sample_id", "before", "after")


def _hashes(snapshot: Snapshot) -> pl.DataFrame:
    """Hash every text. Cached hashes are not used: another version may have written them."""
    frames = [pl.DataFrame(schema={"sample_id": pl.String, "hash": pl.UInt64})]
    for part in snapshot.samples["part"].unique(maintain_order=True):
        try:
            scan = scan_part(snapshot.run / "samples" / str(part))
            frames.append(scan.select(sample_key(), hash=pl.col("text").hash()).collect())
        except (OSError, pl.exceptions.PolarsError):
            continue  # listed in `missing` already
    return pl.concat(frames)


def _prompts(first: Snapshot, second: Snapshot) -> Rows:
    """Return the prompts in both runs whose share of kept samples differs most."""
    share = (pl.col("decision") == "keep").mean()
    sides = [
        snapshot.samples.group_by("prompt_id").agg(share.alias(name))
        for snapshot, name in ((first, "first"), (second, "second"))
    ]
    difference = (pl.col("first") - pl.col("second")).abs()
    both = sides[0].join(sides[1], on="prompt_id").filter(difference > 0)
    text = pl.col("question")
    long = text.str.len_chars() > QUESTION
    short = pl.when(long).then(text.str.slice(0, QUESTION) + "…").otherwise(text)
    questions = first.prompts.select("prompt_id", short.alias("question"))
    ranked = both.sort(difference, "prompt_id", descending=[True, False]).head(EXAMPLES)
    return ranked.join(questions, on="prompt_id", how="left", maintain_order="left").to_dicts()


def _corpus_ids(snapshot: Snapshot) -> set[str]:
    ids: set[str] = set()
    for shard in sorted((snapshot.run / "corpus").glob("*.parquet")):
        try:
            ids.update(pl.read_parquet(shard, columns=["id"])["id"])
        except (OSError, pl.exceptions.PolarsError):
            snapshot.missing.append(f"corpus/{shard.name} cannot be read")
    return ids


def _figure_rows(names: tuple[str, str], snapshots: Sequence[Snapshot], key: str) -> Rows:
    """Return the rows of one of the report's figures, for both runs."""
    rows: Rows = []
    for name, snapshot in zip(names, snapshots, strict=True):
        rows += [{**row, "run": name} for row in gather(snapshot).get(key, [])]
    return rows


def _format_number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.2f}".rstrip("0").rstrip(".")
