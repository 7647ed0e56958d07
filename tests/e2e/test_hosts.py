"""Several machines for real: hosts that are cut off, added and killed, and a head that is lost.

The machines are network namespaces (tests/e2e/hosts.py). Ray, its protocol and the factory are the
real ones. The engine is a class of its own, which says on which machine it drew a sample.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from factory.build.build import build
from factory.core import journal
from factory.core.files import read_lines
from factory.core.nouns import Prompt
from factory.core.resources import recipe_path
from factory.core.run_dir import sample_parts
from factory.recipe.build import load_recipe
from tests.e2e.hosts import Machine, Network, wait_for, why_not
from tests.replayed import write_recipe as write_replay

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.real(group="hosts"),
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
    script = (recipe_path("cluster") / "nodes.slurm").read_text()
    found = dict(re.findall(r"\b(RAY_health_check_\w+)=(\d+)", script))
    assert len(found) == 4
    cluster = (recipe_path("cluster") / "ray-cluster.yaml").read_text()
    assert all(cluster.count(f"{name}={value}") == 2 for name, value in found.items())
    return found


class RayMachines:
    """A Ray cluster: a head without replicas, machines with room for one each."""

    first: Machine
    second: Machine
    driver: Machine

    def __init__(self, network: Network, logs: Path) -> None:
        self.network, self.logs = network, logs
        self.head = self._start("--head", "--ray-client-server-port", 10001, "--num-cpus", 0,
                                "--port", 6379, "--no-monitor", "--include-dashboard", "false",
                                "--temp-dir", network.scratch)  # fmt: skip

    def add(self, cpus: int = 1) -> Machine:
        return self._start("--address", self.inside, "--num-cpus", cpus)

    def _start(self, *options: object) -> Machine:
        machine = self.network.add()
        common = ["--node-ip-address", machine.address, "--object-store-memory", 100_000_000]
        common += ["--disable-usage-stats", "--block"]
        command = [BIN / "ray", "start", *options, *common]
        machine.start(command, self.logs / machine.name, variables())
        return machine

    def wait_until_up(self, *machines: Machine) -> None:
        for machine in machines:
            log = self.logs / machine.name
            wait_for(lambda file=log: "Ray runtime started" in read(file), f"Ray on {machine.name}")

    @property
    def inside(self) -> str:
        """The cluster's address for a driver on one of its nodes."""
        return f"{self.head.address}:6379"

    @property
    def outside(self) -> str:
        """The cluster's address for a driver that is on none of its nodes."""
        return f"ray://{self.head.address}:10001"


def variables() -> dict[str, str]:
    return {**health(), "RAY_AUTH_MODE": "disabled"}


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture(scope="module")
def cluster(network: Network, tmp_path_factory: pytest.TempPathFactory) -> RayMachines:
    """A cluster with two machines besides its head, and a driver outside of it."""
    made = RayMachines(network, tmp_path_factory.mktemp("ray"))
    made.first, made.second, made.driver = made.add(), made.add(), network.add()
    made.wait_until_up(made.first, made.second)
    return made


def read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


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


def over_ray(folder: Path, **options: object) -> None:
    engine = {"kind": "ray", "class": str(folder / "slow.py:Slow"), "ray": options}
    write_recipe(folder, {**engine, "args": {"release": str(folder / "release")}})


def start_build(machine: Machine, folder: Path, address: str) -> subprocess.Popen[str]:
    arguments = [folder / "recipe.yaml", "--run", folder / "run"]
    return start_factory(machine, folder / "build.log", address, "build", *arguments)


def start_factory(
    machine: Machine, log: Path, address: str, *arguments: object
) -> subprocess.Popen[str]:
    """Start a command that may run code of one's own, as only a driver's environment says."""
    environment = {**variables(), "RAY_ADDRESS": address, "FACTORY_TRUST_CODE": "1"}
    return machine.start([BIN / "factory", *arguments], log, environment)


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


def samples_by_machine(folder: Path) -> Counter[str]:
    """Count the samples that each machine drew. Every sample must be there once."""
    frame = pl.concat([pl.read_parquet(part) for part in sample_parts(folder / "run")])
    assert frame.select("prompt_id", "index").n_unique() == frame.height == PROMPTS * N
    return Counter(frame["text"].str.extract(r"On (\w+)\.").to_list())


