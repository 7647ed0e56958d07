"""What tools cost the engine, and what a kill costs an episode.

    python benchmarks/episodes.py [--episodes N] [--turns N] [--tokens N] [--kills N] [--seed N]

1. The embedded engine plays episodes, 64 of them at once, whose tool sleeps for two seconds, and
   the same episodes with a tool that answers at once. Two things are compared: how busy the engine
   is, which is the share of its slots that hold a request, over all of the time; and its tokens per
   second, which also depend on what else the machine does.

   What is fair: a tool of two seconds costs nothing only where other episodes can fill the engine
   meanwhile. With 64 at once, of which each is `g` seconds in the engine and two in its tool, about
   64·g / (g + 2) want to generate. `--slots` is below that number for the demo model on two cores,
   so that the engine can be full in both cases; what is measured is whether the design lets it. A
   faster engine needs more episodes at once, for any design. As in a build, an episode that ends
   makes room for the next. The start (processes, the first prompts) and the end (nothing is left to
   fill the engine with) are not measured: from the end of the first episode until the last begins.
   The first play warms up; then the two cases alternate, and the median of each counts.
2. A build of episodes by a scripted engine is killed with SIGKILL at random moments between turns,
   and started again, until it is done. Every turn that was on disk at a kill must be in the
   finished samples, and these must equal those of a build that was never killed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from factory.core.environment import name_environment
from factory.core.journal import read_records
from factory.core.nouns import Failure, Message, Prompt, Sample
from factory.core.run_dir import sample_parts
from factory.core.trust import trust_file
from factory.environments.host import EnvironmentHost
from factory.recipe.engine import EngineSpec
from factory.recipe.engines.options import Engine as EngineOptions
from factory.recipe.engines.options import Model
from factory.recipe.sampling import Sampling
from factory.sampling.engine import Engine, Request, Worker, open_engine
from factory.sampling.episodes import EpisodeEngine, step_limits
from factory.sampling.turn_log import FILE, TurnLog

BUSY_TARGET = 0.9
TOOL_SECONDS = 2.0

ENVIRONMENT = '''
import time

from factory.core.environment import Action, Observation
from factory.core.nouns import Message, Prompt
from factory.environments.calculator import Calculator


class Waits:
    """Every turn is answered after a while, and none ends the episode."""

    replayable = True

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def reset(self, prompt: Prompt, seed: int) -> Observation:
        return Observation(())

    def step(self, action: Action) -> Observation:
        time.sleep(self.seconds)
        return Observation((Message(role="user", content="Go on."),))


class SlowCalculator(Calculator):
    def calculate(self, expression: str) -> str:
        time.sleep(0.05)
        return super().calculate(expression)
'''

RECIPE = """
name: killed
model: demo
sources:
  - kind: gym
    name: sums
    task: chain_sum
    config: {{min_terms: 2, max_terms: 3, min_digits: 2, max_digits: 3}}
    size: {size}
    seed: {seed}
    verifier: math
    domain: math
    language: en
    environment: {{class: waits.py:SlowCalculator}}
