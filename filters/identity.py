"""Drops answers in which a model claims to be another vendor's model.

Self-descriptions of a teacher leak into its students; R1 used its own self-cognition data (R1
§2.3.3, non-reasoning data). Vendors and models are listed in `data/identity/vendors.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import ClassVar, NamedTuple

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from factory.core.nouns import fingerprint
from factory.core.resources import data_path
from filters.base import Filter, Rule
from filters.judges.client import Endpoint
from filters.judges.rule_review import Mark, extract_passage, review_marks, review_rules

# Text before a claim that makes it a quotation or a supposition.
_NOT_A_CLAIM = re.compile(
    r"(?:[\"“‘«「『]|\b(?:whether|if|that|think|thinks|suppose|pretend|imagine|assume|assumes|say|says"
    r"|said|claim|claims|believe|believes|as though|ask|asks|asked|not|wenn|ob|si|que|se|если|что)"
    r"|如果|假设|假装|是否|不)\s*$",
    re.IGNORECASE,
)
_SPEAKS_OF_AI = re.compile(
    r"\b(?:AI|A\.I\.|assistant|language model|chatbot|LLM)\b|人工智能|语言模型|助手|アシスタント"
    r"|인공지능|モデル|asistente|assistente|modelo|modèle|Assistent|Modell|ассистент|модель",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?。！？\n]")
# Bytes read before and after a name: a claim and the rest of its sentence. The expressions are slow
# (0.4 MB/s), so they are applied to these passages only.
_BEFORE, _AFTER = 300, 200


class Vendor(BaseModel):
    """One vendor of assistants: names of models and companies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: tuple[str, ...] = ()
    also_a_name: tuple[str, ...] = ()
    companies: tuple[str, ...] = ()


class Vendors(BaseModel):
    """The content of `vendors.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vendors: dict[str, Vendor]
    asks: tuple[str, ...]
    names: tuple[str, ...]
    makers: tuple[str, ...]


@cache
def vendors() -> Vendors:
    """Return the shipped list of vendors."""
    text = data_path("identity/vendors.yaml").read_text("utf-8")
    return Vendors.model_validate(yaml.safe_load(text))


class Identity(Filter):
    """Drops samples whose reasoning or answer claims to be a model of a vendor not in `own`.

    `judge` is an OpenAI-compatible endpoint that reviews such claims and may clear them. Without a
    clear reply the reason is `judge_undecided`.
    """

    own: tuple[str, ...] = Field(
        (), description="Vendors that the model may claim to be from, such as `deepseek`."
    )

    judge: Endpoint | None = Field(None, description="Judge that reviews matches of the rules.")

    MEASURED: ClassVar[frozenset[str]] = frozenset({"own", "judge"})

    @field_validator("own")
    @classmethod
    def _check_vendors(cls, own: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in own if name not in vendors().vendors]:
            raise ValueError(f"no vendor {unknown[0]}; known: {', '.join(vendors().vendors)}")
        return own

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        claims = _claims(self.own)
        texts = samples.select(
            "sample_id",
            pl.col("question").fill_null(""),
            text=pl.concat_str("response", "thinking", separator="\n\n", ignore_nulls=True),
        )
        in_text = pl.col("text").str
        mentions = in_text.contains_any(claims.models, ascii_case_insensitive=True)
        suspects = texts.filter(mentions | in_text.contains_any(claims.names)).with_columns(
            places=pl.concat_list(
                in_text.find_many(claims.models, ascii_case_insensitive=True),
                in_text.find_many(claims.names),
            ).list.sort()
        )
        marks = {
            sample_id: claims.marks(question, _passages(text.encode(), places))
            for sample_id, question, text, places in suspects.iter_rows()
        }
        found = [
            (name, mark.span, opinion) for name, mark, opinion in review_marks(marks, self.judge)
        ]
        schema = dict.fromkeys(("sample_id", "identity_claim", "identity_judge"), pl.String)
        return samples.select("sample_id").join(
            pl.DataFrame(found, schema=schema, orient="row"),
            on="sample_id",
            how="left",
            maintain_order="left",
        )

    def rules(self) -> Sequence[Rule]:
        rules = [
            Rule(
                "foreign_identity",
                pl.col("identity_claim").is_not_null(),
                "identity_claim",
                "no claim to be another vendor's model",
            )
        ]
        return rules if self.judge is None else review_rules(rules, "identity_judge")

    def cache_key(self) -> str:
        return fingerprint([super().cache_key(), vendors().model_dump(mode="json")], 12)


class Claims(NamedTuple):
    """The compiled patterns of claims of all vendors but the model's own."""

    models: pl.Series  # every claim contains one of these, in any case,
    names: pl.Series  # or one of these, as written
    asks: re.Pattern[str]
    sure: re.Pattern[str]
    ambiguous: re.Pattern[str]
    company: re.Pattern[str]

    def marks(self, question: str, passages: Iterable[str]) -> Iterator[Mark]:
        """Yield the claims in the passages, as written."""
        asked = None
        for text in passages:
            for found in self.sure.finditer(text):
                if _is_claim(text, found):
                    yield _mark(question, text, found)
            for found in self.ambiguous.finditer(text):
                if not _is_claim(text, found):
                    continue
                if asked is None:
                    asked = self.asks.search(question) is not None
                if asked or self._mentions_ai(found[0] + text[found.end() : found.end() + _AFTER]):
                    yield _mark(question, text, found)

    def _mentions_ai(self, text: str) -> bool:
        """Return whether the first sentence of the text is about an AI or a vendor."""
        sentence = _SENTENCE_END.split(text, maxsplit=1)[0]
        return bool(_SPEAKS_OF_AI.search(sentence) or self.company.search(sentence))


