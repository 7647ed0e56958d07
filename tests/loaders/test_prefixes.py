"""Prefixes of a run's samples: the prompts, a run over them, and its labels of steps."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from factory.build.build import build
from factory.core.errors import SourceError
from factory.core.nouns import Message, Prompt, Sample
from factory.core.run_dir import RunDir, save_prompts
from factory.prompts.load import load_prompts
from factory.prompts.steps.labels import read_labelled_rows, read_step_labels
from factory.prompts.steps.prefixes import Prefixes, merge_ends
from factory.recipe.build import load_recipe
from factory.report.explain import explain
from tests.replayed import write_recipe

CONSOLE = Console(file=StringIO())
ROWS = [{"question": "2 + 2 = ?", "answer": "4"}, {"question": "3 + 3 = ?", "answer": "6"}]

RIGHT = "<think>\nadd\nit is {answer}\n</think>\n\n\\boxed{{{answer}}}"
TEXTS = [  # the first two begin alike; the third is wrong; the fourth has no step to cut after
    RIGHT,
    "<think>\nadd\nor 0\n</think>\n\n\\boxed{{0}}",
    "<think>\nguess\n</think>\n\n\\boxed{{1}}",
    "\\boxed{{{answer}}}",
]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with four samples of each of two prompts."""
    folder = tmp_path_factory.mktemp("first")

    def text(prompt: Prompt, index: int) -> str:
        assert prompt.verifier is not None
        return TEXTS[index].format(answer=prompt.verifier["answer"])

    build(load_recipe(write_recipe(folder, ROWS, text, n=4)), folder / "run", CONSOLE)
    return folder / "run"


def prefixes(first: Path, **keys: Any) -> list[Prompt]:
    return load_prompts([Prefixes(path=str(first), rule="lines", **keys)]).prompts


def test_every_distinct_start_is_a_prompt_to_continue(first: Path) -> None:
    found = [prompt for prompt in prefixes(first) if prompt.question == ROWS[0]["question"]]
    starts = {prompt.continues["text"]: prompt for prompt in found if prompt.continues}
    assert list(starts) == [
        "<think>\nadd\n",
        "<think>\nadd\nit is 4\n",
        "<think>\nadd\nor 0\n",
        "<think>\nguess\n",
    ]
    shared = starts["<think>\nadd\n"]
    asked = Prompt("x", "math", (Message(role="user", content="2 + 2 = ?"),), shared.verifier)
    assert shared.continues == {
        "parent": f"{asked.id}-0",
        "cut": 12,
        "text": "<think>\nadd\n",
    }
    assert shared.meta["prefix"]["samples"] == [f"{asked.id}-0", f"{asked.id}-1"]
    assert len({prompt.id for prompt in [asked, *found]}) == 5


def test_few_samples_are_right_and_wrong_ones_in_turn(first: Path) -> None:
    parents = {
        name.rpartition("-")[2]
        for prompt in prefixes(first, samples=2)
        for name in prompt.meta["prefix"]["samples"]
    }
    assert parents == {"0", "1"}  # sample 3, right too, comes after a wrong one


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 40))
def test_steps_are_joined_evenly(lengths: list[int], most: int) -> None:
    ends = [sum(lengths[: number + 1]) for number in range(len(lengths))]
    merged = merge_ends(ends, most)
    assert merged == sorted(set(merged))
    assert set(merged) <= set(ends)
    assert (len(merged), merged[-1]) == (min(most, len(ends)), ends[-1])


def test_the_pass_rates_of_a_run_are_the_labels(first: Path, tmp_path: Path) -> None:
    """After `add` two of four rollouts are right; after `or 0` and `guess` none is."""
    found = prefixes(first)
    recorded = tmp_path / "recorded"
    save_prompts(recorded, found)
    with RunDir(recorded) as run:
        for prompt in found:
            assert prompt.continues is not None
            assert prompt.verifier is not None
            start = prompt.continues["text"]
            for index in range(4):
                right = "it is" in start or ("add" in start and "or" not in start and index < 2)
                answer = prompt.verifier["answer"] if right else "0"
                text = f"{start}go on\n</think>\n\n\\boxed{{{answer}}}"
                run.append(
                    Sample(prompt.id, index, text, "?", "stop", 5, 9, "recorded", "recorded", 1)
                )
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: labels\nmodel: demo\nprompting: {{template: few_shot}}\nsampling: {{n: 4}}\n"
        f"sources: [{{kind: prefixes, path: {first}, rule: lines}}]\n"
        f"engine: {{kind: replay, replay: {recorded}}}\n"
        "filters: {format: {}, correctness: {}}\n"
    )
    out = tmp_path / "run"
    build(load_recipe(recipe), out, CONSOLE)
    samples = pl.concat(pl.read_parquet(part) for part in (out / "samples").glob("*.parquet"))
    assert samples["n_tokens"].sum() == 5 * samples.height  # no shared start counted
    starts = {prompt.id: prompt.continues for prompt in found}
    for prompt_id, parent, cut in samples.select("prompt_id", "parent", "cut").iter_rows():
        continued = starts[prompt_id]
        assert continued is not None
        assert (parent, cut) == (continued["parent"], continued["cut"])
    soft = {row["sample_id"][-1:]: row for row in read_step_labels(out, "soft")}
    assert [soft[index]["labels"] for index in "012"] == [[0.5, 1, 1], [0.5, 0, 0], [0, 0]]
    assert "".join(soft["0"]["steps"]) in (RIGHT.format(answer=4), RIGHT.format(answer=6))
    hard = pl.read_parquet(out / "step_labels" / "hard.parquet")
    assert sorted(map(tuple, hard["labels"].to_list()), key=len)[-1] in {(1, 1, 1), (1, 0, 0)}
    assert set(hard["kind"]) == {"hard"}
    recipe_read = load_recipe(recipe)
    lines = explain(recipe_read.filters, out, f"{found[0].id}-0")
    assert any(found[0].continues and found[0].continues["parent"] in line for line in lines)


