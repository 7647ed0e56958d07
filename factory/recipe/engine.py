"""`EngineSpec`, all that an engine needs of a recipe. Engines outside this project import it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from factory.core.nouns import fingerprint
from factory.prompts.templates import Prompting
from factory.recipe.engines.options import SAMPLE_ENGINE_ARGS, Engine, Model
from factory.recipe.sampling import Sampling

__all__ = ["Engine", "EngineSpec", "Model"]


@dataclass(frozen=True)
class EngineSpec:
    """The parts of a recipe that an engine needs: model, engine, prompting and sampling."""

    model: Model
    engine: Engine
    prompting: Prompting
    sampling: Sampling
    _fingerprints: dict[tuple[int, str | None], str] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def identity(self, level: int = 0, variant: str | None = None) -> dict[str, Any]:
        """Return all settings that change a sample, as flat readable keys.

        `level` is the number of escalations that apply; 0 is the recipe as written. With teachers
        it is a teacher's number. `variant` is the wording that a sample got, of those in
        `prompting.variants`.
        """
        if self.sampling.teachers:
            return self.for_teacher(level).identity(0, variant)
        named = {} if variant is None else {"variant": variant}
        parts: dict[str, Mapping[str, Any]] = {
            "model": self.model.model_dump(mode="json"),
            "prompting": self.prompting.with_variant(variant).identity() | named,
            "sampling": self.sampling.at(level).identity(),
            "engine.args": {
                key: value for key, value in self.engine.args.items() if key in SAMPLE_ENGINE_ARGS
            },
        }
        if self.engine.server is not None:
            parts["engine.server"] = self.engine.server.identity()
        if self.engine.is_own:
            parts["engine.own"] = self.engine.own_identity()
        if level and self.sampling.escalate[level - 1].model is not None:
            parts["escalation"] = {"model": self.sampling.escalate[level - 1].model}
        return {
            f"{part}.{key}": value for part, keys in parts.items() for key, value in keys.items()
        }

    def params_fp(self, level: int = 0, variant: str | None = None) -> str:
        """Return the fingerprint of the settings that a sample is drawn with."""
        key = (level, variant)
        if key not in self._fingerprints:
            self._fingerprints[key] = fingerprint(self.identity(level, variant), 12)
        return self._fingerprints[key]

    def for_teacher(self, number: int) -> EngineSpec:
        """Return what one teacher's own engine needs."""
        teacher = self.sampling.teachers[number]
        sampling = self.sampling.model_copy(update={**teacher.overrides(), "teachers": ()})
        return EngineSpec(
            teacher.model or self.model, teacher.engine or self.engine, self.prompting, sampling
        )

    def list_teachers(self) -> list[EngineSpec]:
        """Return what the engine of each teacher needs; this spec alone where there are none."""
        return [self.for_teacher(n) for n in range(len(self.sampling.teachers))] or [self]

    def levels(self) -> range:
        """Return the levels of the settings: escalations, or teachers."""
        return range(len(self.sampling.teachers) or 1 + len(self.sampling.escalate))

    def params(self) -> dict[str, dict[str, Any]]:
        """Return fingerprint → settings for every level and variant, level 0 first.

        The settings name the teacher. The name is no part of the fingerprint.
        """
        variants: list[str | None] = [*self.prompting.variants] or [None]
        return {
            self.params_fp(level, variant): self.identity(level, variant) | self._name(level)
            for level in self.levels()
            for variant in variants
        }

    def _name(self, level: int) -> dict[str, str]:
        teachers = self.sampling.teachers
        return {"teacher": teachers[level].name} if teachers else {}
