"""Variants of a prompt's wording, to measure how much a model's answers depend on it.

R1 found that few-shot examples hurt it (v1, section 5), so wording is a variable worth measuring.
Which sample gets which variant follows from its prompt and its number alone: a resumed run, or one
on other machines, draws the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from factory.core.nouns import fingerprint


class Variant(BaseModel):
    """Keys of `prompting` that a variant sets otherwise; the rest stays as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: str | None = Field(None, description="As `prompting.system`; null: none.")
    instruction: str | None = Field(
        None,
        description="As `prompting.instruction`, for all prompts, also in place of "
        "`instructions`; null: none.",
    )
    exemplars: Path | None = Field(
        None,
        description="YAML list of {question, thinking, response}. With `template: few_shot` in "
        "place of its own; with `chat` as earlier turns, without the thinking.",
    )
    prefill: str = Field("", description="As `prompting.prefill`.")

    @model_validator(mode="after")
    def _has_a_path(self) -> Variant:
        if "exemplars" in self.model_fields_set and self.exemplars is None:
            raise ValueError("exemplars can't be null in a variant; leave the key out")
        return self

    def overrides(self) -> dict[str, Any]:
        """Return the keys of `prompting` that the variant sets."""
        found = {key: getattr(self, key) for key in self.model_fields_set}
        if "instruction" in found:
            found["instructions"] = {}
        return found


def pick_variant(names: Sequence[str], prompt_id: str, index: int) -> str:
    """Return the variant of a prompt's sample, by a hash of prompt and number.

    >>> names = ["plain", "polite"]
    >>> [pick_variant(names, "00c1f3a2", index) for index in range(4)] == [
    ...     pick_variant(names, "00c1f3a2", index) for index in range(4)
    ... ]
    True
    """
    return names[int(fingerprint([prompt_id, index]), 16) % len(names)]
