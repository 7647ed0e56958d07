"""Verdicts on repairs that come later, while samples are drawn: what they cost, and kills.

    python benchmarks/swe_later.py [--samples N] [--builds N] [--attempts N]

Builds draw samples from a server on this machine that answers after a fixed time. Each attempt is a
right repair whose tests take 20 seconds, asleep, so that the CPU is not the limit.

1. Samples per second, once without any verdict, once with `correctness.later` while `factory judge`
   runs next to the build. The first answers are held back until the judge is at work on an attempt,
   and are not counted. The two kinds of builds alternate; the median of their ratios counts.
2. Two processes judge a build whose tests take a second. One is killed, then the build; another
   judge and another build go on. Each attempt must have been judged once, and the ledger must be
   the one of a judge that nobody disturbs.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console

from factory.build.build import build
from factory.core.files import read_lines
from factory.judging.late import drain
from factory.judging.ledger import FOLDER, read_verdicts
from factory.recipe.build import load_recipe
from filters.verify.repository.snapshots import pack_files
from tests.fake_server import FakeServer

PROJECT = Path(__file__).resolve().parents[1] / "tests" / "data" / "projects" / "textkit"
NUMERALS = "textkit/numerals.py"
DELAY_S, SLOTS = 0.5, 8
HELD = SLOTS
MOST_S = 600.0
QUIET = Console(quiet=True)
JUDGE = """
import sys, time
from pathlib import Path
from factory.judging.late import drain
run = Path(sys.argv[1])
while not (run / "recipe.yaml").exists():
    time.sleep(0.05)
