"""Correctness of the final answer (R1 §2.3.3).

Every sample gets one of the states of `filters.verify.verification`. Wrong answers are dropped.
Answers that can't be judged are undecided: they are neither kept nor counted as wrong. A judge
model may give a second opinion; `combine` defines how both are combined.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, NamedTuple, Self

import polars as pl
from pydantic import (
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from factory.core.errors import EngineError
from factory.core.nouns import fingerprint
from factory.core.think import Shape
from filters.base import Ask, Filter, LocalJudge, Rule
from filters.judges.client import Endpoint, Judge, JudgeClient
from filters.judges.equivalence import (
    JudgeQuestion,
    Opinion,
    canaries,
    format_reference,
    is_judgeable,
    judge,
)
from filters.judges.rubric import Graded, Rubric, judge_rubrics, list_questions
from filters.verify import VERIFIERS
from filters.verify.verification import LATER, Verification
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
"""States of the rule for which the judge is asked, if there are a reference and an answer."""


class Correctness(Filter):
    """Keeps samples that the prompt's verifier judges correct."""

    VERSION = 2
    PARALLEL = False  # its verifiers have their own processes
    MEASURED: ClassVar[frozenset[str]] = frozenset(
        ("think", "combine", "judge", "canaries", "deadline_s", "unsafe_without_sandbox", "later")
    )

    think: Literal["required", "optional"] = Field(
        "required", description="`required`: an answer counts only after a closed think section."
    )
    combine: Combine = Field(
        "rule",
        description="What decides. `rule`: the rule only. `judge`: the judge, or the rule if the "
        "judge can't be asked. `rule_or_judge`: one yes is enough (as in OpenR1-Math, which kept "
        "most and trained best this way). `rule_and_judge`: both must agree.",
    )
    judge: Judge | None = Field(
        None,
        description="Judge for the second opinion: an OpenAI-compatible endpoint; `{start: MODEL, "
        "args: {…}}` for another local model, started after sampling; or `engine` for the run's "
        "own model.",
    )
    canaries: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="Share of the judge's questions that are repeated with a wrong reference, to "
        "measure its false positive rate.",
    )
    unverifiable: Literal["undecided", "keep", "drop"] = Field(
        "undecided",
        description="Decision for samples of prompts without a verifier, such as R1's "
        "non-reasoning prompts. `undecided`: they are not used.",
    )
    consensus: Literal["undecided", "keep"] = Field(
        "undecided",
        description="Decision for samples that agree with a vote, where a source has votes instead "
        "of references (`vote` of kind `run`). `undecided`: they are not used, as nobody knows "
        "whether the vote is right. `keep`: they are kept, and the others are dropped.",
    )
    deadline_s: float = Field(
        2.0,
        gt=0,
        description="Time limit in seconds for the algebra or the puzzle scorer of one answer. "
        "Raise it if verification shares cores with sampling.",
    )
    unsafe_without_sandbox: bool = Field(
        False, description="Run programs without a sandbox. Only for disposable machines."
    )

    later: tuple[str, ...] = Field(
        (),
        description="Kinds of verifiers whose verdicts come later, such as `[repository]`: their "
        "samples are pending until `factory judge RUN` has judged them and `factory build` is run "
        "again.",
    )

    _own: tuple[str, ...] = PrivateAttr(())

    @model_serializer(mode="wrap")
    def _leave_out_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without newer keys the same as before there were any: finished runs stay finished."""
        dumped: dict[str, Any] = dump(self)
        if not self.later:
            dumped.pop("later", None)
        if self.consensus == "undecided":
            dumped.pop("consensus", None)
        return dumped

    @field_validator("later")
    @classmethod
    def _are_kinds(cls, later: tuple[str, ...]) -> tuple[str, ...]:
        for kind in later:
            if kind not in VERIFIERS:
                raise ValueError(f"{kind!r} is unknown; it must be one of {', '.join(VERIFIERS)}")
            if kind == "rubric":
                raise ValueError("a judge answers what is open of a rubric; leave it out of later")
        return later

    @model_validator(mode="after")
    def _check_judge(self) -> Self:
        if (self.combine == "rule") != (self.judge is None):
            raise ValueError(
                f"combine is {self.combine} and judge is {'set' if self.judge else 'not set'}; "
                "every combine except rule needs a judge, and rule uses none"
            )
        return self

    @property
    def local_judge(self) -> LocalJudge | Literal["engine"] | None:
        return None if isinstance(self.judge, Endpoint) else self.judge

    def without_local_judge(self) -> Correctness:
        """Return a filter in which the rule alone decides, for use during sampling."""
        if self.local_judge is None:
            return self
        return self.model_copy(update={"judge": None, "combine": "rule"})

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        """Measure without a local judge."""
        return self.measure_with(samples, None)

    def measure_with(self, samples: pl.DataFrame, ask: Ask | None) -> pl.DataFrame:
        """Measure. `ask` queries a judge that is not an endpoint."""
        verifiers = shared(
            require_think=self.think == "required",
            deadline_s=self.deadline_s,
            unsafe_without_sandbox=self.unsafe_without_sandbox,
        )
        items = read_items(samples)
        specs = [item.verifier for item in items]
        verdicts = verifiers.verify(items, later=self.later)
        if self.judge is None:
            verdicts = [_without_judge(verdict) for verdict in verdicts]
        asked = {
            sample_id: JudgeQuestion(question, reference, verdict.extracted or "")
            for sample_id, question, spec, verdict in zip(
                samples["sample_id"], samples["question"], specs, verdicts, strict=True
            )
            if verdict.state in _ASKED[self.combine]
            and is_judgeable(verdict.extracted)
            and (reference := format_reference(spec))
        }
        rubrics = {
            sample_id: Rubric(question or "", response or "", list_questions(spec))
            for sample_id, question, response, spec, verdict in zip(
                *samples.select("sample_id", "question", "response"), specs, verdicts, strict=True
            )
            if verdict.state == "pending" and verdict.method != LATER
        }
        opinions, graded = self._opinions(asked, rubrics, ask)
        rows = [
            _row(_explain(verdict, graded.get(sample_id)), opinions.get(sample_id, _UNASKED))
            for sample_id, verdict in zip(samples["sample_id"], verdicts, strict=True)
        ]
        metrics = pl.DataFrame(rows, schema=METRICS, orient="row")
        return samples.select("sample_id").hstack(metrics)

    def rules(self) -> Sequence[Rule]:
        # Of a rubric's open items the judge decides, whatever `combine` says.
        judged = pl.when(_SAID_YES).then(pl.lit("correct")).otherwise(_JUDGE)
        state = pl.when(_IS_PENDING).then(judged).otherwise(_STATES[self.combine])
        found = [
            Rule(
                reason,
                state.is_in(_EXPLAINED) & _METHOD.str.starts_with(method) & _begins(begin),
                "correctness_detail",
                "correct",
                decision,
            )
            for reason, (method, begin, decision) in _DETAILED.items()
        ]
        found += [
            Rule(reason, state == value, "correctness_state", "correct", decision)
            for reason, (value, decision) in _REASONS.items()
        ]
        kept = self.consensus == "keep"
        dissent: Literal["drop", "undecided"] = "drop" if kept else "undecided"
        found.append(
            Rule("dissent", state == "dissent", "correctness_state", "the voted answer", dissent)
        )
        if not kept:
            when = state == "consensus"
            found.append(Rule("consensus", when, "correctness_state", "a reference", "undecided"))
        if self.unverifiable != "keep":
            when = state == "unverifiable"
            found.append(
                Rule("unverifiable", when, "correctness_state", "verifiable", self.unverifiable)
            )
        return found

    def note_verifiers(self, own: Iterable[str]) -> None:
        """Note the user's own verifiers of the recipe's prompts: their files are in the key."""
        self._own = tuple(own)

    @property
    def own_verifiers(self) -> tuple[str, ...]:
        """The user's own verifiers of the recipe's prompts, by name."""
        return self._own

    def cache_key(self) -> str:
        return fingerprint([super().cache_key(), versions(self._own)], 12)

    def _opinions(
        self, asked: Mapping[str, JudgeQuestion], rubrics: Mapping[str, Rubric], ask: Ask | None
    ) -> tuple[dict[str, _Opinions], dict[str, Graded]]:
        if not asked and not rubrics:
            return {}, {}
        if isinstance(self.judge, Endpoint):
            with JudgeClient(self.judge) as client:
                return self._ask(asked, rubrics, client)
        if ask is None:
            raise EngineError("correctness.judge is a local model, and it is not running")
        return self._ask(asked, rubrics, ask)

    def _ask(
        self, asked: Mapping[str, JudgeQuestion], rubrics: Mapping[str, Rubric], ask: Ask
    ) -> tuple[dict[str, _Opinions], dict[str, Graded]]:
        graded = judge_rubrics(rubrics, ask)
        found = {name: _Opinions(grade.opinion, grade.fooled) for name, grade in graded.items()}
        return self._ask_equivalence(asked, ask) | found, graded

    def _ask_equivalence(
        self, asked: Mapping[str, JudgeQuestion], ask: Ask
    ) -> dict[str, _Opinions]:
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


def read_items(samples: pl.DataFrame) -> list[Item]:
    """Return what is verified of each sample (a frame as filters get it)."""
    specs = (read_verifier(text) for text in samples["verifier"])
    parts = samples.select("response", "shape", "turns").iter_rows()
    return [_item(spec, *part) for spec, part in zip(specs, parts, strict=True)]


def _item(
    spec: Mapping[str, Any] | None,
    response: str | None,
    shape: Shape,
    turns: Sequence[Mapping[str, Any]] | None,
) -> Item:
    """Return what the verifier gets: the response, or the final state of an environment.

    Of a repository that was changed by tools it is the changes, as a patch.
    """
    if spec is not None and spec.get("kind") == "repository":
        states = (turn.get("state") for turn in reversed(turns or ()))
        last = next((json.loads(state) for state in states if state), None) or {}
        patch = last.get("patch")
        return Item(spec, patch) if isinstance(patch, str) else Item(spec, response, shape)
    if spec is None or spec.get("kind") != "state":
        return Item(spec, response, shape)
    last = turns[-1] if turns else {}
    if not last.get("done"):
        return Item(spec, "null")
    state = json.loads(last["state"]) if last["state"] is not None else None
    return Item(spec, json.dumps({"state": state, "reward": last["reward"]}))


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
    "pending": ("pending", "undecided"),
}
"""Reason code → the combined state that it stands for, and its decision."""

_DETAILED: dict[str, tuple[str, str, Literal["drop", "undecided"]]] = {
    "malformed_call": ("tool_call", "malformed", "drop"),
    "unknown_tool": ("tool_call", "unknown_tool", "drop"),
    "missing_call": ("tool_call", "missing", "drop"),
    "extra_call": ("tool_call", "extra", "drop"),
    "wrong_type": ("tool_call", "wrong_type", "drop"),
    "wrong_argument": ("tool_call", "wrong_argument", "drop"),
    "breaks_schema": ("json_schema", "schema", "drop"),
    "unequal_value": ("json_schema", "equals", "drop"),
    "no_patch": ("repository", "no_patch", "drop"),
    "patch_rejected": ("repository", "patch_rejected", "drop"),
    "edits_tests": ("repository", "edits_tests", "drop"),
    "build_failed": ("repository", "build_failed", "drop"),
    "f2p_failed": ("repository", "f2p_failed", "drop"),
    "p2p_broken": ("repository", "p2p_broken", "drop"),
    "tampered": ("repository", "tampered", "drop"),
    "timeout": ("repository", "timeout", "undecided"),
    "flaky": ("repository", "flaky", "undecided"),
    "suspicious": ("repository", "suspicious", "undecided"),
}
"""Reason code → the verifier that says more than a state, how its detail begins, the decision."""

_EXPLAINED = ["wrong", "unparseable", "no_answer", "timeout", "error"]
"""States that a detail may give such a reason."""

# Of a single row without one, a column has no type.
_METHOD = pl.col("correctness_method").cast(pl.String)


def _begins(begin: str) -> pl.Expr:
    return pl.col("correctness_detail").cast(pl.String).str.starts_with(f"{begin}:")


_RULE, _JUDGE = pl.col("correctness_state"), pl.col("correctness_judge")
_IS_PENDING = (_RULE == "pending") & (_METHOD != LATER)
_SAID_YES = _JUDGE == "judge_correct"

_STATES: Mapping[Combine, pl.Expr] = {
    "rule": _RULE,
    "judge": pl.when(_SAID_YES).then(pl.lit("correct")).otherwise(pl.coalesce(_JUDGE, _RULE)),
    "rule_or_judge": pl.when(_SAID_YES).then(pl.lit("correct"))
    # If the rule could not decide, the judge does. A malformed reply leaves it undecided.
    .when(_JUDGE == "malformed").then(_JUDGE)
    .when((_JUDGE == "judge_wrong") & _RULE.is_in(["timeout", "error"])).then(_JUDGE)
    .otherwise(_RULE),
    "rule_and_judge": pl.when((_RULE == "correct") & ~_SAID_YES.fill_null(True)).then(_JUDGE)
    .otherwise(_RULE),
}  # fmt: skip
"""The combined state of rule and judge. If no judge was asked, it is the state of the rule."""


def _without_judge(verdict: Verification) -> Verification:
    """A verdict in a recipe that has no judge: what waits for one is verified by nothing."""
    if verdict.state != "pending" or verdict.method == LATER:
        return verdict
    detail = f"{verdict.detail}; set judge and combine of the filter correctness"
    return replace(verdict, state="unverifiable", detail=detail)


def _explain(verdict: Verification, graded: Graded | None) -> Verification:
    """A verdict whose detail says what a judge of rubrics said."""
    if graded is None or graded.detail is None:
        return verdict
    return replace(verdict, detail=graded.detail)


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
