from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.near_duplicates import (
    PERMUTATIONS,
    RECALL,
    content_hashes,
    find_clusters,
    rows_per_band,
    sketch,
)

VOCABULARY = [f"w{n}" for n in range(500)]


def document(seed: int, words: int = 300) -> list[str]:
    return random.Random(seed).choices(VOCABULARY, k=words)


def near(texts: Sequence[str], groups: Sequence[int] | None = None) -> str:
    """Each text's cluster, by the letter of its first text."""
    kinds = np.array(groups or [0] * len(texts), np.uint64)
    roots = find_clusters(sketch(pl.Series(texts, dtype=pl.String)), kinds, 0.8)
    return "".join(chr(ord("a") + root) for root in roots)


def exact(texts: Sequence[str]) -> str:
    hashes = content_hashes(pl.Series(texts, dtype=pl.String)).to_list()
    return "".join(chr(ord("a") + hashes.index(own)) for own in hashes)


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
def test_near(documents: list[list[str]], expected: str) -> None:
    assert near([" ".join(words) for words in documents]) == expected


EXACT = [
    (["a b", "a b"], "aa"),
    (["a b", "a  b\n"], "aa"),
    (["a b", "ab"], "ab"),
    (["a b", "A b"], "ab"),
    (["x = -1", "x = 1"], "ab"),
    (["a", "b", "a", "c", "b"], "abadb"),
    (["", " "], "aa"),
    (["\ta b ", "a\r\n\vb"], "aa"),
    (["a\u00a0b", "a b"], "ab"),  # white space of ASCII alone
    (["\u200fa", "a"], "ab"),
    (["é", "e\u0301"], "ab"),  # not normalised: near, not the same
    (["x" * 100_000, "x" * 100_000, "x" * 99_999], "aac"),
    ([], ""),
]


@pytest.mark.parametrize(("texts", "expected"), EXACT)
def test_exact(texts: list[str], expected: str) -> None:
    assert exact(texts) == expected


def test_within_a_group() -> None:
    texts = [" ".join(BASE)] * 4
    assert near(texts, [0, 1, 0, 1]) == "abab"
    assert near(texts) == "aaaa"


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
    width = rows_per_band(threshold)
    assert 1 - (1 - threshold**width) ** (PERMUTATIONS // width) >= RECALL


def test_signatures_do_not_depend_on_the_batch():
    texts = pl.Series([" ".join(document(n)) for n in range(5)])
    assert (sketch(texts)[3:4] == sketch(texts[3:4])).all()


def test_bad_input(bad_text: str) -> None:
    assert near([bad_text, "plain"]) == exact([bad_text, "plain"]) == "ab"
