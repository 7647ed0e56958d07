"""`factory build` with `kind: server`: against `factory serve`, and as its server goes away."""

from __future__ import annotations

import threading
from pathlib import Path

from factory.core.files import read_lines
from tests.e2e.test_main_job import drawn, factory
from tests.fake_server import FakeServer
from tests.sampling.conftest import make_prompt

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
