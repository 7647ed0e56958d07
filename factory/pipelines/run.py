"""`factory run`: the steps of a pipeline, one after another. Kill it anywhere and run it again.

Each step is a process of its own: torch, vLLM and numba do not share one well, what a step held is
free when it ends, and a step that dies takes nothing with it. On one machine the steps contend for
the same accelerators, so steps that do not need each other still take turns.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from factory.core.errors import (
    EngineError,
    FactoryError,
    MissingDependency,
    ModelError,
    Problem,
    QuotaError,
    RecipeError,
    RunError,
    RunLocked,
    SourceError,
    Stopped,
    StorageError,
    TrainError,
)
from factory.core.files import write_atomic
from factory.core.process_tree import leashed
from factory.core.run_dir import lock_directory
from factory.core.stop_signals import interrupts
from factory.pipelines.facts import clock, facts, in_a_line
from factory.pipelines.page import write_page
from factory.pipelines.state import PipelineState, Standing, settings, taken, version
from factory.recipe.kinds import KINDS
from factory.recipe.pipeline import STEPS, Pipeline, PlannedStep

if TYPE_CHECKING:
    from rich.console import Console

TAIL_LINES = 20
POLL_SECONDS = 0.2
PATIENCE_SECONDS = 60.0
"""How long the processes of a pipeline that was killed may take to end."""

_ERRORS = {
    error.exit_code: error
    for error in (
        EngineError,
        RunError,
        StorageError,
        SourceError,
        ModelError,
        MissingDependency,
        QuotaError,
        TrainError,
    )
}


class Outcome(NamedTuple):
    """What a pipeline came to: its record, the steps asked for, and its page."""

    manifest: dict[str, Any]
    steps: list[PlannedStep]
    page: Path


def run_pipeline(
    recipe: Pipeline,
    directory: Path,
    console: Console,
    *,
    until: str | None = None,
    redo: Sequence[str] = (),
    dry: bool = False,
) -> Outcome | None:
    """Carry out every step that is not done, in order; with `until`, that one and what it needs.

    Returns what the steps came to; None where `dry` only foretells what would be done.

    Raises RecipeError before anything runs, RunError for a step whose inputs changed since it was
    done, the error of a step that failed, Stopped on Ctrl-C. The same command goes on after each.
    """
    plan = recipe.plan(directory)
    wanted = _wanted(plan, _known(until, plan, "--until"))
    for name in redo:
        _known(name, wanted, "--redo")
    if dry:
        _tell(PipelineState(directory), wanted, console)
        return None
    with lock_directory(directory), interrupts() as interrupted:
        run = PipelineState(directory)
        write_atomic(directory / "recipe.yaml", recipe.to_yaml())
        run.save(name=recipe.name, state="running")
        try:
            with _after_others(directory / STEPS) as leash:
                moved = run.set_aside(redo, plan)
                if moved:
                    told = f"to be done anew: {', '.join(moved)}; what there was is in replaced/"
                    _say(console, told)
                for step, standing in _foretell(run, wanted):
                    if standing.state == "refuse":
                        raise _refusal(step, standing)
                turn = _Turn(run, plan, console, leash, interrupted)
                for number, step in enumerate(wanted, 1):
                    turn.take(step, f"[{number}/{len(wanted)}] {step.name}")
            run.save(state="done" if len(wanted) == len(plan) else "stopped", redo=[])
        finally:
            if run.manifest["state"] == "running":
                run.save(state="stopped")
            page = write_page(run.manifest, plan, directory)
    return Outcome(run.manifest, wanted, page)


@dataclass(frozen=True)
class _Turn:
    """What every step is carried out with, each in its turn."""

    run: PipelineState
    plan: Sequence[PlannedStep]
    console: Console
    leash: IO[str]
    interrupted: list[int]

    def take(self, step: PlannedStep, title: str) -> None:
        """Carry out one step, unless it is done."""
        if self.interrupted:
            raise Stopped(self.run.directory)
        standing = self.run.standing(step)
        if standing.state == "refuse":
            raise _refusal(step, standing)
        if standing.state == "done":
            _say(self.console, f"{title}: done before")
            return
        why = f": {standing.why}" if standing.why else ""
        _say(self.console, f"{title} ({step.kind}){why}; log {step.log}")
        before = self.run.steps.get(step.name, {}).get("seconds", 0.0)
        self._begin(step)
        started = time.monotonic()
        code = _carry_out(step, self.leash, self.interrupted)
        took = time.monotonic() - started
        made = version(step.product) if code == 0 else None
        if made is not None:
            found = facts(step.kind, step.folder)
            state: dict[str, Any] = {"state": "done", "output": made, "facts": found}
            _say(self.console, f"{title}: done in {clock(took)}; {in_a_line(found)}")
        else:
            state = {"state": "stopped" if self.interrupted else "failed", "exit": code}
        self.run.note(step, **state, seconds=round(before + took, 1))
        if self.interrupted:
            raise Stopped(self.run.directory)
        if made is None:
            raise _failure(step, code)

    def _begin(self, step: PlannedStep) -> None:
        """Write down what is about to be done, before any of it."""
        write_atomic(step.file, step.recipe.to_yaml())
        known = self.run.steps.get(step.name, {})
        self.run.note(
            step,
            kind=step.kind,
            state="running",
            recipe=settings(step),
            inputs=taken(step),
            started_at=known.get("started_at", int(time.time())),
        )
        write_page(self.run.manifest, self.plan, self.run.directory)


def _carry_out(step: PlannedStep, leash: IO[str], interrupted: list[int]) -> int:
    """Run a step in a process of its own, to its end and that of all it started."""
    command = shlex.split(step.step.launch) or [sys.executable]
    command += ["-m", "factory.cli", KINDS[step.kind].command]
    command += [str(step.file), "--run", str(step.folder)]
    with open(step.log, "ab") as log:
        log.write(f"$ {shlex.join(command)}\n".encode())
        log.flush()
        process = subprocess.Popen(
            leashed(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us to pass on
            pass_fds=[leash.fileno()],  # held until the last of its processes has ended
        )
    passed_on = 0
    while process.poll() is None:
        for _ in interrupted[passed_on:]:
            process.send_signal(signal.SIGTERM if passed_on else signal.SIGINT)
            passed_on += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # where the leash itself was killed
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _known(name: str | None, plan: Sequence[PlannedStep], flag: str) -> str | None:
    names = [step.name for step in plan]
    if name is not None and name not in names:
        raise RecipeError([Problem(flag, f"is {name!r}; the steps are {', '.join(names)}")])
    return name


def _wanted(plan: Sequence[PlannedStep], until: str | None) -> list[PlannedStep]:
    """The steps that `until` needs, itself the last; all without it."""
    if until is None:
        return list(plan)
    names = {until}
    for step in reversed(plan):
        if step.name in names:
            names.update(step.needs)
    return [step for step in plan if step.name in names]


def _foretell(
    run: PipelineState, plan: Sequence[PlannedStep]
) -> Iterator[tuple[PlannedStep, Standing]]:
    """What will become of every step, as far as can be known before the others are done."""
    done: set[str] = set()
    for step in plan:
        standing = run.standing(step, [name for name in step.inputs if name not in done])
        if standing.state == "done":
            done.add(step.name)
        yield step, standing


def _tell(run: PipelineState, plan: Sequence[PlannedStep], console: Console) -> None:
    """What would be done, in order, and why."""
    for number, (step, standing) in enumerate(_foretell(run, plan), 1):
        told = {
            "done": "done",
            "start": standing.why or "to be done",
            "refuse": f"refused without --redo {step.name}: its inputs changed",
        }[standing.state]
        of = f" of {', '.join(step.inputs)}" if step.inputs else ""
        after = f", after {', '.join(step.step.after)}" if step.step.after else ""
        _say(console, f"{number:>3} {step.name} ({step.kind}{of}{after}): {told}")
    _say(console, "One at a time, also those that do not need each other: they share one machine.")


def _refusal(step: PlannedStep, standing: Standing) -> RunError:
    return RunError(
        f"step {step.name}: what it takes of other steps is not what it was made of:\n"
        f"{standing.why}\nSet those back, or do it and what follows from it anew: "
        f"--redo {step.name} (what there is moves to {step.pipeline / 'replaced'})."
    )


def _failure(step: PlannedStep, code: int) -> FactoryError:
    """The error of a step that failed, of the kind its exit code stands for."""
    lines = step.log.read_text(encoding="utf-8", errors="replace").splitlines()
    tail = "\n".join(f"  {line}" for line in lines[-TAIL_LINES:])
    how = f"ended with exit code {code}"
    if code == 0:
        how = f"ended well but made no {step.product.name}"
    elif code > 128:
        how = f"was ended by signal {code - 128}"
        how += " (SIGKILL: out of memory?)" * (code == 128 + signal.SIGKILL)
    told = (
        f"step {step.name} {how}. The end of {step.log}:\n{tail}\n"
        "What it finished is kept: once that is mended, the same command goes on; "
        f"--redo {step.name} does it anew."
    )
    if code == RecipeError.exit_code:
        return RecipeError([Problem(str(step.file), told)])
    return _ERRORS.get(code, FactoryError)(told)


@contextlib.contextmanager
def _after_others(steps: Path) -> Iterator[IO[str]]:
    """The lock that steps hold, once the last process of a pipeline that was killed has ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            lock = lock_directory(steps)
            break
        except RunLocked:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)
    with lock:
        yield lock


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