SERVER = """
import socket, sys, time
from pathlib import Path
from tests.fake_server import FakeServer

where, release = socket.gethostname(), Path(sys.argv[2])
text = f"<think>\\nOn {where}.\\n</think>\\n\\nIt is 4."
with FakeServer(host=sys.argv[1], delay_s=1.0, answer=lambda body: text) as server:
    print(server.url, flush=True)
    while True:
        if release.exists():
            server.delay_s = 0.0
        time.sleep(0.2)
"""


def test_servers_on_hosts_that_are_cut_off_and_killed_lose_nothing(
    network: Network, tmp_path: Path
) -> None:
    (tmp_path / "serve.py").write_text(SERVER)
    machines, urls = [network.add() for _ in range(3)], []
    for machine in machines:
        log = tmp_path / machine.name
        command = [sys.executable, tmp_path / "serve.py", machine.address, tmp_path / "release"]
        machine.start(command, log, {"PYTHONPATH": os.getcwd()})
        wait_for(lambda file=log: read(file).endswith("\n"), "a server")
        urls.append(read(log).strip())
    options = {"urls": urls, "max_concurrency": 2, "health_s": 2}
    write_recipe(tmp_path, {"kind": "server", "server": options})
    build = start_build(network.add(), tmp_path, "")
    cut, killed, _ = machines
    wait_for(lambda: len(drawn_on(tmp_path)) == 3, "samples of all")
    cut.cut()
    wait_for(lambda: urls[0] in endpoints(tmp_path, "endpoint_down"), "the cut to be noticed")
    wait_for(lambda: f"down: {urls[0]}" in read(tmp_path / "build.log"), "a message")
    killed.kill()
    wait_for(lambda: urls[1] in endpoints(tmp_path, "endpoint_down"), "the death of a host")
    cut.connect()
    wait_for(lambda: endpoints(tmp_path, "endpoint_up").count(urls[0]) == 2, "the host's return")
    (tmp_path / "release").touch()
    assert build.wait(timeout=300) == 0, read(tmp_path / "build.log")
    assert samples_by_machine(tmp_path).keys() == {machine.name for machine in machines}


def endpoints(folder: Path, kind: str) -> list[str]:
    """The addresses that the events of a kind name."""
    found = read_lines(folder / "run" / "engine.log")
    return [event["url"] for event in found if event["event"] == kind]


MORTAL = """
import os, signal, time
import polars as pl
from pathlib import Path
from filters.base import Filter

class Mortal(Filter):
    '''Measures lengths. Ends its process once, when the file `die` is there.

    Where there is a folder `meet`, it waits there for the machine that sees the run, or does not.
    '''

    VERSION = 1
    die: Path

    def measure(self, samples):
        if self.die.exists():
            self.die.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        meet = self.die.with_name("meet")
        if meet.exists():
            sees = self.die.with_name("there").joinpath("run.json").exists()
            (meet / ("sees" if sees else "blind")).touch()
            while len(list(meet.iterdir())) < 2:
                time.sleep(0.05)
        return samples.select("sample_id", mortal_chars=pl.col("text").str.len_chars())

    def rules(self):
        return []
"""
FILTERS = """{{
  format: {{}}, length: {{}}, readability: {{}}, correctness: {{}},
  mortal: {{class: "{folder}/mortal.py:Mortal", die: {folder}/die}}
}}"""


def answer(prompt: Prompt, index: int) -> str:
    """Right and wrong programs for the prompts with tests, numbers for the others."""
    assert prompt.verifier is not None
    said = f"It is \\boxed{{{prompt.verifier.get('answer', 0)}{'1' * (index % 3)}}}."
    if prompt.verifier["kind"] == "code":
        said = f"```python\nprint(int(input()) + {index % 2})\n```"
    return f"<think>\nLet me think about case {index}.\n</think>\n\n{said}"


