"""Assigns accelerators or CPU cores to the engines on this machine."""

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
    """Return the accelerators this process may use, as named in CUDA_VISIBLE_DEVICES."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    found = [path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")]
    return sorted(found, key=int)


def count_accelerators(args: Mapping[str, Any]) -> int:
    """Return the number of accelerators that an engine with these arguments uses."""
    sizes = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    return prod(int(args.get(name, 1)) for name in sizes)


def count_gpus(spec: EngineSpec) -> int:
    """Return the GPUs to count GPU-hours for: set in the recipe, or all that its engines use.

    Of several teachers only the recipe's own engine counts.
    """
    engine = spec.engine
    replicas = (engine.ray and engine.ray.replicas) or engine.replicas
    return spec.sampling.prices.gpus or replicas * count_accelerators(engine.args)


def assign_devices(
    replicas: int, args: Mapping[str, Any], gpus: Sequence[str], cores: int, key: str = "--replicas"
) -> list[dict[str, str]]:
    """Return each replica's environment variables: its own accelerators or a number of threads.

    Raises RecipeError for `key` if there are too few accelerators.
    """
    if not gpus:
        return [{"OMP_NUM_THREADS": str(max(1, cores // replicas))}] * replicas
    each = count_accelerators(args)
    if replicas * each > len(gpus):
        what = (
            f"is {replicas}, and each needs {each} accelerators (engine.args), but this machine "
            f"has {len(gpus)}; at most {len(gpus) // each} replicas fit"
        )
        raise RecipeError([Problem(key, what)])
    return [
        {"CUDA_VISIBLE_DEVICES": ",".join(gpus[n * each : (n + 1) * each])} for n in range(replicas)
    ]
