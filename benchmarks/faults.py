"""A soak: kills during sampling, damaged files, and servers in trouble. No sample may be lost.

    python benchmarks/faults.py [--kills 200] [--flips 40] [--lines 20] [--calls 6] [--seed 0]

Kills: a build replays recorded samples slowly, in a process that is killed by SIGKILL at a random
moment of sampling, again and again until the run is finished. Flips: one bit of a random journal or
part is inverted. Lines: a record of a journal is cut, overwritten, doubled or joined with the next.
After a flip or a damaged line come `factory repair` and a build. Calls: strace lets one system call
of a real `factory build` fail (disk full, bad disk, no memory, no processes, interrupted), once or
from then on; the command must have done everything, or say what failed with a documented exit code.
Servers: a build against a real HTTP server of which 40% of the replies have one kind of fault, in
three modes; and against one that refuses everything from some request on, which must stop the build
with the cause.

After each trial every sample must be there exactly once, and the corpus must equal, byte for byte,
that of a build which nothing disturbed (for servers: the ids). Damage must be named, unless nothing
was lost by it. Only the pauses between retries, and the size at which a journal is sealed, differ
from a user's build.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.syscall_faults import CALL_FAULTS, Tracer, run_faults

ROOT = Path(__file__).resolve().parents[1]

N = 24
SHARE = 0.4
"""Share of a server's replies with a fault."""

SERVER_FAULTS = (
    *("500", "502", "503", "429", "html", "empty", "empty_choices", "error_in_200"),
    *("interrupted", "malformed_json", "not_an_object", "no_finish", "close_at_once"),
    *("close_mid_body", "hang", "slow_drip"),
)
STOPS = ("401", "402", "403", "429_quota", "400_no_model", "404_no_model", "500")
MODES: dict[str, dict[str, Any]] = {
    "completions": {"api": "completions", "stream": False},
    "chat": {"api": "chat", "stream": False},
    "stream": {"api": "chat", "stream": True},
}


@dataclass
class Score:
    """The trials of one kind."""

    name: str
    tried: int = 0
    survived: int = 0
    lost: int = 0  # samples missing or doubled, and trials whose corpus differs
    silent: int = 0  # trials whose damage nobody named
    notes: list[str] = field(default_factory=list)

    def add(self, lost: int, same: bool, named: bool = True, note: str = "") -> None:
        self.tried += 1
        self.survived += lost == 0 and same and named
        self.lost += lost + (lost == 0 and not same)
        self.silent += not named
        if lost or not same or not named:
            self.notes.append(f"{note}: {lost} lost, same corpus {same}, named {named}")


def child(recipe: Path, run: Path) -> None:
    """Build with a slow engine. Says `sampling` at its first sample and `closed` at its end."""
    from rich.console import Console

    from factory.build.build import build
    from factory.core import journal
    from factory.core.nouns import Failure, Sample
    from factory.recipe.build import load_recipe
    from factory.sampling.engines import replay

    class Slow(replay.Replay):
        capacity = 32
        said = False

        def completed(self) -> Iterator[Sample | Failure]:
            for _ in range(min(len(self._pending), 4)):
                if not self.said:
                    print("sampling", flush=True)
                    self.said = True
                yield self._answer(self._pending.popleft())
            time.sleep(0.01)

        def close(self) -> None:
            print("closed", flush=True)
            super().close()

    replay.Replay = Slow  # type: ignore[misc]
    journal.SEAL_ROWS, journal.SYNC_SECONDS = 128, 0.05
    build(load_recipe(recipe), run, Console(quiet=True))


def drawn(run: Path) -> Counter[tuple[str, int]]:
    import polars as pl

    from factory.core.run_dir import sample_parts

    found: Counter[tuple[str, int]] = Counter()
    for part in sample_parts(run):
        found.update(pl.read_parquet(part, columns=["prompt_id", "index"]).rows())
    return found


def corpus_hash(run: Path) -> str:
    files = sorted((run / "corpus").iterdir())
    return hashlib.sha256(b"".join(f.name.encode() + f.read_bytes() for f in files)).hexdigest()


class Reference:
    """Recorded samples, a recipe that replays them, and an undisturbed build of it."""

    def __init__(self, folder: Path) -> None:
        from rich.console import Console

        from factory.build.build import build
        from factory.recipe.build import load_recipe
        from tests.recorded import prompts, recipe_file, record

        self.folder, self.quiet = folder, Console(quiet=True)
        self.recipe_file = recipe_file(folder, record(folder / "recorded", N), N)
        self.recipe = load_recipe(self.recipe_file)
        self.prompts = prompts()
        self.ids = Counter((prompt.id, index) for prompt in self.prompts for index in range(N))
        self._build = build
        self.build(folder / "reference")
        self.hash = corpus_hash(folder / "reference")

    def build(self, run: Path) -> None:
        self._build(self.recipe, run, self.quiet)

    def check(self, run: Path) -> tuple[int, bool]:
        """Return the number of samples missing or doubled, and whether the corpus is the same."""
        found = drawn(run)
        wrong = (self.ids - found).total() + (found - self.ids).total()
        return wrong, corpus_hash(run) == self.hash