def test_a_run_that_cannot_be_cut_says_why(first: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no judged samples"):
        prefixes(tmp_path)
    blind = write_recipe(tmp_path, ROWS, lambda prompt, index: "a", filters="{format: {}}")
    text = blind.read_text().replace("format: {}", "length: {}")
    blind.write_text(text)
    build(load_recipe(blind), tmp_path / "run", CONSOLE)
    with pytest.raises(SourceError, match="no filter `correctness`"):
        prefixes(tmp_path / "run")


SHEPHERD = {
    "input": "Ann has 3 hens. How many legs? Step 1: A hen has 2 legs. ки\nStep 2: 3*2 = 5. ки\n"
    "Step 3: The answer is: 5 ки",
    "label": "Ann has 3 hens. How many legs? Step 1: A hen has 2 legs. +\nStep 2: 3*2 = 5. -\n"
    "Step 3: The answer is: 5 -",
    "task": "GSM8K",
}
PRM = {
    "labeler": "d8aa7923",
    "timestamp": "2022-07-17T16:56:51.323252",
    "generation": None,
    "is_quality_control_question": False,
    "is_initial_screening_question": False,
    "question": {"problem": "What is 3*2?", "ground_truth_answer": "6"},
    "label": {
        "steps": [
            {
                "completions": [
                    {"text": "Double it.", "rating": -1, "flagged": False},
                    {"text": "Triple 2.", "rating": 0, "flagged": False},
                    {"text": "?", "rating": None, "flagged": None},
                ],
                "human_completion": None,
                "chosen_completion": 1,
            },
            {
                "completions": [{"text": "It is 5.", "rating": -1, "flagged": False}],
                "human_completion": {
                    "text": "It is 6.",
                    "rating": None,
                    "source": "human",
                    "flagged": False,
                    "corrected_rating": None,
                },
                "chosen_completion": None,
            },
            {
                "completions": [{"text": "So 6.", "rating": 1, "flagged": False}],
                "human_completion": None,
                "chosen_completion": None,
            },
        ],
        "total_time": 278270,
        "finish_reason": "found_error",
    },
}


def test_published_sets_are_read_as_rows_of_the_same_shape() -> None:
    (shepherd,) = read_labelled_rows(SHEPHERD)
    assert shepherd["question"] == "Ann has 3 hens. How many legs?"
    assert shepherd["steps"] == [
        "Step 1: A hen has 2 legs.\n",
        "Step 2: 3*2 = 5.\n",
        "Step 3: The answer is: 5\n",
    ]
    assert shepherd["labels"] == [1, 0, 0]
    found = read_labelled_rows(PRM)
    assert [(row["steps"], row["labels"]) for row in found] == [
        (["Double it.\n"], [0]),
        (["Triple 2.\n", "It is 5.\n"], [None, 0]),
        (["Triple 2.\n", "It is 6.\n", "So 6.\n"], [None, None, 1]),
        (["Triple 2.\n", "It is 6.\n"], [1, 1]),
    ]
    assert {row["question"] for row in found} == {"What is 3*2?"}
    (trl,) = read_labelled_rows({"prompt": "q", "completions": ["a", "b"], "labels": [True, False]})
    assert (trl["steps"], trl["labels"]) == (["a\n", "b\n"], [1, 0])
    own = {"question": "q", "steps": ["a"], "labels": [0.5]}
    assert read_labelled_rows(own) == [own]


def step_of(completions: Any, *, chosen: int | None = None, human: Any = None) -> dict[str, Any]:
    step = {"completions": completions, "chosen_completion": chosen, "human_completion": human}
    return {"question": {"problem": "q"}, "label": {"steps": [step]}}


@pytest.mark.parametrize(
    ("text", "labelled", "steps", "labels"),
    [
        # A tag within a word is text, and the first step is the last heading of the question.
        (
            "Две строки. Step 1: what? Step 1: Ищи строки. ки\nStep 2: Два. ки",
            "Две строки. Step 1: what? Step 1: Ищи строки. -\nStep 2: Два. +",
            ["Step 1: Ищи строки.\n", "Step 2: Два.\n"],
            [0, 1],
        ),
        ("q Step 1: a ки\n ки", "q Step 1: a +\n -", ["Step 1: a\n", "\n"], [1, None]),
        ("q Step 1: a ки\nStep 2: cut of", "q Step 1: a +\nStep 2: cu", ["Step 1: a\n"], [1]),
        ("q Step 1: 1+1-1 ки", "q Step 1: 1+1-1 -", ["Step 1: 1+1-1\n"], [0]),
    ],
)
def test_tags_of_math_shepherd(
    text: str, labelled: str, steps: list[str], labels: list[float | None]
) -> None:
    (found,) = read_labelled_rows({"input": text, "label": labelled})
    assert (found["steps"], found["labels"]) == (steps, labels)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (step_of([]), []),
        (step_of(None), []),
        (step_of([{"text": "a", "rating": None}], chosen=0), []),
        (step_of([{"text": " ", "rating": -1}, {"text": "a", "rating": 1}]), [(["a\n"], [1])]),
        (step_of([], human={"text": "h"}), [(["h\n"], [1])]),
        (step_of([], human={"text": ""}), []),
    ],
)
def test_completions_without_text_or_rating_have_no_label(
    row: dict[str, Any], expected: list[Any]
) -> None:
    assert [(one["steps"], one["labels"]) for one in read_labelled_rows(row)] == expected


