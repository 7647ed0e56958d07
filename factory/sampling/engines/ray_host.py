"""Runs engine replicas on a Ray cluster: one actor per replica, placed by Ray.

Only the driver writes to the run directory. It keeps every request until it has ended (see
factory.sampling.engines.replica_pool).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.cluster.connection import Cluster
from factory.core import trust
from factory.core.errors import EngineError, FactoryError
from factory.core.nouns import Failure, Sample
from factory.recipe.engines.options import RayOptions
from factory.sampling.engine import Engine, Request
from factory.sampling.engines.placement import count_accelerators
from factory.sampling.engines.replica import Answer, Ready, Replica, ReplicaDied
from factory.sampling.engines.replica_pool import Remote, ReplicaPool

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec

WAIT_SECONDS = 0.05


class ReplicaActor:
    """The actor on a node. The node has no run directory, so its engine log is discarded."""

    def __init__(self, spec: EngineSpec, seed: int, trusted: str) -> None:
        # Load nothing here: any failure in the constructor reaches the driver as a death.
        self._spec, self._seed, self._trusted = spec, seed, trusted
        self._scratch = tempfile.TemporaryDirectory(prefix="factory-replica-")

    def ready(self) -> Ready:
        trust.accept(self._trusted)
        self._replica = Replica(self._spec, Path(self._scratch.name), self._seed)
        return self._replica.ready()

    def turn(self, requests: list[Request], aborts: list[str]) -> list[Sample | Failure]:
        return self._replica.turn(requests, aborts)


class _Actor:
    """The driver's view of a replica: actor handle, pending call and placement group."""

    def __init__(self, cluster: Cluster, actor: Any, group: Any) -> None:
        self._cluster, self._actor, self._group = cluster, actor, group
        self.call: Any = actor.ready.remote()

    def send(self, requests: list[Request], aborts: list[str]) -> None:
        with self._cluster.calls():
            self.call = self._actor.turn.remote(requests, aborts)

    def receive(self) -> Answer:
        from ray.exceptions import RayActorError, RayTaskError

        try:
            with self._cluster.calls() as ray:
                answer: Answer = ray.get(self.call)
        except RayTaskError as error:
            # The engine raised. The user must fix a FactoryError; anything else is a death.
            if isinstance(error.cause, FactoryError):
                raise error.cause from error
            raise ReplicaDied(_last_line(error)) from error
        except RayActorError as error:
            raise ReplicaDied(_last_line(error)) from error
        return answer

    def end(self) -> None:
        if self._cluster.is_lost:
            return
        with self._cluster.calls() as ray:
            ray.kill(self._actor)
            if self._group is not None:
                # The group outlives its actor and would keep its GPUs from the next one.
                from ray.util.placement_group import remove_placement_group

                remove_placement_group(self._group)


class RayHost:
    """A Ray cluster, which may grow while it is used."""

    def __init__(self, spec: EngineSpec) -> None:
        self._options = spec.engine.ray or RayOptions()
        self._cluster = Cluster(self._options.address, "engine.ray.address")
        self._spec = spec
        self.retry_timeout_s = self._options.patience_s
        try:
            self._wait_for_slots()
        except BaseException:
            self.close()
            raise

    def slots(self) -> int:
        return self._options.replicas or self._count_slots()

    def start(self, number: int, seed: int) -> Remote:
        with self._cluster.calls() as ray:
            options, group = self._resources(ray)
            actor = ray.remote(ReplicaActor).options(**options)
            return _Actor(self._cluster, actor.remote(self._spec, seed, trust.granted()), group)

    def poll(self, busy: Sequence[Remote]) -> Sequence[Remote]:
        calls = {remote.call: remote for remote in busy if isinstance(remote, _Actor)}
        if not calls:
            return []
        with self._cluster.calls() as ray:
            ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0.0)
            if not ready:
                ready, _ = ray.wait(list(calls), num_returns=1, timeout=WAIT_SECONDS)
        return [calls[call] for call in ready]

    def close(self) -> None:
        self._cluster.close()

    def _count_slots(self) -> int:
        """Return the number of replicas that fit on the cluster as it is now."""
        with self._cluster.calls() as ray:
            held, gpus = ray.cluster_resources(), self._gpus(ray)
        room = int(held.get("CPU", 0) // self._options.cpus)
        return min(room, int(held.get("GPU", 0) // gpus)) if gpus else room

    def _wait_for_slots(self) -> None:
        """Wait for nodes to join. Raises EngineError: Ray would queue an actor forever."""
        deadline = time.monotonic() + self.retry_timeout_s
        while not self._count_slots():
            if time.monotonic() > deadline:
                with self._cluster.calls() as ray:
                    held, gpus = ray.cluster_resources(), self._gpus(ray)
                raise EngineError(
                    f"the Ray cluster has {held.get('CPU', 0):g} CPUs and {held.get('GPU', 0):g} "
                    f"GPUs, and one replica needs {self._options.cpus} and {gpus}. Add "
                    "nodes, or correct engine.ray.cpus, engine.ray.gpus or tensor_parallel_size."
                )
            time.sleep(0.5)

    def _resources(self, ray: Any) -> tuple[dict[str, Any], Any]:
        """Return an actor's options and its own placement group, if it needs one."""
        cpus, gpus = self._options.cpus, self._gpus(ray)
        options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus}
        if not gpus:
            options["runtime_env"] = {"env_vars": {"OMP_NUM_THREADS": str(cpus)}}
        elif self._spec.engine.args.get("distributed_executor_backend") == "ray":
            # vLLM places its own workers, one per GPU. The actor itself needs no GPU.
            from ray.util.placement_group import placement_group
            from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

            bundles = [{"CPU": cpus, "GPU": 1}, *([{"GPU": 1}] * (gpus - 1))]
            group = placement_group(bundles, strategy="PACK")
            strategy = PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
            )
            return options | {"num_gpus": 0, "scheduling_strategy": strategy}, group
        return options, None

    def _gpus(self, ray: Any) -> int:
        if self._options.gpus is not None:
            return self._options.gpus
        if not ray.cluster_resources().get("GPU"):
            return 0
        return count_accelerators(self._spec.engine.args)


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def open_engine(spec: EngineSpec, run: Path, start: int) -> Engine:
    """Open the `ray` engine of a recipe."""
    return ReplicaPool(RayHost(spec), spec, run, start)
