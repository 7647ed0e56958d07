"""Runs engine replicas on a Ray cluster: one actor per replica, placed by Ray.

Only the driver writes to the run directory. It keeps every request until it has ended (see
factory.sampling.engines.replica_pool).
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.core.errors import EngineError, FactoryError, MissingDependency
from factory.core.nouns import Failure, Sample
from factory.recipe.engine import RayOptions
from factory.sampling.engine import Engine, Request
from factory.sampling.engines.placement import count_accelerators
from factory.sampling.engines.replica import Answer, Ready, Replica, ReplicaDied
from factory.sampling.engines.replica_pool import Remote, ReplicaPool

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec

WAIT_SECONDS = 0.05
JOIN_ATTEMPTS = 3


class ReplicaActor:
    """The actor on a node. The node has no run directory, so its engine log is discarded."""

    def __init__(self, spec: EngineSpec, seed: int) -> None:
        # Load nothing here: any failure in the constructor reaches the driver as a death.
        self._spec, self._seed = spec, seed
        self._scratch = tempfile.TemporaryDirectory(prefix="factory-replica-")

    def ready(self) -> Ready:
        self._replica = Replica(self._spec, Path(self._scratch.name), self._seed)
        return self._replica.ready()

    def turn(self, requests: list[Request], aborts: list[str]) -> list[Sample | Failure]:
        return self._replica.turn(requests, aborts)


class _Actor:
    """The driver's view of a replica: actor handle, pending call and placement group."""

    def __init__(self, ray: Any, actor: Any, group: Any) -> None:
        self._ray, self._actor, self._group = ray, actor, group
        self.call: Any = actor.ready.remote()

    def send(self, requests: list[Request], aborts: list[str]) -> None:
        self.call = self._actor.turn.remote(requests, aborts)

    def receive(self) -> Answer:
        from ray.exceptions import RayActorError, RayTaskError

        try:
            answer: Answer = self._ray.get(self.call)
        except RayTaskError as error:
            # The engine raised. The user must fix a FactoryError; anything else is a death.
            if isinstance(error.cause, FactoryError):
                raise error.cause from error
            raise ReplicaDied(_last_line(error)) from error
        except RayActorError as error:
            raise ReplicaDied(_last_line(error)) from error
        return answer

    def end(self) -> None:
        self._ray.kill(self._actor)
        if self._group is not None:
            # The group outlives its actor and would keep its GPUs from the next one.
            from ray.util.placement_group import remove_placement_group

            remove_placement_group(self._group)


class RayHost:
    """A Ray cluster, which may grow while it is used."""

    def __init__(self, spec: EngineSpec) -> None:
        self._options = spec.engine.ray or RayOptions()
        self._ray = _connect(self._options)
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
        options, group = self._resources()
        actor = self._ray.remote(ReplicaActor).options(**options)
        return _Actor(self._ray, actor.remote(self._spec, seed), group)

    def poll(self, busy: Sequence[Remote]) -> Sequence[Remote]:
        calls = {remote.call: remote for remote in busy if isinstance(remote, _Actor)}
        if not calls:
            return []
        ready, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=0.0)
        if not ready:
            ready, _ = self._ray.wait(list(calls), num_returns=1, timeout=WAIT_SECONDS)
        return [calls[call] for call in ready]

    def close(self) -> None:
        self._ray.shutdown()

    def _count_slots(self) -> int:
        """Return the number of replicas that fit on the cluster as it is now."""
        held, gpus = self._ray.cluster_resources(), self._gpus()
        room = int(held.get("CPU", 0) // self._options.cpus)
        return min(room, int(held.get("GPU", 0) // gpus)) if gpus else room

    def _wait_for_slots(self) -> None:
        """Wait for nodes to join. Raises EngineError: Ray would queue an actor forever."""
        deadline = time.monotonic() + self.retry_timeout_s
        while not self._count_slots():
            if time.monotonic() > deadline:
                held = self._ray.cluster_resources()
                raise EngineError(
                    f"the Ray cluster has {held.get('CPU', 0):g} CPUs and {held.get('GPU', 0):g} "
                    f"GPUs, and one replica needs {self._options.cpus} and {self._gpus()}. Add "
                    "nodes, or correct engine.ray.cpus, engine.ray.gpus or tensor_parallel_size."
                )
            time.sleep(0.5)

    def _resources(self) -> tuple[dict[str, Any], Any]:
        """Return an actor's options and its own placement group, if it needs one."""
        cpus, gpus = self._options.cpus, self._gpus()
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

    def _gpus(self) -> int:
        if self._options.gpus is not None:
            return self._options.gpus
        if not self._ray.cluster_resources().get("GPU"):
            return 0
        return count_accelerators(self._spec.engine.args)


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _connect(options: RayOptions) -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingDependency(
            "engine.kind: ray needs Ray, which is not installed; install the extra `ray`"
        ) from error
    address = options.address or os.environ.get("RAY_ADDRESS")
    try:
        _require_listener(address)
        _join(ray, address)
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineError(
            f"the Ray cluster at {address or 'this machine'} cannot be reached: {error}. Start one "
            "(`ray start --head`), or correct engine.ray.address or RAY_ADDRESS."
        ) from error
    return ray


def _join(ray: Any, address: str | None) -> None:
    """Connect as a driver of the cluster.

    With ray:// the head node starts one process per client. That process may die at its start, as
    on an overloaded node. The next attempt gets a new one.
    """
    for attempt in range(1, JOIN_ATTEMPTS + 1):
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level="ERROR",
                include_dashboard=None if address else False,
                ignore_reinit_error=True,
            )
            return
        except ConnectionAbortedError:
            if attempt == JOIN_ATTEMPTS:
                raise


def _require_listener(address: str | None) -> None:
    """Raise OSError at once if nothing listens there. Ray itself would retry for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def open_engine(spec: EngineSpec, run: Path, start: int) -> Engine:
    """Open the `ray` engine of a recipe."""
    return ReplicaPool(RayHost(spec), spec, run, start)
