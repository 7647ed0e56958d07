"""Auditing the verifier: are the references sound, and how often is a verdict mistaken?

Three questions, as functions over prompts and over a run's verdict table (one row a sample:
`sample_id`, `prompt_id`, `state`, `extracted`, and what the second method needs).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import polars as pl

from factory.core.errors import RunError
from factory.core.files import read_lines, write_atomic
from factory.core.intervals import Estimate, wilson
from factory.core.run_dir import sample_parts
from factory.judging.metrics import prompt_frame, sample_key
from factory.judging.recorded import stored_folder
from factory.judging.reviews import FILE as REVIEWS
from factory.judging.reviews import Reviews
from factory.judging.suspects import ACCEPTED
from factory.prompts.references import SUSPECT
from filters.base import Ask, Filter
from filters.judges.client import Endpoint, JudgeClient
from filters.judges.equivalence import JudgeQuestion, format_reference, is_judgeable, judge
from filters.verify.latex import normalise
from filters.verify.mathematics import reference_text
from filters.verify.maths.peer import Pair, second_opinions
from filters.verify.verifiers import read_verifier

SecondMethod = Callable[[pl.DataFrame], Sequence[bool | None]]
"""Says of every row whether its answer is right; None where it cannot tell."""

REJECTED = ("wrong", "unparseable", "no_answer")
"""The states that an audit samples. The undecided ones were never counted as wrong."""


class Rates(NamedTuple):
    """Of verdicts that were judged again: the share of rejects that were right, and the share of
    accepts that were not."""

    false_negatives: Estimate
    false_positives: Estimate


@dataclass(frozen=True, slots=True)
class Audit:
    """What a second method says of a sample of verdicts.

    `false_negatives` and `false_positives` are the rates of all that were judged again, `by_domain`
    of each domain's part of them; `people` of the samples that reviewers decided on, which nobody
    drew at random. `disputed` lists the samples on which the second method disagrees.
    """

    false_negatives: Estimate
    false_positives: Estimate
    undecided: int
    disputed: pl.DataFrame
    by_domain: Mapping[str, Rates]
    people: Rates | None = None


def audit(verdicts: pl.DataFrame, second: SecondMethod, *, n: int = 200, seed: int = 0) -> Audit:
    """Judge a seeded sample of `n` rejects and `n` accepts again, by another method."""
    drawn = []
    for states in (REJECTED, (ACCEPTED,)):
        pool = verdicts.filter(pl.col("state").is_in(states)).sort("sample_id")
        sample = pool.sample(min(n, pool.height), seed=seed, shuffle=True)
        opinions = list(second(sample)) if sample.height else []
        drawn.append(sample.with_columns(right=pl.Series(opinions, dtype=pl.Boolean)))
    judged = pl.concat(drawn)
    decided = judged.drop_nulls("right")
    by_domain = decided.partition_by("domain", as_dict=True) if "domain" in decided.columns else {}
    return Audit(
        *_rates(decided),
        by_domain={str(domain): _rates(part) for (domain,), part in sorted(by_domain.items())},
        undecided=judged.height - decided.height,
        disputed=decided.filter(pl.col("right") != (pl.col("state") == ACCEPTED)).drop("right"),
    )


def _rates(decided: pl.DataFrame) -> Rates:
    """The rates of rows with `state` and whether the answer is `right`."""
    accepted = decided["state"] == ACCEPTED
    rejects, accepts = decided.filter(~accepted), decided.filter(accepted)
    return Rates(
        wilson(int(rejects["right"].sum()), rejects.height),
        wilson(int((~accepts["right"]).sum()), accepts.height),
    )


def judged_by(ask: Ask) -> SecondMethod:
    """A judge model as second method; rows need `question`, `verifier` and `extracted`."""

    def second(rows: pl.DataFrame) -> list[bool | None]:
        questions: dict[int, JudgeQuestion] = {}
        for at, row in enumerate(rows.iter_rows(named=True)):
            reference = format_reference(read_verifier(row["verifier"]))
            if reference and is_judgeable(row["extracted"]):
                questions[at] = JudgeQuestion(row["question"], reference, row["extracted"])
        opinions = dict(zip(questions, judge(list(questions.values()), ask), strict=True))
        said = {"judge_correct": True, "judge_wrong": False}
        return [said.get(opinions.get(at, "malformed")) for at in range(rows.height)]

    return second


def audit_run(
    filters: Mapping[str, Filter], run: Path, judge: Endpoint | None, n: int, seed: int
) -> Audit:
    """Judge `n` rejects and `n` accepts again, by the judge model or else by algebra alone.

    Writes audit.json into the run. Raises RunError where the run has no correctness verdicts.
    """
    table = _verdict_table(filters, run)
    if judge is None:
        found = audit(table, _by_peer(), n=n, seed=seed)
    else:
        client = JudgeClient(judge)
        found = audit(table, judged_by(client), n=n, seed=seed)
    found = replace(found, people=_by_people(table, run))
    method = "algebra" if judge is None else f"judge {judge.model}"
    canary = table["canary"].drop_nulls()
    fooled = wilson(int(canary.sum()), len(canary)) if len(canary) else None
    summary = {
        "method": method,
        **_written(Rates(found.false_negatives, found.false_positives)),
        "by_domain": {domain: _written(rates) for domain, rates in found.by_domain.items()},
        "people": _written(found.people) if found.people else None,
        "undecided": found.undecided,
        "judge_fooled_by_canaries": fooled._asdict() if fooled else None,
        "suspect_references": len(read_lines(run / SUSPECT)),
        "disputed": found.disputed["sample_id"].to_list(),
    }
    write_atomic(run / "audit.json", json.dumps(summary, indent=2) + "\n")
    return found


def _written(rates: Rates) -> dict[str, dict[str, float]]:
    """Rates as JSON holds them."""
    return {name: estimate._asdict() for name, estimate in rates._asdict().items()}


def _by_people(table: pl.DataFrame, run: Path) -> Rates | None:
    """The rates by people's own decisions on samples whose text nobody edited; None without any.

    A reviewer may reject a right answer for its style: an upper bound for false accepts.
    """
    if not (run / REVIEWS).exists():
        return None
    said = {"keep": True, "drop": False}
    decisions = {
        standing.sample_id: said[standing.decision]
        for standing in Reviews(run).standings()
        if standing.decision in said and standing.edit is None
    }
    schema = {"sample_id": pl.String, "right": pl.Boolean}
    reviewed = pl.DataFrame(list(decisions.items()), schema=schema, orient="row")
    known = table.filter(pl.col("state").is_in([*REJECTED, ACCEPTED]))
    found = known.join(reviewed, on="sample_id")
    return _rates(found) if found.height else None


def _verdict_table(filters: Mapping[str, Filter], run: Path) -> pl.DataFrame:
    if "correctness" not in filters:
        raise RunError(f"{run} has no correctness filter, so there are no verdicts to audit")
    prompts = prompt_frame(run).select("prompt_id", "question", "verifier", "domain")
    frames = []
    folder = stored_folder(run, "correctness", filters["correctness"])
    for part in sample_parts(run):
        path = folder / f"{part.stem}.parquet"
        if not path.exists():
            raise RunError(f"{run} is not judged yet; build it first")
        keys = pl.read_parquet(part, columns=["prompt_id", "index"]).with_columns(sample_key())
        names = ("state", "extracted", "method", "canary")
        metrics = pl.read_parquet(path).select(
            "sample_id", *(pl.col(f"correctness_{name}").alias(name) for name in names)
        )
        frames.append(keys.join(metrics, on="sample_id").join(prompts, on="prompt_id"))
    if not frames:
        raise RunError(f"{run} has no samples to audit")
    return pl.concat(frames)


def _by_peer() -> SecondMethod:
    """math-verify alone, with none of the rules here: what a peer would have said."""

    def second(rows: pl.DataFrame) -> Sequence[bool | None]:
        said: list[bool | None] = [None] * len(rows)
        pairs: dict[int, Pair] = {}
        for at, (verifier, extracted) in enumerate(
            rows.select("verifier", "extracted").iter_rows()
        ):
            spec = read_verifier(verifier)
            reference = reference_text(spec) if spec and spec.get("kind") == "math" else None
            if reference is not None and extracted:
                pairs[at] = Pair(reference=normalise(reference), answer=normalise(extracted))
        for at, opinion in zip(pairs, second_opinions([*pairs.values()]), strict=True):
            said[at] = opinion
        return said

    return second


def audit_lines(found: Audit) -> Iterator[str]:
    """The audit in words."""
    yield f"rejects that were right (false negatives): {_words(found.false_negatives)}"
    yield f"accepts that were wrong (false positives): {_words(found.false_positives)}"
    for domain, rates in found.by_domain.items():
        yield (
            f"  {domain}: false negatives {_words(rates.false_negatives)}; "
            f"false positives {_words(rates.false_positives)}"
        )
    if found.people:
        yield (
            f"by reviewers: false negatives {_words(found.people.false_negatives)}; "
            f"false positives at most {_words(found.people.false_positives)}"
        )
    if found.undecided:
        yield f"the second method could not tell of {found.undecided}"
    for row in found.disputed.head(10).rows(named=True):
        yield f"  disputed: {row['sample_id']} was {row['state']}, answer {row['extracted']!r}"


def _words(estimate: Estimate) -> str:
    if not estimate.n:
        return "nothing to judge"
    return (
        f"{estimate.rate:.1%} ({estimate.low:.1%} to {estimate.high:.1%} at 95%), "
        f"{estimate.hits} of {estimate.n}"
    )
