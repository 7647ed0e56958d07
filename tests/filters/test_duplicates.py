from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.duplicates import (
    PERMUTATIONS,
    RECALL,
    exact_clusters,
    near_clusters,
    rows_a_band,
    sketch,
)

VOCABULARY = [f"w{n}" for n in range(500)]


def document(seed: int, words: int = 300) -> list[str]:
    return random.Random(seed).choices(VOCABULARY, k=words)


def table(texts: list[str | None], prompts: list[str] | None = None) -> pl.DataFrame:
    names = [chr(ord("a") + n) for n in range(len(texts))]
    frame = pl.DataFrame({"sample_id": names, "text": pl.Series(texts, dtype=pl.String)})
    return frame.with_columns(prompt_id=pl.Series(prompts or ["p"] * len(texts)))


BASE = document(1)
EDITED = [*BASE[:100], "zz", *BASE[101:]]
HALF = [*BASE[:150], *document(2, 150)]

NEAR = [
    ("the same", [BASE, BASE], "aa"),
    ("one word changed", [BASE, EDITED], "aa"),
    ("half of it changed", [BASE, HALF], "ab"),
    ("other words", [BASE, document(3)], "ab"),
    ("the same words in another order", [BASE, sorted(BASE)], "ab"),
    ("one word added at the end", [BASE, [*BASE, "zz"]], "aa"),
    ("a tenth as long", [BASE, BASE[:30]], "ab"),
    ("chained", [BASE, EDITED, [*EDITED[:200], "yy", *EDITED[201:]]], "aaa"),
    ("a stranger between", [BASE, document(4), EDITED], "aba"),
    ("two pairs", [BASE, document(4), EDITED, document(4)], "abab"),
    ("short and the same", [["a", "b"], ["a", "b"]], "aa"),
    ("short and not", [["a", "b"], ["a", "c"]], "ab"),
    ("one word", [["a"], ["b"]], "ab"),
    ("symbols only", [["$$"], ["--"]], "ab"),
    ("empty", [[], []], "aa"),
    ("nothing", [], ""),
]


@pytest.mark.parametrize(
    ("documents", "expected"), [case[1:] for case in NEAR], ids=[case[0] for case in NEAR]
)
def test_near(documents, expected):
    found = near_clusters(table([" ".join(words) for words in documents]))
    assert found["cluster"].to_list() == list(expected)


EXACT = [
    (["a b", "a b"], "aa"),
    (["a b", "a  b\n"], "aa"),
    (["a b", "ab"], "ab"),
    (["a b", "A b"], "ab"),
    (["x = -1", "x = 1"], "ab"),
    (["a", "b", "a", "c", "b"], "abadb"),
    ([None, None], "ab"),
    (["", " "], "aa"),
    (["", None], "ab"),
    ([None, ""], "ab"),
    (["\ta b ", "a\r\n\vb"], "aa"),
    (["a\u00a0b", "a b"], "ab"),  # white space of ASCII alone
    (["\u200fa", "a"], "ab"),
    (["é", "e\u0301"], "ab"),  # not normalised: near, not the same
    (["x" * 100_000, "x" * 100_000, "x" * 99_999], "aac"),
    ([], ""),
]


@pytest.mark.parametrize(("texts", "expected"), EXACT)
def test_exact(texts, expected):
    assert exact_clusters(table(texts))["cluster"].to_list() == list(expected)


@pytest.mark.parametrize("clusters", [exact_clusters, near_clusters])
def test_within_a_prompt(clusters):
    frame = table([" ".join(BASE)] * 4, ["p", "q", "p", "q"])
    assert clusters(frame, within="prompt_id")["cluster"].to_list() == list("abab")
    assert clusters(frame)["cluster"].to_list() == list("aaaa")


def test_null_texts_are_alone():
    assert near_clusters(table([None, None, ""]))["cluster"].to_list() == list("abc")


def test_the_first_row_names_the_cluster():
    frame = table([" ".join(BASE), " ".join(EDITED)]).reverse()
    assert near_clusters(frame).rows() == [
        ("b", "b", 1.0),
        ("a", "b", pytest.approx(0.97, abs=0.05)),
    ]


@settings(max_examples=20)
@given(kept=st.integers(0, 300), seed=st.integers(0, 1000))
def test_similarity_is_jaccard_s(kept, seed):
    left, right = document(seed), document(seed)[:kept] + document(seed + 5000, 300 - kept)
    shingles = [{tuple(words[k : k + 5]) for k in range(296)} for words in (left, right)]
    jaccard = len(shingles[0] & shingles[1]) / len(shingles[0] | shingles[1])
    signatures = sketch(pl.Series([" ".join(left), " ".join(right)]))
    # Six standard errors of an estimate from this many permutations.
    assert abs(np.mean(signatures[0] == signatures[1]) - jaccard) <= 6 * 0.5 / PERMUTATIONS**0.5


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.99, 1.0])
def test_bands_find_what_they_promise(threshold):
    width = rows_a_band(threshold)
    assert 1 - (1 - threshold**width) ** (PERMUTATIONS // width) >= RECALL


def test_signatures_do_not_depend_on_the_batch():
    texts = pl.Series([" ".join(document(n)) for n in range(5)])
    assert (sketch(texts)[3:4] == sketch(texts[3:4])).all()


def test_bad_input(bad_text):
    frame = table([bad_text, "plain"])
    assert near_clusters(frame)["cluster"].to_list() == ["a", "b"]
    assert exact_clusters(frame)["cluster"].to_list() == ["a", "b"]
