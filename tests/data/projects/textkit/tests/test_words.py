import unittest

import pytest
from textkit import abbreviate, count_words, slugify, wrap


def test_slugify():
    assert slugify("Hello, World!") == "hello-world"
    assert slugify("a  b", separator="_") == "a_b"


@pytest.mark.parametrize(
    ("length", "slug"), [(11, "hello-world"), (10, "hello"), (5, "hello"), (4, "")]
)
def test_slugify_is_cut_at_a_word(length, slug):
    assert slugify("Hello World", max_length=length) == slug


class CountWords(unittest.TestCase):
    def test_case_is_ignored(self):
        self.assertEqual(count_words("The the a"), {"the": 2, "a": 1})  # noqa: PT009

    def test_case_counts(self):
        self.assertEqual(count_words("The the", ignore_case=False), {"The": 1, "the": 1})  # noqa: PT009


def test_abbreviate():
    assert abbreviate("short", 5) == "short"
    assert abbreviate("rather long", 9) == "rather..."
    with pytest.raises(ValueError, match="shorter"):
        abbreviate("text", 2)


def test_wrap(tmp_path):
    lines = wrap("the quick brown fox jumps over the lazy dog", width=10)
    assert lines == ["the quick", "brown fox", "jumps over", "the lazy", "dog"]
    assert wrap("extraordinarily a", width=5) == ["extraordinarily", "a"]
    assert wrap("") == []
    (tmp_path / "lines.txt").write_text("\n".join(lines))
