"""What is blanked before a text is judged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.language_id.masking import ascii_classes, mask


def masked(text: str) -> str:
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    return (
        mask(data, np.array([0, len(data)]), ascii_classes()).tobytes().decode("utf-8", "replace")
    )


CASES = [
    ("a $x+y$ b", "a       b"),
    ("a $$x$$ b", "a       b"),
    ("a $$x$$ b $$y$$ c", "a       b       c"),
    (r"a \(x\) b", "a       b"),
    (r"a \[x\] b", "a       b"),
    ("pay $5 and $6 now", "pay $5 and $6 now"),
    ("pay $5, $6, $7", "pay $5, $6, $7"),
    ("open $x and\n\nnew $y$ end", "open $x and\n\nnew     end"),
    ("a `x` b", "a     b"),
    ("a ``x`` b", "a       b"),
    ("a ` b\nc ` d", "a ` b\nc ` d"),
    ("```\nx\n```\nb", "         \nb"),
    ("  ```py\nx\n  ```\nb", " " * 15 + "\nb"),
    ("```\nnever closed", "```\nnever closed"),
    ("see https://a.b/c?d=e now", "see                   now"),
    ("a <b>c</b> d", "a    c     d"),
    ("x <y and z", "x <y and z"),
    ('a <b c="so we go on"> d', "a                     d"),
    ("a <so we all go on> b", "a  so we all go on  b"),
    ("a `so we all go on now` b", "a `so we all go on now` b"),
    ("a `f(so we all go on now)` b", "a                          b"),
    (r"a $x \text{for all of these n}$ b", "a         {for all of these n   b"),
    ("```\nx = 1  # one\ny = 2\n```\nb", " " * 26 + "\nb"),
    ("```\nso we all go on\n```\nb", "    so we all go on    \nb"),
    (r"\begin{a}x\begin{b}y\end{b}\end{a} c", " " * 34 + " c"),
    (r"\alpha and \% x", "       and    x"),
    (r"\text{word}", "     {word}"),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_mask(text: str, expected: str) -> None:
    assert masked(text) == expected


@given(st.text(alphabet="$`\\()[]<>a {}\nbegind:/", max_size=80))
def test_a_mask_keeps_the_length_and_adds_nothing(text: str) -> None:
    blanked = masked(text)
    assert len(blanked) == len(text)
    assert all(new in (old, " ") for old, new in zip(text, blanked, strict=True))
