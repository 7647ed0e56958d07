"""`factory validate --stress`: the recipe's own references, respelled and nearly missed.

Costs no engine. A reference that its verifier does not know in another spelling refuses right
answers, one that it confuses with a near miss accepts wrong ones; both are fragile.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from factory.core.intervals import Estimate, wilson
from factory.core.nouns import Prompt
from factory.prompts.load import load_prompts
from factory.prompts.respellings import Variant, variants
from filters.verify.verifiers import Item, Verifiers

if TYPE_CHECKING:
    from factory.recipe.build import Recipe

EXAMPLES = 3
_UNDECIDED = ("timeout", "error", "unverifiable", "bad_reference", "pending")


@dataclass
class SourceStress:
    """What became of one source's references."""

    references: int = 0
    fragile: int = 0  # references with a mistake of either kind
    right: int = 0  # spellings that were decided
    refused: int = 0  # of them not called correct
    wrong: int = 0  # near misses that were decided
    accepted: int = 0  # of them called correct
    undecided: int = 0
    examples: list[str] = field(default_factory=list)

    def note(self, prompt: Prompt, tried: Sequence[tuple[Variant, str]]) -> None:
        """Count the verdicts on one reference's variants."""
        mistaken = []
        for variant, state in tried:
            if state in _UNDECIDED:
                self.undecided += 1
                continue
            called_right = state == "correct"
            if variant.right:
                self.right += 1
                self.refused += not called_right
            else:
                self.wrong += 1
                self.accepted += called_right
            if called_right != variant.right:
                mistaken.append((variant, state))
        self.references += 1
        self.fragile += bool(mistaken)
        if mistaken and len(self.examples) < EXAMPLES:
            variant, state = mistaken[0]
            reference = (prompt.verifier or {}).get("answer")
            kind = "another spelling" if variant.right else "a near miss"
            given = f"{kind} {_short(variant.text)}"
            self.examples.append(f"{prompt.id}: reference {_short(reference)}, {given}: {state}")


def stress(recipe: Recipe, per_source: int, seed: int = 0) -> Iterator[str]:
    """The fragile references of each source, in words, of at most `per_source` drawn ones."""
    by_source: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in load_prompts(recipe.sources).prompts:
        by_source[prompt.source].append(prompt)
    with Verifiers() as verifiers:
        for source, prompts in by_source.items():
            drawn = random.Random(seed).sample(prompts, min(per_source, len(prompts)))
            yield from _lines(source, stress_prompts(drawn, verifiers))


def stress_prompts(prompts: Sequence[Prompt], verifiers: Verifiers) -> SourceStress:
    """Judge the variants of every prompt's reference. Prompts without variants are passed over."""
    made = [(prompt, list(variants(prompt.verifier or {}))) for prompt in prompts]
    items = [Item(prompt.verifier, variant.text) for prompt, some in made for variant in some]
    verdicts = iter(verifiers.verify(items))
    found = SourceStress()
    for prompt, some in made:
        if some:
            found.note(prompt, [(variant, next(verdicts).state) for variant in some])
    return found


def _lines(source: str, found: SourceStress) -> Iterator[str]:
    if not found.references:
        yield f"stress {source}: no reference that can be respelled (math, choice, text, json)"
        return
    yield (
        f"stress {source}: {found.fragile:,} of {found.references:,} references are fragile; "
        f"refused {_rate(found.refused, found.right)} of other spellings, "
        f"accepted {_rate(found.accepted, found.wrong)} of near misses"
        + (f", {found.undecided:,} undecided" if found.undecided else "")
    )
    yield from (f"  {line}" for line in found.examples)


def _rate(hits: int, n: int) -> str:
    if not n:
        return "none"
    estimate: Estimate = wilson(hits, n)
    return f"{hits:,}/{n:,} ({estimate.low:.1%} to {estimate.high:.1%})"


def _short(text: object) -> str:
    shown = str(text)
    return repr(shown if len(shown) <= 60 else f"{shown[:59]}…")
