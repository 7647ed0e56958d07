"""Recompute the funnel for moved thresholds: the filters' own rules over cached metrics.

Each stage's decision on each sample is encoded as a small integer. The codes are ordered so that
the smallest code of a sample is its outcome: a drop outranks an undecided, and among equals the
first stage wins. A changed filter replaces one column of codes; the funnel is then a minimum and a
count. No text is read and no engine is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from pydantic import ValidationError

from factory.core.errors import Problem, RecipeError
from factory.judging.funnel import Funnel, Removal, SampleCount
from factory.judging.recorded import Recorded
from factory.judging.review_verdicts import REVIEW_STAGE
from factory.report.snapshot import RATE_COLUMNS, UNJUDGED, Snapshot
from filters.base import BASE_COLUMNS, Filter, Rule

_KEEP = 1 << 30
_UNDECIDED = 1 << 29


@dataclass(frozen=True)
class Knob:
    """A threshold of a filter, with the range of its metric in this run."""

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
        """The slider's position; for a threshold that is off, the end that drops nothing."""
        if self.value is not None:
            return int(self.value) if self.value == int(self.value) else self.value
        end = self.low if self.field.startswith("min") else self.high
        return int(end) if end.is_integer() else float(f"{end:.4g}")


class Thresholds:
    """The measured samples of a run, and the funnel for any setting of its filters."""

    def __init__(self, snapshot: Snapshot) -> None:
        with_rules = {
            name: filter_
            for name, filter_ in snapshot.filters.items()
            if filter_.rules() or isinstance(filter_, Recorded)
        }
        self._stages = ["engine", *with_rules, REVIEW_STAGE]
        samples = snapshot.samples.filter(pl.col("decision") != UNJUDGED)
        self.prompts = snapshot.prompts.height
        self.frame = samples.select(*BASE_COLUMNS, *RATE_COLUMNS).with_columns(
            # Rules compare these columns as strings, as in a build.
            pl.col("domain", "source", "language", "finish_reason").cast(pl.String)
        )
        self.filters: dict[str, Filter] = {}
        self.fixed: list[str] = []  # filters without cached metrics: their verdicts are the build's
        self._affected: dict[tuple[str, str], list[Rule]] = {}
        self._reasons: dict[str, list[str]] = {}
        codes = [self._recorded_codes("engine", _stage_verdicts(samples, "engine"))]
        for name, filter_ in with_rules.items():
            affected = {
                field: list(_affected_rules(filter_, field, value))
                for field, value in _numeric_fields(filter_)
            }
            recorded = snapshot.own_verdicts(name)
            complete = recorded.height >= self.frame.height
            if isinstance(filter_, Recorded) or (complete and not any(affected.values())):
                codes.append(self._recorded_codes(name, recorded))
                continue
            # A knob may switch on a rule that is off in the recipe and reads another metric.
            rules = [*filter_.rules(), *(rule for own in affected.values() for rule in own)]
            needed = _columns_read(rules) - {*BASE_COLUMNS, *RATE_COLUMNS}
            known = snapshot.metrics({name: sorted(needed)})
            if known.height < self.frame.height or not needed <= set(known.columns):
                self.fixed += [name] * bool(self.frame.height)
                codes.append(self._recorded_codes(name, recorded))
                continue
            self.filters[name] = filter_
            self._affected |= {(name, field): own for field, own in affected.items()}
            self.frame = self.frame.join(known, on="sample_id", how="left", maintain_order="left")
            codes.append(self.frame.select(self._code_expression(name, filter_)).to_series())
        self._codes = pl.DataFrame(codes)
        by_people = (samples["filter"].cast(pl.String) == REVIEW_STAGE).fill_null(False)
        decisions = self._recorded_codes(REVIEW_STAGE, _stage_verdicts(samples, REVIEW_STAGE))
        self._reviewed = pl.select(pl.when(by_people).then(decisions)).to_series()

    def knobs(self) -> list[Knob]:
        """Return the thresholds that can be moved without measuring anything again."""
        return [knob for name in self.filters for knob in self._knobs(name)]

    def replace_fields(self, changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Filter]:
        """Return the named filters with some fields replaced.

        Raises RecipeError for a value that a recipe would refuse, and for a field that metrics
        depend on: changing that one needs a build.
        """
        made = {}
        for name, fields in changes.items():
            if name not in self.filters:
                raise RecipeError([Problem(f"filters.{name}", "is no filter of this run")])
            filter_ = self.filters[name]
            for field in fields:
                if field in filter_.MEASURED:
                    what = "changes the metrics; build again to change it"
                    raise RecipeError([Problem(f"filters.{name}.{field}", what)])
            try:
                made[name] = type(filter_).model_validate({**filter_.model_dump(), **fields})
            except ValidationError as error:
                # A field that may be a number or a mapping reports two errors; keep the first.
                first = {str((*e["loc"], "")[0]): e["msg"] for e in reversed(error.errors())}
                raise RecipeError(
                    [Problem(f"filters.{name}.{key}", f": {what}") for key, what in first.items()]
                ) from error
        return made

    def funnel(self, changes: Mapping[str, Mapping[str, Any]]) -> Funnel:
        """Return the funnel with some fields replaced: `{"length": {"max_tokens": 2048}}`."""
        changed = self.replace_fields(changes)
        filters = {**self.filters, **changed}
        new = [self._code_expression(name, filter_) for name, filter_ in changed.items()]
        codes = self._codes.with_columns(self.frame.select(new)) if new else self._codes
        decided = self.frame.select("prompt_id", "n_tokens").with_columns(
            codes.select(code=pl.coalesce(self._reviewed, pl.min_horizontal(pl.all()))).to_series()
        )
        counted = (
            decided.group_by("code")
            .agg(samples=pl.len(), tokens=pl.col("n_tokens").cast(pl.Int64).sum())
            .sort("code")
        )
        counts = {
            row["code"]: SampleCount(row["samples"], row["tokens"]) for row in counted.to_dicts()
        }
        kept = counts.pop(_KEEP, SampleCount())
        reasons: dict[tuple[str, str, str], SampleCount] = {}
        for code, count in counts.items():
            stage, reason = self._decode(code, filters)
            decision = "undecided" if code & _UNDECIDED else "drop"
            # Two rules may share a reason, for instance one for the reasoning, one for the answer.
            sum_ = reasons.get((stage, reason, decision), SampleCount())
            reasons[stage, reason, decision] = SampleCount(
                sum_.samples + count.samples, sum_.tokens + count.tokens
            )
        return Funnel(
            prompts=self.prompts,
            drawn=SampleCount(decided.height, int(decided["n_tokens"].cast(pl.Int64).sum())),
            taken=[Removal(*key, count) for key, count in reasons.items()],
            kept=kept,
            by_source={},
            by_domain={},
        )

    def _code_expression(self, name: str, filter_: Filter) -> pl.Expr:
        """Return the expression that computes a filter's code from the frame's columns."""
        stage = self._stages.index(name) << 8
        code = pl.lit(_KEEP, dtype=pl.Int32)
        rules = list(filter_.rules())
        for number, rule in reversed(list(enumerate(rules))):
            own = stage | number | (_UNDECIDED if rule.decision == "undecided" else 0)
            holds = rule.when.fill_null(False)
            code = pl.when(holds).then(pl.lit(own, dtype=pl.Int32)).otherwise(code)
        return code.alias(name)

    def _recorded_codes(self, stage: str, verdicts: pl.DataFrame) -> pl.Series:
        """Return the codes of a stage whose verdicts are those that a build wrote."""
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

    def _decode(self, code: int, filters: Mapping[str, Filter]) -> tuple[str, str]:
        """Return the stage and the reason that a code stands for."""
        stage = self._stages[(code & ~_UNDECIDED) >> 8]
        if stage in self._reasons:
            return stage, self._reasons[stage][code & 255]
        return stage, filters[stage].rules()[code & 255].reason

    def _knobs(self, name: str) -> Iterator[Knob]:
        for field, value in _numeric_fields(self.filters[name]):
            affected = self._affected[name, field]
            metrics = tuple(sorted({rule.metric for rule in affected}))
            known = [self.frame[m] for m in metrics if m in self.frame.columns]
            numeric = [column.drop_nulls() for column in known if column.dtype.is_numeric()]
            if any(column.len() for column in numeric):
                yield _make_knob(name, field, value, numeric, metrics, affected)