@pytest.mark.usefixtures("trusted_code")
def test_judging_on_other_machines_gives_the_same_bytes(
    cluster: RayMachines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One machine sees the run directory and the other does not; one worker is killed."""
    monkeypatch.setattr(journal, "SEAL_ROWS", 24)
    (tmp_path / "mortal.py").write_text(MORTAL)
    rows: list[dict[str, Any]] = [
        {"question": f"What is {k} + {k}?", "verifier": {"kind": "math", "answer": str(2 * k)}}
        for k in range(30)
    ]
    tests = {"stdin": [{"input": f"{k}\n", "output": f"{k}\n"} for k in range(3)]}
    verifier = {"kind": "code", "language": "python", "tests": tests}
    rows += [{"question": f"Echo a number, way {k}.", "verifier": verifier} for k in range(2)]
    source = "{kind: files, path: rows.jsonl, language: en}"
    filters = FILTERS.format(folder=tmp_path)
    recipe = write_replay(tmp_path, rows, answer, source=source, filters=filters, n=6)
    here, there = tmp_path / "here", tmp_path / "there"
    build(load_recipe(recipe), here, Console(quiet=True))
    shutil.copytree(here, there, ignore=shutil.ignore_patterns("metrics", "verdicts", "corpus*"))
    (tmp_path / "die").touch()
    (tmp_path / "meet").mkdir()  # however slow one of them is, both take part
    cluster.second.hide(there)
    log = tmp_path / "judging.log"
    options = [recipe, "--run", there, "--set", "judging.on=ray"]
    judged = start_factory(cluster.driver, log, cluster.outside, "build", *options)
    assert judged.wait(timeout=600) == 0, read(log)
    found = read_lines(there / "events.jsonl")
    (last,) = (event for event in found if event["event"] == "judged_on_ray")
    assert last["hosts"].keys() == {cluster.first.name, cluster.second.name}
    (again,) = (event for event in found if event["event"] == "judged_again")
    assert "died" in again["why"]
    for kind in ("corpus", "verdicts", "metrics"):
        assert contents(here / kind) == contents(there / kind)


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder. Of verifiers all but the milliseconds that they took."""
    found = {}
    for file in sorted(folder.rglob("*.parquet")):
        frame = pl.read_parquet(file)
        timed = "correctness_ms" in frame.columns
        name = str(file.relative_to(folder))
        found[name] = (
            str(frame.drop("correctness_ms").rows()).encode() if timed else file.read_bytes()
        )
    assert found
    return found


def test_hosts_cut_off_added_and_killed_then_a_lost_head_lose_nothing(
    network: Network, cluster: RayMachines, tmp_path: Path
) -> None:
    """One build over a cluster's whole life, and over the next cluster's start.

    A second build runs on a node, where Ray itself would end it once the head is lost.
    """
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    first, second, driver = cluster.first, cluster.second, cluster.driver
    over_ray(outside, replicas=2)
    build = start_build(driver, outside, cluster.outside)
    wait_for(lambda: places(outside, "replica_ready") == {first.name, second.name}, "replicas")
    wait_for(lambda: drawn_on(outside) >= {first.name, second.name}, "samples of both")

    first.cut()
    wait_for(lambda: first.name in places(outside, "replica_died"), "the cut to be noticed")
    lost = re.compile(rf"down: replica \d on {first.name}")
    wait_for(lambda: lost.search(read(outside / "build.log")), "a message")
    third = cluster.add(cpus=3)
    wait_for(lambda: third.name in places(outside, "replica_ready"), "the new host")
    first.connect()  # what a host declared dead still sends counts no more
    second.kill()
    wait_for(lambda: second.name in places(outside, "replica_died"), "the death of a host")
    wait_for(lambda: third.name in drawn_on(outside), "samples of the new host")

    over_ray(inside, replicas=1)
    builds = {outside: build, inside: start_build(third, inside, cluster.inside)}
    wait_for(lambda: drawn_on(inside), "samples of a build on a node")
    cluster.head.kill()
    for folder, ended in builds.items():
        said = folder / "build.log"
        assert ended.wait(timeout=200) == 3, read(said)
        assert "run the same command to go on" in read(said)
        assert f"the head of the Ray cluster, {cluster.head.address}" in read(said)
        assert "Traceback" not in read(said)

    following = RayMachines(network, cluster.logs)
    fourth = following.add()
    following.wait_until_up(fourth)
    (outside / "release").touch()
    again = start_build(driver, outside, following.outside)
    assert again.wait(timeout=300) == 0, read(outside / "build.log")
    assert samples_by_machine(outside).keys() == {
        one.name for one in (first, second, third, fourth)
    }
