"""The table of systems, and the file that each gets."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from factory.launch.kubernetes import write_manifests
from factory.launch.needs import find_needs
from factory.launch.skypilot import write_task
from factory.launch.slurm import write_script


class System(NamedTuple):
    """The ending of a file's name, and the command that starts it."""

    ending: str
    start: str


SYSTEMS = {
    "slurm": System("slurm", "sbatch"),
    "kubernetes": System("k8s.yaml", "kubectl apply -f"),
    "skypilot": System("sky.yaml", "sky jobs launch"),
}


@dataclass(frozen=True)
class Launch:
    """What to run, and where. `gpus` None: as many as the recipes need."""

    system: str
    recipes: Sequence[Path]
    assignments: Sequence[str] = ()
    gpus: int | None = None
    gpu: str = "h100"
    image: str = ""
    storage: str = ""
    programs: Path = Path(".venv/bin")

    def command(self) -> str:
        """Return the command line that writes the file."""
        words = ["factory", "launch", self.system, *map(str, self.recipes)]
        words += [word for one in self.assignments for word in ("--set", one)]
        given = {"--gpus": self.gpus, "--image": self.image, "--storage": self.storage}
        given["--gpu"] = self.gpu if self.gpu != Launch.gpu else None
        for flag, value in given.items():
            words += [flag, str(value)] if value not in (None, "") else []
        return shlex.join(words)


class Written(NamedTuple):
    """A file's text, its usual name, and a line about each recipe."""

    text: str
    name: str
    notes: list[str]


def write_file(launch: Launch) -> Written:
    """Return the file. Raises RecipeError, and CapacityError where a plan does not fit."""
    needs = [
        find_needs(recipe, launch.assignments, launch.gpus, launch.gpu) for recipe in launch.recipes
    ]
    by = launch.command()
    if launch.system == "slurm":
        text = write_script(needs, by, Path(launch.storage or "runs"), launch.programs)
    elif launch.system == "kubernetes":
        text = write_manifests(needs[0], by, launch.image, launch.storage)
    else:
        text = write_task(needs[0], by, launch.gpu, launch.storage)
    name = needs[0].name if len(needs) == 1 else "array"
    notes = [f"{one.name}: {'; '.join(one.notes)}" for one in needs]
    return Written(text, f"{name}.{SYSTEMS[launch.system].ending}", notes)
