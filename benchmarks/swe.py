"""Evaluations of repairs per second and core: a warm overlay, a fresh copy, a fresh environment.

    python benchmarks/swe.py [--project DIR] [--rounds N] [--attempts N]

The same right repairs, each with another comment-free change so that all tests must run, are judged
in turn, pinned to one core; the sides alternate by round, so that other load affects them equally;
the median of the rounds' ratios counts. The peers run the same tests by `python -m pytest` in a
process each, without any sandbox, and take its exit code:

- fresh copy: the project is copied, and run with an environment that all attempts share;
- fresh environment: besides, a virtual environment with pip is made (as `python -m venv` does), and
  pytest's files are copied into it, as an installer that has them in its cache does.

SWE-bench's own harness starts a container for each attempt from an image for each issue, applies
the patch in it, runs a test command and parses its log. It needs Docker and the images and was not
run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from factory.prompts.repositories.bugs import write_verifier
from factory.prompts.repositories.projects import Project, find_projects
from factory.prompts.repositories.search import Wanted, find_bugs
from filters.verify.repository.environments import Environments
from filters.verify.repository.snapshots import read_snapshot
from filters.verify.repository.trial import library
from filters.verify.repository.verifier import RepositoryVerifier

PROJECT = Path(__file__).resolve().parents[1] / "tests" / "data" / "projects" / "textkit"

Attempt = tuple[str, str]
"""The file that is changed and its whole text."""
Judge = Callable[[list[Attempt]], list[bool]]


def make_attempts(path: str, original: str, count: int, seed: int) -> list[Attempt]:
    """Right repairs that differ from the original code, so that only the tests can tell."""
    return [(path, f"{original}\n\n_ATTEMPT = {seed * 1000 + n}\n") for n in range(count)]


class WarmOverlay:
    """The verifier of this project, as a build uses it."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._verifier = RepositoryVerifier(workers=1)

    def __call__(self, attempts: list[Attempt]) -> list[bool]:
        items = [(self._spec, self._respond(*attempt)) for attempt in attempts]
        return [verdict.state == "correct" for verdict in self._verifier.verify(items)]

    def _respond(self, path: str, text: str) -> str:
        old = self._spec["changes"][path].rstrip("\n")
        body = text.rstrip("\n")
        return f"{path}\n<<<<<<< SEARCH\n{old}\n=======\n{body}\n>>>>>>> REPLACE\n"

    def close(self) -> None:
        self._verifier.close()


def make_peer(files: dict[str, bytes], tests: list[str], paths: str, *, fresh: bool) -> Judge:
    """A judge that copies the project for each attempt; `fresh`: and makes an environment."""

    def judge(attempts: list[Attempt]) -> list[bool]:
        return [_run_fresh(files, tests, paths, attempt, fresh=fresh) for attempt in attempts]

    return judge


def _run_fresh(
    files: dict[str, bytes], tests: list[str], paths: str, attempt: Attempt, *, fresh: bool
) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        for path, content in files.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        (root / attempt[0]).write_text(attempt[1], encoding="utf-8")
        python = sys.executable
        if fresh:
            venv.create(Path(folder) / "venv", with_pip=True, symlinks=True)
            python = str(Path(folder) / "venv" / "bin" / "python")
            (packages,) = (Path(folder) / "venv" / "lib").glob("python*/site-packages")
            for name, place in library().files().items():
                copy = shutil.copytree if place.is_dir() else shutil.copy
                copy(place, packages / name)
        command = [python, "-m", "pytest", "-q", "-o", "addopts=", "--rootdir", str(root), *tests]
        environment = {**os.environ, "PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        return (
            subprocess.run(command, cwd=root, env=environment, capture_output=True).returncode == 0
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--project", type=Path, default=PROJECT)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--attempts", type=int, default=4, help="per round")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    (project,) = find_projects(options.project)
    spec, path = make_spec(project)
    files = read_snapshot(project.snapshot)
    original = files[path].decode()
    tests = sorted({*spec["fail_to_pass"], *spec["pass_to_pass"]})
    warm = WarmOverlay(spec)
    peers: dict[str, Judge] = {
        "warm overlay": warm,
        "fresh copy": make_peer(files, tests, spec["paths"][0], fresh=False),
        "fresh environment": make_peer(files, tests, spec["paths"][0], fresh=True),
    }
    rates: dict[str, list[float]] = {name: [] for name in peers}
    for number in range(options.rounds + 1):
        attempts = make_attempts(path, original, options.attempts, number)
        for name, judge in peers.items():
            started = time.perf_counter()
            judged = judge(attempts)
            rates[name].append(len(attempts) / (time.perf_counter() - started))
            if not all(judged):
                raise SystemExit(f"{name} calls a right repair wrong: {judged}")
    warm.close()
    print(
        f"{project.name}: {len(tests)} tests, {options.rounds} rounds of {options.attempts} "
        "attempts on one core, median round"
    )
    for name, found in rates.items():
        rate = statistics.median(found[1:])
        print(f"  {name:<18} {rate:6.2f} evaluations/s/core   {1000 / rate:7.0f} ms each")
    claim("swe_evaluations_per_s_per_core", statistics.median(rates["warm overlay"][1:]), None)
    for peer, target in (("fresh copy", 4.0), ("fresh environment", 20.0)):
        pairs = zip(rates["warm overlay"][1:], rates[peer][1:], strict=True)
        ratio = statistics.median(one / other for one, other in pairs)
        claim(f"swe_warm_overlay_over_{peer.replace(' ', '_')}", ratio, target)


def make_spec(project: Project) -> tuple[dict[str, Any], str]:
    """The verifier mapping of the first bug found in a project, and the file with the bug."""
    environments = Environments(1)
    try:
        found = find_bugs(project, Wanted(bugs=1), environments)
    finally:
        environments.close()
    bug = found.bugs[0]
    return write_verifier(project, found.baseline, bug), bug.path


def claim(name: str, value: float, target: float | None) -> None:
    holds = target is None or value >= target
    print(json.dumps({"name": name, "value": round(value, 2), "target": target, "holds": holds}))


if __name__ == "__main__":
    main()
