"""Moving a threshold and seeing the funnel at once: the filters' own rules over cached metrics.

Each stage's word on each sample is one small integer, ordered so that the least of a row is what
decides it (a drop outranks an undecided; among equals the first stage). A changed filter makes one
column anew, and the funnel is a minimum and a count. No text is read and no engine is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from pydantic import ValidationError

from factory.core.errors import Problem, RecipeError
from factory.judging.funnel import Count, Funnel, Taken
from factory.judging.review_verdicts import REVIEW_STAGE
from factory.report.snapshot import RATE_COLUMNS, UNJUDGED, Snapshot
from filters.base import BASE_COLUMNS, Filter, Rule

_KEEP = 1 << 30
_UNDECIDED = 1 << 29


@dataclass(frozen=True)
class Knob:
    """A threshold of a filter: what it is, and the range its metric has in this run."""

    filter: str
    field: str
    value: float | None
    low: float
    high: float
    step: float
    metrics: tuple[str, ...]
    reasons: tuple[str, ...]

    @property
    def start(self) -> float:
        """Where the slider stands: at the end that takes nothing where the threshold is off."""
        if self.value is not None:
            return int(self.value) if self.value == int(self.value) else self.value
        end = self.low if self.field.startswith("min") else self.high
        return int(end) if end.is_integer() else float(f"{end:.4g}")


class Thresholds:
    """The measured samples of a run, and what any setting of its filters makes of them."""

    def __init__(self, snapshot: Snapshot) -> None:
        ruled = {name: judge for name, judge in snapshot.filters.items() if judge.rules()}
        self._stages = ["engine", *ruled, REVIEW_STAGE]
        samples = snapshot.samples.filter(pl.col("decision") != UNJUDGED)
        self.prompts = snapshot.prompts.height
        self.frame = samples.select(*BASE_COLUMNS, *RATE_COLUMNS).with_columns(
            # Rules compare these as the strings they are in a build.
            pl.col("domain", "source", "language", "finish_reason").cast(pl.String)
        )
        self.filters: dict[str, Filter] = {}
        self.fixed: list[str] = []  # filters without metrics by this version: their verdicts stay
        self._moved: dict[tuple[str, str], list[Rule]] = {}
        self._reasons: dict[str, list[str]] = {}
        codes = [self._recorded("engine", _by(samples, "engine"))]
        for name, judge in ruled.items():
            moved = {field: list(_moved_by(judge, field, v)) for field, v in _numbers(judge)}
            recorded = snapshot.own_verdicts(name)
            if not any(moved.values()) and recorded.height >= self.frame.height:
                codes.append(self._recorded(name, recorded))
                continue
            # A knob may bring in a rule that the recipe leaves off, and with it another metric.
            read = _read_by([*judge.rules(), *(rule for rules in moved.values() for rule in rules)])
            wanted = read - {*BASE_COLUMNS, *RATE_COLUMNS}
            known = snapshot.metrics({name: sorted(wanted)})
            if known.height < self.frame.height or not wanted <= set(known.columns):
                self.fixed += [name] * bool(self.frame.height)
                codes.append(self._recorded(name, recorded))
                continue
            self.filters[name] = judge
            self._moved |= {(name, field): rules for field, rules in moved.items()}
            self.frame = self.frame.join(known, on="sample_id", how="left", maintain_order="left")
            codes.append(self.frame.select(self._code(name, judge)).to_series())
        self._codes = pl.DataFrame(codes)
        by_people = (samples["filter"].cast(pl.String) == REVIEW_STAGE).fill_null(False)
        word = self._recorded(REVIEW_STAGE, _by(samples, REVIEW_STAGE))
        self._reviewed = pl.select(pl.when(by_people).then(word)).to_series()

    def knobs(self) -> list[Knob]:
        """The numbers that can be moved without measuring anything again."""
        return [knob for name in self.filters for knob in self._knobs(name)]

    def changed(self, changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Filter]:
        """The filters with some fields replaced. Raises RecipeError for what a recipe would refuse,
        or for a field that is measured with, which takes a build."""
        made = {}
        for name, fields in changes.items():
            if name not in self.filters:
                raise RecipeError([Problem(f"filters.{name}", "is no filter of this run")])
            judge = self.filters[name]
            for field in fields:
                if field in judge.MEASURED:
                    raise RecipeError(
                        [Problem(f"filters.{name}.{field}", "is measured with; build to change it")]
                    )
            try:
                made[name] = type(judge).model_validate({**judge.model_dump(), **fields})
            except ValidationError as error:
                # A field that may be a number or a mapping reports both; the first is the number's.
                first = {str((*e["loc"], "")[0]): e["msg"] for e in reversed(error.errors())}
                raise RecipeError(
                    [Problem(f"filters.{name}.{key}", f": {what}") for key, what in first.items()]
                ) from error
        return made

    def funnel(self, changes: Mapping[str, Mapping[str, Any]]) -> Funnel:
        """The funnel with some fields replaced: `{"length": {"max_tokens": 2048}}`."""
        changed = self.changed(changes)
        filters = {**self.filters, **changed}
        fresh = [self._code(name, judge) for name, judge in changed.items()]
        codes = self._codes.with_columns(self.frame.select(fresh)) if fresh else self._codes
        decided = self.frame.select("prompt_id", "n_tokens").with_columns(
            codes.select(code=pl.coalesce(self._reviewed, pl.min_horizontal(pl.all()))).to_series()
        )
        counted = (
            decided.group_by("code")
            .agg(samples=pl.len(), tokens=pl.col("n_tokens").cast(pl.Int64).sum())
            .sort("code")
        )
        counts = {row["code"]: Count(row["samples"], row["tokens"]) for row in counted.to_dicts()}
        kept = counts.pop(_KEEP, Count())
        reasons: dict[tuple[str, str, str], Count] = {}
        for code, count in counts.items():
            stage, reason = self._meaning(code, filters)
            decision = "undecided" if code & _UNDECIDED else "drop"
            # Two rules may share a reason: one of the reasoning, one of the answer.
            sum_ = reasons.get((stage, reason, decision), Count())
            reasons[stage, reason, decision] = Count(
                sum_.samples + count.samples, sum_.tokens + count.tokens
            )
        return Funnel(
            prompts=self.prompts,
            drawn=Count(decided.height, int(decided["n_tokens"].cast(pl.Int64).sum())),
            taken=[Taken(*key, count) for key, count in reasons.items()],
            kept=kept,
            by_source={},
            by_domain={},
        )

    def _code(self, name: str, judge: Filter) -> pl.Expr:
        stage = self._stages.index(name) << 8
        code = pl.lit(_KEEP, dtype=pl.Int32)
        rules = list(judge.rules())
        for number, rule in reversed(list(enumerate(rules))):
            own = stage | number | (_UNDECIDED if rule.decision == "undecided" else 0)
            holds = rule.when.fill_null(False)
            code = pl.when(holds).then(pl.lit(own, dtype=pl.Int32)).otherwise(code)
        return code.alias(name)

    def _recorded(self, stage: str, verdicts: pl.DataFrame) -> pl.Series:
        """The codes of a stage whose verdicts cannot be made here, from what a build wrote."""
        reasons = verdicts["reason"].drop_nulls().unique().sort().to_list()
        self._reasons[stage] = reasons
        number = pl.col("reason").replace_strict(
            reasons, range(len(reasons)), default=None, return_dtype=pl.Int32
        )
        undecided = pl.when(pl.col("decision") == "undecided").then(_UNDECIDED).otherwise(0)
        code = number + (self._stages.index(stage) << 8) + undecided
        own = self.frame.select("sample_id").join(
            verdicts, on="sample_id", how="left", maintain_order="left"
        )
        return own.select(code.fill_null(_KEEP).cast(pl.Int32).alias(stage)).to_series()

    def _meaning(self, code: int, filters: Mapping[str, Filter]) -> tuple[str, str]:
        stage = self._stages[(code & ~_UNDECIDED) >> 8]
        if stage in self._reasons:
            return stage, self._reasons[stage][code & 255]
        return stage, filters[stage].rules()[code & 255].reason

    def _rules_within_reach(self, name: str) -> list[Rule]:
        return [rule for (own, _), rules in self._moved.items() if own == name for rule in rules]

    def _knobs(self, name: str) -> Iterator[Knob]:
        for field, value in _numbers(self.filters[name]):
            moved = self._moved[name, field]
            metrics = tuple(sorted({rule.metric for rule in moved}))
            known = [self.frame[m] for m in metrics if m in self.frame.columns]
            numeric = [column.drop_nulls() for column in known if column.dtype.is_numeric()]
            if any(column.len() for column in numeric):
                yield _ranged(name, field, value, numeric, metrics, moved)


def _by(samples: pl.DataFrame, stage: str) -> pl.DataFrame:
    """The verdicts of the engine, whose word comes before any filter's, or of reviewers, whose
    word stands above them all."""
    return samples.filter(pl.col("filter") == stage).select(
        "sample_id", pl.col("decision", "reason").cast(pl.String)
    )


def _numbers(judge: Filter) -> Iterator[tuple[str, float | None]]:
    """The fields that are a number, or none, and that only rules read."""
    for field, value in judge:
        number = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        if number and field not in judge.MEASURED:
            yield field, value


def _moved_by(judge: Filter, field: str, value: float | None) -> Iterator[Rule]:
    """The rules that another value of a field changes: no table of fields to drift."""
    before = {(rule.reason, rule.metric): str(rule.when) for rule in judge.rules()}
    for other in (1, 0.5, 0, 2):
        if other == value:
            continue
        try:
            changed = type(judge).model_validate({**judge.model_dump(), field: other})
        except ValidationError:
            continue
        for rule in changed.rules():
            if before.get((rule.reason, rule.metric)) != str(rule.when):
                yield rule
        return


def _ranged(
    name: str,
    field: str,
    value: float | None,
    columns: list[pl.Series],
    metrics: tuple[str, ...],
    moved: list[Rule],
) -> Knob:
    ends = [(float(c.to_numpy().min()), float(c.to_numpy().max())) for c in columns if c.len()]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    if low == high:
        low, high = min(low, 0.0), max(high, float(value or 0), 1.0)
    whole = all(column.dtype.is_integer() for column in columns)
    step = max(1.0, (high - low) // 500) if whole else (high - low) / 500 or 0.01
    reasons = tuple(dict.fromkeys(rule.reason for rule in moved))
    return Knob(name, field, value, low, high, step, metrics, reasons)


def _read_by(rules: Iterable[Rule]) -> set[str]:
    return {name for rule in rules for name in (*rule.when.meta.root_names(), rule.metric)}
