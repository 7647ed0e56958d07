"""`factory run`: run the steps of a pipeline, one after another.

It may be killed at any time and run again. Each step runs in a separate process: torch, vLLM and
numba don't share a process well, all memory of a step is released when it ends, and a crash does
not affect the pipeline. Independent steps don't run in parallel either, since they would compete
for the same accelerators.
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
    GateError,
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
from factory.core.process_tree import supervised_command
from factory.core.run_dir import lock_directory
from factory.core.stop_signals import collect_signals
from factory.pipelines.facts import format_duration, format_facts, read_facts
from factory.pipelines.page import write_page
from factory.pipelines.state import (
    PipelineState,
    StepStatus,
    content_version,
    input_versions,
    resolve_settings,
)
from factory.recipe.kinds import KINDS
from factory.recipe.pipeline import STEPS, Pipeline, PlannedStep

if TYPE_CHECKING:
    from rich.console import Console

TAIL_LINES = 20
POLL_SECONDS = 0.2
LOCK_TIMEOUT_SECONDS = 60.0
"""How long the processes of a killed pipeline may take to end."""

_ERRORS = {
    error.exit_code: error
    for error in (
        EngineError,
        GateError,
        RunError,
        StorageError,
        SourceError,
        ModelError,
        MissingDependency,
        QuotaError,
        TrainError,
    )
}


class PipelineResult(NamedTuple):
    """The manifest of a pipeline, the steps that were asked for, and the page."""

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
) -> PipelineResult | None:
    """Run every step that is not done, in order; with `until`, only that step and what it needs.

    `redo` names steps to run again, together with what depends on them. With `dry` nothing runs:
    the plan is printed and None is returned.

    Raises RecipeError before anything runs, RunError for a step whose inputs changed since it was
    done, the error of a failed step, and Stopped on Ctrl-C. Running the same command again resumes.
    """
    plan = recipe.plan(directory)
    wanted = _select_steps(plan, _require_step(until, plan, "--until"))
    for name in redo:
        _require_step(name, wanted, "--redo")
    if dry:
        state = PipelineState(directory)
        _print_plan(state, wanted, console)
        for problem in recipe.find_missing(_list_unfinished(state, wanted)):
            _print(console, f"missing: {problem}")
        return None
    with lock_directory(directory), collect_signals() as interrupted:
        run = PipelineState(directory)
        write_atomic(directory / "recipe.yaml", recipe.to_yaml())
        run.save(name=recipe.name, state="running")
        try:
            with _lock_steps(directory / STEPS) as leash:
                moved = run.set_aside(redo, plan)
                if moved:
                    _print(console, f"to run again: {', '.join(moved)}; old files are in replaced/")
                for step, status in _predict(run, wanted):
                    if status.state == "refuse":
                        raise _refusal(step, status)
                missing = list(recipe.find_missing(_list_unfinished(run, wanted)))
                if missing:
                    raise RecipeError(missing)
                runner = _StepRunner(run, plan, console, leash, interrupted)
                for number, step in enumerate(wanted, 1):
                    runner.run_step(step, f"[{number}/{len(wanted)}] {step.name}")
            run.save(state="done" if len(wanted) == len(plan) else "stopped", redo=[])
        finally:
            if run.manifest["state"] == "running":
                run.save(state="stopped")
            page = write_page(run.manifest, plan, directory)
    return PipelineResult(run.manifest, wanted, page)


@dataclass(frozen=True)
class _StepRunner:
    """Runs single steps of a pipeline. `leash` is the lock file that step processes inherit."""

    run: PipelineState
    plan: Sequence[PlannedStep]
    console: Console
    leash: IO[str]
    interrupted: list[int]

    def run_step(self, step: PlannedStep, title: str) -> None:
        """Run one step, unless it is done."""
        if self.interrupted:
            raise Stopped(self.run.directory)
        status = self.run.check(step)
        if status.state == "refuse":
            raise _refusal(step, status)
        if status.state == "done":
            _print(self.console, f"{title}: done before")
            return
        why = f": {status.why}" if status.why else ""
        _print(self.console, f"{title} ({step.kind}){why}; log {step.log}")
        before = self.run.steps.get(step.name, {}).get("seconds", 0.0)
        self._record_start(step)
        started = time.monotonic()
        code = _run_process(step, self.leash, self.interrupted)
        elapsed = time.monotonic() - started
        made = content_version(step.product) if code == 0 else None
        if made is not None:
            found = read_facts(step.kind, step.folder)
            state: dict[str, Any] = {"state": "done", "output": made, "facts": found}
            result = f"done in {format_duration(elapsed)}; {format_facts(found)}"
            _print(self.console, f"{title}: {result}")
        else:
            state = {"state": "stopped" if self.interrupted else "failed", "exit": code}
        self.run.record(step, **state, seconds=round(before + elapsed, 1))
        if self.interrupted:
            raise Stopped(self.run.directory)
        if made is None:
            raise _failure(step, code)

    def _record_start(self, step: PlannedStep) -> None:
        """Record a step's recipe and inputs before it starts."""
        write_atomic(step.file, step.recipe.to_yaml())
        known = self.run.steps.get(step.name, {})
        self.run.record(
            step,
            kind=step.kind,
            state="running",
            recipe=resolve_settings(step),
            inputs=input_versions(step),
            started_at=known.get("started_at", int(time.time())),
        )
        write_page(self.run.manifest, self.plan, self.run.directory)


