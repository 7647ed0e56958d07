"""The result of an evaluation, stored as eval.json. Its schema has the version `FORMAT`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from factory.core.errors import RunError
from factory.core.files import write_atomic
from factory.evaluation.estimators import MeanEstimate
from factory.evaluation.scores import GroupResult
from factory.evaluation.selection import MarginResult, read_margins
from factory.evaluation.variants import VariantSpread, load_variant_spread

FILE = "eval.json"
FORMAT = 1
"""Incremented when a key of eval.json changes its meaning; a new key needs no new version."""


@dataclass(frozen=True)
class ModelComparison:
    """This evaluation minus another, on their common prompts. `groups` as in `Evaluation`.

    `better` and `worse` count prompts by pass@1. `settings` describes other differing settings.
    """

    name: str
    model: str
    prompts: int
    only_here: int
    only_there: int
    better: int
    worse: int
    settings: list[str]
    groups: dict[str, dict[str, MeanEstimate]]


@dataclass(frozen=True)
class Evaluation:
    """One model's metrics by source.

    `left_out` counts prompts excluded by `exclude`, `bad_references` those whose reference answer
    fails its own verifier. `variants` is the spread over wordings of the prompt, if it has any.
    `choices` are metrics minus the plain vote over the same samples, and `margins` how often that
    vote is wrong, both by source.
    """

    name: str
    model: str
    step: int | None
    series: str
    k: dict[str, int]
    settings: dict[str, Any]
    bootstrap: dict[str, Any]
    left_out: int
    bad_references: int
    groups: dict[str, GroupResult]
    versions: dict[str, str]
    fingerprint: str
    against: list[ModelComparison] = field(default_factory=list)
    variants: VariantSpread | None = None
    choices: dict[str, dict[str, MeanEstimate]] = field(default_factory=dict)
    margins: dict[str, list[MarginResult]] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The metrics of all sources, in order."""
        return list(dict.fromkeys(c for group in self.groups.values() for c in group.metrics))

    def save(self, directory: Path) -> None:
        document = {"format": FORMAT, **asdict(self)}
        write_atomic(directory / FILE, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def load_evaluation(directory: Path) -> Evaluation:
    """Load the result of an evaluation. Raises RunError where there is none."""
    path = directory / FILE
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{directory} holds no finished evaluation ({error}); run `factory eval` first"
        ) from error
    if data.pop("format", None) != FORMAT:
        raise RunError(f"{path} was written by another version of the factory; evaluate again")
    return Evaluation(
        **{
            **data,
            "variants": load_variant_spread(data.get("variants")),
            "choices": {name: _estimates(m) for name, m in data.get("choices", {}).items()},
            "margins": read_margins(data.get("margins")),
            "groups": {
                name: GroupResult(**{**group, "metrics": _estimates(group["metrics"])})
                for name, group in data["groups"].items()
            },
            "against": [
                ModelComparison(
                    **{
                        **item,
                        "groups": {name: _estimates(m) for name, m in item["groups"].items()},
                    }
                )
                for item in data["against"]
            ],
        }
    )


def _estimates(metrics: dict[str, Any]) -> dict[str, MeanEstimate]:
    return {name: MeanEstimate(**estimate) for name, estimate in metrics.items()}
