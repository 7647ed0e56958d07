"""The loader on a small file: good blocks, and one without a question."""

from __future__ import annotations

from pathlib import Path

from plugin_example.loader import QuestionBlocks

from factory.core.nouns import Prompt


def test_blocks_become_prompts(tmp_path: Path) -> None:
    file = tmp_path / "questions.txt"
    file.write_text("Q: What is 1 + 1?\nA: 2\n\nA: 3\n\nQ: Why?\n", encoding="utf-8")
    first, second, third = QuestionBlocks(kind="own", path=file).rows()
    assert isinstance(first, Prompt)
    assert (first.question, first.verifier) == ("What is 1 + 1?", {"kind": "math", "answer": "2"})
    assert not isinstance(second, Prompt)
    assert second.reason == "no_question"
    assert isinstance(third, Prompt)
    assert third.verifier is None