def kill_builds(reference: Reference, kills: int, chance: random.Random) -> Score:
    score, number = Score("kills during sampling"), 0
    while score.tried < kills:
        run, killed, number = reference.folder / f"killed-{number}", 0, number + 1
        command = [sys.executable, __file__, "--child", str(reference.recipe_file), str(run)]
        while True:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            first = process.stdout.readline()
            if first and score.tried + killed < kills:
                time.sleep(chance.uniform(0.0, 0.8))
                process.kill()
            rest = process.stdout.read()
            code = process.wait()
            if first and code < 0 and "closed" not in rest:
                killed += 1
            if code == 0:
                break
            if code > 0:
                raise SystemExit(f"the build of {run} ended with exit code {code}")
        lost, same = reference.check(run)
        for trial in range(killed):  # a run is lost by any of its kills
            score.add(lost if trial == 0 else 0, same or trial > 0, note=f"run {run.name}")
        shutil.rmtree(run)
        print(f"{score.name}: {score.tried} of {kills}", flush=True)
        if not killed:
            raise SystemExit("a run ended before it could be killed; raise N")
    return score


def leave_journal(reference: Reference, run: Path) -> Path:
    """A run whose build was killed: half of the samples in a journal, nothing sealed."""
    from factory.core.journal import encode_record
    from factory.core.run_dir import RunDir, save_prompts
    from tests.recorded import sample

    with RunDir(run) as made:
        save_prompts(run, reference.prompts)
        made.save_manifest(params=reference.recipe.params(), state="running")
    journal = run / "samples" / "journal-00000.jsonl"
    rows = [sample(prompt, index) for prompt in reference.prompts for index in range(N // 2)]
    journal.write_bytes(b"".join(encode_record(row) for row in rows))
    return journal


def repair_and_build(
    reference: Reference, run: Path, damage: Callable[[], str], score: Score, harmless: bool
) -> None:
    """Damage a run, repair it, build it, and score what came of it.

    `harmless`: the damage may leave every sample as it was, so that there is nothing to name.
    """
    from factory.build.repair import repair

    note = damage()
    named = bool(repair(run)) or harmless
    reference.build(run)
    score.add(*reference.check(run), named, note)
    shutil.rmtree(run)


def flip_bits(reference: Reference, flips: int, chance: random.Random) -> Score:
    score = Score("bit flips in journals and parts")
    for trial in range(flips):
        run = reference.folder / "flipped"
        if trial % 2:
            file = leave_journal(reference, run)
        else:
            shutil.copytree(reference.folder / "reference", run)
            file = chance.choice(sorted((run / "samples").glob("part-*.parquet")))
        content = bytearray(file.read_bytes())
        bit = chance.randrange(8 * len(content))
        # The newline between two records is no part of either.
        harmless = content[bit // 8] == ord("\n") and file.suffix == ".jsonl"
        content[bit // 8] ^= 1 << bit % 8

        def damage(file: Path = file, content: bytes = bytes(content), bit: int = bit) -> str:
            file.write_bytes(content)
            return f"bit {bit} of {file.name}"

        repair_and_build(reference, run, damage, score, harmless)
    return score


def cut(lines: list[bytes], at: int) -> list[bytes]:
    return [*lines[:at], lines[at][: len(lines[at]) // 2] + b"\n", *lines[at + 1 :]]


def overwrite(lines: list[bytes], at: int) -> list[bytes]:
    return [*lines[:at], b"\0" * (len(lines[at]) - 1) + b"\n", *lines[at + 1 :]]


def double(lines: list[bytes], at: int) -> list[bytes]:
    return [*lines[:at], lines[at], *lines[at:]]


def join(lines: list[bytes], at: int) -> list[bytes]:
    return [*lines[:at], lines[at][:-1], *lines[at + 1 :]]


def tear(lines: list[bytes], at: int) -> list[bytes]:
    """The last line of a killed process."""
    return [*lines[:at], lines[at][: len(lines[at]) // 2]]


def damage_lines(reference: Reference, count: int, chance: random.Random) -> Score:
    score = Score("damaged lines of journals")
    kinds = (cut, overwrite, double, join, tear)
    for trial in range(count):
        run, kind = reference.folder / "damaged", kinds[trial % len(kinds)]
        file = leave_journal(reference, run)
        lines = file.read_bytes().splitlines(keepends=True)
        at = chance.randrange(len(lines) - 1)

        def damage(
            file: Path = file, content: bytes = b"".join(kind(lines, at)), name: str = kind.__name__
        ) -> str:
            file.write_bytes(content)
            return name

        repair_and_build(reference, run, damage, score, kind in (double, join, tear))
    return score


def fail_calls(reference: Reference, trials: int, kinds: list[str], chance: random.Random) -> Score:
    score, run = Score("failing system calls"), reference.folder / "faulty"
    endings: Counter[str] = Counter()
    found = run_faults(
        Tracer(ROOT, reference.folder, reference.recipe_file, run),
        lambda folder: leave_journal(reference, folder),
        reference.build,
        reference.check,
        trials,
        chance,
        kinds,
    )
    for kind, site, ended, lost, same, problem in found:
        score.add(lost, same, problem is None, f"{kind}: {site}, exit {ended.code}, {problem}")
        last = (ended.text.strip().splitlines() or [""])[-1]
        print(f"{kind}: {site}: exit {ended.code}: {last if ended.code else ''}", flush=True)
        endings[str(ended.code) if ended.code >= 0 else "by a signal"] += 1
    shutil.rmtree(run, ignore_errors=True)
    print(f"{score.name}: exit codes {dict(endings)}")
    return score


def trouble_servers(folder: Path, faults: Iterable[str], chance: random.Random) -> Score:
    from rich.console import Console

    from factory.build.build import build
    from factory.sampling.engines import endpoint
    from tests.fake_server import FakeServer, is_canary
    from tests.sampling.test_server_loss import PROMPTS, server_recipe
    from tests.sampling.test_server_loss import N as EACH

    endpoint._FIRST_BACKOFF_S = 0.02
    score = Score("server faults, by kind and mode")
    for name in faults:
        for mode, options in MODES.items():

            def fault(body: dict[str, Any], number: int, name: str = name) -> str | None:
                return name if not is_canary(body) and chance.random() < SHARE else None

            run = folder / f"server-{name}-{mode}"
            with FakeServer(fault=fault) as server:
                recipe = server_recipe(folder, server.url, **options, timeout_s=0.5)
                build(recipe, run, Console(quiet=True))
            found = drawn(run)
            lost = EACH * PROMPTS - len(found) + (found.total() - len(found))
            score.add(lost, True, note=f"{name}, {mode}")
            shutil.rmtree(run)
        print(f"{score.name}: {name}", flush=True)
    return score


def stop_servers(folder: Path, chance: random.Random) -> Score:
    """A server turns every request down from a random one on: the build must stop with the cause.

    The next build, after the repair, must draw what is missing.
    """
    from rich.console import Console

    from factory.build.build import build
    from factory.core.errors import EngineError
    from tests.fake_server import FakeServer
    from tests.sampling.test_server_loss import PROMPTS, server_recipe
    from tests.sampling.test_server_loss import N as EACH

    score = Score("servers that refuse everything")
    for name in STOPS:
        first = chance.randrange(1, EACH * PROMPTS // 2)

        def fault(
            body: dict[str, Any], number: int, name: str = name, at: int = first
        ) -> str | None:
            return name if number >= at else None

        run, stopped = folder / f"stopped-{name}", False
        with FakeServer(fault=fault) as server:
            recipe = server_recipe(folder, server.url, lost_after_s=3.0)
            try:
                build(recipe, run, Console(quiet=True))
            except EngineError:
                stopped = True
            server.fault = lambda body, number: None
            build(recipe, run, Console(quiet=True))
        found = drawn(run)
        lost = EACH * PROMPTS - len(found) + (found.total() - len(found))
        score.add(lost, True, stopped, name)
        shutil.rmtree(run)
    return score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--flips", type=int, default=40)
    parser.add_argument("--lines", type=int, default=20)
    parser.add_argument("--calls", type=int, default=6, help="trials per class of system calls")
    parser.add_argument("--classes", nargs="*", default=CALL_FAULTS, choices=CALL_FAULTS)
    parser.add_argument("--faults", nargs="*", default=SERVER_FAULTS, choices=SERVER_FAULTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference = Reference(folder)
        trials: list[Callable[[], Score]] = [
            lambda: kill_builds(reference, options.kills, chance),
            lambda: flip_bits(reference, options.flips, chance),
            lambda: damage_lines(reference, options.lines, chance),
            lambda: fail_calls(reference, options.calls, options.classes, chance),
            lambda: trouble_servers(folder, options.faults, chance),
            lambda: stop_servers(folder, chance),
        ]
        scores = []
        for trial in trials:
            score = trial()
            scores.append(score)
            print(f"{score.name}: {score.tried} tried, {score.survived} survived, ", end="")
            print(f"{score.lost} lost, {score.silent} silent", flush=True)
            for note in score.notes:
                print(f"    {note}")
    for score in (score for score in scores if score.tried):
        for what, value in (("lost", score.lost), ("silent", score.silent)):
            claim = {"name": f"{score.name}: {what}", "value": value, "target": 0}
            print(json.dumps({**claim, "tried": score.tried, "holds": value == 0}))


if __name__ == "__main__":
    main()
