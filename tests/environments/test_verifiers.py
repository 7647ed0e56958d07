"""Tasks of `verifiers` as prompts and episodes, by a real `verifiers` in a Python of its own.

VERIFIERS_PYTHON names an interpreter that has it. Without it one is installed once, into the cache.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from factory.core import trust
from factory.core.errors import SourceError
from factory.core.nouns import Prompt
from factory.core.resources import cache_dir
from factory.core.trust import VARIABLE
from factory.environments.host import EnvironmentHost, Reply, StepLimits, play
from factory.prompts.sets.verifiers import Verifiers
from factory.prompts.source import Reject
from factory.prompts.tools import read_environment
from tests.episodes import SCRIPTED, act, call, read_samples, roles

SETS = Path(__file__).with_name("verifiers_sets")
MANNERS = (
    "well", "well", "stops", "raises", "hangs", "dies", "infinite", "raises in setup", "no prompt",
    "image", "no text", "surrogate", "dies early", "starts a program", "earns nothing",
    "earns text", "earns NaN", "no metric",
)  # fmt: skip
pytestmark = pytest.mark.real(group="verifiers")  # on one worker: it is installed once
TESTED = "verifiers==0.4.0"
MARK = "FACTORY_TEST_HANGS"
"""The environment variable by which a test knows the processes that it started."""


@pytest.fixture(scope="session")
def python() -> str:
    """The interpreter of an environment with `verifiers`."""
    if given := os.environ.get("VERIFIERS_PYTHON"):
        return given
    place = cache_dir() / "tests" / TESTED
    found, done = place / "bin" / "python", place / "installed"
    if done.exists():
        return str(found)
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    links = ["--find-links", folder] if (folder := os.environ.get("PIP_FIND_LINKS")) else []
    install = [uv, "pip", "install", "--python", str(found), *links, TESTED]
    shutil.rmtree(place, ignore_errors=True)  # what an interrupted installation left
    try:
        for command in ([uv, "venv", "--python", sys.executable, str(place)], install):
            subprocess.run(command, check=True, capture_output=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"{TESTED} cannot be installed, and VERIFIERS_PYTHON is not set: {error}")
    done.touch()
    return str(found)


@pytest.fixture(autouse=True)
def _trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")


def source(python: str, **options: Any) -> Verifiers:
    taskset = {"id": "hostile_sums", "manners": list(MANNERS)}
    return Verifiers.model_validate(
        {"kind": "verifiers", "python": python, "taskset": taskset, "path": str(SETS)} | options
    )


@pytest.fixture(scope="module")
def rows(python: str) -> list[Any]:
    """What the source makes of the tasks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "1")
        return list(source(python).rows())


@pytest.fixture(scope="module")
def prompts(rows: list[Any]) -> dict[str, Prompt]:
    """The tasks by their manner."""
    found = [row for row in rows if isinstance(row, Prompt)]
    return {MANNERS[dict(row.environment or {})["idx"]]: row for row in found}


@pytest.fixture(scope="module")
def host() -> Iterator[EnvironmentHost]:
    made = EnvironmentHost(StepLimits(wall_s=300.0))
    yield made
    made.close()


def run(
    host: EnvironmentHost, prompt: Prompt, actions: Sequence[Any], seed: int = 1
) -> list[Reply]:
    assert prompt.environment is not None
    return play(host, "e", prompt.environment, prompt, seed, actions)


def ask(expression: str, identity: str = "c") -> Any:
    return act(call("calculate", {"expression": expression}, identity))


def contents(reply: Reply) -> list[str]:
    assert reply.observation is not None, reply.failure
    return [message["content"] for message in reply.observation.messages]


def test_tasks_are_prompts(rows: list[Any], prompts: dict[str, Prompt]) -> None:
    assert [m["content"] for m in prompts["stops"].messages] == ["Calculate.", "What is 2 + 40?"]
    assert prompts["stops"].verifier == {"kind": "state", "reward": 1.0}
    assert [(row.place, row.reason) for row in rows if isinstance(row, Reject)] == [
        ("hostile_sums[8]", "no_question"),
        ("hostile_sums[9]", "no_question"),
        ("hostile_sums[10]", "no_question"),
        ("hostile_sums[11]", "bad_unicode"),
    ]


def test_tools_are_called_and_the_reward_is_the_tasks(
    host: EnvironmentHost, prompts: dict[str, Prompt]
) -> None:
    said = [ask("1 + 40"), act(call("nothing", {}, "d")), act(content="It is 41.")]
    begun, answered, refused, ended = run(host, prompts["well"], said)
    assert begun.observation is not None, begun.failure
    assert [tool["function"]["name"] for tool in begun.observation.tools] == ["calculate"]
    assert answered.observation is not None
    (message,) = answered.observation.messages
    assert message == {"role": "tool", "content": "41", "name": "calculate", "tool_call_id": "c"}
    assert contents(refused) == ["error: there is no tool 'nothing'; the tools are calculate"]
    assert ended.observation is not None, ended.failure
    assert (ended.observation.done, ended.observation.reward) == (True, 1.0)
    state = ended.observation.state
    assert (state["rewards"], state["stop"]) == ({"right": 1.0}, "agent_completed")


