"""Each instruction: followed, just not followed, and what two people would count differently."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.verify.instructions.counting import count_sentences, count_words
from filters.verify.instructions.verifier import Instruction, read_instruction
from filters.verify.verifiers import Item, verify_responses

TWO = "One two three.\n\nFour five, six."
LIST = "Shopping:\n\n* bread\n* milk\n  * oat milk\n- salt"

CASES: list[tuple[dict[str, Any], str, bool | None]] = [
    ({"check": "words", "at_least": 6}, TWO, True),
    ({"check": "words", "at_least": 7}, TWO, False),
    ({"check": "words", "exactly": 2}, "well-known fact", None),
    ({"check": "words", "at_most": 3}, "well-known fact", True),
    ({"check": "words", "at_least": 4}, "well-known fact", False),
    ({"check": "words", "exactly": 4}, "你好世界", True),
    ({"check": "words", "exactly": 3}, "a – b * c", True),
    ({"check": "sentences", "exactly": 2}, TWO, True),
    ({"check": "sentences", "at_least": 3}, TWO, False),
    ({"check": "sentences", "exactly": 1}, "Dr. Holm came.", None),
    ({"check": "sentences", "at_most": 2}, "Dr. Holm came.", True),
    ({"check": "sentences", "exactly": 2}, "It cost 3.50 euros. He paid!", True),
    ({"check": "sentences", "exactly": 2}, "今天很冷。我在家。", True),
    ({"check": "sentences", "exactly": 2}, '"Really?" she asked.', True),
    ({"check": "paragraphs", "exactly": 2}, TWO, True),
    ({"check": "paragraphs", "exactly": 2}, TWO.replace("\n\n", "\n"), False),
    ({"check": "paragraphs", "exactly": 2}, TWO.replace("\n\n", "\n \t\n\n"), True),
    ({"check": "paragraphs", "exactly": 2, "separator": "***"}, "a\n***\nb", True),
    ({"check": "paragraphs", "exactly": 2, "separator": "***"}, "a\n\nb *** c", False),
    ({"check": "paragraph_start", "paragraph": 2, "word": "four"}, TWO, True),
    ({"check": "paragraph_start", "paragraph": 2, "word": "fo"}, TWO, False),
    ({"check": "paragraph_start", "paragraph": 3, "word": "four"}, TWO, False),
    ({"check": "lines", "exactly": 2}, TWO, True),
    ({"check": "lines", "exactly": 3}, TWO, False),
    ({"check": "bullets", "at_least": 3}, LIST, True),
    ({"check": "bullets", "exactly": 3}, LIST, None),
    ({"check": "bullets", "exactly": 2}, LIST, False),
    ({"check": "bullets", "exactly": 1}, "```\n* a\n```\n* b\n*c*", True),
    ({"check": "numbered", "exactly": 2}, "1. a\n2) b\n3.5 is no item", True),
    ({"check": "numbered", "exactly": 3}, "1. a\n2) b\n3.5 is no item", False),
    ({"check": "headings", "exactly": 1}, "# A\ntext #tag", True),
    ({"check": "headings", "exactly": 2}, "# A\ntext #tag", False),
    ({"check": "title"}, "<<The sea>>\nIt is wide.", True),
    ({"check": "title"}, "<The sea>\nIt is wide.", False),
    ({"check": "title"}, "<< >>", False),
    ({"check": "highlights", "exactly": 2}, "*a b* and **c**\n* item\n2 * 3 * 4", True),
    ({"check": "highlights", "exactly": 3}, "*a b* and **c**\n* item\n2 * 3 * 4", False),
    ({"check": "sections", "exactly": 2}, "Section 1\na\n**SECTION 2**\nb", True),
    ({"check": "sections", "exactly": 2}, "Section 1\na\nSection 3\nb", False),
    ({"check": "sections", "at_least": 1, "mark": "Day"}, "See Day 1 below", False),
    ({"check": "placeholders", "at_least": 2}, "Dear [name], at [place]", True),
    ({"check": "placeholders", "at_least": 2}, "Dear [name], dear [name]", None),
    ({"check": "placeholders", "at_least": 1}, "[a link](https://example.org)", False),
    ({"check": "postscript"}, "Yours.\n\nP.S. Bring salt.", True),
    ({"check": "postscript"}, "Yours.\n\nPS: Bring salt.", None),
    ({"check": "postscript"}, "Yours, with a P.S. in mind.", False),
    ({"check": "postscript", "mark": "P.P.S"}, "P.P.S no", True),
    ({"check": "json"}, '```json\n{"a": 1}\n```', True),
    ({"check": "json"}, '{"a": 1} is the answer', False),
    ({"check": "json"}, "42", False),
    ({"check": "responses"}, "One.\n******\nTwo.", True),
    ({"check": "responses"}, "One.\n******\nOne.", False),
    ({"check": "responses", "exactly": 3}, "One.\n******\nTwo.", False),
    ({"check": "keywords", "include": ["sea", "salt"]}, "The SEA is full of salt.", True),
    ({"check": "keywords", "include": ["sea", "salt"]}, "The sea is wide.", False),
    ({"check": "keywords", "include": ["sea"]}, "A good season.", None),
    ({"check": "keywords", "include": ["海"]}, "大海很美", True),
    ({"check": "keywords", "include": ["C++"]}, "I write C++, daily", True),
    ({"check": "forbidden", "words": ["sea"]}, "A good season.", True),
    ({"check": "forbidden", "words": ["sea"]}, "By the Sea.", False),
    ({"check": "keyword_count", "word": "sea", "exactly": 2}, "Sea, sea!", True),
    ({"check": "keyword_count", "word": "sea", "exactly": 2}, "Sea, season", None),
    ({"check": "keyword_count", "word": "sea", "exactly": 2}, "Sea", False),
    ({"check": "letter_count", "letter": "e", "exactly": 3}, "Ele é e", True),
    ({"check": "letter_count", "letter": "e", "exactly": 4}, "Ele é e", False),
    ({"check": "forbidden_characters", "characters": ","}, "No comma here; none.", True),
    ({"check": "forbidden_characters", "characters": ","}, "One, two", False),
    ({"check": "forbidden_characters", "characters": ","}, "一，二", False),
    ({"check": "language", "language": "de"}, "Das Meer ist heute sehr ruhig und kalt.", True),
    ({"check": "language", "language": "de"}, "The sea is very calm and cold today.", False),
    ({"check": "language", "language": "de"}, "42", None),
    ({"check": "case", "case": "upper"}, "ALL OF IT, 3 TIMES: ÄÖ.", True),
    ({"check": "case", "case": "upper"}, "ALL BUT oNE", False),
    ({"check": "case", "case": "lower"}, "all of it", True),
    ({"check": "case", "case": "lower"}, "I did", False),
    ({"check": "case", "case": "lower"}, "123", False),
    ({"check": "capitals", "at_least": 2}, "This is VERY GOOD", True),
    ({"check": "capitals", "at_least": 2}, "I say NO", None),
    ({"check": "capitals", "at_most": 0}, "none here", True),
    ({"check": "capitals", "at_most": 0}, "NONE here", False),
    ({"check": "starts_with", "text": "Dear friend"}, "dear  Friend, hello", True),
    ({"check": "starts_with", "text": "Dear friend"}, "My dear friend", False),
    ({"check": "ends_with", "text": "That is all."}, "Bye. That is all.\n", True),
    ({"check": "ends_with", "text": "That is all."}, "That is all. Bye.", False),
    ({"check": "quoted"}, "“It is cold.”", True),
    ({"check": "quoted"}, '"It" is cold.', False),
    ({"check": "choose", "options": ["yes", "no"]}, "Yes, it is not far now.", True),
    ({"check": "choose", "options": ["yes", "no"]}, "Yes or no?", False),
    ({"check": "choose", "options": ["yes", "no"]}, "Perhaps.", False),
    ({"check": "repeat", "text": "What is salt?"}, "what is salt? A mineral.", True),
    ({"check": "repeat", "text": "What is salt?"}, "Salt is a mineral.", False),
]  # fmt: skip


@pytest.mark.parametrize(("instruction", "response", "followed"), CASES)
def test_each_instruction(
    instruction: dict[str, Any], response: str, followed: bool | None
) -> None:
    check = read_instruction(instruction, "instructions.0")
    assert check.judge(response).followed is followed
    assert len(check.describe()) > 12


NAMES = {
    get_args(model.model_fields["check"].annotation)[0]
    for model in get_args(get_args(Instruction)[0])
}


@pytest.mark.parametrize("outcome", [True, False])
def test_every_check_is_seen_followed_and_not_followed(outcome: bool) -> None:
    assert {case[0]["check"] for case in CASES if case[2] is outcome} == NAMES


def test_the_page_names_every_check() -> None:
    page = Path(__file__).parents[3] / "docs" / "how-to" / "follow-instructions.md"
    table = "\n".join(line for line in page.read_text("utf-8").splitlines() if line[:1] == "|")
    assert set(re.findall(r"`(\w+)`", table)) >= NAMES


def verdict(instructions: Any, response: str) -> tuple[str, str | None, str | None]:
    spec = {"kind": "instructions", "instructions": instructions}
    (found,) = verify_responses([Item(spec, response)])
    return found.state, found.extracted, found.detail


def test_all_must_be_followed_and_each_has_its_own_reason() -> None:
    listed = [
        {"check": "words", "at_least": 10},
        {"check": "keywords", "include": ["salt"]},
        {"check": "title"},
    ]
    assert verdict(listed, "<<Salt>>\nIt is a mineral.") == (
        "wrong",
        "2 of 3 followed",
        "words: 5, at least 10 wanted",
    )
    assert verdict(listed[1:], "<<Salt>>")[0] == "correct"
    state, _, detail = verdict(listed, "Sugar.")
    assert state == "wrong"
    assert [part.partition(":")[0] for part in str(detail).split("; ")] == [
        "words",
        "keywords",
        "title",
    ]


def test_what_cannot_be_decided_is_neither_right_nor_wrong() -> None:
    state, count, detail = verdict([{"check": "words", "exactly": 2}], "well-known fact")
    assert (state, count) == ("unparseable", "0 of 1 followed")
    assert detail == "words: 2 to 3, exactly 2 wanted"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (None, "no list"),
        ([], "empty"),
        ("words", "no list"),
        ([{"check": "poem"}], "instructions.0: Input tag 'poem'"),
        ([{"check": "words"}], "needs at_least"),
        ([{"check": "words", "at_least": 5, "at_most": 3}], "more than at_most"),
        ([{"check": "words", "exactly": 5, "at_most": 9}], "excludes"),
        ([{"check": "title"}, {"check": "keywords"}], "instructions.1.include: Field required"),
        ([{"check": "title", "text": "A"}], "Extra inputs"),
        ([{"check": "choose", "options": ["no", "not"]}], "part of another"),
        ([{"check": "title"}] * 51, "51 instructions"),
    ],
)
def test_a_list_that_cannot_be_read_says_where(bad: Any, why: str) -> None:
    state, _, detail = verdict(bad, "Salt.")
    assert state == "bad_reference"
    assert why in str(detail)


@given(st.text(max_size=400))
@settings(max_examples=100)
def test_any_text_has_a_finding(text: str) -> None:
    for instruction, _, _ in CASES[::3]:
        read_instruction(instruction, "x").judge(text)
    for low, high in (count_words(text), count_sentences(text)):
        assert 0 <= low <= high


@pytest.mark.parametrize("piece", [". ", "* a* ", "\n ", "[a] ", "a.b.c. ", "SECTION 1\n", "```\n"])
def test_long_texts_take_linear_time(piece: str) -> None:
    """No clock: a quadratic check would run into the test's timeout."""
    text = piece * (300_000 // len(piece))
    for instruction, _, _ in {case[0]["check"]: case for case in CASES}.values():
        read_instruction(instruction, "x").judge(text)
