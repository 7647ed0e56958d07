"""Readability for people.

R1's cold start drops chains of thought that are hard to read, and its rejection sampling those with
long paragraphs and code blocks (R1 §2.3.1, §2.3.3), without published thresholds. School-grade
formulas are not used: measured on reasoning, none separates good from bad.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from filters.base import Filter, Rule
from filters.kernels import (
    LETTER,
    SPACE,
    SYMBOL,
    Bytes,
    Offsets,
    character_classes,
    class_of,
    compiled,
    decode,
    utf8,
)
from filters.limits import Counts, NonNegative, Share, by_domain, format_bound
from filters.verify.prose.extract_answer import final_answer
from filters.verify.prose.folding import fold

MIN_VISIBLE = 200  # minimum visible characters for a share of letters: `2+2=4` has too few


class Readability(Filter):
    """Limits the length of paragraphs and lines, and requires prose, closed fences and a summary.

    Lengths are in bytes: a Chinese character has three and carries about as much information as
    three letters. The reasoning is measured, or the whole text if there is no think section.
    """

    # p99 over 4,000 good reasoning texts: 6.6 kB per paragraph, 3.2 kB per line.
    max_paragraph: Counts | None = Field(6_600, description="Maximum bytes per paragraph.")
    max_line: Counts | None = Field(3_200, description="Maximum bytes per line.")
    # R1 drops code blocks, but reasoning about code often contains code (19% of it).
    code_forbidden_in: tuple[str, ...] = Field(
        ("math",), description="Domains whose reasoning must not have code blocks."
    )
    balanced_fences: bool = Field(True, description="Require that every code fence is closed.")
    # A horizontal rule of a wide terminal or table has 80 to 160 characters.
    max_symbol_run: NonNegative | None = Field(
        200, description="Maximum number of symbols in a row."
    )
    # 2,000 generated chains of thought full of formulas and tables have more than 0.5; a text of
    # formulas only has 0.3.
    min_letter_share: Share | None = Field(
        0.15, description="Minimum share of letters in visible characters."
    )
    summary: Literal["required", "optional"] = Field(
        "required",
        description="`required`: the response must state the answer boxed in the reasoning.",
    )

    MEASURED: ClassVar[frozenset[str]] = frozenset()

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        prose = samples.select(pl.coalesce("thinking", "text")).to_series()
        layout = measure_layout(prose)
        response = measure_layout(samples["response"])
        return samples.select(
            "sample_id",
            readability_paragraph=layout["paragraph"],
            readability_line=layout["line"],
            readability_code_blocks=pl.when(pl.col("thinking").is_not_null()).then(
                layout["fences"]
            ),
            readability_open_fence=layout["open"] | response["open"],
            readability_symbol_run=layout["symbol_run"],
            readability_letter_share=layout["letter_share"],
            readability_answer_stated=_find_stated(samples.select("thinking", "response")),
        )

    def rules(self) -> Sequence[Rule]:
        rules = []
        limits = (
            ("long_paragraph", "readability_paragraph", self.max_paragraph),
            ("long_line", "readability_line", self.max_line),
            ("symbol_run", "readability_symbol_run", self.max_symbol_run),
        )
        for reason, metric, limit in limits:
            if limit is not None:
                above = pl.col(metric) > by_domain(limit)
                rules.append(Rule(reason, above, metric, format_bound("at most", limit)))
        if self.code_forbidden_in:
            domains = ", ".join(self.code_forbidden_in)
            rules.append(
                Rule(
                    "code_in_reasoning",
                    pl.col("domain").is_in(self.code_forbidden_in)
                    & (pl.col("readability_code_blocks") > 0),
                    "readability_code_blocks",
                    f"none in {domains}",
                )
            )
        if self.balanced_fences:
            rules.append(
                Rule(
                    "unbalanced_fence",
                    pl.col("readability_open_fence"),
                    "readability_open_fence",
                    "every code fence closed",
                )
            )
        if self.min_letter_share is not None:
            rules.append(
                Rule(
                    "few_letters",
                    pl.col("readability_letter_share") < self.min_letter_share,
                    "readability_letter_share",
                    f"at least {self.min_letter_share}",
                )
            )
        if self.summary == "required":
            rules.append(
                Rule(
                    "no_summary",
                    ~pl.col("readability_answer_stated"),
                    "readability_answer_stated",
                    "an answer that states what the reasoning boxed",
                )
            )
        return rules


def measure_layout(texts: pl.Series) -> pl.DataFrame:
    """Measure the layout of each text; see `_layout` for the columns."""
    offsets, data = utf8(texts)
    table = _layout(offsets, data, character_classes())
    names = ("paragraph", "line", "fences", "open", "symbol_run", "letters", "visible")
    frame = pl.DataFrame(table, schema=dict.fromkeys(names, pl.Int64))
    return frame.with_columns(
        pl.col("open").cast(pl.Boolean),
        letter_share=pl.when(pl.col("visible") >= MIN_VISIBLE).then(
            pl.col("letters") / pl.col("visible")
        ),
    )


@compiled
def _layout(offsets: Offsets, data: Bytes, classes: Bytes) -> NDArray[np.int64]:
    """Return one row per text with seven columns.

    Longest paragraph and longest line (bytes, outside code fences), number of fences, whether the
    last is open, longest run of symbols, letters, visible characters. Fences follow CommonMark 4.5,
    but with any indentation, as models put them under list items: a fence is closed by a line with
    at least as many of the same character and nothing else.
    """
    table = np.zeros((offsets.size - 1, 7), np.int64)
    for row in range(offsets.size - 1):
        i, end = offsets[row], offsets[row + 1]
        paragraph = longest_paragraph = longest_line = fences = 0
        longest_run = letters = visible = 0
        fence, fence_length = 0, 0  # the character and length of the open fence
        while i < end:
            start = i
            while i < end and (data[i] == 32 or data[i] == 9 or data[i] == 13):
                i += 1
            mark, run = 0, 0
            if i < end and (data[i] == 96 or data[i] == 126):  # ` and ~
                mark = int(data[i])
                while i + run < end and data[i + run] == mark:
                    run += 1
            if mark != 0 and run >= 3:
                blank_after, tick_after = True, False
                k = i + run
                while k < end and data[k] != 10:
                    blank_after &= data[k] == 32 or data[k] == 9 or data[k] == 13
                    tick_after |= data[k] == 96
                    k += 1
                if fence == 0 and not (mark == 96 and tick_after):
                    fence, fence_length = mark, run
                    fences += 1
                    paragraph = 0
                    i = k + 1
                    continue
                if fence == mark and run >= fence_length and blank_after:
                    fence = 0
                    i = k + 1
                    continue
            if fence != 0:
                while i < end and data[i] != 10:
                    i += 1
                i += 1
                continue
            blank = True
            run = 0
            while i < end and data[i] != 10:
                code, i = decode(data, i)
                kind = class_of(classes, code)
                if kind == SPACE:
                    run = 0
                    continue
                blank = False
                visible += 1
                if kind == SYMBOL:
                    run += 1
                    longest_run = max(longest_run, run)
                else:
                    run = 0
                    letters += kind == LETTER
            longest_line = max(longest_line, i - start)
            i += 1
            paragraph = 0 if blank else paragraph + i - start
            longest_paragraph = max(longest_paragraph, paragraph)
        table[row] = (
            longest_paragraph,
            longest_line,
            fences,
            int(fence != 0),
            longest_run,
            letters,
            visible,
        )
    return table


BOX = r"\boxed"
_TYPESETTING = re.compile(
    r"\\[,;:! ]|\\(?:left|right|displaystyle|text|mathrm)\b|\\[()\[\]]|[\s${},*]"
)
_FRACTION = re.compile(r"\\[dt]?frac\{([^{}]{1,40})\}\{([^{}]{1,40})\}")


def _find_stated(sections: pl.DataFrame) -> pl.Series:
    """Apply `states_answer` to each row, for most rows without converting the text to Python."""
    boxed = sections.select(pl.all().str.contains(BOX, literal=True))
    stated = boxed.select(pl.when(pl.col("thinking") & pl.col("response")).then(True)).to_series()
    doubtful = (boxed["thinking"] & ~boxed["response"]).fill_null(False).arg_true()
    return stated.scatter(doubtful, [states_answer(*row) for row in sections[doubtful].iter_rows()])


def states_answer(thinking: str | None, response: str | None) -> bool | None:
    """Return whether the response states the answer boxed last in the reasoning, None without one.

    A response with its own box states an answer. `correctness` decides whether it is right.
    """
    if thinking is None or response is None or BOX not in thinking:
        return None
    if BOX in response:
        return True
    answer = final_answer(thinking[thinking.rfind(BOX) :], prefer=("box",), trusted=True)
    if answer is None:
        return None
    stated = re.escape(_strip_typesetting(answer.text))
    return re.search(rf"(?<![\d.]){stated}(?!\d)", _strip_typesetting(response)) is not None


def _strip_typesetting(latex: str) -> str:
    """Remove typesetting, so that `\\dfrac{1}{2}` equals `1/2`, and `1,000` equals `1000`."""
    return _TYPESETTING.sub("", _FRACTION.sub(r"\1/\2", fold(latex))).lower()
