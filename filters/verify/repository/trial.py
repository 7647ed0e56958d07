"""One run of a repository's tests in the sandbox: what goes in, and what can be believed of it.

The records come through a pipe from the process that the code under test shares. A record without
the nonce, a second one for a test, or a passed test that is there to fail: the attempt interfered.
"""

from __future__ import annotations

import json
import random
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from filters.verify.sandbox import Library, Limits, Outcome, Task
from filters.verify.sandbox.box import Box, SandboxFailure
from filters.verify.sandbox.boxes import Boxes, Job

_CANARIES = 2
_BROKEN = {"3": "internal error", "4": "usage error (often a conftest.py that fails)"}
_WORD = re.compile(r"[a-z]{3,}")
_PLAIN_WORDS = ("value", "result", "empty", "order", "default", "error", "input", "items")


@dataclass(frozen=True, slots=True)
class Trial:
    """A run of tests, and the secrets by which its records are known."""

    task: Task
    nonce: str
    ids: tuple[str, ...] | None  # None: all tests there are
    canaries: frozenset[str]

    def read(self, outcome: Outcome) -> Records:
        """What the run says, with every sign of interference."""
        return _read(self, outcome)


@dataclass(slots=True)
class Records:
    """What is known of one run of tests."""

    end: str  # how the process ended: ok, exit, signal, time_limit, output_limit
    cpu_s: float
    how: str = ""  # overlay, copy
    outcomes: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    uncollected: list[str] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)  # audit events of changed files
    tampered: str | None = None
    broken: str | None = None  # why pytest did not come to its end

    def passed(self, name: str) -> bool:
        return self.outcomes.get(name) == "passed"

    def explain(self, name: str) -> str:
        """What became of a test, for a person."""
        said = self.outcomes.get(name, "did not run")
        detail = self.details.get(name)
        return f"{name} {said}: {detail}" if detail else f"{name} {said}"


def library(requires: Sequence[str] = ()) -> Library:
    """What a box for tests holds: pytest and the distributions that a project requires."""
    return Library(required=("pytest", *requires), preload=_PRELOADED)


_OPTIONAL = {"logging": "log", "warnings": "warn", "capture": "cap"}
"""Plugins that cost much at every test, and what a text holds that has to do with them."""


