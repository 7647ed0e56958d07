"""Model text becomes HTML that shows all of it and runs none of it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.report.formulas import MAX_LATEX, mathml
from factory.report.markup import HEAD, TAIL, MarkedSpan, render, render_excerpt
from tests.report.runs import HOSTILE

OURS = {"math", "mark", "span", "div", "pre", "semantics"}


class Seen(HTMLParser):
    """Collects the elements, attributes and text of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words = ""
        self.feed(str(html))  # Markup would escape what the parser takes apart
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.words += data


def is_ours(tag: str) -> bool:
    return tag in OURS or tag.startswith("m")


@pytest.mark.parametrize(
    ("text", "formulas"),
    [
        ("so \\(x^2\\) it is", 1),
        ("\\[ \\frac{1}{2} \\] and $$y$$", 2),
        ("it costs $5 and $6", 0),
        ("price $ 5 $ here", 0),
        ("$x$-axis, $y$", 2),
        ("an escaped \\$x$", 0),
        ("two\n$lines\nof$ text", 0),
        ("The answer is \\boxed{\\frac{3}{4}}.", 1),
        ("\\boxed{never closed", 0),
        ("\\(never closed", 0),
        ("\\(\\)", 0),
        ("```python\nprint('\\(no formula\\)')\n```", 0),
        ("so \\begin{align*} x &= 1 \\\\ y &= 2 \\end{align*} holds", 1),
        ("\\begin{align} x \\end{align*}", 0),
        ("\\begin{itemize} \\item \\end{itemize}", 0),
    ],
)
def test_formulas_are_found(text: str, formulas: int) -> None:
    assert render(text).count("<math") == formulas


@pytest.mark.parametrize(
    "name", ["align", "aligned", "split", "gather*", "gathered", "cases", "dcases"]
)
def test_lines_of_a_formula_stay_lines(name: str) -> None:
    html = mathml(rf"\begin{{{name}}} a &= b \\ c &= d \end{{{name}}}", display=True)
    assert html is not None
    assert html.count("<mtr>") == 2
    assert "&amp;" not in html


@pytest.mark.parametrize(
    ("text", "around"),
    [
        ("first\n\\[x\\]\nthen", ("first", "then")),
        ("first\n\n\\[x\\]  \n\nthen", ("first\n", "\nthen")),
        ("first \\(x\\)\nthen", ("first ", "\nthen")),
        ("first\n```\nx\n```\nthen", ("first", "then")),
    ],
)
def test_a_block_has_no_empty_lines_around_it(text: str, around: tuple[str, str]) -> None:
    html = str(render(text))
    assert (html[: html.index("<")], html[html.rindex(">") + 1 :]) == around


@pytest.mark.parametrize(
    "latex",
    [
        r"\text{<script>alert(1)</script>}",
        r"\href{javascript:alert(1)}{x}",
        r"\style{background:url(//x)}{x}",
        r"\class{x}{y}",
        r"\color{red\" onload=\"alert(1)}{x}",
        r"\text{&#x0003C;script&#x0003E;}",
        r"\mathrm{<img src=x onerror=alert(1)>}",
    ],
)
def test_no_formula_injects_markup(latex: str) -> None:
    html = mathml(latex)
    if html is not None:
        seen = Seen(html)
        assert all(tag.startswith("m") for tag in seen.tags)
        assert not seen.attributes & {"href", "style", "class", "onload", "src", "onerror"}


@pytest.mark.parametrize(
    "latex",
    ["{" * 1000, "^" * 1500, r"\sqrt" * 300, r"\left(" * 300, r"\frac", "x_" * 500, r"\begin{x}"],
)
def test_malformed_latex_is_shown_as_written(latex: str) -> None:
    assert mathml(latex) is None
    assert Seen(render(f"\\({latex}\\)")).words == f"\\({latex}\\)"


def test_an_overlong_formula_is_shown_as_text() -> None:
    assert mathml("x+" * MAX_LATEX) is None


def test_operators_are_characters_not_entities() -> None:
    html = mathml("a + b < c")
    assert html is not None
    assert Seen(html).words == "a+b<c"


def test_hostile_text_is_escaped() -> None:
    seen = Seen(render(HOSTILE))
    assert all(is_ours(tag) for tag in seen.tags), seen.tags
    assert "onerror" not in seen.attributes
    assert "document.title='hacked'" in seen.words


@given(st.text(alphabet=st.sampled_from("<>\"'&$\\()[]{}`ab \n^_")), st.integers(0, 9))
def test_any_text_gives_only_our_elements(text: str, start: int) -> None:
    seen = Seen(render(text, [MarkedSpan(start, start + 3, '"es"')]))
    assert all(is_ours(tag) for tag in seen.tags), seen.tags
    assert seen.attributes <= {"title", "class", "xmlns", "display", "mathvariant", "stretchy",
                               "notation", "fence", "form", "accent", "columnalign", "width",
                               "displaystyle", "scriptlevel", "separator"}  # fmt: skip


@given(st.text(alphabet=st.sampled_from("<>&ab \n字é")))
def test_text_without_formulas_is_unchanged(text: str) -> None:
    assert Seen(render(text)).words == text.lstrip("\n")


def test_a_span_that_overlaps_a_formula_is_marked() -> None:
    text = "abc \\(x\\) def"
    html = render(text, [MarkedSpan(1, 6, "es"), MarkedSpan(10, 13, "fr")])
    marks = re.findall(r'<mark title="(\w+)">(.*?)</mark>', html)
    assert [label for label, _ in marks] == ["es", "es", "fr"]
    assert marks[0][1] == "bc "
    assert marks[1][1].startswith("<math")
    assert marks[2][1] == "def"


def test_an_excerpt_keeps_both_ends_and_every_span() -> None:
    middle = HEAD + 5000
    text = "h" * middle + "FOREIGN" + "t" * (TAIL + 9000)
    html = render_excerpt(text, [MarkedSpan(middle, middle + 7, "de")])
    seen = Seen(html)
    assert '<mark title="de">FOREIGN</mark>' in html
    assert seen.words.startswith("h" * HEAD)
    assert seen.words.endswith("t" * TAIL)
    left_out = [int(n.replace(",", "")) for n in re.findall(r"… ([\d,]+) characters", seen.words)]
    shown = len(re.sub(r"… [\d,]+ characters …", "", seen.words))
    assert sum(left_out) + shown == len(text)


def test_a_flood_of_openers_is_linear() -> None:
    assert len(render("\\(" * 50_000)) == 100_000
    assert render("$" * 20_000)


def test_code_is_coloured_and_escaped() -> None:
    html = render("```python\nif x < 1: print('<b>')\n```")
    assert 'class="k"' in html
    assert "<b>" not in html


@pytest.mark.parametrize("language", ["", "no-such-language", "<script>", "c++"])
def test_any_language_of_a_fence_is_shown(language: str) -> None:
    seen = Seen(render(f"```{language}\nx = 1\n```"))
    assert "x = 1" in seen.words.replace("\n", " ")
    assert "script" not in seen.tags