def _stage_verdicts(samples: pl.DataFrame, stage: str) -> pl.DataFrame:
    """Return the verdicts whose deciding stage is `stage`.

    Complete for the engine, which decides before every filter, and for reviewers, who override all.
    """
    return samples.filter(pl.col("filter") == stage).select(
        "sample_id", pl.col("decision", "reason").cast(pl.String)
    )


def _numeric_fields(filter_: Filter) -> Iterator[tuple[str, float | None]]:
    """Yield the fields that are a number or None, and that only rules read."""
    for field, value in filter_:
        number = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        if number and field not in filter_.MEASURED:
            yield field, value


def _affected_rules(filter_: Filter, field: str, value: float | None) -> Iterator[Rule]:
    """Yield the rules that depend on a field, found by trying another value of it."""
    before = {(rule.reason, rule.metric): str(rule.when) for rule in filter_.rules()}
    for other in (1, 0.5, 0, 2):
        if other == value:
            continue
        try:
            changed = type(filter_).model_validate({**filter_.model_dump(), field: other})
        except ValidationError:
            continue
        for rule in changed.rules():
            if before.get((rule.reason, rule.metric)) != str(rule.when):
                yield rule
        return


def _make_knob(
    name: str,
    field: str,
    value: float | None,
    columns: list[pl.Series],
    metrics: tuple[str, ...],
    affected: list[Rule],
) -> Knob:
    ends = [(float(c.to_numpy().min()), float(c.to_numpy().max())) for c in columns if c.len()]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    if low == high:
        low, high = min(low, 0.0), max(high, float(value or 0), 1.0)
    whole = all(column.dtype.is_integer() for column in columns)
    step = max(1.0, (high - low) // 500) if whole else (high - low) / 500 or 0.01
    reasons = tuple(dict.fromkeys(rule.reason for rule in affected))
    return Knob(name, field, value, low, high, step, metrics, reasons)


def _columns_read(rules: Iterable[Rule]) -> set[str]:
    return {name for rule in rules for name in (*rule.when.meta.root_names(), rule.metric)}
