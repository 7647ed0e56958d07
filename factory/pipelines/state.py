"""The state of a pipeline (pipeline.json), and the decision whether a step has to run again.

    runs/<name>/
      pipeline.json  pipeline.html  recipe.yaml    state of every step (atomic); page; the recipe
      steps/<step>/                                the step's own run directory
      steps/<step>.yaml  steps/<step>.log          its resolved recipe; its output
      replaced/<step>-<n>/                         directories that --redo moved away

A step is done when its recipe, its inputs and its output are those on record. If its recipe
changed, it starts again in its own directory, which does only what is still missing (a changed
threshold takes seconds) and refuses to mix settings. If the output of another step changed that it
uses, it is refused: a step knows its inputs only by path, and would mix results of the old and the
new content.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from factory.core.content_hash import content_hash
from factory.core.files import read_versioned, write_atomic
from factory.recipe.kinds import KINDS
from factory.recipe.pipeline import PlannedStep

FORMAT = 1
FILE = "pipeline.json"
_NONE = object()


class StepStatus(NamedTuple):
    """Whether a step is done, has to start or is refused, and why."""

    state: str  # done | start | refuse
    why: str = ""


class PipelineState:
    """The manifest of a pipeline's directory. Every change is written at once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manifest = read_state(directory)
        self.steps: dict[str, dict[str, Any]] = self.manifest.setdefault("steps", {})

    def save(self, **changes: Any) -> None:
        """Update pipeline.json in one atomic step."""
        self.manifest.update(changes, format=FORMAT, kind="pipeline")
        write_atomic(self.directory / FILE, json.dumps(self.manifest, indent=2) + "\n")

    def record(self, step: PlannedStep, **changes: Any) -> None:
        """Update the record of a step."""
        self.steps.setdefault(step.name, {}).update(changes)
        self.save()

    def check(self, step: PlannedStep, pending: Collection[str] = ()) -> StepStatus:
        """Return the status of a step. `pending` inputs still have to be made or made again."""
        known = self.steps.get(step.name, {})
        if "recipe" not in known or not step.folder.exists():
            return StepStatus("start")
        inputs = input_versions(step)
        changed = [n for n in _differing_keys(known["inputs"], inputs) if n not in pending]
        if changed and not KINDS[step.kind].remade:
            return StepStatus(
                "refuse",
                "\n".join(
                    f"  {name}: {known['inputs'].get(name, 'no input')} then, "
                    f"{inputs.get(name, 'no input')} now"
                    for name in changed
                ),
            )
        if pending:
            return StepStatus("start")
        differing = find_differences(known["recipe"], resolve_settings(step))
        if differing:
            return StepStatus("start", f"its recipe changed ({', '.join(differing)})")
        if changed:
            return StepStatus("start", f"its inputs changed ({', '.join(changed)})")
        if known["state"] != "done":
            return StepStatus("start", "resumes")
        if known["output"] != content_version(step.product):
            return StepStatus("start", "its output is missing or was changed")
        return StepStatus("done")

    def set_aside(self, names: Sequence[str], plan: Sequence[PlannedStep]) -> list[str]:
        """Move away the directories of these steps and of all that use them; returns their names.

        A step that an interrupted command with the same --redo has started again stays.
        """
        requested = self.manifest.get("redo", [])
        moved: dict[str, PlannedStep] = {}
        for step in plan:
            again = step.name in names and not (step.name in requested and self._was_started(step))
            if again or moved.keys() & step.inputs.keys():
                moved[step.name] = step
        for name, step in reversed(moved.items()):  # a step's users are moved before it
            if step.folder.exists():
                step.folder.rename(_unused_path(self.directory / "replaced" / name))
            self.steps.pop(name, None)
            self.save()
        self.save(redo=sorted({*requested, *names}))
        return list(moved)

    def _was_started(self, step: PlannedStep) -> bool:
        """Return True if the step was started with its present recipe and inputs."""
        known = self.steps.get(step.name, {})
        same_recipe = known.get("recipe") == resolve_settings(step)
        return same_recipe and known.get("inputs") == input_versions(step)


def read_state(directory: Path) -> dict[str, Any]:
    """Read pipeline.json; returns an empty mapping for a new directory."""
    return read_versioned(
        directory / FILE,
        FORMAT,
        "Move it away and run again: the steps' own directories keep their results.",
    )


def resolve_settings(step: PlannedStep) -> dict[str, Any]:
    """Return a step's resolved recipe, with the path of the pipeline's own directory as `@`."""
    written = json.dumps(yaml.safe_load(step.recipe.to_yaml()), default=str, ensure_ascii=False)
    found: dict[str, Any] = json.loads(written.replace(f"{step.folder.parent.resolve()}/", "@"))
    return found


def input_versions(step: PlannedStep) -> dict[str, str | None]:
    """Return the content version of each input of a step, by the step that makes it."""
    return {name: content_version(product) for name, product in step.inputs.items()}


def content_version(product: Path) -> str | None:
    """Return a hash of the content of a step's product; None where it doesn't exist."""
    return content_hash(product)[:16] if product.exists() else None


def find_differences(
    before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    """Return the dotted keys in which two recipes differ."""
    found = []
    for key in _differing_keys(before, now):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += find_differences(old, new, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key}")
    return found


def _differing_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [key for key in {**before, **now} if before.get(key, _NONE) != now.get(key, _NONE)]


def _unused_path(path: Path) -> Path:
    """Return `path` with the first number that is not in use."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while (found := path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return found
