"""`factory serve` with real processes: small HTTP servers instead of vLLM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from factory.core.errors import EngineError, RecipeError
from factory.sampling.engines.local_servers import ServerGroup, format_flags, vllm_command
from factory.sampling.engines.placement import assign_devices, visible_gpus
from tests.ports import free_ports
from tests.sampling.conftest import make_spec

HEALTHY = """
import http.server, subprocess, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *words):
        pass

child = subprocess.Popen(["sleep", "600"])
print("seed", sys.argv[2], "child", child.pid, flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def run(program: str) -> Callable[[int, int], Sequence[str]]:
    return lambda port, seed: [sys.executable, "-c", program, str(port), str(seed)]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_for(condition: Callable[[], Any], poll: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        poll()
        time.sleep(0.02)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[ServerGroup]:
    servers = ServerGroup(run(HEALTHY), free_ports(2), [{}, {}], tmp_path, seed=1)
    yield servers
    servers.close()


def written(logs: Path, word: str) -> list[int]:
    lines = [line.split() for file in sorted(logs.iterdir()) for line in file.open()]
    return [int(line[line.index(word) + 1]) for line in lines]


def test_servers_start_and_end_with_their_children(group: ServerGroup, tmp_path: Path) -> None:
    wait_for(lambda: len(group.ready) == 2, group.poll)
    pids = [pid for pid in group.pids if pid] + written(tmp_path, "child")
    assert len(pids) == 4
    assert all(map(is_alive, pids))
    group.close()
    wait_for(lambda: not any(map(is_alive, pids)))


def test_a_killed_server_comes_back_on_its_port_with_another_seed(
    group: ServerGroup, tmp_path: Path
) -> None:
    wait_for(lambda: len(group.ready) == 2, group.poll)
    (first, _), (orphan, *_) = group.pids, written(tmp_path, "child")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: len(group.ready) == 1, group.poll)
    wait_for(lambda: not is_alive(orphan))  # what the dead one left behind is ended
    wait_for(lambda: len(group.ready) == 2, group.poll)
    assert group.pids[0] != first
    assert len(set(written(tmp_path, "seed"))) == 3


def test_a_server_that_never_gets_ready_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    program = "import sys; sys.exit('no room on the device')"
    group = ServerGroup(run(program), free_ports(1), [{}], tmp_path, max_failed_starts=2)
    with pytest.raises(EngineError, match="no room on the device"):
        wait_for(lambda: False, group.poll)
    group.close()


def test_servers_end_when_factory_serve_is_killed(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    program = (
        "import sys, time; from pathlib import Path\n"
        "from factory.sampling.engines.local_servers import ServerGroup\n"
        "from tests.sampling.test_serve import run\n"
        f"group = ServerGroup(run('import time; time.sleep(600)'), [{port}], [{{}}],"
        f" Path({str(tmp_path)!r}))\n"
        "group.poll(); print(group.pids[0], flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        assert is_alive(server)
        parent.kill()
    wait_for(lambda: not is_alive(server))


PLACES = [
    # (replicas, engine arguments, accelerators, each replica's environment)
    (2, {}, [], [{"OMP_NUM_THREADS": "4"}] * 2),
    (9, {}, [], [{"OMP_NUM_THREADS": "1"}] * 9),
    (1, {}, ["0", "1"], [{"CUDA_VISIBLE_DEVICES": "0"}]),
    (2, {"tensor_parallel_size": 2}, list("0123"), [{"CUDA_VISIBLE_DEVICES": "0,1"},
                                                    {"CUDA_VISIBLE_DEVICES": "2,3"}]),
    (1, {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}, list("4567"),
     [{"CUDA_VISIBLE_DEVICES": "4,5,6,7"}]),
]  # fmt: skip


@pytest.mark.parametrize(("replicas", "args", "gpus", "environments"), PLACES)
def test_each_replica_has_its_own_accelerators(
    replicas: int, args: dict[str, Any], gpus: list[str], environments: list[dict[str, str]]
) -> None:
    assert assign_devices(replicas, args, gpus, cores=8) == environments


def test_more_replicas_than_fit_are_refused() -> None:
    with pytest.raises(RecipeError, match="at most 1 replicas fit"):
        assign_devices(2, {"tensor_parallel_size": 2}, ["0", "1", "2"], cores=8)


@pytest.mark.parametrize(("named", "gpus"), [("2,5", ["2", "5"]), ("", []), ("GPU-a", ["GPU-a"])])
def test_visible_gpus_are_the_environments(
    named: str, gpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == gpus


def test_flags_are_those_of_vllms_parser() -> None:
    given = {"a_b": 1, "yes": True, "no": False, "skip": None, "d": {"x": 1}, "l": ["p", "q"]}
    assert format_flags(given) == [
        "--a-b",
        "1",
        "--yes",
        "--no-no",
        "--d",
        '{"x": 1}',
        "--l",
        "p",
        "q",
    ]


def test_the_command_names_model_port_and_seed() -> None:
    command = vllm_command(make_spec(model="org/model"), "0.0.0.0", cpu=True)(8001, 7)
    assert command[1:3] == ["-m", "vllm.entrypoints.openai.api_server"]
    for words in (["--model", "org/model"], ["--port", "8001"], ["--seed", "7"]):
        at = command.index(words[0])
        assert command[at : at + 2] == words
    assert "--enforce-eager" in command
