"""`factory validate --all-rows`: read every row of the sources, without an engine, and count."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

from factory.core.errors import FactoryError
from factory.core.models import DEMO, load_tokenizer
from factory.core.nouns import Prompt
from factory.judging.no_rows import shorten
from factory.prompts.load import SourceCount, describe, load_prompts
from factory.prompts.references import BadReference, check_references
from factory.prompts.source import Reject
from factory.recipe.build import Recipe
from filters.verify.verifiers import Verifiers

UNKNOWN = "unknown"
SHOWN = 3


@dataclass(frozen=True)
class Lengths:
    """Lengths of the questions of a source."""

    unit: str  # "tokens", or "characters" where no tokenizer is at hand
    shortest: int
    median: int
    longest: int


@dataclass(frozen=True)
class SourceSurvey:
    """What all rows of one source are. Counts are rows, unless named otherwise."""

    name: str
    rows: int
    prompts: int
    repeated: int  # duplicates within the source
    shared: int  # prompts that are also in an earlier source
    rejected: dict[str, int]
    left_out: dict[str, int]
    unread_fields: dict[str, int]
    without_verifier: int
    bad_references: int
    conflicting: int  # questions with more than one reference
    languages: dict[str, int]
    lengths: Lengths | None
    examples: list[str]  # of rejects and bad references
    summary: str

    def lines(self) -> Iterator[str]:
        yield self.summary
        if self.bad_references or self.without_verifier:
            yield (
                f"  references: {self.bad_references:,} fail their own verifier, "
                f"{self.without_verifier:,} prompts have none"
            )
        if self.conflicting:
            yield f"  references: {self.conflicting:,} question(s) have several that differ"
        yield "  languages: " + ", ".join(f"{name} {n:,}" for name, n in self.languages.items())
        if self.lengths is not None:
            own = self.lengths
            yield (
                f"  questions: {own.shortest:,} to {own.longest:,} {own.unit}, "
                f"median {own.median:,}"
            )
        yield from (f"  {example}" for example in self.examples)


def survey(recipe: Recipe) -> list[SourceSurvey]:
    """Read all sources. Raises SourceError for a source that a build could not use."""
    rejects: dict[str, list[Reject]] = {}
    current: list[Reject] = []
    loaded = load_prompts(
        recipe.sources,
        rejects=current.append,
        finished=lambda count: rejects.update({count.name: _take(current)}),
    )
    with Verifiers() as verifiers:
        bad = check_references(loaded.prompts, verifiers)
    unit, measure = _find_measure(recipe)
    return [
        _describe_source(
            count,
            [prompt for prompt in loaded.prompts if prompt.source == count.name],
            rejects.get(count.name, []),
            [reference for reference in bad if reference.source == count.name],
            unit,
            measure,
        )
        for count in loaded.counts
    ]


def _take(items: list[Reject]) -> list[Reject]:
    taken = list(items)
    items.clear()
    return taken


def _describe_source(
    count: SourceCount,
    prompts: list[Prompt],
    rejects: list[Reject],
    bad: list[BadReference],
    unit: str,
    measure: Callable[[str], int],
) -> SourceSurvey:
    lengths = sorted(measure(prompt.question) for prompt in prompts)
    return SourceSurvey(
        name=count.name,
        rows=count.rows,
        prompts=count.prompts,
        repeated=count.repeated,
        shared=count.shared,
        rejected=dict(count.rejected),
        left_out=dict(count.skipped),
        unread_fields=dict(count.unread),
        without_verifier=sum(prompt.verifier is None for prompt in prompts),
        bad_references=len(bad),
        conflicting=_count_conflicts(prompts),
        languages=dict(Counter(map(_language, prompts)).most_common()),
        lengths=Lengths(unit, lengths[0], median_low(lengths), lengths[-1]) if lengths else None,
        examples=[*_show_rejects(rejects), *_show_bad(bad, prompts)],
        summary=describe(count),
    )


def _count_conflicts(prompts: list[Prompt]) -> int:
    """Count the questions that are asked with different references: at most one can be right."""
    references: dict[str, set[str]] = {}
    for prompt in prompts:
        reference = show_reference(prompt)
        if reference is not None:
            references.setdefault(json.dumps(prompt.messages), set()).add(reference)
    return sum(len(found) > 1 for found in references.values())


def _language(prompt: Prompt) -> str:
    from filters.language_id.prompt_language import detect_language

    return prompt.language or detect_language(prompt.question) or UNKNOWN


def _show_rejects(rejects: list[Reject]) -> Iterator[str]:
    """Yield the first reject of each reason."""
    first: dict[str, Reject] = {}
    for reject in rejects:
        first.setdefault(reject.reason, reject)
    for reject in first.values():
        row = f": {shorten(reject.excerpt)}" if reject.excerpt else ""
        yield f"{reject.place}: {reject.reason} ({reject.detail}){row}"


def _show_bad(bad: list[BadReference], prompts: list[Prompt]) -> Iterator[str]:
    by_id = {prompt.id: prompt for prompt in prompts}
    for reference in bad[:SHOWN]:
        asked = by_id[reference.prompt_id]
        yield (
            f"bad reference: {reference.why}; question {shorten(asked.question)}; reference "
            f"{shorten(show_reference(asked))}"
        )


def show_reference(prompt: Prompt) -> str | None:
    """Return the reference of a prompt for a line; None where it has none."""
    verifier = prompt.verifier or {}
    answer = verifier.get("answer", (verifier.get("entry") or {}).get("answer"))
    if answer is None and "tests" in verifier:
        return "tests"
    return None if answer is None else str(answer)


def _find_measure(recipe: Recipe) -> tuple[str, Callable[[str], int]]:
    """Return the unit of lengths and what measures them: tokens where the model is on this disk."""
    model = recipe.model.tokenizer or recipe.model.id
    if model == DEMO or Path(model).expanduser().is_dir():
        try:
            tokenizer = load_tokenizer(model, needed_for="counting tokens")
        except FactoryError:
            return "characters", len
        return "tokens", lambda text: len(tokenizer(text)["input_ids"])
    return "characters", len
