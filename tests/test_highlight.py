"""Flagged spans of a text: where they are, and how a terminal shows them."""

from __future__ import annotations

from typing import Any

import pytest

from factory.report.highlight import (
    Flagged,
    find_flagged,
    list_flagged,
    mark_excerpt,
    mark_text,
    show_controls,
)


def spans(*found: tuple[int, int, str]) -> list[dict[str, Any]]:
    return [dict(zip(("start", "end", "language"), span, strict=True)) for span in found]


CASES = [
    ("<think>a 面积 b</think>c", {"language_thinking_spans": spans((2, 4, "Han"))}, ["面积"]),
    ("<think>a</think>b мир", {"language_response_spans": spans((2, 5, "Cyrillic"))}, ["мир"]),
    ("a мир", {"language_response_spans": spans((2, 5, "Cyrillic"))}, ["мир"]),
    ("<think>a мир", {"language_thinking_spans": spans((2, 5, "Cyrillic"))}, ["мир"]),
    ("a мир</think>b", {"language_thinking_spans": spans((2, 5, "Cyrillic"))}, ["мир"]),
    ("x <think>мир</think>", {"language_thinking_spans": spans((0, 3, "Cyrillic"))}, ["мир"]),
    (
        "<think>数</think>мир",
        {
            "language_response_spans": spans((0, 3, "Cyrillic")),
            "language_thinking_spans": spans((0, 1, "Han")),
        },
        ["数", "мир"],
    ),
    ("a<|im_end|>b", {"format_special_token": "<|im_end|>"}, ["<|im_end|>"]),
    ("I am ChatGPT.", {"identity_claim": "I am ChatGPT"}, ["I am ChatGPT"]),
    ("I am ChatGPT.", {"identity_claim": "am ChatGPT", "safety_span": "I am"}, ["I am"]),
    ("edited since", {"safety_span": "ghp_"}, []),
    ("nothing", {"language_thinking_spans": None, "safety_span": None}, []),
    ("", {}, []),
]


@pytest.mark.parametrize(("text", "metrics", "words"), CASES)
def test_flagged_spans_are_found(text: str, metrics: dict[str, Any], words: list[str]) -> None:
    assert [text[found.start : found.end] for found in find_flagged(text, metrics)] == words


def test_marked_text_is_the_text() -> None:
    found = [Flagged(2, 4, "Han"), Flagged(7, 8, "Han")]
    assert "⟦面积⟧" in mark_text("a 面积 b c", found)
    assert list(list_flagged("a 面积 b\n c", [Flagged(2, 8, "Han")])) == ["Han            面积 b"]


def test_an_excerpt_shows_ends_and_flagged_spans() -> None:
    text = "begin " + "x" * 10_000 + "数" + "y" * 10_000 + " end"
    short = mark_excerpt(text, [Flagged(10_006, 10_007, "Han")])
    assert short.startswith("begin")
    assert short.endswith("end")
    assert "⟦数⟧" in short
    assert len(short) < 2_500
    assert short.count(" characters …") == 2
    assert mark_excerpt("short", []) == "short"


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert show_controls("a\x1b[31m\x00\x9b\tb\n") == "a␛[31m␀�\tb\n"