def test_a_wrong_answer_earns_nothing_and_a_seed_draws_the_same(
    host: EnvironmentHost, prompts: dict[str, Prompt]
) -> None:
    drawn = []
    for seed in (1, 1, 2):
        _, ended = run(host, prompts["well"], [act(content="It is 7.")], seed)
        assert ended.observation is not None, ended.failure
        assert ended.observation.reward == 0.0
        drawn.append(ended.observation.state["metrics"]["drawn"])
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_rule_of_the_task_ends_the_episode(
    host: EnvironmentHost, prompts: dict[str, Prompt]
) -> None:
    *_, ended = run(host, prompts["stops"], [ask("2 + 40")])
    assert ended.observation is not None, ended.failure
    assert (ended.observation.done, ended.observation.reward) == (True, 0.0)
    assert ended.observation.state["stop"] == "enough"


@pytest.mark.parametrize(
    ("manner", "why"),
    [
        ("raises", "no reward"),
        ("dies", "its process ended"),
        ("infinite", "reward is inf"),
        ("raises in setup", "no setup"),
        ("dies early", "its process ended"),
        ("earns nothing", "TypeError"),
        ("earns text", "could not convert string to float"),
        ("earns NaN", "reward is nan"),
    ],
)
def test_a_bad_task_costs_its_episode(
    host: EnvironmentHost, prompts: dict[str, Prompt], manner: str, why: str
) -> None:
    *_, last = run(host, prompts[manner], [ask("1 + 1"), act(content="It is 1.")])
    assert last.observation is None
    assert why in str(last.failure)


def test_a_metric_that_is_no_number_costs_nothing(
    host: EnvironmentHost, prompts: dict[str, Prompt]
) -> None:
    *_, ended = run(host, prompts["no metric"], [act(content="It is 57.")])
    assert ended.observation is not None, ended.failure
    assert ended.observation.reward == 1.0
    assert ended.observation.state["metrics"] == {"drawn": "nan"}


def test_a_taskset_that_keeps_to_its_seed_can_be_replayed(
    python: str, prompts: dict[str, Prompt], host: EnvironmentHost
) -> None:
    """So the user says of it; a killed build continues its episodes then."""
    row = {"idx": 0, "key": "k", "messages": MESSAGES}
    assert (source(python, replayable=True).prompt(row).environment or {})["replayable"] is True
    prompt = prompts["well"]
    given = {**(prompt.environment or {}), "replayable": True}
    later = EnvironmentHost(StepLimits(wall_s=300.0))  # a new server, as after a kill
    said = [ask("1 + 40"), act(content="It is 41.")]
    played = [play(one, "e", given, prompt, 1, said) for one in (host, later)]
    later.close()
    assert played[0] == played[1]
    assert played[0][0].replayable
    assert played[0][-1].observation is not None, played[0][-1].failure


def test_a_flood_is_cut(host: EnvironmentHost, prompts: dict[str, Prompt]) -> None:
    *_, flooded = run(host, prompts["well"], [ask("flood")])
    assert contents(flooded)[0].endswith("[2,980,000 more characters are left out]")