def list_unneeded(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """The plugins that no file of a repository has to do with. Files of an attempt do not count:
    nothing it can do needs a plugin, since tests and their settings stay as they are."""
    return tuple(
        plugin
        for plugin, word in _OPTIONAL.items()
        if not any(word.encode() in content for content in files.values())
    )


_PLUGINS = """
assertion.util capture debugging fixtures helpconfig legacypath logging monkeypatch python
recwarn reports runner setuponly setupplan skipping tmpdir unittest warnings
"""
_PRELOADED = (
    "pytest",
    *(f"_pytest.{name}" for name in _PLUGINS.split()),
    *("asyncio", "datetime", "hashlib", "logging", "pdb", "unittest.mock"),
    *("encodings.unicode_escape", "getpass", "tomllib"),
)
"""Imported once in each box, before any attempt: what tests import most, and what pytest itself
imports when it needs it."""


def make_trial(
    files: Mapping[str, str],
    limits: Limits,
    *,
    ids: Sequence[str] | None,
    paths: Sequence[str],
    changed: Collection[str] = (),
    where: Sequence[str] = (),
    compiling: bool = False,
    copying: bool = False,
) -> Trial:
    """A run of the tests `ids` (None: of all in `where`) with `files` laid over the snapshot.

    `changed`: the files that the attempt wrote, which the audit hook watches. `compiling` runs in
    the snapshot itself. `copying` copies it, as is done where a kernel refuses an overlay.
    """
    nonce = secrets.token_hex(8)
    canaries = {} if ids is None else _make_canaries(ids)
    wanted = None if ids is None else [*ids, *canaries]
    files = {**files, **{name.partition("::")[0]: text for name, text in canaries.items()}}
    if wanted is not None:
        random.SystemRandom().shuffle(wanted)
        where = sorted({name.partition("::")[0] for name in wanted})
    job = {
        "nonce": nonce,
        "ids": wanted,
        "failing": list(canaries),
        "paths": list(paths),
        "changed": sorted(changed),
        "where": list(where),
        "compile": compiling,
    }
    argv = ("compile",) * compiling + ("copy",) * copying
    code = json.dumps(job).encode()
    task = Task("tests", code, files=dict(files), argv=argv, limits=limits)
    return Trial(task, nonce, None if wanted is None else tuple(wanted), frozenset(canaries))


def run_trial(trial: Trial) -> Job[Records]:
    """Run it in a box."""
    outcome = yield trial.task
    return trial.read(outcome)


def run_once(boxes: Boxes, trial: Trial) -> Records:
    """Run one trial by itself. Raises SandboxFailure."""
    for _, records in boxes.run([run_trial(trial)]):
        if isinstance(records, SandboxFailure):
            raise records
        return records
    raise AssertionError("a job gives one result")


def compile_tests(box: Box, paths: Sequence[str], limits: Limits) -> Records:
    """Collect all tests in a writable tree, so that what is compiled stays there."""
    trial = make_trial({}, limits, ids=None, paths=paths, where=["--collect-only"], compiling=True)
    box.start(trial.task)
    return trial.read(box.finish())


def _make_canaries(ids: Sequence[str]) -> dict[str, str]:
    """Tests that must fail, under names like those of others: test id → source of its module.

    They share a module, and are put in different places among the tests.
    """
    words = sorted({word for name in ids for word in _WORD.findall(name)} | set(_PLAIN_WORDS))
    taken = {name.partition("::")[0] for name in ids}
    draw = random.SystemRandom()
    folder = draw.choice(sorted({str(PurePosixPath(file).parent) for file in taken}))
    file = next(iter(taken))
    while file in taken:
        name = f"test_{'_'.join(draw.sample(words, 2))}.py"
        file = name if folder == "." else f"{folder}/{name}"
    names: set[str] = set()
    while len(names) < _CANARIES:
        names.add("_".join(draw.sample(words, 2)))
    source = ""
    for name in names:
        one, other = draw.randrange(2, 99), draw.randrange(2, 99)
        source += (
            f"def test_{name}():\n    expected = {one * other + draw.randrange(1, 9)}\n"
            f"    assert {one} * {other} == expected\n"
        )
    return {f"{file}::test_{name}": source for name in names}


def _read(trial: Trial, outcome: Outcome) -> Records:
    records = Records(outcome.end, outcome.cpu_s)
    ended = False
    for line in outcome.result.splitlines():
        record = _parse(line, trial.nonce)
        if record is None or ended:
            records.tampered = "the records hold a line that the test runner did not write"
            return records
        kind, *rest = record
        match kind, rest:
            case "begin", [str(how)]:
                records.how = how
            case "test", [str() | int() as place, str(state), *detail]:
                name = _name(trial, place)
                if name is None or name in records.outcomes:
                    records.tampered = "a test is reported that was not run, or twice"
                    return records
                records.outcomes[name] = state
                if detail:
                    records.details[name] = str(detail[0])
            case "uncollected", [str(place), str(why)]:
                records.uncollected.append(f"{place}: {why}")
            case "reached", [str(event), str(_)]:
                records.reached.append(event)
            case "tampered", [str(what)]:
                records.tampered = records.tampered or what
            case "broken", [str(why)]:
                records.broken = why
            case "end", [str(status)]:
                ended = True
                if status in _BROKEN:
                    why = f": {records.broken}" if records.broken else ""
                    records.broken = f"pytest says: {_BROKEN[status]}{why}"
            case _:
                records.tampered = "a record has another form than the test runner's"
                return records
    for name in trial.canaries & records.outcomes.keys():
        state = records.outcomes.pop(name)
        if state == "not set up":  # by a fixture of all tests, which then fail as well
            records.broken = records.broken or "a test that must fail was not set up"
        elif state != "asserted":
            records.tampered = records.tampered or "a test that must fail did not"
    if not ended:
        records.broken = records.broken or f"the tests ended early ({outcome.end})"
    return records


def _parse(line: bytes, nonce: str) -> list[str | int] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if isinstance(record, list) and len(record) > 1 and record[0] == nonce:
        return record[1:]
    return None


def _name(trial: Trial, place: str | int) -> str | None:
    if trial.ids is None:
        return place if isinstance(place, str) else None
    if isinstance(place, int) and 0 <= place < len(trial.ids):
        return trial.ids[place]
    return None
