"""Rubrics: what a program answers, what a judge answers item by item, and judges that say yes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import pytest

from factory.core.nouns import Message
from filters.base import INPUT_COLUMNS
from filters.correctness import Correctness
from filters.judges import rubric as judged
from filters.verify.verifiers import Item, Verifiers
from tests.json_server import serving, words

KEEPER = "I trim the lamp each night, and the sea keeps me company."
ITEMS = [
    {"check": "words", "at_most": 20},
    {"pattern": r"\blamp\b"},
    {"pattern": r"(?i)as an ai", "expect": "no"},
    {"ask": "Does the reply speak as a lighthouse keeper?"},
    {"ask": "Does the reply name a year?", "expect": "no"},
]


@pytest.fixture(scope="module")
def verifiers() -> Iterator[Verifiers]:
    with Verifiers(workers=1, deadline_s=1.0) as made:
        yield made


def rubric(items: Any = ITEMS) -> dict[str, Any]:
    return {"kind": "rubric", "items": items}


PROGRAM = [
    (ITEMS, KEEPER, "pending", "2 items are for a judge"),
    (ITEMS[:3], KEEPER, "correct", None),
    (ITEMS, KEEPER * 3, "wrong", "items.0 words"),
    (ITEMS, "I trim the lamps.", "wrong", "items.1 pattern: it does not occur"),
    (ITEMS, "The lamp! As an AI I like it.", "wrong", "items.2 pattern: it occurs"),
    ([{"check": "words", "exactly": 2}, ITEMS[3]], "well-known fact", "unparseable", "items.0"),
    ([{"check": "words", "exactly": 2}, ITEMS[1]], "well-known fact", "wrong", "items.1 pattern"),
]


@pytest.mark.parametrize(("items", "text", "state", "detail"), PROGRAM)
def test_what_a_program_answers_comes_first(
    verifiers: Verifiers, items: Any, text: str, state: str, detail: str | None
) -> None:
    (found,) = verifiers.verify([Item(rubric(items), text)])
    assert found.state == state
    assert str(found.detail).startswith(str(detail))


@pytest.mark.parametrize(
    ("items", "why"),
    [
        (None, "no list"),
        ([], "empty"),
        ([3], "items.0 is no mapping"),
        ([{}], "items.0 needs one of check, pattern and ask"),
        ([{"ask": "a", "pattern": "b"}], "needs one of"),
        ([{"ask": ""}], "items.0.ask"),
        ([{"ask": "a", "expect": "maybe"}], "items.0.expect"),
        ([{"pattern": "("}], "no regular expression"),
        ([{"check": "words"}], "items.0: Value error, needs at_least"),
        ([{"ask": "a"}] * 51, "51 items"),
    ],
)
def test_a_rubric_that_cannot_be_read_says_where(
    verifiers: Verifiers, items: Any, why: str
) -> None:
    assert why in str(verifiers.check([rubric(items)])[0])
    assert verifiers.verify([Item(rubric(items), "Yes.")])[0].state == "bad_reference"


def test_a_pattern_that_backtracks_forever_is_a_timeout(verifiers: Verifiers) -> None:
    hostile = rubric([{"pattern": "^(a+)+$"}])
    assert verifiers.verify([Item(hostile, "a" * 60 + "!")])[0].state == "timeout"


YES, NO = '{"answer": "yes"}', '{"answer": "no"}'


def asked_of(conversation: Sequence[Message]) -> str:
    return conversation[-1]["content"].partition("<asked>\n")[2].partition("\n</asked>")[0]


def honest(conversations: Sequence[Sequence[Message]]) -> list[str]:
    """A judge that reads: it looks for the word of a canary, and knows the two questions."""
    return [honest_answer(conversation) for conversation in conversations]


def honest_answer(conversation: Sequence[Message]) -> str:
    item = asked_of(conversation)
    reply = conversation[-1]["content"].partition("<reply>\n")[2].partition("\n</reply>")[0]
    if word := re.search("“(.+)”", item):
        return YES if word[1] in reply.casefold() else NO
    return f"It does.\n{YES if ('keeper' in item) == ('lamp' in reply) else NO}"


def test_a_judge_answers_one_item_at_a_time() -> None:
    seen: list[str] = []

    def ask(conversations: Sequence[Sequence[Message]]) -> list[str]:
        seen.extend(map(asked_of, conversations))
        return honest(conversations)

    items = judged.list_questions(rubric())
    found = judged.judge_rubrics({"a": judged.Rubric("Who are you?", KEEPER, items)}, ask)
    assert found["a"] == judged.Graded("judge_correct", None, False)
    assert seen[:2] == [item["ask"] for item in ITEMS[3:]]
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("reply", "opinion", "fooled"),
    [
        (YES, "malformed", True),
        (NO, "malformed", True),
        ("Perhaps.", "malformed", False),
        ("", "malformed", False),
    ],
)
def test_a_judge_that_always_says_the_same_is_exposed(
    reply: str, opinion: str, fooled: bool
) -> None:
    items = judged.list_questions(rubric())
    found = judged.judge_rubrics(
        {"a": judged.Rubric("?", KEEPER, items)}, lambda asked: [reply] * len(asked)
    )
    assert found["a"][0] == opinion
    assert found["a"].fooled is fooled


def test_a_wrong_item_is_named() -> None:
    items = judged.list_questions(rubric())
    graded = judged.judge_rubrics({"a": judged.Rubric("?", "I am a cook.", items)}, honest)["a"]
    assert graded.opinion == "judge_wrong"
    assert str(graded.detail).startswith("no: Does the reply speak as a lighthouse keeper?")


@pytest.mark.parametrize("text", ["", "7 + 8", "Ja.", KEEPER, "x" * 100_000, "海の灯台守は毎晩"])
def test_canaries_are_certain(text: str) -> None:
    for name in map(str, range(20)):
        for item in judged.canaries(name, text):
            word = re.search("“(.+)”", item.ask)
            assert word is not None
            assert (word[1] in judged.shorten(text).casefold()) == (item.expect == "yes")
    assert judged.canaries("1", text) == judged.canaries("1", text)


def frame(*responses: str) -> pl.DataFrame:
    rows = [
        {
            **dict.fromkeys(INPUT_COLUMNS),
            "sample_id": str(index),
            "prompt_id": "p",
            "index": index,
            "text": text,
            "response": text,
            "shape": "ok",
            "question": "Who are you?",
            "verifier": json.dumps(rubric()),
        }
        for index, text in enumerate(responses)
    ]
    return pl.DataFrame(rows)


def decide(filter_: Correctness, samples: pl.DataFrame, ask: Any = None) -> list[str | None]:
    metrics = filter_.measure_with(samples, ask)
    reasons = [pl.when(rule.when).then(pl.lit(rule.reason)) for rule in filter_.rules()]
    return metrics.select(pl.coalesce(reasons)).to_series().to_list()


def test_without_a_judge_nothing_verifies_the_open_items() -> None:
    samples = frame(KEEPER, "No light.")
    metrics = Correctness().measure(samples)
    assert metrics["correctness_state"].to_list() == ["unverifiable", "wrong"]
    assert "set judge" in metrics["correctness_detail"][0]
    assert decide(Correctness(), samples) == ["unverifiable", "wrong"]


@pytest.mark.parametrize("combine", ["judge", "rule_or_judge", "rule_and_judge"])
def test_the_filter_asks_its_judge_whatever_combine_says(combine: Any) -> None:
    filter_ = Correctness(combine=combine, judge="engine")
    samples = frame(KEEPER, "Lost: my lamp. " * 9, "I am a cook with a lamp")
    assert decide(filter_, samples, honest) == [None, "wrong", None]

    def severe(conversations: Sequence[Sequence[Message]]) -> list[str]:
        return [
            NO if "keeper" in asked_of(conversation) else honest_answer(conversation)
            for conversation in conversations
        ]

    assert decide(filter_, samples, severe) == ["judge_wrong", "wrong", "judge_wrong"]
    credulous = filter_.measure_with(samples, lambda asked: [YES] * len(asked))
    assert credulous["correctness_canary"].to_list() == [True, None, True]
    assert decide(filter_, samples, lambda asked: [YES] * len(asked))[0] == "judge_undecided"


def test_a_judge_on_a_server() -> None:
    def answer(path: str, body: Any, times: int) -> tuple[int, Any]:
        content = honest_answer(body["messages"])
        return 200, {"choices": [{"message": {"content": content}}]}

    with serving(answer) as server:
        endpoint = {"base_url": f"{server.url}/v1", "model": "judge"}
        filter_ = Correctness.model_validate({"combine": "judge", "judge": endpoint})
        assert decide(filter_, frame(KEEPER)) == [None]
        assert len(server.bodies) == 4
        assert all("<asked>" in words(body) for body in server.bodies)