def test_hanging_tasks_and_tools_are_killed(
    prompts: dict[str, Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARK, str(os.getpid()))
    host = EnvironmentHost(StepLimits(wall_s=300.0))
    try:
        for name, manner, action in (("a", "hangs", act(content="x")), ("b", "well", ask("hang"))):
            prompt = prompts[manner]
            assert prompt.environment is not None
            host.begin(name, prompt.environment, prompt, 1)
            (begun,) = wait(host)
            assert begun.observation is not None, begun.failure
            host._limits = StepLimits(wall_s=2.0)
            host.act(name, action)
            (lost,) = wait(host)
            assert lost.failure == "it did not answer in 2 s"
            host._limits = StepLimits(wall_s=300.0)
        (begun, *_, ended) = run(host, prompts["starts a program"], [act(content="It is 53.")])
        assert ended.observation is not None, (begun.failure, ended.failure)
        assert count_down(1) == 1  # the server: an episode leaves nothing, nor do its tools
        assert list(work_folders(host)) == []
    finally:
        host.close()
    assert count_down(0) == 0


def work_folders(host: EnvironmentHost) -> Iterator[Path]:
    """The folders in which episodes work."""
    return Path(host._folder.name).rglob("episode-*")


def count_down(wanted: int) -> int:
    """Wait until as few processes are left, for a minute. Returns how many there are."""
    deadline = time.monotonic() + 60
    while (left := len(processes())) > wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def test_a_killed_build_leaves_no_taskset_that_hangs(
    python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARK, str(os.getpid()))
    building = build(write_recipe(python, tmp_path, ["never comes"]), tmp_path / "run")
    while not processes():
        assert building.poll() is None
        time.sleep(0.1)
    building.kill()
    building.wait()
    assert count_down(0) == 0


def wait(host: EnvironmentHost) -> list[Reply]:
    while not (replies := host.poll(1.0)):
        pass
    return replies


def processes() -> list[str]:
    """The command lines of servers below this process's hosts that are still there."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            line = (place / "cmdline").read_bytes().decode("utf-8", "replace")
            environment = (place / "environ").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        ours = "verifiers_server.py" in line or line.startswith("sleep")
        if ours and f"{MARK}={os.getpid()}" in environment:
            found.append(line)
    return found


def test_prompts_of_another_version_are_refused(
    host: EnvironmentHost, prompts: dict[str, Prompt]
) -> None:
    given = dict(prompts["well"].environment or {})
    cases = [({"key": "0" * 64}, "is another one"), ({"idx": 99}, "has only 18 tasks")]
    for change, why in cases:
        (reply,) = play(host, "e", given | change, prompts["well"], 1, [])
        assert why in str(reply.failure)
    (reply,) = play(host, "e", given, prompts["stops"], 1, [])
    assert "take the prompts from a source of kind" in str(reply.failure)


def test_what_cannot_be_loaded_is_said(python: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nothing_here"):
        list(source(python, taskset="nothing_here").rows())
    with pytest.raises(SourceError, match=r"no-python cannot be started; .*bin/python"):
        list(source(str(tmp_path / "no-python")).rows())
    with pytest.raises(SourceError, match="No module named 'verifiers'"):
        list(source(sys.executable).rows())
    broken = tmp_path / "broken"
    broken.write_text('#!/bin/sh\nprintf \'{"place": "x[0]\'\nkill -9 $$\n')
    broken.chmod(0o700)
    with pytest.raises(SourceError, match="broken failed: it ended with status 137"):
        list(source(str(broken)).rows())


def test_a_python_must_be_trusted(
    python: str, prompts: dict[str, Prompt], monkeypatch: pytest.MonkeyPatch, host: EnvironmentHost
) -> None:
    given: dict[str, Any] = dict(prompts["well"].environment or {})
    for key in ("python", "path", "taskset"):  # a run of somebody else, and trust in one's own code
        (reply,) = play(host, "e", {**given, key: "/bin/sh"}, prompts["well"], 1, [])
        assert f'no recipe here names the {key} "/bin/sh"' in str(reply.failure)
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("FACTORY_TRUSTED_HASHES", "")
    with pytest.raises(ValueError, match="not trusted yet"):
        source(python)
    with pytest.raises(ValueError, match="name a source of that kind"):
        read_environment({"kind": "verifiers", "python": "/bin/sh", "taskset": "x"})


def test_a_changed_taskset_must_be_trusted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("FACTORY_TRUSTED_HASHES", "")
    monkeypatch.setenv("FACTORY_CACHE", str(tmp_path / "cache"))
    asked: list[str] = []

    def agree(code: trust.Code) -> bool:
        asked.append(code.hash)
        return True

    monkeypatch.setattr(trust, "ask", agree)
    shutil.copytree(SETS, tmp_path / "sets")
    for text in ("", "", "# changed"):
        with (tmp_path / "sets" / "hostile_sums" / "tools.py").open("a") as file:
            file.write(text)
        source("python", path=str(tmp_path / "sets"))
    assert len(asked) == len(set(asked)) == 2


def test_ids_do_not_depend_on_where_things_lie() -> None:
    here, there = (
        source(python, path=path).prompt({"idx": 0, "key": "k", "messages": MESSAGES})
        for python, path in (("/a/bin/python", "/a/sets"), ("/b/bin/python", "/b/sets"))
    )
    assert here.id == there.id


MESSAGES = [{"role": "user", "content": "What is 1 + 1?"}]


def write_recipe(python: str, folder: Path, manners: Sequence[str]) -> Path:
    """The page's recipe, with an engine that is a script."""
    recipe = {
        "name": "sums",
        "model": "demo",
        "sources": [
            {
                "kind": "verifiers",
                "python": python,
                "taskset": {"id": "hostile_sums", "manners": list(manners)},
                "path": str(SETS),
            }
        ],
        "engine": {"class": f"{SCRIPTED}:Scripted"},
        "sampling": {"n": 2, "episode": {"max_turns": 4, "step_s": 300}},
        "filters": {"format": {"thinking": "optional"}, "correctness": {"think": "optional"}},
    }
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return file


def build(recipe: Path, run: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "factory.cli", "build", str(recipe), "--run", str(run)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_recipe_of_ten_lines_builds_a_corpus(python: str, tmp_path: Path) -> None:
    building = build(write_recipe(python, tmp_path, ["well", "raises", "well"]), tmp_path / "run")
    _, said = building.communicate(timeout=800)
    assert building.returncode == 0, said
    samples = read_samples(tmp_path / "run").values()
    assert sorted(sample.finish_reason for sample in samples) == ["environment"] * 2 + ["stop"] * 4
    (whole, *_) = [sample for sample in samples if sample.finish_reason == "stop"]
    assert roles(whole) == ["tools", "assistant", "tool", "assistant", "end"]
    assert whole.turns is not None
    assert (whole.turns[-1].reward, whole.turns[2].text in whole.text) == (1.0, True)
    assert json.loads(whole.turns[-1].state or "")["rewards"] == {"right": 1.0}
