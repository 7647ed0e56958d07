"""Placement of replicas on a real Ray cluster of several nodes on this machine.

The cluster declares two GPUs that do not exist, so that placement can be tested without any.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from factory.core.errors import EngineError, ModelError
from factory.sampling.engines.ray_host import RayHost
from tests.ports import free_ports
from tests.sampling.conftest import make_spec
from tests.test_leash import alive

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    (port,) = free_ports(1)
    head = {"num_cpus": 2, "num_gpus": 2, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={**head, "ray_client_server_port": port})
    made.client = f"ray://127.0.0.1:{port}"
    yield made
    made.shutdown()


@contextmanager
def host(address: str, engine: dict[str, Any] | None = None, **options: Any) -> Iterator[RayHost]:
    section = {"address": address, "patience_s": 1, **options}
    parts = {"kind": "ray", "ray": section, **(engine or {})}
    opened = RayHost(make_spec(model="./nowhere", engine=parts))
    try:
        yield opened
    finally:
        opened.close()


def test_a_node_that_joins_is_room_for_more_and_one_that_leaves_is_not(cluster: Any) -> None:
    with host(cluster.address, gpus=0) as opened:
        assert opened.slots() == 2
        node = cluster.add_node(num_cpus=3)
        wait_for(lambda: opened.slots() == 5)
        cluster.remove_node(node)
        wait_for(lambda: opened.slots() == 2)


ROOM = [
    # engine.args, engine.ray, slots
    ({}, {}, 2),
    ({}, {"replicas": 7}, 7),
    ({}, {"cpus": 2}, 1),
    ({"tensor_parallel_size": 2}, {}, 1),
    ({"tensor_parallel_size": 2}, {"gpus": 1}, 2),
]


@pytest.mark.parametrize(("args", "options", "slots"), ROOM)
def test_slots_are_what_gpus_and_cpus_allow(
    args: dict[str, Any], options: dict[str, Any], slots: int, cluster: Any
) -> None:
    with host(cluster.address, {"args": args}, **options) as opened:
        assert opened.slots() == slots


def test_a_replica_that_fits_nowhere_is_no_endless_wait(cluster: Any) -> None:
    wanted = {"args": {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}}
    with (
        pytest.raises(EngineError, match="2 CPUs and 2 GPUs, and one replica needs 1 and 4"),
        host(cluster.address, wanted),
    ):
        pass
    assert not ray.is_initialized()


def test_a_replica_gives_back_the_gpus_that_were_held_for_its_workers(cluster: Any) -> None:
    """Repeated deaths; otherwise the second replica would wait forever."""
    wanted = {"args": {"tensor_parallel_size": 2, "distributed_executor_backend": "ray"}}
    with host(cluster.address, wanted) as opened:
        for seed in range(2):
            remote = opened.start(0, seed)
            wait_for(lambda: "CREATED" in states())
            remote.end()
            wait_for(lambda: set(states()) == {"REMOVED"})


def states() -> list[str]:
    return [group["state"] for group in ray.util.placement_group_table().values()]


@pytest.mark.parametrize("way", ["address", "client"])
def test_a_model_that_is_not_there_is_told_at_once(way: str, cluster: Any) -> None:
    """Drivers on a node of the cluster and outside of it."""
    with host(getattr(cluster, way), gpus=0) as opened:
        remote = opened.start(0, 1)
        wait_for(lambda: opened.poll([remote]))
        with pytest.raises(ModelError, match="there is no config"):
            remote.receive()
        remote.end()


def test_a_client_process_that_dies_at_birth_is_asked_for_again(
    cluster: Any,
) -> None:
    """Ray's head node starts one per client; the first one is killed as soon as it exists."""
    killed: list[int] = []

    def kill_the_first() -> None:
        while not killed:
            ours = set(alive(f"--address={cluster.address}"))
            for pid in ours.intersection(alive("--mode=specific-server")):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    killer = threading.Thread(target=kill_the_first, daemon=True)
    killer.start()
    with host(cluster.client, gpus=0) as opened:
        assert opened.slots() == 2
    killer.join(timeout=60)
    assert len(killed) == 1


def wait_for(met: Any) -> None:
    deadline = time.monotonic() + 400
    while not met():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