drain(run, 1, watch=True, say=lambda line: None)
"""


class Setting:
    """A prompt whose tests take `seconds`, and a server's right answers to it, all different."""

    def __init__(self, folder: Path, seconds: int) -> None:
        self.folder = folder
        self.times: list[float] = []
        self.may_go_on = threading.Event()
        slow = f"import time\n\n\ndef test_slow():\n    time.sleep({seconds})\n"
        files = {
            path.relative_to(PROJECT).as_posix(): path.read_bytes()
            for path in sorted(PROJECT.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }
        spec = {
            "kind": "repository",
            "snapshot": pack_files({**files, "tests/test_slow.py": slow.encode()}),
            "changes": {NUMERALS: files[NUMERALS].decode().replace("number >= v", "number > v")},
            "packages": ["textkit"],
            "fail_to_pass": ["tests/test_numerals.py::test_to_roman[1-I]"],
            "pass_to_pass": ["tests/test_slow.py::test_slow"],
            "time_limit_s": 30,
        }
        row = {"question": "Repair it.", "verifier": spec}
        (folder / "prompts.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")

    def answer(self, body: dict[str, Any]) -> str:
        """A repair that no other answer has, so that each must be run."""
        self.times.append(time.perf_counter())
        if len(self.times) > HELD:
            self.may_go_on.wait(MOST_S)
        return (
            f"<think>\nwell\n</think>\n\n{NUMERALS}\n"
            "<<<<<<< SEARCH\n        while number > value:\n"
            f"=======\n        while number - value >= 0:  # {len(self.times)}\n>>>>>>> REPLACE\n"
        )

    def write_recipe(self, server: FakeServer, samples: int, *, later: bool) -> Path:
        verdicts = {"correctness": {"later": ["repository"]}} if later else {}
        keys = {"urls": [server.url], "api": "chat", "max_concurrency": SLOTS}
        recipe = {
            "name": "later",
            "model": "fake",
            "sources": [
                {"kind": "files", "path": str(self.folder / "prompts.jsonl"), "language": "en"}
            ],
            "engine": {"kind": "server", "server": keys},
            "sampling": {"n": samples, "max_tokens": 64},
            "references": {"bad": "sample"},
            "filters": {"format": {}, **verdicts},
        }
        file = self.folder / "recipe.yaml"
        file.write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML
        return file


def start_judge(run: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", JUDGE, str(run)])


def wait_until(is_so: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not is_so():
        if time.monotonic() - started > MOST_S:
            raise SystemExit(f"nothing came about in {MOST_S:g} s")
        time.sleep(0.05)


def time_build(folder: Path, samples: int, *, later: bool) -> float:
    """Samples per second from the first answer that was not held back to the last one."""
    folder.mkdir()
    setting, run = Setting(folder, seconds=20), folder / "run"
    judges = [start_judge(run)] if later else []

    def let_go_on() -> None:
        leases = run / FOLDER / "leases"
        wait_until(lambda: not later or any(leases.glob("*")))
        time.sleep(2)  # the judge has prepared the repository, and its tests sleep
        setting.may_go_on.set()

    threading.Thread(target=let_go_on, daemon=True).start()
    with FakeServer(answer=setting.answer, delay_s=DELAY_S, slots=SLOTS, context=8192) as server:
        try:
            build(load_recipe(setting.write_recipe(server, samples, later=later)), run, QUIET)
        finally:
            for judge in judges:
                judge.kill()
                judge.wait()
    if later:
        states = Counter(verdict.state for verdict in read_verdicts(run).values())
        print(f"  {samples} samples drawn, judged meanwhile: {dict(states)}")
    counted = setting.times[HELD + SLOTS :]
    return (len(counted) - 1) / (counted[-1] - counted[0])


def compare_rates(folder: Path, samples: int, builds: int) -> None:
    rates: dict[bool, list[float]] = {False: [], True: []}
    for number in range(builds):
        for later in (False, True):
            rates[later].append(time_build(folder / f"{number}-{later}", samples, later=later))
    for later, found in rates.items():
        kind = "verdicts that come later" if later else "no verdicts"
        print(f"  {kind:<24} {statistics.median(found):6.2f} samples/s")
    shares = [one / other for one, other in zip(rates[True], rates[False], strict=True)]
    claim("swe_samples_per_s_with_20_s_tests_over_no_verdicts", statistics.median(shares), 0.95)


def kill_some(folder: Path, attempts: int) -> None:
    """Kill a judge and the build; compare the ledger with that of a judge of its own."""
    folder.mkdir()
    setting, run, alone = Setting(folder, seconds=1), folder / "run", folder / "alone"
    with FakeServer(answer=setting.answer, delay_s=0.1, slots=SLOTS, context=8192) as server:
        recipe = setting.write_recipe(server, attempts, later=True)
        command = [sys.executable, "-m", "factory.cli", "build", recipe, "--run", run, "--quiet"]
        first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        judges = [start_judge(run) for _ in range(2)]
        try:
            wait_until(lambda: len(read_verdicts(run)) >= 3)
            judges[0].send_signal(signal.SIGKILL)
            first.send_signal(signal.SIGKILL)
            killed = first.wait() == -signal.SIGKILL
            setting.may_go_on.set()
            judges.append(start_judge(run))
            build(load_recipe(recipe), run, QUIET)
            wait_until(lambda: len(read_verdicts(run)) >= attempts)
        finally:
            for judge in judges:
                judge.kill()
                judge.wait()
        build(load_recipe(recipe), run, QUIET)
    lines = [row for file in (run / FOLDER).glob("*.jsonl") for row in read_lines(file)]
    times = Counter((row["sample_id"], row["input"], row["version"]) for row in lines)
    who = len({row["pid"] for row in lines})
    print(f"  {len(times)} attempts judged by {who} processes; the build was killed: {killed}")
    claim("swe_attempts_not_judged_once", float(attempts - list(times.values()).count(1)), None, 0)
    edited = json.loads(recipe.read_text()) | {"engine": {"kind": "replay", "replay": str(run)}}
    recipe.write_text(json.dumps(edited), encoding="utf-8")
    build(load_recipe(recipe), alone, QUIET)
    drain(alone, 1, watch=False, say=lambda line: None)
    different = read_ledger(run).items() ^ read_ledger(alone).items()
    claim("swe_verdicts_that_differ_from_an_undisturbed_judge", float(len(different)), None, 0)


def read_ledger(run: Path) -> dict[tuple[str, str, str], str]:
    return {key: f"{one.state} {one.detail}" for key, one in read_verdicts(run).items()}


def claim(name: str, value: float, least: float | None, most: float | None = None) -> None:
    holds = (least is None or value >= least) and (most is None or value <= most)
    target = most if least is None else least
    print(json.dumps({"name": name, "value": round(value, 3), "target": target, "holds": holds}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=400, help="of each build of the first part")
    parser.add_argument("--builds", type=int, default=3, help="of each kind; 0 leaves them out")
    parser.add_argument("--attempts", type=int, default=16, help="of the second part; 0: none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if options.builds:
            compare_rates(Path(name), options.samples, options.builds)
        if options.attempts:
            kill_some(Path(name) / "killed", options.attempts)


if __name__ == "__main__":
    main()
