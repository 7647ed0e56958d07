"""Several machines for real: hosts that are cut off, added and killed, and a head that is lost.

The machines are network namespaces (tests/e2e/hosts.py). Ray, its protocol and the factory are the
real ones. The engine is a class of its own, which says on which machine it drew a sample.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from factory.core.files import read_lines
from factory.core.resources import recipe_path
from factory.core.run_dir import sample_parts
from tests.e2e.hosts import Machine, Network, wait_for, why_not

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(why := why_not()), reason=f"no machines of one's own: {why}"),
]

BIN = Path(sys.executable).parent
PROMPTS, N = 60, 8
ENGINE = '''
import socket, time
from pathlib import Path
from factory.core.nouns import Sample

class Slow:
    """Finishes a request each second, or all at once when the file `release` is there."""

    capacity = 8

    def __init__(self, spec, run, start):
        self.spec, self.waiting, self.at = spec, [], time.monotonic()
        self.release = Path(spec.engine.args["release"])

    def submit(self, request):
        self.waiting.append(request)

    def completed(self):
        time.sleep(0.02)
        if self.waiting and (self.release.exists() or time.monotonic() - self.at > 1.0):
            self.at = time.monotonic()
            request = self.waiting.pop(0)
            text = f"<think>\\nOn {socket.gethostname()}.\\n</think>\\n\\nIt is \\\\boxed{{4}}."
            yield Sample(
                prompt_id=request.prompt.id, index=request.index, text=text, prompt_text="?",
                finish_reason="stop", n_tokens=9, n_prompt_tokens=9, model="slow",
                params_fp=self.spec.params_fp(request.level), created_at=0)

    def abort(self, sample_ids):
        pass

    def workers(self):
        return []

    def close(self):
        pass
'''


def health() -> dict[str, str]:
    """The health checks that the shipped files for clusters set."""
    script = (recipe_path("cluster") / "ray.slurm").read_text()
    found = dict(re.findall(r"\b(RAY_health_check_\w+)=(\d+)", script))
    assert len(found) == 4
    return found


class RayMachines:
    """A Ray cluster: a head without replicas, machines with room for one each."""

    def __init__(self, network: Network, logs: Path) -> None:
        self.network, self.logs = network, logs
        self.head = self._start("--head", "--ray-client-server-port", 10001, "--num-cpus", 0,
                                "--port", 6379, "--include-dashboard", "false",
                                "--temp-dir", network.scratch)  # fmt: skip

    def add(self) -> Machine:
        return self._start("--address", f"{self.head.address}:6379", "--num-cpus", 1)

    def _start(self, *options: object) -> Machine:
        machine = self.network.add()
        common = ["--node-ip-address", machine.address, "--object-store-memory", 100_000_000]
        common += ["--disable-usage-stats", "--block"]
        command = [BIN / "ray", "start", *options, *common]
        machine.start(command, self.logs / machine.name, variables())
        return machine

    @property
    def outside(self) -> str:
        """The cluster's address for a driver that is on none of its nodes."""
        return f"ray://{self.head.address}:10001"


def variables() -> dict[str, str]:
    return {**health(), "RAY_AUTH_MODE": "disabled", "FACTORY_TRUST_CODE": "1"}


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture(scope="module")
def cluster(network: Network, tmp_path_factory: pytest.TempPathFactory) -> RayMachines:
    return RayMachines(network, tmp_path_factory.mktemp("ray"))


def write_recipe(folder: Path, engine: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "slow.py").write_text(ENGINE)
    rows = [{"question": f"What is {k} + {k}?", "answer": str(2 * k)} for k in range(PROMPTS)]
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"kind": "files", "path": str(file), "language": "en", "verifier": {"kind": "math"}}
    recipe = {
        "name": "hosts",
        "model": "fake",
        "sources": [source],
        "prompting": {"template": "few_shot"},
        "engine": engine,
        "sampling": {"n": N, "max_tokens": 64},
        "filters": {"format": {}},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe))
    return path