FIELDS = ["problem", "steps", "completions", "text", "rating", "chosen_completion"]
FIELDS += ["human_completion"]
WORDS = st.text("aк и+-1:S\n", min_size=1).filter(lambda text: text.strip() and "ки" not in text)


@given(WORDS, st.lists(st.tuples(WORDS, st.booleans()), min_size=1))
def test_what_is_written_as_math_shepherd_is_read(
    question: str, solution: list[tuple[str, bool]]
) -> None:
    steps = [f"Step {number}: {text}" for number, (text, _) in enumerate(solution, 1)]
    row = {
        key: f"{question} "
        + "\n".join(f"{step} {mark}" for step, mark in zip(steps, marks, strict=True))
        for key, marks in (
            ("input", ["ки"] * len(steps)),
            ("label", ["+" if good else "-" for _, good in solution]),
        )
    }
    (found,) = read_labelled_rows(row)
    assert found["question"] == question.strip()
    assert found["steps"] == [f"{step.strip()}\n" for step in steps]
    assert found["labels"] == [float(good) for _, good in solution]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.text("aки+-", max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(FIELDS),
                inner,
            )
        ),
        max_leaves=9,
    ),
    st.sampled_from(["input", "question", "completions"]),
    st.sampled_from(["label", "labels"]),
)
def test_no_row_raises_anything_else(value: Any, first: str, second: str) -> None:
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        read_labelled_rows({first: value, second: value, "prompt": value})


def test_a_flood_of_tags_is_read_in_one_pass() -> None:
    text = f"q Step 1: a{'ки' * 1_000_000}"
    (found,) = read_labelled_rows({"input": f"{text} ки", "label": f"{text} +"})
    assert found["labels"] == [1]


@pytest.mark.parametrize(
    "row",
    [
        {"text": "a"},
        {**SHEPHERD, "label": SHEPHERD["label"].replace("+", "ки")},
        {"input": "no step ки", "label": "no step +"},
        {"input": "no tag", "label": "no tag"},
        {"question": "q", "label": "a"},
        {"question": {"problem": "q"}, "label": {"steps": [{}]}},
        {"question": {"problem": "q"}, "label": {"steps": None}},
        {**SHEPHERD, "label": SHEPHERD["label"].replace("hens", "dogs")},
        {**SHEPHERD, "label": SHEPHERD["label"][:40]},
        {**SHEPHERD, "label": None},
        {"input": "Step 1: no question ки", "label": "Step 1: no question +"},
        step_of([{"text": "a", "rating": 1}], chosen=-1),
        step_of([{"text": "a", "rating": 1}], chosen=1),
        step_of(None, chosen=0),
        step_of([{"text": "a", "rating": 2}]),
        step_of([{"text": "a", "rating": "1"}]),
        step_of([{"text": None, "rating": 1}]),
        step_of([{"text": "a"}]),
        step_of([], human={"text": None}),
        {"prompt": "q", "completions": ["a", None], "labels": [True]},
    ],
)
def test_other_rows_are_refused(row: dict[str, Any]) -> None:
    with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
        read_labelled_rows(row)


def test_a_prefix_keeps_what_its_prompt_has(first: Path) -> None:
    one = prefixes(first, domain="logic")[0]
    assert (one.domain, one.verifier) == ("logic", {"kind": "math", "answer": "4"})
    assert dataclasses.replace(one, continues=None, id="").messages == one.messages
