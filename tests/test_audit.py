from __future__ import annotations

import json
from collections.abc import Sequence

import polars as pl
import pytest

from factory.core.nouns import Message, Prompt
from factory.judging.audit import audit, judged_by
from factory.judging.suspects import apply_policy, suspect_references
from factory.prompts.references import check_references
from filters.verify.verifiers import Verifiers


def prompt(text: str, verifier: dict[str, object] | None) -> Prompt:
    return Prompt("tests", "math", (Message(role="user", content=text),), verifier)


def test_bad_references_are_listed() -> None:
    prompts = [
        prompt("a", {"kind": "math", "answer": "5"}),
        prompt("b", {"kind": "math", "answer": "proof"}),
        prompt("c", None),
        prompt("d", {"kind": "choice", "answer": "E", "choices": {"A": "x"}}),
        prompt("e", {"kind": "poetry"}),
    ]
    with Verifiers(workers=1) as verifiers:
        bad = check_references(prompts, verifiers, batch=2)
    assert [(b.prompt_id, b.kind) for b in bad] == [
        (prompts[1].id, "math"), (prompts[3].id, "choice"), (prompts[4].id, "poetry"),
    ]  # fmt: skip
    assert all(b.why and b.source == "tests" for b in bad)


def verdicts(
    *groups: tuple[str, str | None, int], prompt_id: str = "p", reference: str = "5"
) -> pl.DataFrame:
    """(state, extracted, how many) as a verdict table."""
    rows = [(state, extracted) for state, extracted, count in groups for _ in range(count)]
    return pl.DataFrame(
        {
            "sample_id": [f"{prompt_id}-{i:04}" for i in range(len(rows))],
            "prompt_id": [prompt_id] * len(rows),
            "state": [state for state, _ in rows],
            "extracted": pl.Series([extracted for _, extracted in rows], dtype=pl.String),
            "reference": [reference] * len(rows),
            "method": ["fast"] * len(rows),
            "question": ["what?"] * len(rows),
            "verifier": [json.dumps({"kind": "math", "answer": reference})] * len(rows),
        }
    )


def test_the_rates_of_mistaken_verdicts() -> None:
    table = verdicts(
        ("wrong", "4", 90), ("wrong", "five", 10), ("correct", "5", 95), ("correct", "6", 5)
    )

    def second(rows: pl.DataFrame) -> Sequence[bool | None]:
        return [answer in ("5", "five") for answer in rows["extracted"]]

    found = audit(table, second, n=1000)
    assert (found.false_negatives.hits, found.false_negatives.n) == (10, 100)
    assert (found.false_positives.hits, found.false_positives.n) == (5, 100)
    assert found.false_negatives.low < 0.1 < found.false_negatives.high
    assert sorted(found.disputed["extracted"].to_list()) == ["6"] * 5 + ["five"] * 10


def test_the_rates_of_each_domain() -> None:
    table = pl.concat(
        verdicts(("wrong", "5", wrong), ("correct", "5", 40), prompt_id=domain).with_columns(
            domain=pl.lit(domain)
        )
        for domain, wrong in (("math", 10), ("stem", 0))
    )
    found = audit(table, lambda rows: [answer == "5" for answer in rows["extracted"]], n=100)
    assert found.false_negatives.hits == found.by_domain["math"].false_negatives.hits == 10
    assert found.by_domain["stem"].false_negatives.n == 0
    assert [rates.false_positives.n for rates in found.by_domain.values()] == [40, 40]


def test_a_sample_is_seeded_and_bounded() -> None:
    table = verdicts(("wrong", "4", 300), ("correct", "5", 300))
    seen: list[list[str]] = []

    def second(rows: pl.DataFrame) -> Sequence[bool | None]:
        seen.append(rows["sample_id"].to_list())
        return [None] * rows.height

    for seed in (1, 1, 2):
        found = audit(table.sample(fraction=1, shuffle=True, seed=9), second, n=20, seed=seed)
        assert found.undecided == 40
        assert found.false_negatives.n == 0
    assert seen[:2] == seen[2:4] != seen[4:]
    assert {len(ids) for ids in seen} == {20}


def test_what_was_undecided_is_not_audited() -> None:
    table = verdicts(("timeout", "4", 5), ("bad_reference", "4", 5), ("unverifiable", None, 5))
    found = audit(table, lambda rows: [True] * rows.height)
    assert found.false_negatives.n == found.false_positives.n == 0


def test_a_judge_as_second_method() -> None:
    table = verdicts(("wrong", "five", 1), ("wrong", None, 1), ("wrong", ":", 1))

    def ask(conversations: Sequence[Sequence[Message]]) -> list[str]:
        assert len(conversations) == 1  # the others say nothing
        return ['{"verdict": "correct"}']

    found = audit(table, judged_by(ask))
    assert (found.false_negatives.hits, found.false_negatives.n, found.undecided) == (1, 1, 2)


@pytest.mark.parametrize(
    ("groups", "majority"),
    [
        ([("wrong", "7", 8)], "7"),
        ([("wrong", r"\frac12", 3), ("wrong", "0.5", 3), ("wrong", "9", 2)], r"\frac12"),
        ([("wrong", "7", 5), ("no_answer", None, 3)], "7"),
        ([("wrong", "7", 7)], None),
        ([("wrong", "7", 4), ("wrong", "8", 4)], None),
        ([("wrong", "7", 20), ("correct", "5", 1)], None),
        ([("no_answer", None, 16)], None),
        ([("timeout", "7", 8)], None),
    ],
)
def test_references_that_the_majority_disputes(
    groups: list[tuple[str, str | None, int]], majority: str | None
) -> None:
    found = suspect_references(verdicts(*groups))
    assert found["majority"].to_list() == ([majority] if majority else [])


def test_what_becomes_of_a_suspect() -> None:
    table = pl.concat(
        [
            verdicts(("wrong", r"\frac12", 6), ("wrong", "9", 2)),
            verdicts(("correct", "5", 1), ("wrong", "9", 9), prompt_id="q"),
        ]
    )
    suspects = suspect_references(table)
    assert suspects["prompt_id"].to_list() == ["p"]
    assert apply_policy(table, suspects, "leave").equals(table)
    dropped = apply_policy(table, suspects, "drop").filter(pl.col("prompt_id") == "p")
    assert dropped["state"].unique().to_list() == ["bad_reference"]
    changed = apply_policy(table, suspects, "majority")
    assert changed.filter(pl.col("method") == "majority").height == 6
    assert changed["state"].value_counts(sort=True).rows() == [("wrong", 11), ("correct", 7)]
