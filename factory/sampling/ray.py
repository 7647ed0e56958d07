"""Engine replicas over a Ray cluster: one actor each, placed by Ray.

The driver keeps every request and alone writes the run; factory.sampling.replicas says how.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.errors import EngineError, FactoryError, MissingDependency
from factory.sampling.engine import Engine, Request
from factory.sampling.ray_options import RayOptions
from factory.sampling.replicas import (
    Answer,
    Remote,
    Replica,
    ReplicaDied,
    Replicas,
    without_judging,
)

if TYPE_CHECKING:
    from factory.recipe import Recipe

WAIT_SECONDS = 0.05


class ReplicaActor(Replica):
    """What runs in the actor. Its node has no run directory, so its log is thrown away."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="factory-replica-")
        super().__init__(recipe, Path(self._scratch.name), seed)


class _Actor:
    """A replica as the driver sees it: a handle and the call under way."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor
        self.call: Any = actor.capacity.remote()

    def ask(self, requests: list[Request], aborts: list[str]) -> None:
        self.call = self._actor.turn.remote(requests, aborts)

    def answer(self) -> Answer:
        from ray.exceptions import RayActorError, RayTaskError

        try:
            answer: Answer = self._ray.get(self.call)
        except RayTaskError as error:
            # The engine inside raised: a wrong model is the user's to mend, a crash is a death.
            if isinstance(error.cause, FactoryError):
                raise error.cause from error
            raise ReplicaDied(_last_line(error)) from error
        except RayActorError as error:
            raise ReplicaDied(_last_line(error)) from error
        return answer

    def end(self) -> None:
        self._ray.kill(self._actor)


class RayHost:
    """A cluster, which may grow."""

    def __init__(self, recipe: Recipe) -> None:
        self._options = recipe.engine.ray or RayOptions()
        self._ray = _connected(self._options)
        self._recipe = without_judging(recipe)
        self.patience_s = self._options.patience_s

    def places(self) -> int:
        if self._options.replicas is not None:
            return self._options.replicas
        held = self._ray.cluster_resources()
        places = int(held.get("CPU", 0) // self._options.cpus)
        gpus = self._gpus()
        return min(places, int(held.get("GPU", 0) // gpus)) if gpus else places

    def start(self, number: int, seed: int) -> Remote:
        actor = self._ray.remote(ReplicaActor).options(**self._resources())
        return _Actor(self._ray, actor.remote(self._recipe, seed))

    def answered(self, asked: Sequence[Remote]) -> Sequence[Remote]:
        calls = {remote.call: remote for remote in asked if isinstance(remote, _Actor)}
        if not calls:
            return []
        ready, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=0.0)
        if not ready:
            ready, _ = self._ray.wait(list(calls), num_returns=1, timeout=WAIT_SECONDS)
        return [calls[call] for call in ready]

    def close(self) -> None:
        self._ray.shutdown()

    def _resources(self) -> dict[str, Any]:
        gpus = self._gpus()
        options: dict[str, Any] = {"num_cpus": self._options.cpus, "num_gpus": gpus}
        if not gpus:
            threads = str(self._options.cpus)
            options["runtime_env"] = {"env_vars": {"OMP_NUM_THREADS": threads}}
        if self._recipe.engine.args.get("distributed_executor_backend") == "ray":
            # vLLM places its own workers in the bundles; the actor itself computes nothing.
            from ray.util.placement_group import placement_group
            from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

            group = placement_group([{"GPU": 1, "CPU": 1}] * max(gpus, 1), strategy="PACK")
            options |= {
                "num_gpus": 0,
                "scheduling_strategy": PlacementGroupSchedulingStrategy(
                    group, placement_group_capture_child_tasks=True
                ),
            }
        return options

    def _gpus(self) -> int:
        if self._options.gpus is not None:
            return self._options.gpus
        if not self._ray.cluster_resources().get("GPU"):
            return 0
        args = self._recipe.engine.args
        return int(args.get("tensor_parallel_size", 1) * args.get("pipeline_parallel_size", 1))


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _connected(options: RayOptions) -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingDependency(
            "engine.kind: ray needs Ray, which is not installed; install the extra `ray`"
        ) from error
    address = options.address or os.environ.get("RAY_ADDRESS")
    try:
        _knock(address)
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level="ERROR",
            include_dashboard=None if address else False,
            ignore_reinit_error=True,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineError(
            f"the Ray cluster at {address or 'this machine'} cannot be reached: {error}. Start one "
            "(`ray start --head`), or mend engine.ray.address or RAY_ADDRESS."
        ) from error
    return ray


def _knock(address: str | None) -> None:
    """Fail at once where nobody listens; Ray itself keeps trying for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def open_engine(recipe: Recipe, run: Path, start: int) -> Engine:
    """The `ray` engine of a recipe."""
    return Replicas(RayHost(recipe), recipe, run, start)
