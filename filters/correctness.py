"""Is the final answer right? The filter that decides what the model learns (R1 §2.3.3).

Every sample gets one of the states of `filters.verify.verification`. What is wrong is dropped; what
cannot be judged is undecided, which is neither kept silently nor counted as wrong. A judge model
may be asked for a second opinion; `combine` says how the two make one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self

import polars as pl
from pydantic import Field, model_validator

from factory.core.errors import EngineError
from factory.core.nouns import fingerprint
from filters.base import Ask, Filter, LocalJudge, Rule
from filters.judges.client import Endpoint, Judge, JudgeClient
from filters.judges.equivalence import Opinion, Question, canaries, judge, judgeable, reference_of
from filters.verify.verification import Verification
from filters.verify.verifiers import Item, read_verifier, shared, versions

METRICS = pl.Schema(
    {
        "correctness_state": pl.String,
        "correctness_extracted": pl.String,
        "correctness_method": pl.String,
        "correctness_detail": pl.String,
        "correctness_ms": pl.Float64,
        "correctness_version": pl.String,  # the verifier's; null: none was asked
        "correctness_input": pl.String,  # hash of what it was given
        "correctness_judge": pl.String,  # judge_correct, judge_wrong, malformed; null: not asked
        "correctness_canary": pl.Boolean,  # fooled by a wrong reference; null: no canary
    }
)

Combine = Literal["rule", "judge", "rule_or_judge", "rule_and_judge"]

_ASKED: Mapping[Combine, frozenset[str]] = {
    "rule": frozenset(),
    "judge": frozenset(("correct", "wrong", "unparseable", "timeout", "error")),
    "rule_or_judge": frozenset(("wrong", "unparseable", "timeout", "error")),
    "rule_and_judge": frozenset(("correct",)),
}
"""The rule's states on which a judge is asked. Never without a reference or an answer."""


class Correctness(Filter):
    """Keeps what its prompt's verifier calls correct."""

    VERSION = 2
    PARALLEL = False  # its verifiers have processes of their own
    MEASURED: ClassVar[frozenset[str]] = frozenset(
        ("think", "combine", "judge", "canaries", "deadline_s", "unsafe_without_sandbox")
    )

    think: Literal["required", "optional"] = Field(
        "required", description="Whether an answer counts only after a closed think section."
    )
    combine: Combine = Field(
        "rule",
        description="Who decides: the `rule` alone; the `judge` alone (the rule where it cannot be "
        "asked); either one's yes (OpenR1-Math kept most and trained best so); or both.",
    )
    judge: Judge | None = Field(
        None,
        description="The second opinion: an OpenAI-compatible endpoint; `{start: MODEL, args: "
        "{…}}` for another model, started here once sampling has ended; or `engine` for the run's "
        "own.",
    )
    canaries: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="Share of a judge's questions asked again with a wrong reference, to measure "
        "how often it is fooled.",
    )
    unverifiable: Literal["undecided", "keep", "drop"] = Field(
        "undecided",
        description="What becomes of prompts that nothing can verify (R1's non-reasoning rows have "
        "no reference): `undecided` holds them back.",
    )
    deadline_s: float = Field(
        2.0,
        gt=0,
        description="Seconds that algebra or a puzzle's scorer may take on one answer; raise it "
        "where verifying shares its cores with sampling.",
    )
    unsafe_without_sandbox: bool = Field(
        False, description="Run programs where there is no sandbox. For machines of no value."
    )

    @model_validator(mode="after")
    def _has_its_judge(self) -> Self:
        if (self.combine == "rule") != (self.judge is None):
            raise ValueError(
                f"combine is {self.combine} and judge is {'set' if self.judge else 'not set'}; "
                "a judge is needed for every combine but rule, and used by none but those"
            )
        return self

    @property
    def local_judge(self) -> LocalJudge | Literal["engine"] | None:
        return None if isinstance(self.judge, Endpoint) else self.judge

    def without_local_judge(self) -> Correctness:
        """The rule alone decides until the judge can be asked."""
        if self.local_judge is None:
            return self
        return self.model_copy(update={"judge": None, "combine": "rule"})

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        """The verdicts, where no judge on this machine is asked."""
        return self.measure_with(samples, None)

    def measure_with(self, samples: pl.DataFrame, ask: Ask | None) -> pl.DataFrame:
        """The verdicts. `ask` reaches a judge that is no endpoint."""
        verifiers = shared(
            require_think=self.think == "required",
            deadline_s=self.deadline_s,
            unsafe_without_sandbox=self.unsafe_without_sandbox,
        )
        specs = [read_verifier(text) for text in samples["verifier"]]
        parts = samples.select("response", "shape").iter_rows()
        items = [Item(spec, *part) for spec, part in zip(specs, parts, strict=True)]
        verdicts = verifiers.verify(items)
        asked = {
            sample_id: Question(question, reference, verdict.extracted or "")
            for sample_id, question, spec, verdict in zip(
                samples["sample_id"], samples["question"], specs, verdicts, strict=True
            )
            if verdict.state in _ASKED[self.combine]
            and judgeable(verdict.extracted)
            and (reference := reference_of(spec))
        }
        opinions = self._opinions(asked, ask)
        rows = [
            _row(verdict, opinions.get(sample_id, _UNASKED))
            for sample_id, verdict in zip(samples["sample_id"], verdicts, strict=True)
        ]
        metrics = pl.DataFrame(rows, schema=METRICS, orient="row")
        return samples.select("sample_id").hstack(metrics)

    def rules(self) -> Sequence[Rule]:
        state = _STATES[self.combine]
        found = [
            Rule(reason, state == value, "correctness_state", "correct", decision)
            for reason, (value, decision) in _REASONS.items()
        ]
        if self.unverifiable != "keep":
            when = state == "unverifiable"
            found.append(
                Rule("unverifiable", when, "correctness_state", "verifiable", self.unverifiable)
            )
        return found

    def cache_key(self) -> str:
        return fingerprint([super().cache_key(), versions()], 12)

    def _opinions(self, asked: Mapping[str, Question], ask: Ask | None) -> dict[str, _Opinions]:
        if not asked:
            return {}
        if isinstance(self.judge, Endpoint):
            with JudgeClient(self.judge) as client:
                return self._ask(asked, client)
        if ask is None:
            raise EngineError("correctness.judge is a model on this machine, and none is running")
        return self._ask(asked, ask)

    def _ask(self, asked: Mapping[str, Question], ask: Ask) -> dict[str, _Opinions]:
        wrong = canaries(asked, self.canaries)
        replies = judge([*asked.values(), *wrong.values()], ask)
        opinions = dict(zip(asked, replies, strict=False))
        fooled = dict(zip(wrong, replies[len(asked) :], strict=True))
        return {
            sample_id: _Opinions(
                opinion,
                fooled[sample_id] == "judge_correct" if sample_id in fooled else None,
            )
            for sample_id, opinion in opinions.items()
        }