def _mark(question: str, text: str, claim: re.Match[str]) -> Mark:
    passage = extract_passage(text, *claim.span())
    return Mark("foreign_identity", "claim", claim[0], question, passage)


def _is_claim(text: str, claim: re.Match[str]) -> bool:
    return not _NOT_A_CLAIM.search(text, max(0, claim.start() - 20), claim.start())


def _passages(text: bytes, places: Iterable[int]) -> Iterator[str]:
    """Yield the passages of a text around the given offsets, which must be sorted."""
    start = end = 0
    for place in places:
        if place - _BEFORE > end:
            yield text[start:end].decode(errors="ignore")
            start = place - _BEFORE
        end = place + _AFTER
    yield text[start:end].decode(errors="ignore")


@lru_cache(maxsize=8)
def _claims(own: tuple[str, ...]) -> Claims:
    listed = vendors()
    others = [vendor for name, vendor in listed.vendors.items() if name not in own]
    models = [name for vendor in others for name in vendor.models]
    people = [name for vendor in others for name in vendor.also_a_name]
    companies = [name for vendor in others for name in vendor.companies]
    sure = [pattern.replace("{model}", _any_of(models)) for pattern in listed.names]
    company = f"(?-i:{_any_of(companies)})"
    sure += [pattern.replace("{company}", company) for pattern in listed.makers]
    # A surname after the name means a person: Claude Monet.
    person = f"(?-i:{_any_of(people)}(?! [A-Z][a-z]))"
    ambiguous = [pattern.replace("{model}", person) for pattern in listed.names]
    return Claims(
        models=pl.Series(models, dtype=pl.String).implode(),
        names=pl.Series([*people, *companies], dtype=pl.String).implode(),
        asks=_compile_any(listed.asks),
        sure=_compile_any(sure),
        ambiguous=_compile_any(ambiguous),
        company=re.compile(company),
    )


def _any_of(names: Iterable[str]) -> str:
    """Return a pattern of any of the names as a whole word (`Metal` is not Meta), longest first."""
    ordered = sorted(names, key=len, reverse=True)
    if not ordered:
        return r"(?!)"  # matches nothing
    return (
        "(?:"
        + "|".join(re.escape(n) + (r"(?![a-zA-Z0-9])" if n.isascii() else "") for n in ordered)
        + ")"
    )


def _compile_any(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)
