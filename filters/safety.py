"""Samples that a plain rule list says not to train on.

R1 judged harmlessness with a reward model over the whole response (v2 supplement); this is the
part that needs no model. The rules are data: `data/safety/rules.yaml`, or a file of the same form.
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
from filters.judges.rule_review import Mark, around, judged_rules, settled

Place = Literal["question", "thinking", "response"]
REFUSAL_WITHIN = 400  # characters: a refusal comes first; later, "I can't help" is about something


def _expression(given: object) -> re.Pattern[str]:
    try:
        return re.compile(str(given), re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error


Expression = Annotated[re.Pattern[str], PlainValidator(_expression)]


class SafetyRule(BaseModel):
    """One entry of `rules:`; the file's head explains the keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    id: str
    reason: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    places: tuple[Place, ...] = Field(alias="in", min_length=1)
    literals: tuple[str, ...] = Field(min_length=1)
    pattern: Expression
    unless: Literal["refusal"] | Expression | None = None


class RuleList(BaseModel):
    """A whole rule file."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    refusals: tuple[Expression, ...] = ()
    rules: tuple[SafetyRule, ...]

    def refuses(self, response: str) -> bool:
        """Whether a response begins with a refusal."""
        return any(refusal.search(response, 0, REFUSAL_WITHIN) for refusal in self.refusals)

    def marks(self, texts: Mapping[str, str]) -> Iterator[Mark]:
        """What each rule that holds for a sample found there, in the order of the rules."""
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
                    passage = around(texts[place], *found.span())
                    yield Mark(rule.reason, rule.id, found[0], texts["question"], passage)
                    break


class Safety(Filter):
    """Leaked secrets, personal data, incitement, and harmful requests that were not refused.

    The reason codes are the rule file's own. `refusals: drop` also drops every refusal: on prompts
    that are known to be harmless it is a failure (`refusal`). `judge` is an OpenAI-compatible
    endpoint that is asked about what the rules mark, and may clear it.
    """

    rule_file: Path | None = Field(None, description="Rules of your own, in place of the shipped.")
    refusals: Literal["keep", "drop"] = Field("keep", description="What becomes of refusals.")

    judge: Endpoint | None = Field(None, description="A model to ask about what a rule marked.")

    MEASURED: ClassVar[frozenset[str]] = frozenset({"rule_file", "judge"})

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        listed = self._listed()
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
            for name, mark, opinion in settled(marks, self.judge)
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
        reasons = dict.fromkeys(rule.reason for rule in self._listed().rules)
        rules = [
            Rule(reason, pl.col("safety_reason") == reason, "safety_span", "no match of its rules")
            for reason in reasons
        ]
        if self.judge is not None:
            rules = judged_rules(rules, "safety_judge")
        if self.refusals == "drop":
            rules.append(
                Rule("refusal", pl.col("safety_refusal"), "safety_refusal", "an answer, no refusal")
            )
        return rules

    def cache_key(self) -> str:
        return fingerprint([super().cache_key(), self._file().read_text("utf-8")], 12)

    def _file(self) -> Path:
        return self.rule_file or data_path("safety/rules.yaml")

    def _listed(self) -> RuleList:
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
    """Rows in which a literal occurs where its rule looks: few, and the only ones read."""
    found = pl.lit(False)
    for place in ("question", "thinking", "response"):
        literals = [word for rule in listed.rules if place in rule.places for word in rule.literals]
        if literals:
            found |= pl.col(place).str.contains_any(literals, ascii_case_insensitive=True)
    return found.fill_null(False)
