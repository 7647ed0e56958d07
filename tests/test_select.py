"""Selection within a prompt: which of its kept samples come first, and what decides it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.core.errors import RecipeError
from factory.core.nouns import Prompt, Sample
from factory.core.run_dir import RunDir, save_prompts
from factory.core.think import join_think
from factory.corpus.diversity import Sketches, compute_sketches, farthest_first
from factory.corpus.selection import rank_by_preference, select_rows, split_and_shuffle
from factory.judging.metrics import TextHash
from factory.judging.verdicts import judge_run, text_hashes
from factory.prompts.references import References
from factory.recipe.corpus import Corpus, Pick, Select
from filters.base import Filter
from filters.length import Length

LENGTHS = [30, 10, 20, 40]
SCORES = [0.2, 0.9, None, 0.4]
PICKS: list[tuple[Pick, list[int]]] = [  # a prompt's samples, the preferred first
    ("first", [0, 1, 2, 3]),
    ("shortest", [1, 2, 0, 3]),
    ("longest", [3, 0, 2, 1]),
    ("best", [1, 3, 0, 2]),
]


def frame(prompts: int = 3) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "sample_id": f"p{prompt}-{index}",
                "prompt_id": f"p{prompt}",
                "index": index,
                "n_tokens": LENGTHS[index],
                "score": SCORES[index],
            }
            for index in range(len(LENGTHS))
            for prompt in range(prompts)
        ]
    )


def no_text(rows: pl.DataFrame) -> Sketches:
    raise AssertionError("no text should be read")


@pytest.mark.parametrize(("pick", "order"), PICKS)
def test_each_policy_has_its_order(pick: Pick, order: list[int]) -> None:
    ranked = rank_by_preference(frame(), Select(pick=pick), 0, no_text)
    for _, rows in ranked.group_by("prompt_id"):
        assert rows["nth"].to_list() == [0, 1, 2, 3]
        assert rows["index"].to_list() == order


def test_random_goes_by_the_seed_alone() -> None:
    def order(rows: pl.DataFrame, seed: int) -> list[str]:
        return rank_by_preference(rows, Select(pick="random"), seed, no_text)["sample_id"].to_list()

    assert order(frame(9), 0) == order(frame(9).reverse(), 0)
    assert order(frame(9), 0) != order(frame(9), 1)
    firsts = rank_by_preference(frame(200), Select(pick="random"), 0, no_text).filter(nth=0)
    assert set(firsts["index"]) == {0, 1, 2, 3}


def test_diverse_reads_only_what_may_have_to_go() -> None:
    asked: list[int] = []

    def sketches(rows: pl.DataFrame) -> Sketches:
        asked.append(rows.height)
        return compute_sketches(rows["sample_id"])

    rows = pl.concat([frame(), frame(4).filter(prompt_id="p3").head(2)])
    rank_by_preference(rows, Select(pick="diverse", per_prompt=2), 0, sketches)
    assert asked == [12]


COUNTING = "we count the apples one by one and then we add the pears to what we have"
DRAWING = "a drawing helps here so let us draw a square and colour half of it in blue"
SOLVING = "call the unknown number x and write the equation that the story tells about it"


def test_the_least_alike_come_first() -> None:
    texts = [COUNTING, COUNTING + " too", DRAWING + " now", DRAWING, SOLVING]
    places = farthest_first(pl.Series(["p"] * 5), compute_sketches(pl.Series(texts)))
    order = sorted(range(5), key=places.to_list().__getitem__)
    assert order[0] == 0
    assert set(order[:3]) == {0, 2, 4}  # of the two drawings, the earlier


@given(st.lists(st.integers(1, 4), max_size=6), st.randoms())
def test_places_count_up_within_each_group(sizes: list[int], draw) -> None:  # type: ignore[no-untyped-def]
    groups = pl.Series([number for number, n in enumerate(sizes) for _ in range(n)], dtype=pl.Int64)
    sketches = np.array([[draw.randrange(3)] * 4 for _ in groups], np.uint8).reshape(-1, 4)
    places = farthest_first(groups, sketches)
    frame = pl.DataFrame({"group": groups, "place": places})
    assert [sorted(rows["place"]) for _, rows in frame.group_by("group", maintain_order=True)] == [
        list(range(n)) for n in sizes
    ]


def test_adding_a_prompt_moves_no_other_to_another_split() -> None:
    corpus = Corpus(validation=0.3)
    few, many = (
        dict(split_and_shuffle(frame(n), corpus).select("sample_id", "split").iter_rows())
        for n in (40, 60)
    )
    assert few.items() <= many.items()
    assert 0.15 < sum(split == "validation" for split in many.values()) / len(many) < 0.45


FILTERS: dict[str, Filter] = {"text": TextHash(), "length": Length()}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four prompts with the texts below, the second a copy of the first."""
    path = tmp_path_factory.mktemp("judged")
    prompts = [
        Prompt("written", "math", ({"role": "user", "content": f"Question {n}?"},))
        for n in range(4)
    ]
    save_prompts(path, prompts)
    with RunDir(path) as run:
        for prompt in prompts:
            for index, thinking in enumerate([COUNTING, COUNTING, COUNTING + " too", DRAWING]):
                text = join_think(thinking, "Done.")
                run.append(
                    Sample(prompt.id, index, text, "", "stop", 50 - index, 5, "m", "fp", index)
                )
    judge_run(path, FILTERS, References())
    return path


RUN_PICKS = [
    (Select(per_prompt=1), {0}),
    (Select(drop_exact_duplicates=False), {0, 1, 2, 3}),
    (Select(), {0, 2, 3}),
    (Select(per_prompt=2, pick="diverse"), {0, 3}),
    (Select(per_prompt=1, pick="shortest"), {3}),
    (Select(per_prompt=1, pick="best", score="length_characters"), {2}),
]


@pytest.mark.parametrize(("select", "indices"), RUN_PICKS)
def test_rows_of_a_run(judged: Path, select: Select, indices: set[int]) -> None:
    hashes = text_hashes(judged, FILTERS)
    rows = select_rows(judged, select, Corpus(), hashes, filters=FILTERS)
    assert set(rows["index"]) == indices
    assert rows.height == 4 * len(indices)
    assert sorted(rows["rank"]) == list(range(rows.height))
    assert (rows["score"].null_count() == 0) == (select.score is not None)


SCORELESS = [
    (Select(score="lenght"), "select.score is 'lenght', which no filter measures; the metrics are"),
]


@pytest.mark.parametrize(("select", "complaint"), SCORELESS)
def test_a_score_that_nothing_measures(judged: Path, select: Select, complaint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        select_rows(judged, select, Corpus(), text_hashes(judged, FILTERS), filters=FILTERS)
    assert complaint in str(caught.value)