engine: {{class: "{engine}:Scripted"}}
sampling: {{n: 2, episode: {{concurrency: 8}}}}
filters: {{}}
"""


class Timed:
    """An engine that adds up the time in which it generates, times its slots in use, and tokens."""

    def __init__(self, engine: Engine, slots: int) -> None:
        self._engine, self._slots = engine, slots
        self._held: set[str] = set()
        self.busy = 0.0  # seconds times slots
        self.tokens = 0

    @property
    def capacity(self) -> int:
        return self._engine.capacity

    def submit(self, request: Request) -> None:
        self._held.add(request.sample_id)
        self._engine.submit(request)

    def completed(self) -> Iterator[Sample | Failure]:
        started, working = time.perf_counter(), len(self._held)
        found = list(self._engine.completed())
        self.busy += (time.perf_counter() - started) * min(working, self._slots)
        self._held -= {outcome.sample_id for outcome in found}
        self.tokens += sum(one.n_tokens for one in found if isinstance(one, Sample))
        yield from found

    def abort(self, sample_ids: Iterable[str]) -> None:
        self._engine.abort(sample_ids)

    def workers(self) -> list[Worker]:
        return self._engine.workers()

    def close(self) -> None:
        """The engine is used again."""


class Rate(NamedTuple):
    """What an engine did: the share of its slots in use, and tokens a second."""

    busy: float
    tokens: float


def play(
    engine: Engine, spec: EngineSpec, episodes: int, at_once: int, seconds: float, number: int
) -> Rate:
    """Play episodes, `at_once` of them at a time. Measures between the ends described above."""
    slots = spec.engine.args["max_num_seqs"]
    timed = Timed(engine, slots)
    named = name_environment(f"{Path(os.environ['WAITS'])}:Waits")
    with tempfile.TemporaryDirectory() as folder:
        log, host = TurnLog(Path(folder), ()), EnvironmentHost(step_limits(spec.sampling))
        player = EpisodeEngine(timed, host, log, spec.sampling, lambda kind, **fields: None)
        begun = done = steps = 0
        marks: list[tuple[float, float, int]] = []
        while done < begun or begun < episodes:
            while begun < episodes and begun - done < at_once:
                question = Message(role="user", content=f"Tell me a story about number {begun}.")
                prompt = Prompt("b", "b", (question,), environment={**named, "seconds": seconds})
                player.submit(Request(prompt, number))
                begun += 1
                if begun == episodes:
                    marks.append((time.perf_counter(), timed.busy, timed.tokens))
            for outcome in player.completed():
                assert isinstance(outcome, Sample), outcome
                done += 1
                steps += sum(turn.role == "user" for turn in outcome.turns or ())
                if done == 1:
                    marks.append((time.perf_counter(), timed.busy, timed.tokens))
        player.close()
        log.close()
    assert steps >= episodes, "too few turns ended before their limit of tokens; raise --tokens"
    first, last = sorted(marks)
    wall, busy, tokens = (b - a for a, b in zip(first, last, strict=True))
    rate = Rate(busy / wall / slots, tokens / wall)
    print(
        f"  tool of {seconds:g} s: {tokens:,} tokens in {wall:.1f} s, {rate.tokens:.0f} a second; "
        f"{rate.busy:.1%} of {slots} slots in use",
        flush=True,
    )
    return rate


def measure_busy(options: argparse.Namespace, folder: Path) -> Rate:
    """Return what the engine does with slow tools, relative to tools that answer at once."""
    from factory.prompts.templates import Prompting

    sampling = Sampling.model_validate(
        {
            "max_tokens": options.tokens,
            "temperature": 1.0,
            "stop": ["."],  # a turn that ends by its limit of tokens ends the episode
            "episode": {"max_turns": options.turns, "max_tokens": 10**6},
        }
    )
    arguments = {"max_model_len": 2048, "max_num_seqs": options.slots}
    spec = EngineSpec(Model(id="demo"), EngineOptions(args=arguments), Prompting(), sampling)
    engine = open_engine(spec, folder, 0)
    rates: dict[float, list[Rate]] = {TOOL_SECONDS: [], 0.0: []}
    try:
        play(engine, spec, options.episodes, options.at_once, 0.0, 0)  # warms up
        for number in range(1, options.rounds + 1):
            for seconds, found in rates.items():
                found.append(play(engine, spec, options.episodes, options.at_once, seconds, number))
    finally:
        engine.close()
    slow, fast = rates.values()
    return Rate(*(_median(slow, place) / _median(fast, place) for place in range(2)))


def _median(rates: list[Rate], place: int) -> float:
    return statistics.median(rate[place] for rate in rates)


def read_samples(run: Path) -> dict[tuple[str, int], list[Any]]:
    """The turns of every sealed sample."""
    import pyarrow.parquet as pq

    return {
        (row["prompt_id"], row["index"]): [(turn["role"], turn["text"]) for turn in row["turns"]]
        for part in sample_parts(run)
        for row in pq.read_table(part).to_pylist()
    }


def count_lost(options: argparse.Namespace, folder: Path) -> tuple[int, int, int]:
    """Return kills that hit half-played episodes, turns lost, and samples that differ."""
    recipe = folder / "killed.yaml"
    scripted = Path(__file__).resolve().parents[1] / "recipes" / "tools" / "scripted.py"
    text = RECIPE.format(size=options.prompts, seed=options.seed, engine=scripted)
    recipe.write_text(text, encoding="utf-8")
    run, whole = folder / "killed", folder / "whole"
    rng, hits, seen = random.Random(options.seed), 0, set[tuple[str, int, str, str]]()
    for _ in range(options.kills):
        building = build(recipe, run)
        deadline, log = time.monotonic() + 300, run / "samples" / FILE
        wanted = rng.randrange(1, 200) if log.exists() else rng.randrange(200, 4000)
        before = log.stat().st_size if log.exists() else 0
        while building.poll() is None and time.monotonic() < deadline:
            if log.exists() and log.stat().st_size > before + wanted:
                break
            time.sleep(0.002)
        time.sleep(rng.random() * 0.2)
        building.send_signal(signal.SIGKILL)
        building.wait()
        if log.exists():
            records = [record for record in read_records(log) if record is not None]
            hits += bool(records)
            seen |= {
                (r["prompt_id"], r["index"], r["turn"]["role"], r["turn"]["text"]) for r in records
            }
    for target in (run, whole):
        assert build(recipe, target).wait() == 0, f"{target} did not finish"
    found, expected = read_samples(run), read_samples(whole)
    kept = {(*key, *turn) for key, turns in found.items() for turn in turns}
    return hits, len(seen - kept), sum(found.get(key) != turns for key, turns in expected.items())


def build(recipe: Path, run: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "factory.cli", "build", str(recipe), "--run", str(run)]
    environment = {**os.environ, "FACTORY_TRUST_CODE": "1"}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, env=environment)


def claim(name: str, value: float, target: float | None, holds: bool) -> None:
    print(json.dumps({"name": name, "value": value, "target": target, "holds": holds}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="What tools cost the engine, and kills episodes.")
    parser.add_argument("--episodes", type=int, default=128)
    parser.add_argument("--at-once", type=int, default=64, help="episodes at a time")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=96, help="most generated tokens of a turn")
    parser.add_argument("--slots", type=int, default=16, help="sequences in the engine at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=40, help="of the build that is killed")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("busy", "kills"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        waits = folder / "waits.py"
        waits.write_text(ENVIRONMENT, encoding="utf-8")
        os.environ["WAITS"] = str(waits)
        trust_file(waits)
        if options.only != "busy":
            hits, lost, differ = count_lost(options, folder)
            print(f"{options.kills} kills, {hits} of them with half-played episodes on disk")
            claim("episodes_turns_lost_by_kills", lost, 0, lost == 0 and hits > 0)
            claim("episodes_samples_changed_by_kills", differ, 0, differ == 0 and hits > 0)
        if options.only != "kills":
            found = measure_busy(options, folder)
            for what, share in zip(("busy", "tokens_per_second"), found, strict=True):
                name = f"episodes_{what}_with_slow_tools"
                claim(name, round(share, 3), BUSY_TARGET, share >= BUSY_TARGET)


if __name__ == "__main__":
    main()
