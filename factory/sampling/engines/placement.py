"""Which accelerators, or which cores, each of several engines of this machine has to itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.core.errors import Problem, RecipeError

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec


def visible_gpus() -> list[str]:
    """The accelerators this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    found = [path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")]
    return sorted(found, key=int)


def accelerators(args: Mapping[str, Any]) -> int:
    """How many accelerators an engine with these arguments takes."""
    sizes = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    return prod(int(args.get(name, 1)) for name in sizes)


def gpus_of(spec: EngineSpec) -> int:
    """GPUs that GPU-hours are counted for: as many as the recipe says, or as its engines take."""
    engine = spec.engine
    replicas = (engine.ray and engine.ray.replicas) or engine.replicas
    return spec.sampling.prices.gpus or replicas * accelerators(engine.args)


def place(
    replicas: int, args: Mapping[str, Any], gpus: Sequence[str], cores: int, key: str = "--replicas"
) -> list[dict[str, str]]:
    """Each replica's environment: its own accelerators, or its share of the cores.

    Raises RecipeError, naming `key`, where there are too few accelerators for all.
    """
    if not gpus:
        return [{"OMP_NUM_THREADS": str(max(1, cores // replicas))}] * replicas
    each = accelerators(args)
    if replicas * each > len(gpus):
        what = (
            f"is {replicas}, and each takes {each} accelerators (engine.args), but this machine "
            f"shows {len(gpus)}; at most {len(gpus) // each} fit"
        )
        raise RecipeError([Problem(key, what)])
    return [
        {"CUDA_VISIBLE_DEVICES": ",".join(gpus[n * each : (n + 1) * each])} for n in range(replicas)
    ]
