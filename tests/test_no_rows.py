"""A build without enough rows fails, says why, shows an example and the usual remedy."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.errors import QuotaError
from factory.core.nouns import Prompt
from factory.core.run_dir import sample_parts
from factory.core.think import join_think
from factory.recipe.build import load_recipe
from tests.replayed import write_recipe

Text = Callable[[Prompt, int], str]

ROWS: list[dict[str, Any]] = [
    {
        "question": f"Tom has {n} bags of 3 apples. How many apples?",
        "answer": f"He has 3*{n} = <<3*{n}={3 * n}>>{3 * n} apples.\n#### {3 * n}",
    }
    for n in range(2, 6)
]
"""In the shape of GSM8K."""


def failed(folder: Path, recipe: Path) -> str:
    """The error of a build without enough rows; twice, as a finished run fails like a new one."""
    loaded, quiet = load_recipe(recipe), Console(file=io.StringIO())
    with pytest.raises(QuotaError) as first:
        build(loaded, folder / "run", quiet)
    with pytest.raises(QuotaError) as again:
        build(loaded, folder / "run", quiet)
    assert str(first.value) == str(again.value)
    assert sample_parts(folder / "run"), "the samples stay"
    assert "done" in (folder / "run" / "report.html").read_text()
    return str(first.value)


def wrong(_: Prompt, index: int) -> str:
    return join_think("Let me count.", f"It is the {index}. So \\boxed{{7}} apples.")


CASES: list[tuple[Text, tuple[str, ...]]] = [
    (
        wrong,
        (
            "8 samples became no row.\nReasons: 8 wrong.",
            "An example of wrong, sample ",
            "  question   Tom has ",
            "  reference  ",
            "  read       7\n",
            "  response   <think> Let me count. </think>",
            "`columns.answer`",
        ),
    ),
    (
        lambda prompt, index: f"The answer is {index}.",
        ("Reasons: 8 no_think.", "hides its reasoning", "  read       nothing\n"),
    ),
    (
        lambda prompt, index: " " * index,
        ("Reasons: 8 empty_text.", "  response   an empty text\n", "stop texts"),
    ),
    (
        lambda prompt, index: f"<think>\nI count and count {index}",
        ("Reasons: 8 unclosed_think.", "`sampling.max_tokens`"),
    ),
]


@pytest.mark.parametrize(("text", "words"), CASES)
def test_the_dominant_reason_an_example_and_the_remedy(
    tmp_path: Path, text: Text, words: tuple[str, ...]
) -> None:
    said = failed(tmp_path, write_recipe(tmp_path, ROWS, text))
    for each in words:
        assert each in said


def test_fewer_rows_than_required(tmp_path: Path) -> None:
    def one_right(prompt: Prompt, index: int) -> str:
        right = "bags" in prompt.question and "2 bags" in prompt.question
        return join_think("Let me see.", f"The {index}. So \\boxed{{{6 if right else 7}}}.")

    extra = "corpus: {min_rows: 3}"
    said = failed(tmp_path, write_recipe(tmp_path, ROWS, one_right, extra=extra))
    assert "only 2 rows, 3 are required (corpus.min_rows)" in said
    enough = load_recipe(tmp_path / "recipe.yaml", ["corpus.min_rows=2"])
    funnel = build(enough, tmp_path / "run", Console(quiet=True))
    assert funnel.rows is not None
    assert funnel.rows.samples == 2


def test_an_empty_corpus_may_be_wanted(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path, ROWS, wrong, extra="corpus: {min_rows: 0}"))
    funnel = build(recipe, tmp_path / "run", Console(quiet=True))
    assert funnel.rows is not None
    assert funnel.rows.samples == 0


def test_the_selection_may_leave_nothing(tmp_path: Path) -> None:
    def right(prompt: Prompt, index: int) -> str:
        assert prompt.verifier is not None
        return join_think(f"See {index}.", f"So \\boxed{{{prompt.verifier['answer']}}}.")

    rows = [{"question": f"{n} + 0?", "answer": str(n)} for n in range(4)]
    recipe = write_recipe(tmp_path, rows, right, extra="select: {pass_rate: [0, 0.5]}")
    said = failed(tmp_path, recipe)
    assert "Reasons: 8 selection." in said
    assert "`select.pass_rate`" in said


def test_a_source_without_a_kept_sample_is_named(tmp_path: Path) -> None:
    (tmp_path / "other.jsonl").write_text('{"question": "5 + 0?", "answer": "5"}\n')
    sources = """{kind: files, name: bare, path: rows.jsonl, verifier: {kind: math}}
  - {kind: files, name: good, path: other.jsonl, verifier: {kind: math}}"""

    def text(prompt: Prompt, index: int) -> str:
        if prompt.source == "good":
            return join_think(f"See {index}.", "So \\boxed{5}.")
        return f"Without a thought, {index}."

    recipe = write_recipe(
        tmp_path, ROWS, text, source=sources, filters="{format: {}, correctness: {}}"
    )
    said = io.StringIO()
    build(load_recipe(recipe), tmp_path / "run", Console(file=said, width=2000))
    assert "NOTHING KEPT: none of 8 samples of bare is kept." in said.getvalue()
    assert "Reasons: 8 no_think." in said.getvalue()
    assert "good" not in said.getvalue().partition("NOTHING KEPT")[2]


def test_a_few_lost_samples_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "other.jsonl").write_text('{"question": "5 + 0?", "answer": "5"}\n')
    sources = """{kind: files, name: few, path: rows.jsonl, verifier: {kind: math}}
  - {kind: files, name: good, path: other.jsonl, verifier: {kind: math}}"""

    def text(prompt: Prompt, index: int) -> str:
        return join_think(f"See {index}.", "So \\boxed{5}.")

    recipe = write_recipe(tmp_path, ROWS[:3], text, source=sources)
    said = io.StringIO()
    build(load_recipe(recipe), tmp_path / "run", Console(file=said, width=2000))
    assert "NOTHING KEPT" not in said.getvalue()
