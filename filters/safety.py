"""Drops samples that match a list of safety rules.

R1 judged harmlessness with a reward model over the whole response (v2 supplement). This filter
needs no model. The rules are in `data/safety/rules.yaml`, or in a file of the same format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from factory.core.errors import SourceError
from factory.core.nouns import fingerprint
from factory.core.resources import data_path
from filters.base import Filter, Rule
from filters.judges.client import Endpoint
from filters.judges.rule_review import Mark, extract_passage, review_marks, review_rules

Place = Literal["question", "thinking", "response"]
REFUSAL_WITHIN = (
    400  # characters: refusals are at the start; later "I can't help" means something else
)


def _compile(given: object) -> re.Pattern[str]:
    try:
        return re.compile(str(given), re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error


Expression = Annotated[re.Pattern[str], PlainValidator(_compile)]


class SafetyRule(BaseModel):
    """One entry of `rules:`. The comments in the file explain the keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    id: str
    reason: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    places: tuple[Place, ...] = Field(alias="in", min_length=1)
    literals: tuple[str, ...] = Field(min_length=1)
    pattern: Expression
    unless: Literal["refusal"] | Expression | None = None


class RuleList(BaseModel):
    """The content of a rule file."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    refusals: tuple[Expression, ...] = ()
    rules: tuple[SafetyRule, ...]

    def refuses(self, response: str) -> bool:
        """Return whether a response starts with a refusal."""
        return any(refusal.search(response, 0, REFUSAL_WITHIN) for refusal in self.refusals)

    def marks(self, texts: Mapping[str, str]) -> Iterator[Mark]:
        """Yield a mark for each rule that matches a sample, in the order of the rules."""
        for rule in self.rules:
            for place in rule.places:
                found = rule.pattern.search(texts[place])
                if found is None:
                    continue
                if rule.unless == "refusal":
                    excused = self.refuses(texts["response"])
                elif rule.unless is None:
                    excused = False
                else:
                    excused = rule.unless.search(texts[place]) is not None
                if not excused:
                    passage = extract_passage(texts[place], *found.span())
                    yield Mark(rule.reason, rule.id, found[0], texts["question"], passage)
                    break


class Safety(Filter):
    """Drops leaked secrets, personal data, incitement, and harmful requests that were not refused.

    The reason codes are in the rule file. `refusals: drop` also drops every refusal (`refusal`),
    for prompts that are known to be harmless. `judge` is an OpenAI-compatible endpoint that reviews
    matches of the rules and may clear them.
    """

    rule_file: Path | None = Field(None, description="Rule file to use instead of the shipped one.")
    refusals: Literal["keep", "drop"] = Field("keep", description="Decision for refusals.")

    judge: Endpoint | None = Field(None, description="Judge that reviews matches of the rules.")

    MEASURED: ClassVar[frozenset[str]] = frozenset({"rule_file", "judge"})

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        listed = self._rule_list()
        refused = [
            listed.refuses(response[:REFUSAL_WITHIN])
            for response in samples["response"].fill_null("").str.head(REFUSAL_WITHIN)
        ]
        suspects = samples.filter(_mentions(listed)).select(
            "sample_id", pl.col("question", "thinking", "response").fill_null("")
        )
        marks = {row["sample_id"]: listed.marks(row) for row in suspects.iter_rows(named=True)}
        columns = ("sample_id", "safety_reason", "safety_rule", "safety_span", "safety_judge")
        found = [
            (name, mark.reason, mark.rule, mark.span, opinion)
            for name, mark, opinion in review_marks(marks, self.judge)
        ]
        schema = dict.fromkeys(columns, pl.String)
        return samples.select(
            "sample_id", safety_refusal=pl.Series(refused, dtype=pl.Boolean)
        ).join(
            pl.DataFrame(found, schema=schema, orient="row"),
            on="sample_id",
            how="left",
            maintain_order="left",
        )

    def rules(self) -> Sequence[Rule]:
        reasons = dict.fromkeys(rule.reason for rule in self._rule_list().rules)
        rules = [
            Rule(reason, pl.col("safety_reason") == reason, "safety_span", "no match of its rules")
            for reason in reasons
        ]
        if self.judge is not None:
            rules = review_rules(rules, "safety_judge")
        if self.refusals == "drop":
            rules.append(
                Rule(
                    "refusal",
                    pl.col("safety_refusal"),
                    "safety_refusal",
                    "an answer, not a refusal",
                )
            )
        return rules

    def cache_key(self) -> str:
        return fingerprint([super().cache_key(), self._file().read_text("utf-8")], 12)

    def _file(self) -> Path:
        return self.rule_file or data_path("safety/rules.yaml")

    def _rule_list(self) -> RuleList:
        file = self._file()
        try:
            return _read(file, file.stat().st_mtime_ns)
        except OSError as error:
            raise SourceError(f"{file}: cannot read the safety rules: {error}") from error


@lru_cache(maxsize=4)
def _read(file: Path, modified: int) -> RuleList:
    try:
        return RuleList.model_validate(yaml.safe_load(file.read_text("utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        raise SourceError(f"{file}: not a list of safety rules: {error}") from error


def _mentions(listed: RuleList) -> pl.Expr:
    """Return an expression for the few rows that contain a rule's literal and must be read."""
    found = pl.lit(False)
    for place in ("question", "thinking", "response"):
        literals = [text for rule in listed.rules if place in rule.places for text in rule.literals]
        if literals:
            found |= pl.col(place).str.contains_any(literals, ascii_case_insensitive=True)
    return found.fill_null(False)
