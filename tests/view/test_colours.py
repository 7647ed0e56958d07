"""Every text colour is readable on every background, in the light and in the dark theme."""

from __future__ import annotations

import re
from itertools import product

import pytest

from factory.report.page import HERE
from factory.report.vega import KEPT, NEUTRAL, REJECTED

CSS = (HERE / "report.css").read_text(encoding="utf-8")
ROOTS = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
THEMES = [dict(re.findall(r"--(\w+): (#\w+);", root)) for root in ROOTS]
INKS = ("text", "quiet", "link", "kept", "rejected", "undecided")


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio as WCAG 2 defines it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(d * 2 for d in digits) if len(digits) == 3 else digits
    shares = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("one", "other", "ratio"), [("#fff", "#000000", 21), ("#777", "#777", 1)])
def test_contrast_is_wcags(one: str, other: str, ratio: float) -> None:
    assert contrast(one, other) == pytest.approx(ratio)


@pytest.mark.parametrize("theme", THEMES, ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), list(product(INKS, ("page", "panel"))))
def test_text_can_be_read(theme: dict[str, str], ink: str, ground: str) -> None:
    assert contrast(theme[ink], theme[ground]) >= 4.5


@pytest.mark.parametrize("theme", THEMES, ids=["light", "dark"])
def test_marked_text_can_be_read(theme: dict[str, str]) -> None:
    assert contrast(theme["text"], theme["mark"]) >= 4.5


@pytest.mark.parametrize("theme", THEMES, ids=["light", "dark"])
@pytest.mark.parametrize("colour", [KEPT, REJECTED, NEUTRAL])
def test_bars_stand_out(theme: dict[str, str], colour: str) -> None:
    assert contrast(colour, theme["page"]) >= 3
