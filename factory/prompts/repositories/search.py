"""Which bugs a project's tests find: each is tried in the sandbox, twice.

A test counts if it passes twice on the project as it is. A bug is kept if at least one of those
fails, the same ones both times, while the package can still be imported.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from pydantic import TypeAdapter

from factory.core.errors import SourceError
from factory.core.files import write_atomic
from factory.core.machine import list_versions
from factory.core.nouns import fingerprint
from factory.prompts.repositories.mutations import KINDS, Edit, Kind, apply_edits, draw_bugs
from factory.prompts.repositories.projects import Project
from filters.verify.repository.environments import Environments
from filters.verify.repository.problem import limits
from filters.verify.repository.snapshots import SnapshotError, store_folder
from filters.verify.repository.trial import Records, make_trial, run_trial
from filters.verify.sandbox import Boxes, Job, SandboxFailure

VERSION = 2
"""Raised when the same settings give other bugs: part of what names a cached search."""

_BASE_S = 600.0
_TIMES, _MORE_S = 4, 1.0
"""A test run may use this many times what the project as it is uses, and so much more."""
_LONGEST_ID = 300
_TRIES = 12
"""Bugs that are tried for each one wanted, before a project is given up."""

_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}")
"""Of an object: another one in every run."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """A project's tests that pass twice as it is, and what a run of them uses."""

    tests: tuple[str, ...]
    left_out: dict[str, str]  # test → why
    time_limit_s: float
    reaches: tuple[str, ...]  # audit events of the package itself


@dataclass(frozen=True, slots=True)
class Bug:
    """A change of one file that fails tests."""

    path: str
    text: str  # the whole file
    kinds: tuple[str, ...]
    functions: tuple[str, ...]
    lines: tuple[int, ...]
    fail_to_pass: tuple[str, ...]
    symptoms: dict[str, str]  # what the first failing tests say


