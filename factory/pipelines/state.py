"""What a pipeline has done so far: pipeline.json, and what it says of a step that comes again.

    runs/<name>/
      pipeline.json  pipeline.html  recipe.yaml    state of every step (atomic); page; the recipe
      steps/<step>/                                the step's own run directory
      steps/<step>.yaml  steps/<step>.log          its recipe, resolved; what it printed
      replaced/<step>-<n>/                         what --redo moved aside

A step is done when its recipe, what it took of others and what it made are those on record. Its
recipe changed: it starts again in its own directory, which does what is not done yet (a threshold
costs seconds) and refuses to mix. Another step's output changed under it: that is refused here,
because a step that knows its input only by a path would mix what the old and the new one gave.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from factory.core.content_hash import sketch
from factory.core.files import read_versioned, write_atomic
from factory.recipe.kinds import KINDS
from factory.recipe.pipeline import PlannedStep

FORMAT = 1
FILE = "pipeline.json"
_NONE = object()


class Standing(NamedTuple):
    """Whether a step is done, and if not, why it is (not) to be started."""

    state: str  # done | start | refuse
    why: str = ""


class PipelineState:
    """The manifest of a pipeline's directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manifest = read_state(directory)
        self.steps: dict[str, dict[str, Any]] = self.manifest.setdefault("steps", {})

    def save(self, **changes: Any) -> None:
        """Update pipeline.json in one atomic step."""
        self.manifest.update(changes, format=FORMAT, kind="pipeline")
        write_atomic(self.directory / FILE, json.dumps(self.manifest, indent=2) + "\n")

    def note(self, step: PlannedStep, **changes: Any) -> None:
        """Write down what became of a step."""
        self.steps.setdefault(step.name, {}).update(changes)
        self.save()

    def standing(self, step: PlannedStep, unsettled: Collection[str] = ()) -> Standing:
        """What is to be done for a step; `unsettled` inputs are still to be made or made again."""
        known = self.steps.get(step.name, {})
        if "recipe" not in known or not step.folder.exists():
            return Standing("start")
        inputs = taken(step)
        changed = [n for n in _unlike(known["inputs"], inputs) if n not in unsettled]
        if changed and not KINDS[step.kind].remade:
            return Standing(
                "refuse",
                "\n".join(
                    f"  {name}: {known['inputs'].get(name, 'not taken')} then, "
                    f"{inputs.get(name, 'not taken')} now"
                    for name in changed
                ),
            )
        if unsettled:
            return Standing("start")
        differing = differences(known["recipe"], settings(step))
        if differing:
            return Standing("start", f"its recipe changed ({', '.join(differing)})")
        if changed:
            return Standing("start", f"made anew of another {', '.join(changed)}")
        if known["state"] != "done":
            return Standing("start", "goes on")
        if known["output"] != version(step.product):
            return Standing("start", "what it made is not there as it was")
        return Standing("done")

    def set_aside(self, names: Sequence[str], plan: Sequence[PlannedStep]) -> list[str]:
        """Move away what these steps, and all that take of them, have made. Returns their names.

        What the same command, killed since, has begun anew stays.
        """
        asked = self.manifest.get("redo", [])
        moved: dict[str, PlannedStep] = {}
        for step in plan:
            again = step.name in names and not (step.name in asked and self._as_begun(step))
            if again or moved.keys() & step.inputs.keys():
                moved[step.name] = step
        for name, step in reversed(moved.items()):  # what takes of a step goes before it
            if step.folder.exists():
                step.folder.rename(_free(self.directory / "replaced" / name))
            self.steps.pop(name, None)
            self.save()
        self.save(redo=sorted({*asked, *names}))
        return list(moved)

    def _as_begun(self, step: PlannedStep) -> bool:
        known = self.steps.get(step.name, {})
        return known.get("recipe") == settings(step) and known.get("inputs") == taken(step)


def read_state(directory: Path) -> dict[str, Any]:
    """pipeline.json, or an empty mapping for a new directory."""
    return read_versioned(
        directory / FILE,
        FORMAT,
        "Move it away and run again: every step's own directory knows what it has done.",
    )


def settings(step: PlannedStep) -> dict[str, Any]:
    """A step's recipe with everything resolved; the pipeline's own directory reads `@`."""
    written = json.dumps(yaml.safe_load(step.recipe.to_yaml()), default=str, ensure_ascii=False)
    found: dict[str, Any] = json.loads(written.replace(f"{step.folder.parent.resolve()}/", "@"))
    return found


def taken(step: PlannedStep) -> dict[str, str | None]:
    """The versions of what a step takes of others."""
    return {name: version(product) for name, product in step.inputs.items()}


def version(product: Path) -> str | None:
    """A hash of the content of what a step has made; None where there is nothing."""
    return sketch(product)[:16] if product.exists() else None


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The keys, dotted, that two recipes do not have alike."""
    found = []
    for key in _unlike(before, now):
        was, wanted = before.get(key), now.get(key)
        if isinstance(was, Mapping) and isinstance(wanted, Mapping):
            found += differences(was, wanted, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key}")
    return found


def _unlike(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [key for key in {**before, **now} if before.get(key, _NONE) != now.get(key, _NONE)]


def _free(path: Path) -> Path:
    """`path` with the first number that is not taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while (found := path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return found