def over_ray(folder: Path, address: str) -> Path:
    engine = {"kind": "ray", "class": str(folder / "slow.py:Slow"), "ray": {"address": address}}
    return write_recipe(folder, {**engine, "args": {"release": str(folder / "release")}})


def start_build(machine: Machine, folder: Path, *options: object) -> subprocess.Popen[str]:
    command = [BIN / "factory", "build", folder / "recipe.yaml", "--run", folder / "run", *options]
    return machine.start(command, folder / "build.log", variables())


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    found = read_lines(folder / "run" / "events.jsonl")
    return [event for event in found if event["event"] == kind]


def places(folder: Path, kind: str) -> set[str]:
    """The machines that the events of a kind name."""
    return {event["where"].rpartition(" ")[2] for event in events(folder, kind)}


def drawn_on(folder: Path) -> set[str]:
    """The machines that a sample in the journal names."""
    journals = [read(file) for file in (folder / "run" / "samples").glob("journal-*")]
    return {name for text in journals for name in re.findall(r"On (machine\d+)", text)}


def finish(build: subprocess.Popen[str], folder: Path) -> Counter[str]:
    """Wait for a build. Every sample must be there once. Returns the samples of each machine."""
    (folder / "release").touch()
    assert build.wait(timeout=300) == 0, (folder / "build.log").read_text()
    frame = pl.concat([pl.read_parquet(part) for part in sample_parts(folder / "run")])
    assert frame.select("prompt_id", "index").n_unique() == frame.height == PROMPTS * N
    return Counter(frame["text"].str.extract(r"On (\w+)\.").to_list())


def test_hosts_that_are_cut_off_added_and_killed_lose_nothing(
    network: Network, cluster: RayMachines, tmp_path: Path
) -> None:
    first, second = cluster.add(), cluster.add()
    driver = network.add()
    over_ray(tmp_path, cluster.outside)
    wait_for(lambda: "Ray runtime started" in (cluster.logs / second.name).read_text(), "Ray")
    build = start_build(driver, tmp_path)
    wait_for(lambda: places(tmp_path, "replica_ready") == {first.name, second.name}, "replicas")
    wait_for(lambda: drawn_on(tmp_path) >= {first.name, second.name}, "samples of both")
    first.cut()
    wait_for(lambda: first.name in places(tmp_path, "replica_died"), "the cut to be noticed")
    lost = re.compile(rf"down: replica \d on {first.name}")
    wait_for(lambda: lost.search(read(tmp_path / "build.log")), "a message")
    third = cluster.add()
    wait_for(lambda: third.name in places(tmp_path, "replica_ready"), "the new host")
    first.connect()  # what a host declared dead still sends counts no more
    second.kill()
    wait_for(lambda: second.name in places(tmp_path, "replica_died"), "the death of a host")
    wait_for(lambda: third.name in drawn_on(tmp_path), "samples of the new host")
    drawn = finish(build, tmp_path)
    assert set(drawn) == {first.name, second.name, third.name}


def read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def test_a_lost_head_is_an_engine_lost_and_the_same_command_goes_on(
    network: Network, cluster: RayMachines, tmp_path: Path
) -> None:
    """Of a driver outside of the cluster, and of one on a node, which Ray itself would end."""
    node, outside = cluster.add(), network.add()
    addresses = {outside: cluster.outside, node: f"{cluster.head.address}:6379"}
    builds = {}
    for machine, address in addresses.items():
        over_ray(tmp_path / machine.name, address)
        started = tmp_path / machine.name / "run"
        wait_for(lambda: "Ray runtime started" in read(cluster.logs / node.name), "Ray")
        builds[machine] = start_build(machine, tmp_path / machine.name)
        wait_for(lambda run=started: (run / "run.json").exists(), "a build")
    for machine in builds:
        wait_for(lambda where=machine: drawn_on(tmp_path / where.name), "samples")
    cluster.head.kill()
    for machine, build in builds.items():
        said = tmp_path / machine.name / "build.log"
        assert build.wait(timeout=200) == 3, read(said)
        assert "run the same command to go on" in read(said)
        assert f"the head of the Ray cluster, {cluster.head.address}" in read(said)
        assert "Traceback" not in read(said)
