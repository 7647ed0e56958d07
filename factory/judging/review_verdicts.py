"""Reviewers' verdicts on a run, and how a build applies them.

A review overrides filters that judge form, but not facts that reading can't decide:

rejected   by more reviewers than accepted it: dropped, with the most frequent reason
disputed   by equal numbers: undecided, and not kept
accepted   kept, whatever a filter says, except for a wrong answer and for a contaminated prompt
edited     treated as accepted or rejected after the edit. The edit replaces the model's text,
           unless it breaks the answer. An edit that nobody has accepted yet changes nothing

The model's own text stays in samples/, under the id that the row keeps.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import xxhash

from factory.core.files import write_parquet
from factory.core.nouns import fingerprint
from factory.core.think import join_think
from factory.judging.reviews import FILE, Action, Reviews
from factory.judging.verdicts import verdict_column, verdict_files
from factory.recipe.corpus import ReviewOptions
from filters.base import Filter

REVIEW_STAGE = "review"
DISAGREE = "reviewers_disagree"
BREAKS_ANSWER = "edit_breaks_answer"
REASONS = ("wrong", "unreadable", "mixed language", "poor summary", "unsafe", "other")
"""Reasons of a rejection. Free text counts as `other` in the funnel."""

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "sample_id": pl.String,
    "decision": pl.String,
    "reason": pl.String,
    "thinking": pl.String,
    "response": pl.String,
    "edited": pl.Boolean,
    "flags": pl.List(pl.String),
    "reviewers": pl.List(pl.String),
    "at": pl.Datetime("ms", "UTC"),
}


def summarize_reviews(run: Path) -> pl.DataFrame:
    """Return the reviewers' verdicts, one row per decided sample (`SCHEMA`).

    `decision` is keep, drop, or undecided in a tie. `thinking` and `response` are null unless the
    sample was edited. `flags` are the reasons for which filters would drop the edit.
    """
    standings = Reviews(run).standings() if (run / FILE).exists() else []
    rows = []
    for standing in standings:
        if standing.decision is None:
            continue
        votes = sorted(standing.decisions.values(), key=lambda action: action.id)
        edit = standing.edit
        by = dict.fromkeys([*([edit.reviewer] if edit else []), *(vote.reviewer for vote in votes)])
        rows.append(
            {
                "sample_id": standing.sample_id,
                "decision": standing.decision,
                "reason": _reason(votes) if standing.decision == "drop" else None,
                "thinking": edit.thinking if edit else None,
                "response": edit.response if edit else None,
                "edited": edit is not None,
                "flags": list(edit.flags) if edit else [],
                "reviewers": list(by),
                "at": int(votes[-1].at * 1000),
            }
        )
    table = {name: [row[name] for row in rows] for name in SCHEMA}
    at = pl.Series("at", table.pop("at"), dtype=pl.Int64).cast(SCHEMA["at"])
    schema = {name: kind for name, kind in SCHEMA.items() if name != "at"}
    return pl.DataFrame(table, schema=schema).with_columns(at).sort("sample_id")


def _reason(votes: Iterable[Action]) -> str | None:
    """Return the most frequent reason of the rejections; in a tie, the first one given."""
    given = Counter(vote.reason for vote in votes if vote.kind == "reject")
    return given.most_common(1)[0][0] if given else None


class Overlay:
    """A run's reviews as a build applies them: to its verdicts, then to its rows."""

    def __init__(self, run: Path, options: ReviewOptions, filters: Mapping[str, Filter]) -> None:
        table = summarize_reviews(run)
        self.table = table if options.use else table.clear()
        self.overrule = options.overrule_correctness
        self._run, self._filters = run, filters

    @property
    def fingerprint(self) -> str | None:
        """A hash that changes whenever the corpus may change; None without reviews."""
        if self.table.is_empty():
            return None
        return fingerprint(self.table.with_columns(pl.col("at").cast(pl.Int64)).rows())

    def apply_to_verdicts(self) -> Iterator[str]:
        """Overwrite the filters' verdicts with the reviewers'. Yields a summary in lines.

        `verdicts/` must be freshly written by judging.
        """
        if self.table.is_empty():
            return
        codes = {reason: f"reviewer_{reason.replace(' ', '_')}" for reason in REASONS}
        reviews = self.table.select(
            "sample_id",
            "edited",
            said="decision",
            because=pl.col("reason").replace_strict(codes, default=codes["other"]),
            breaks=pl.Series(list(map(self._breaks_answer, self.table["flags"])), dtype=pl.Boolean),
        )
        met = []
        for file in verdict_files(self._run):
            verdicts = pl.read_parquet(file)
            rows = verdicts.join(reviews, on="sample_id", how="left", maintain_order="left")
            if rows["said"].null_count() == rows.height:
                continue
            rows = rows.with_columns(was="decision").with_columns(
                self._decision_columns(verdicts.columns)
            )
            write_parquet(file, rows.select(verdicts.columns).to_arrow())
            reviewed = rows.filter(pl.col("said").is_not_null())
            met.append(reviewed.select("edited", "said", "was", "decision", "reason"))
        yield from _summarize(self.table.height, pl.concat(met) if met else None)

    def _breaks_answer(self, flags: Iterable[str]) -> bool:
        """Return whether an edit's answer is wrong, or could not be verified when it was made."""
        reasons = (
            flag.removeprefix("correctness: ") for flag in flags if flag.startswith("correctness: ")
        )
        return any(self._decision("correctness", reason) != "undecided" for reason in reasons)

    def _decision(self, name: str, reason: str) -> str:
        rules = self._filters[name].rules() if name in self._filters else []
        return next((rule.decision for rule in rules if rule.reason == reason), "drop")

    def _decision_columns(self, columns: Iterable[str]) -> list[pl.Expr]:
        """Return decision, reason and filter of verdicts joined with the reviews."""

        def dropped(name: str) -> pl.Expr:
            if verdict_column(name) not in columns:
                return pl.lit(False)
            decision = pl.col(verdict_column(name)).struct.field("decision")
            return (decision == "drop").fill_null(False)

        accepted, edited = pl.col("said") == "keep", pl.col("edited")
        wrong = pl.when(edited).then("breaks").otherwise(dropped("correctness"))
        wrong = wrong & (not self.overrule)
        broken = accepted & edited & wrong
        # An accepted sample that a filter rightly dropped keeps that filter's name.
        left = accepted & ~edited & wrong | accepted & dropped("contamination")
        by_people = pl.col("said").is_not_null() & ~left
        reason = (
            pl.when(broken)
            .then(pl.lit(BREAKS_ANSWER))
            .when(~accepted)
            .then(pl.when(pl.col("said") == "drop").then("because").otherwise(pl.lit(DISAGREE)))
        )
        decision = pl.when(broken).then(pl.lit("drop")).otherwise("said")
        return [
            pl.when(by_people).then(decision).otherwise("decision").alias("decision"),
            pl.when(by_people).then(reason).otherwise("reason").alias("reason"),
            pl.when(by_people).then(pl.lit(REVIEW_STAGE)).otherwise("filter").alias("filter"),
        ]

    def apply_to_rows(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return corpus rows (text, verdicts, meta, …) with accepted edits as their text.

        `meta` gets the reviewers and the time of the review.
        """
        found = rows.select("sample_id", "meta").join(self.table, on="sample_id")
        if found.is_empty():
            return rows
        marks = pl.DataFrame(
            [self._format_review(row) for row in found.rows(named=True)],
            schema={
                "sample_id": pl.String,
                "marked": pl.String,
                "edit": pl.String,
                "said": rows.schema["verdicts"],
            },
            orient="row",
        )
        edit, text = pl.col("edit"), pl.col("text")
        # An edit's tokens are not counted: estimate them from the model's tokens per character.
        tokens = pl.col("n_tokens") * edit.str.len_chars() / text.str.len_chars().clip(1)
        changed = {
            "text": edit,
            "n_tokens": tokens.round().clip(1).cast(rows.schema["n_tokens"]),
            "finish_reason": pl.lit("stop"),
            "verdicts": pl.col("said"),
        }
        joined = rows.join(marks, on="sample_id", how="left", maintain_order="left")
        return joined.with_columns(
            pl.coalesce("marked", "meta").alias("meta"),
            pl.when(edit.is_null()).then("extracted_answer").alias("extracted_answer"),
            *(
                pl.when(edit.is_not_null()).then(value).otherwise(name).alias(name)
                for name, value in changed.items()
            ),
        ).drop("marked", "edit", "said")

    def _format_review(
        self, row: Mapping[str, Any]
    ) -> tuple[str, str, str | None, list[Any] | None]:
        review = {
            "reviewers": row["reviewers"],
            "at": row["at"].isoformat(timespec="seconds"),
            "edited": row["edited"],
            "original": row["sample_id"],
        }
        meta = json.dumps({**json.loads(row["meta"] or "{}"), "review": review}, ensure_ascii=False)
        if not row["edited"]:
            return row["sample_id"], meta, None, None
        flags = dict(flag.split(": ", 1) for flag in row["flags"])
        said = [
            {
                "filter": name,
                "decision": self._decision(name, flags[name]) if name in flags else "keep",
                "reason": flags.get(name),
            }
            for name, filter_ in self._filters.items()
            if filter_.rules()
        ]
        return row["sample_id"], meta, join_think(row["thinking"], row["response"]), said

    def update_hashes(self, known: pl.LazyFrame) -> pl.LazyFrame:
        """Return `text_hash` by sample, of the edit if there is one."""
        edits = self.table.filter(edited=True)
        if edits.is_empty():
            return known
        texts = map(join_think, edits["thinking"], edits["response"])
        digests = [xxhash.xxh3_64_intdigest(text.encode()) for text in texts]
        own = edits.select("sample_id", own=pl.Series(digests, dtype=pl.UInt64)).lazy()
        joined = known.join(own, on="sample_id", how="left")
        return joined.select("sample_id", text_hash=pl.coalesce("own", "text_hash"))


def _summarize(said: int, met: pl.DataFrame | None) -> Iterator[str]:
    """Format the effect of the reviews; `met` has the reviews whose samples exist."""
    if met is not None:
        kept = met.filter(said="keep", decision="keep")
        facts = [f"{kept.filter('edited').height:,} edited"]
        back = kept.filter(pl.col("was") != "keep").height
        facts += [f"{back:,} that filters had dropped"] * bool(back)
        parts = [f"{kept.height:,} accepted ({', '.join(facts)})"]
        for decision, name in (("drop", "rejected"), ("undecided", "disputed")):
            count = met.filter(said=decision).height
            parts += [f"{count:,} {name}"] * bool(count)
        yield f"reviews: {', '.join(parts)}"
        left = met.filter(pl.col("said") == "keep", pl.col("decision") != "keep")
        if left.height:
            counts = left["reason"].value_counts(sort=True).iter_rows()
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts)
            yield (
                f"{left.height:,} that reviewers accepted are still dropped: {reasons} "
                "(reviews.overrule_correctness: true keeps wrong answers)"
            )
    absent = said - (met.height if met is not None else 0)
    if absent:
        yield f"{absent:,} reviews are of samples that this run does not have"
