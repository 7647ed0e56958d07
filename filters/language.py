"""Language mixing, relative to the prompt's language.

R1 drops chains of thought with mixed languages (v1 §2.3.3) and rewards consistency in RL (v1
§2.3.2): R1-Zero's reasoning changes language within a sentence. Every word of a text gets a
language (`filters.language_id`): its own, another, or that of a name or term. What speaks for
another language is summed up over the whole text first, so that terse lines count as prose does; a
smoothed path then says where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import polars as pl
from pydantic import Field

from filters.base import Filter, Rule
from filters.language_id.scripts import normalized_language

PARTS = ("thinking", "response")
_SPAN = pl.Struct({"start": pl.Int64, "end": pl.Int64, "language": pl.String})


class Language(Filter):
    """Keeps what is written in the language of its prompt.

    Mathematics, code, URLs, names, terms, what stands in quotation marks and what is quoted from
    the prompt are not judged and are no words, unless more is quoted than said. Sentences in
    `\\text{…}`, comments that outgrow their code and prose in a code fence are. Shares are of all
    words; a Han or kana letter is half a word, a Thai one a quarter, about what segmenters find.
    Where the prompt asks for a translation into a language, or for an answer in one, that is as
    good as its own. Metrics, of `thinking` and of `response` (null where there is none, or no
    language to judge by):

    language_prompt            the language to judge by: given, the question's, or the text's own
    language_…_foreign         share that is foreign, the sum of the next two
    language_…_foreign_script  in another script, or a Latin sentence among other letters
    language_…_foreign_words   in the same script, of another language
    language_…_by              the shares by script or language: "Han 0.0012, es 0.04"
    language_…_words           how many words there are; of none, 0 is foreign
    language_…_spans           the first stretches: start and end in characters, and what it is
    language_consistency       R1's: words of the language over all words, in the reasoning; 1
                               where there are none
    """

    VERSION: ClassVar[int] = 6

    # R1 gives no threshold. One stray letter is a mix.
    max_foreign_script: float = Field(
        0.0, ge=0, le=1, description="Share of words in another script."
    )
    max_foreign_words: float = Field(
        0.0, ge=0, le=1, description="Share in another language of the same script."
    )
    max_wrong_language: float = Field(
        0.5, ge=0, le=1, description="Beyond this share it is no mix but the wrong language."
    )
    judge_response: bool = Field(
        True, description="Whether the answer counts, or the reasoning alone."
    )

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        # Compiled code: not for those who only read rules.
        from filters.language_id.mixing import mixing
        from filters.language_id.prompt_language import prompt_languages
        from filters.language_id.targets import target_languages

        homes = prompt_languages(samples)
        also = [target_languages(question) for question in samples["question"]]
        metrics = [pl.Series("language_prompt", homes, dtype=pl.String)]
        for part in PARTS:
            found = mixing(samples[part], homes, samples["question"], also, part == "response")
            columns = [
                pl.Series("foreign", found.foreign),
                pl.Series("foreign_script", found.script),
                pl.Series("foreign_words", found.language),
                pl.Series("words", found.words),
                pl.Series("by", [_summary(by) for by in found.by], dtype=pl.String),
                pl.Series("spans", found.spans, dtype=pl.List(_SPAN)),
            ]
            if part == "thinking":
                consistency = pl.Series("language_consistency", 1.0 - found.foreign)
                metrics.append(_where(consistency, found.judged))
            metrics += [
                _where(column.alias(f"language_{part}_{column.name}"), found.judged)
                for column in columns
            ]
        return samples.select("sample_id").with_columns(metrics)

    def rules(self) -> Sequence[Rule]:
        limits = (
            ("wrong_language", "foreign", self.max_wrong_language),
            ("mixed_script", "foreign_script", self.max_foreign_script),
            ("mixed_language", "foreign_words", self.max_foreign_words),
        )
        return [
            Rule(
                reason=reason,
                when=pl.col(f"language_{part}_{metric}") > limit,
                metric=f"language_{part}_{metric}",
                bound=f"at most {limit:g}",
            )
            for reason, metric, limit in limits
            for part in (PARTS if self.judge_response else PARTS[:1])
        ]


def language_consistency(text: str, language: str) -> float:
    """Words of `language` over all words: R1's reward in reasoning RL (v1 §2.3.2).

    Terms, names and symbols go with the sentence they stand in. 1.0 where there are no words.
    """
    from filters.language_id.mixing import mixing

    valid = text.encode("utf-8", "replace").decode()  # a lone surrogate becomes "?"
    found = mixing(pl.Series([valid]), [normalized_language(language)], [None])
    return float(1.0 - found.foreign[0])


def _where(column: pl.Series, known: Any) -> pl.Series:
    """`column`, null where `known` is false."""
    return pl.select(pl.when(pl.Series(known)).then(column).alias(column.name)).to_series()


def _summary(shares: dict[str, float] | None) -> str | None:
    """ "Han 0.0012, es 0.04": the largest first."""
    if not shares:
        return None
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {share:.2g}" for name, share in ranked)
