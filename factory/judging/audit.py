"""Auditing the verifier: are the references sound, and how often is a verdict mistaken?

Three questions, as functions over prompts and over a run's verdict table (one row a sample:
`sample_id`, `prompt_id`, `state`, `extracted`, and what the second method needs).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import polars as pl

from factory.core.intervals import Estimate, wilson
from factory.core.nouns import Prompt
from filters.judges.equivalence import Ask, Question, judge, judgeable, reference_of
from filters.verify.exact import compare
from filters.verify.latex import normalise
from filters.verify.verifiers import Verifiers, read_verifier

SecondMethod = Callable[[pl.DataFrame], Sequence[bool | None]]
"""Says of every row whether its answer is right; None where it cannot tell."""

ACCEPTED = "correct"
REJECTED = ("wrong", "unparseable", "no_answer")
"""The states that an audit samples. The undecided ones were never counted as wrong."""


@dataclass(frozen=True, slots=True)
class BadReference:
    """A prompt whose own reference or tests cannot be used, and why."""

    prompt_id: str
    source: str
    kind: str
    why: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What a second method says of a sample of verdicts.

    The rates are of those re-judged: `false_negatives` the share of rejects that were right,
    `false_positives` the share of accepts that were not. `disputed` lists the samples.
    """

    false_negatives: Estimate
    false_positives: Estimate
    undecided: int
    disputed: pl.DataFrame


def check_references(
    prompts: Iterable[Prompt], verifiers: Verifiers, *, batch: int = 512
) -> list[BadReference]:
    """The prompts whose reference does not pass its own verifier. Prompts without one are fine."""
    bad = []
    for some in _batches(prompts, batch):
        for prompt, why in zip(some, verifiers.check([p.verifier for p in some]), strict=True):
            if why is not None:
                kind = str((prompt.verifier or {}).get("kind"))
                bad.append(BadReference(prompt.id, prompt.source, kind, why))
    return bad


def audit(verdicts: pl.DataFrame, second: SecondMethod, *, n: int = 200, seed: int = 0) -> Audit:
    """Judge a seeded sample of `n` rejects and `n` accepts again, by another method."""
    estimates, disputed, undecided = [], [], 0
    for rejected in (True, False):
        states = REJECTED if rejected else (ACCEPTED,)
        pool = verdicts.filter(pl.col("state").is_in(states)).sort("sample_id")
        sample = pool.sample(min(n, pool.height), seed=seed, shuffle=True)
        opinions = list(second(sample)) if sample.height else []
        # A reject is mistaken if it was right, an accept if it was not.
        mistaken = [opinion is rejected for opinion in opinions]
        told = sum(opinion is not None for opinion in opinions)
        undecided += len(opinions) - told
        estimates.append(wilson(sum(mistaken), told))
        disputed.append(sample.filter(pl.Series(mistaken, dtype=pl.Boolean)))
    return Audit(estimates[0], estimates[1], undecided, pl.concat(disputed))


def judged_by(ask: Ask) -> SecondMethod:
    """A judge model as second method; rows need `question`, `verifier` and `extracted`."""

    def second(rows: pl.DataFrame) -> list[bool | None]:
        questions: dict[int, Question] = {}
        for at, row in enumerate(rows.iter_rows(named=True)):
            reference = reference_of(read_verifier(row["verifier"]))
            if reference and judgeable(row["extracted"]):
                questions[at] = Question(row["question"], reference, row["extracted"])
        opinions = dict(zip(questions, judge(list(questions.values()), ask), strict=True))
        said = {"judge_correct": True, "judge_wrong": False}
        return [said.get(opinions.get(at, "malformed")) for at in range(rows.height)]

    return second


def suspect_references(
    verdicts: pl.DataFrame, *, min_samples: int = 8, majority: float = 0.5
) -> pl.DataFrame:
    """Prompts that nobody solved, though most agree on an answer: the reference may be wrong.

    OpenReasoning found 0 of 16 to mean a wrong reference more often than a hard question. Columns:
    `prompt_id`, `reference`, `majority`, `votes`, `n`.
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
        answer, votes = _most_common(row["answers"])
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


def settle(verdicts: pl.DataFrame, suspects: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """The verdict table after a policy on suspect references.

    `leave` changes nothing; `drop` makes their samples `bad_reference`; `majority` makes the
    samples that gave the majority's answer correct, by the method `majority`.
    """
    if policy == "leave" or suspects.is_empty():
        return verdicts
    suspected = pl.col("prompt_id").is_in(suspects["prompt_id"].implode())
    if policy == "drop":
        state = pl.when(suspected).then(pl.lit("bad_reference")).otherwise(pl.col("state"))
        return verdicts.with_columns(state=state)
    answers = dict(suspects.select("prompt_id", "majority").iter_rows())
    agrees = [
        answer is not None and prompt in answers and _alike(answers[prompt], answer)
        for prompt, answer in verdicts.select("prompt_id", "extracted").iter_rows()
    ]
    agreed = pl.Series(agrees, dtype=pl.Boolean)
    return verdicts.with_columns(
        state=pl.when(agreed).then(pl.lit(ACCEPTED)).otherwise(pl.col("state")),
        method=pl.when(agreed).then(pl.lit("majority")).otherwise(pl.col("method")),
    )


def _most_common(answers: Sequence[str]) -> tuple[str | None, int]:
    """The answer most were, and how many; spellings of one value count together."""
    counted: Counter[str] = Counter()
    for answer in answers:
        same = next((known for known in counted if _alike(known, answer)), answer)
        counted[same] += 1
    return counted.most_common(1)[0] if counted else (None, 0)


def _alike(a: str, b: str) -> bool:
    return normalise(a) == normalise(b) or compare(a, b) is True


def _batches(prompts: Iterable[Prompt], size: int) -> Iterator[list[Prompt]]:
    left = iter(prompts)
    while some := list(islice(left, size)):
        yield some