class _Opinions(NamedTuple):
    judge: Opinion | None
    canary: bool | None


_UNASKED = _Opinions(None, None)

_REASONS: dict[str, tuple[str, Literal["drop", "undecided"]]] = {
    "wrong": ("wrong", "drop"),
    "judge_wrong": ("judge_wrong", "drop"),
    "no_answer": ("no_answer", "drop"),
    "unparseable": ("unparseable", "drop"),
    "bad_reference": ("bad_reference", "undecided"),
    "verifier_timeout": ("timeout", "undecided"),
    "verifier_error": ("error", "undecided"),
    "judge_undecided": ("malformed", "undecided"),
}
"""Reason code → the combined state it stands for, and what it does."""

_RULE, _JUDGE = pl.col("correctness_state"), pl.col("correctness_judge")
_SAID_YES = _JUDGE == "judge_correct"

_STATES: Mapping[Combine, pl.Expr] = {
    "rule": _RULE,
    "judge": pl.when(_SAID_YES).then(pl.lit("correct")).otherwise(pl.coalesce(_JUDGE, _RULE)),
    "rule_or_judge": pl.when(_SAID_YES).then(pl.lit("correct"))
    # A rule that could not decide leaves it to the judge; a malformed reply leaves it open.
    .when(_JUDGE == "malformed").then(_JUDGE)
    .when((_JUDGE == "judge_wrong") & _RULE.is_in(["timeout", "error"])).then(_JUDGE)
    .otherwise(_RULE),
    "rule_and_judge": pl.when((_RULE == "correct") & ~_SAID_YES.fill_null(True)).then(_JUDGE)
    .otherwise(_RULE),
}  # fmt: skip
"""The state that a rule's and a judge's make together. Where no judge was asked the rule stands."""


def _row(verdict: Verification, opinions: _Opinions) -> tuple[Any, ...]:
    return (
        verdict.state,
        verdict.extracted,
        verdict.method,
        verdict.detail,
        verdict.ms,
        verdict.version,
        verdict.input,
        *opinions,
    )