def _run_process(step: PlannedStep, leash: IO[str], interrupted: list[int]) -> int:
    """Run a step in a separate process; returns its exit code once all its processes have ended."""
    command = shlex.split(step.step.launch) or [sys.executable]
    command += ["-m", "factory.cli", KINDS[step.kind].command]
    command += [str(step.file), "--run", str(step.folder)]
    with open(step.log, "ab") as log:
        log.write(f"$ {shlex.join(command)}\n".encode())
        log.flush()
        process = subprocess.Popen(
            supervised_command(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C reaches the step only through this process
            pass_fds=[leash.fileno()],  # keeps the lock until the step's last process has ended
        )
    forwarded = 0
    while process.poll() is None:
        for _ in interrupted[forwarded:]:
            process.send_signal(signal.SIGTERM if forwarded else signal.SIGINT)
            forwarded += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # in case the leash process itself was killed
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _require_step(name: str | None, plan: Sequence[PlannedStep], flag: str) -> str | None:
    names = [step.name for step in plan]
    if name is not None and name not in names:
        raise RecipeError([Problem(flag, f"is {name!r}; the steps are {', '.join(names)}")])
    return name


def _select_steps(plan: Sequence[PlannedStep], until: str | None) -> list[PlannedStep]:
    """Return `until` and the steps it needs, in order; all steps where it is None."""
    if until is None:
        return list(plan)
    names = {until}
    for step in reversed(plan):
        if step.name in names:
            names.update(step.needs)
    return [step for step in plan if step.name in names]


def _predict(
    run: PipelineState, plan: Sequence[PlannedStep]
) -> Iterator[tuple[PlannedStep, StepStatus]]:
    """Yield the status of every step, as far as it is known before the other steps have run."""
    done: set[str] = set()
    for step in plan:
        status = run.check(step, [name for name in step.inputs if name not in done])
        if status.state == "done":
            done.add(step.name)
        yield step, status


def _list_unfinished(run: PipelineState, plan: Sequence[PlannedStep]) -> list[PlannedStep]:
    return [step for step, status in _predict(run, plan) if status.state != "done"]


def _print_plan(run: PipelineState, plan: Sequence[PlannedStep], console: Console) -> None:
    """Print what would run, in order, and why."""
    for number, (step, status) in enumerate(_predict(run, plan), 1):
        action = {
            "done": "done",
            "start": status.why or "to run",
            "refuse": f"refused without --redo {step.name}: its inputs changed",
        }[status.state]
        of = f" of {', '.join(step.inputs)}" if step.inputs else ""
        after = f", after {', '.join(step.step.after)}" if step.step.after else ""
        _print(console, f"{number:>3} {step.name} ({step.kind}{of}{after}): {action}")
    _print(console, "Steps run one at a time, even independent ones: they share one machine.")


def _refusal(step: PlannedStep, status: StepStatus) -> RunError:
    return RunError(
        f"step {step.name}: its inputs have changed since it ran:\n"
        f"{status.why}\nRestore them, or run this step and all that depend on it again with "
        f"--redo {step.name} (the old files move to {step.pipeline / 'replaced'})."
    )


def _failure(step: PlannedStep, code: int) -> FactoryError:
    """Return the error of a failed step, of the class that its exit code stands for."""
    lines = step.log.read_text(encoding="utf-8", errors="replace").splitlines()
    tail = "\n".join(f"  {line}" for line in lines[-TAIL_LINES:])
    how = f"ended with exit code {code}"
    if code == 0:
        how = f"ended without an error but wrote no {step.product.name}"
    elif code > 128:
        how = f"was killed by signal {code - 128}"
        how += " (SIGKILL: out of memory?)" * (code == 128 + signal.SIGKILL)
    message = (
        f"step {step.name} {how}. The end of {step.log}:\n{tail}\n"
        "What it finished is kept. Fix the cause and run the same command to resume, or start the "
        f"step from scratch with --redo {step.name}."
    )
    if code == RecipeError.exit_code:
        return RecipeError([Problem(str(step.file), message)])
    return _ERRORS.get(code, FactoryError)(message)


@contextlib.contextmanager
def _lock_steps(steps: Path) -> Iterator[IO[str]]:
    """Take the lock that step processes hold; waits until those of a killed pipeline have ended."""
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    while True:
        try:
            lock = lock_directory(steps, lock_only=True)
            break
        except RunLocked:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)
    with lock:
        yield lock


def _print(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