@dataclass(frozen=True, slots=True)
class Found:
    """What a search of one project gave."""

    baseline: Baseline
    bugs: tuple[Bug, ...]
    tried: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What bugs to look for in each project."""

    bugs: int
    kinds: tuple[Kind, ...] = KINDS
    several: float = 0.15
    seed: int = 0
    requires: tuple[str, ...] = ()
    longest_file: int = 30_000


def find_bugs(project: Project, wanted: Wanted, environments: Environments) -> Found:
    """Search a project, or read what was found before. Raises SourceError."""
    versions = list_versions("pytest", *wanted.requires)
    key = fingerprint([VERSION, project.snapshot, project.packages, asdict(wanted), versions], 24)
    kept = store_folder() / f"bugs-{key}.json"
    if kept.is_file():
        return _load(kept)
    obstacle = environments.obstacle(wanted.requires)
    if obstacle is not None:
        raise SourceError(f"{project.name}: its tests cannot be run here: {obstacle}")
    try:
        boxes = environments.boxes(project.snapshot, wanted.requires, project.paths)
        baseline = _measure(project, boxes)
        found = _search(project, wanted, baseline, boxes)
    except (SandboxFailure, SnapshotError) as error:
        raise SourceError(f"{project.name}: its tests could not be run: {error}") from error
    write_atomic(kept, json.dumps(asdict(found)))
    return found


def _load(path: Path) -> Found:
    found: Found = TypeAdapter(Found).validate_json(path.read_bytes())
    return found


def _measure(project: Project, boxes: Boxes) -> Baseline:
    """Run all tests of a project as it is, twice."""
    changed = tuple(project.files())
    trial = make_trial({}, limits(_BASE_S), ids=None, paths=project.paths, changed=changed)
    runs = [_await(boxes, run_trial(trial)) for _ in range(2)]
    for records in runs:
        if records.broken or records.tampered or records.end == "time_limit":
            why = records.broken or records.tampered or f"over {_BASE_S:g} s of CPU time"
            raise SourceError(f"{project.name}: its tests do not run to their end: {why}")
    left_out = {}
    for name in sorted(set().union(*(records.outcomes for records in runs))):
        states = [records.outcomes.get(name, "not run") for records in runs]
        if states != ["passed", "passed"]:
            left_out[name] = "flaky" if "passed" in states else states[0]
        elif len(name) > _LONGEST_ID or not name.isprintable():
            left_out[name] = "unwieldy name"
    tests = tuple(sorted(runs[0].outcomes.keys() - left_out.keys()))
    if not left_out and not tests and not runs[0].uncollected:
        raise SourceError(
            f"{project.name}: pytest finds no test in it; some source distributions leave theirs "
            "out: name a version or a folder that has them"
        )
    if not tests:
        first = next(iter(runs[0].uncollected), None) or next(iter(runs[0].details.values()), "")
        raise SourceError(
            f"{project.name}: none of its {len(left_out)} tests passes twice in the sandbox "
            f"({first or 'none was found'}); name what they import with `requires`"
        )
    time_s = math.ceil(_TIMES * max(records.cpu_s for records in runs) + _MORE_S)
    reaches = sorted({event for records in runs for event in records.reached})
    return Baseline(tests, left_out, float(time_s), tuple(reaches))


def _search(project: Project, wanted: Wanted, baseline: Baseline, boxes: Boxes) -> Found:
    """Try bugs in a fixed order, some at a time, until enough are kept."""
    files = project.files()
    drawn = islice(_draw(files, wanted), _TRIES * wanted.bugs)
    bugs: dict[str, Bug] = {}
    tried = 0
    while len(bugs) < wanted.bugs:
        some = list(islice(drawn, max(2 * boxes.count, wanted.bugs - len(bugs))))
        if not some:
            break
        tried += len(some)
        results: list[Bug | None] = [None] * len(some)
        jobs = [_try(project, baseline, *one) for one in some]
        for number, result in boxes.run(jobs):
            if not isinstance(result, SandboxFailure):  # which says nothing of the bug
                results[number] = result
        for bug in filter(None, results):
            bugs.setdefault(fingerprint([bug.path, bug.text]), bug)
    return Found(baseline, tuple(islice(bugs.values(), wanted.bugs)), tried)


def _draw(files: dict[str, str], wanted: Wanted) -> Iterator[tuple[str, str, tuple[Edit, ...]]]:
    """Path, new text and edits of bugs, with the files taking turns."""
    draw = random.Random(f"{wanted.seed}")
    streams = {
        path: draw_bugs(text, wanted.kinds, wanted.several, random.Random(f"{wanted.seed} {path}"))
        for path, text in sorted(files.items())
        if len(text) <= wanted.longest_file
    }
    while streams:
        path = draw.choice(list(streams))
        edits = next(streams[path], None)
        if edits is None:
            del streams[path]
            continue
        text = apply_edits(files[path], edits)
        if text is not None:
            yield path, text, edits


def _try(
    project: Project, baseline: Baseline, path: str, text: str, edits: Sequence[Edit]
) -> Job[Bug | None]:
    """The bug if tests find it, the same ones twice; else None."""
    failing: list[tuple[str, ...]] = []
    for _ in range(2):
        trial = make_trial(
            {path: text},
            limits(baseline.time_limit_s),
            ids=baseline.tests,
            paths=project.paths,
            changed=[path],
        )
        records = yield from run_trial(trial)
        if not _is_usable(records):
            return None
        failing.append(tuple(name for name in baseline.tests if not records.passed(name)))
        if not failing[0] or failing[-1] != failing[0]:
            return None
    return Bug(
        path=path,
        text=text,
        kinds=tuple(edit.kind for edit in edits),
        functions=tuple(dict.fromkeys(edit.function for edit in edits)),
        lines=tuple(edit.line for edit in edits),
        fail_to_pass=failing[0],
        symptoms={
            name: _ADDRESS.sub("0x…", records.details[name])
            for name in failing[0]
            if name in records.details
        },
    )


def _is_usable(records: Records) -> bool:
    """Whether a run says something of single tests: the package is imported, and it ends."""
    ended = records.end == "ok" and not records.broken and not records.tampered
    return ended and not records.uncollected and bool(records.outcomes)


def _await(boxes: Boxes, job: Job[Records]) -> Records:
    for _, result in boxes.run([job]):
        if isinstance(result, SandboxFailure):
            raise result
        return result
    raise AssertionError("a job gives one result")
