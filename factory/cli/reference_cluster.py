"""The shipped examples in recipes/cluster, written by `factory launch` for shipped recipes."""

from __future__ import annotations

from pathlib import Path

from factory.cli.reference_recipes import ROOT
from factory.launch.files import Launch, write_file

CLUSTER = ROOT / "recipes" / "cluster"

_MATH = Path("r1/reasoning_math")
_BUILDS = (_MATH, Path("r1/reasoning_code"), Path("r1/general"))
_RAY = ("engine.kind=ray", "engine.replicas=1")

EXAMPLES = {
    "job.slurm": Launch("slurm", (_MATH,)),
    "array.slurm": Launch("slurm", _BUILDS),
    "nodes.slurm": Launch("slurm", (_MATH,), _RAY, gpus=32),
    "training.slurm": Launch("slurm", (Path("r1/sft"),), gpus=16),
    "job.k8s.yaml": Launch("kubernetes", (_MATH,), image="me/factory:1", storage="runs"),
    "ray.k8s.yaml": Launch("kubernetes", (_MATH,), _RAY, 32, image="me/factory:1", storage="runs"),
    "task.sky.yaml": Launch("skypilot", (_MATH,), storage="s3://mine/runs"),
}


def write_example(name: str) -> str:
    """Return an example. Paths are relative to a checkout, from where it is submitted."""
    return write_file(EXAMPLES[name]).text.replace(f"{ROOT}/", "")
