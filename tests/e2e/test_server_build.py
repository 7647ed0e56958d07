"""`factory build` with `kind: server`: against `factory serve`, and as its server goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from factory.core.files import read_lines
from tests.e2e.test_main_job import FACTORY, drawn, factory, recipe
from tests.fake_server import FakeServer
from tests.ports import free_ports
from tests.sampling.conftest import make_prompt


@contextmanager
def served(path: Path, port: int, folder: Path) -> Iterator[str]:
    """The `engine:` line that `factory serve` prints once its server is ready."""
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
    command = [*FACTORY, "serve", str(path), "--port", str(port)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            said = []
            for line in process.stdout:
                said.append(line)
                if line.startswith("engine:"):
                    yield line.removeprefix("engine:").strip()
                    break
            else:
                raise AssertionError(f"no server: {said}")
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(300) == 0
    left = subprocess.run(["pgrep", "-f", f"api_server.*--port {port}"], capture_output=True)
    assert not left.stdout, "factory serve left a server behind"


@pytest.mark.real
def test_a_build_against_factory_serve(tmp_path: Path) -> None:
    """Two commands, as a user types them: what serve prints is what build takes."""
    path, run = recipe(tmp_path, size=16, n=6), tmp_path / "run"
    policy = "sampling={policy: until, n: 6, accept: 1, wave: 3, top_k: 50, max_tokens: 100}"
    with served(path, free_ports(1)[0], tmp_path) as engine:
        done = factory("build", path, "--run", run, "--set", f"engine={engine}", "--set", policy)
    assert done.returncode == 0, done.stderr
    counts = drawn(run)
    prompts = pq.read_metadata(run / "prompts.parquet").num_rows
    assert set(counts.values()) == {1}
    assert prompts < len(counts) < 6 * prompts
    rows = pl.read_parquet(run / "corpus" / "*.parquet")
    assert rows.height
    assert rows["id"].is_unique().all()
    assert rows["n_tokens"].min() > 0
    assert rows["n_prompt_tokens"].min() > 0
    assert rows["prompt_text"].str.contains("Question|User").all()
    assert set(rows["model"]) == {"SmolLM2-135M-Instruct"}


LOST = """
name: lost
model: fake
sources: [{{kind: files, path: {prompts}, language: en}}]
prompting: {{template: few_shot, prefill: "<think>\\n"}}
engine: {{kind: server, server: {{urls: ["{url}"], lost_after_s: 6, health_s: 1}}}}
sampling: {{n: 2, max_tokens: 64}}
filters: {{format: {{}}}}
corpus: {{min_rows: 0}}  # the server of this test closes each section twice
"""


def test_a_lost_server_ends_the_build_with_its_code_and_the_same_command_goes_on(
    tmp_path: Path,
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    rows = [make_prompt(f"What is {number} + 1?") for number in range(60)]
    prompts.write_text("".join(f'{{"question": "{row.question}"}}\n' for row in rows))
    path, run = tmp_path / "lost.yaml", tmp_path / "run"
    with FakeServer(delay_s=0.3, slots=8) as server:
        path.write_text(LOST.format(prompts=prompts, url=server.url))

        over = threading.Event()

        def dies() -> None:
            while len(server.bodies) < 40 and not over.wait(0.01):
                pass
            server.kill()

        killer = threading.Thread(target=dies)
        killer.start()
        try:
            lost = factory("build", path, "--run", run)
        finally:
            over.set()
            killer.join()
        assert lost.returncode == 3, lost.stderr
        assert "no endpoint can be used" in lost.stderr
        assert "Traceback" not in lost.stderr
        first = drawn(run)
        assert 0 < len(first) < 120
        server.start()
        done = factory("build", path, "--run", run)
    assert done.returncode == 0, done.stderr
    assert drawn(run) == dict.fromkeys(drawn(run), 1)
    assert len(drawn(run)) == 120
    assert first.items() <= drawn(run).items()
    assert {event["event"] for event in read_lines(run / "engine.log")} >= {
        "endpoint_down",
        "endpoint_up",
    }
