"""Judging again with another verifier or recipe: what it would change, or the change itself.

A verdict counts for one sample, input and version of the verifier. So only those are given again
whose version or input is another one now and that the ledger does not have.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl

from factory.build.difference import Difference, Flip
from factory.build.refilter import copy_run, filter_run
from factory.core.errors import RunError
from factory.core.plugins import PluginError
from factory.core.run_dir import sample_parts
from factory.judging.again import KINDS, Due, find_due, give_verdicts
from factory.judging.late import IS_LATE
from factory.judging.logs import Logged, read_log
from factory.judging.metrics import (
    base_frame,
    input_frame,
    inputs_key,
    prompt_frame,
    save_metrics,
)
from factory.judging.recorded import recorded_folder
from factory.judging.verdicts import load_verdicts
from factory.recipe.build import refuse_assembly
from factory.recipe.rewards import accuracy
from factory.sampling.scheduling.policies import WAVE_POLICIES
from filters.base import measure_rows
from filters.correctness import METRICS, Correctness, read_items
from filters.verify import VERIFIERS
from filters.verify.own import name_verifier
from filters.verify.verifiers import Item, Verifiers, verifier_version

if TYPE_CHECKING:
    from rich.console import Console

    from factory.recipe.build import Recipe
    from factory.recipe.sampling import Sampling

INSTALLED = "installed"
"""The version of every verifier as it is installed here."""

LEDGER = ".verdicts"
"""What is added to the name of a log for the folder of its ledger."""

_GIVEN = ("state", "extracted", "method", "detail", "ms", "version", "input")
_JUDGED = ("correctness_judge", "correctness_canary")


@dataclass(frozen=True)
class NewVersion:
    """Which verdicts are given again: all, those of one kind, or all by a class of the user's."""

    kind: str | None = None
    own: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, name: str) -> NewVersion:
        """From `installed`, `math-4`, or `file.py:Class`. Raises RunError for another version of a
        kind than the installed one, and for a class that cannot be loaded."""
        if name == INSTALLED:
            return cls()
        if ".py:" in name:
            try:
                return cls(own=name_verifier(name, None, {}))
            except PluginError as error:
                raise RunError(str(error)) from error
        kind = name.rpartition("-")[0] or name
        if kind not in VERIFIERS:
            raise RunError(
                f"{name!r} names no version: give `{INSTALLED}`, a version of one kind such as "
                f"{verifier_version('math')}, path/to/file.py:Class, or a recipe (.yaml)"
            )
        if name != (here := verifier_version(kind)):
            raise RunError(
                f"{name} is not installed: this r1-factory has {here}; run this command with the "
                "one that has it"
            )
        return cls(kind=kind)

    def adapt(self, item: Item, meta: Mapping[str, Any] | None = None) -> Item:
        """Return an item as the new version is asked about it. `meta`: what it knows of a prompt
        besides the reference."""
        if self.own is None or item.verifier is None:
            return item
        own = {key: item.verifier[key] for key in _OF_A_PROMPT if key in item.verifier}
        return item._replace(verifier={**self.own, **(meta or {}), **own})

    def covers(self, due: Due) -> bool:
        return self.kind is None or due.version == verifier_version(self.kind)


_OF_A_PROMPT = ("answer", "meta", "messages")


def rejudge_run(
    recipe: Recipe,
    run: Path,
    version: NewVersion,
    console: Console,
    *,
    diff: bool,
    estimate: bool = False,
    workers: int | None = None,
) -> Difference:
    """Judge a run's samples again. With `diff` nothing is written into the run.

    Without, the verdicts go into its ledger as they are given, then into its metrics, and its
    corpus is written again as `factory filter` does. `estimate` gives no verdict. Judge models are
    not asked: what they have said stays. Raises RunError.
    """
    refuse_assembly(run)
    chosen = recipe.filters.get("correctness")
    if not isinstance(chosen, Correctness):
        raise RunError(f"{run}: its recipe has no filter `correctness`, so it has no verdicts")
    if not diff and not estimate:
        _refuse_writing(run, version, chosen)
    was = _Before(run)
    with ExitStack() as stack:
        target = run
        if diff and not estimate:
            scratch = stack.enter_context(TemporaryDirectory(prefix="factory-rejudge-"))
            target = copy_run(run, Path(scratch))
        verifiers = stack.enter_context(_open_verifiers(chosen, workers))
        work = _RunWork(run, target, chosen, version, verifiers)
        for part in sample_parts(run):
            work.judge_part(part, give=not estimate, write=not diff)
        found = work.describe()
        if not estimate:
            filter_run(recipe, target, console)
            _compare(found, was, _Before(target), recipe.sampling)
    return found


def rejudge_log(
    file: Path,
    version: NewVersion,
    *,
    references: Path | None = None,
    diff: bool,
    estimate: bool = False,
    workers: int | None = None,
) -> Difference:
    """Judge a log of others again. With `diff` nothing is written; without, the verdicts go into
    the ledger FILE.verdicts. Raises SourceError where no row can be used."""
    rows, wrong = read_log(file, references)
    with Verifiers(workers=workers) as verifiers:
        items = {name: version.adapt(row.item) for name, row in rows.items()}
        due, given = find_due(items, verifiers)
        due = [one for one in due if version.covers(one)]
        found = Difference(str(file), len(due) + len(given), len(due), cpu_s=None if due else 0.0)
        found.versions = dict(Counter(f"as recorded -> {one.version}" for one in due))
        found.unread = wrong
        if estimate:
            return found
        ledger = file.with_name(file.name + LEDGER)
        new = give_verdicts(due, verifiers, ledger, write=not diff)
    found.judged = True
    found.spent_s = sum(verdict.ms for verdict in new.values()) / 1000
    states = {name: verdict.state for name, verdict in (given | new).items()}
    found.states = dict(Counter(states.values()))
    _compare_log(found, {name: rows[name] for name in states}, states)
    return found


def _refuse_writing(run: Path, version: NewVersion, chosen: Correctness) -> None:
    if version.own is not None:
        raise RunError(
            "with a class of your own only --diff is possible: to use it, name it as the "
            "`verifier` of the recipe's source and build a new run"
        )
    if chosen.judge is not None:
        raise RunError(
            f"{run}: its recipe asks a judge, which may have to be asked about other samples now; "
            "`factory build` measures again and asks it (--diff shows what the rule alone changes)"
        )


def _open_verifiers(chosen: Correctness, workers: int | None) -> Verifiers:
    return Verifiers(
        workers=workers,
        require_think=chosen.think == "required",
        deadline_s=chosen.deadline_s,
        unsafe_without_sandbox=chosen.unsafe_without_sandbox,
    )


class _Before:
    """What a run's directory says: verdicts, pass rates and rows."""

    def __init__(self, run: Path) -> None:
        kept = load_verdicts(run).filter(decision="keep").select("prompt_id").collect()
        self.kept = Counter(kept["prompt_id"])
        folder = recorded_folder(run, "correctness")
        files = [file for part in sample_parts(run) if (file := folder / part.name).exists()]
        if not files:
            raise RunError(f"{run} has no verdicts of its filter `correctness`; build it first")
        state = pl.scan_parquet(files).select("sample_id", "correctness_state").collect()
        self.states: dict[str, str] = dict(state.iter_rows())
        rates = pl.read_parquet(run / "pass_rates.parquet")
        self.rates: dict[str, float | None] = dict(
            rates.select("prompt_id", "pass_rate").iter_rows()
        )
        self.drawn: dict[str, int] = dict(rates.select("prompt_id", "n_samples").iter_rows())
        shards = sorted((run / "corpus").glob("*.parquet"))
        self.rows = {str(name) for shard in shards for name in pl.read_parquet(shard)["id"]}


def _compare(found: Difference, was: _Before, now: _Before, sampling: Sampling) -> None:
    found.judged = True
    found.states = dict(Counter(now.states.values()))
    found.flips = [
        Flip(
            name,
            name.rpartition("-")[0],
            was.states[name],
            state,
            accuracy(was.states[name]),
            accuracy(state),
        )
        for name, state in sorted(now.states.items())
        if was.states.get(name, state) != state
    ]
    found.has_rows = True
    found.rows_in = sorted(now.rows - was.rows)
    found.rows_out = sorted(was.rows - now.rows)
    found.rates = {
        prompt: (was.rates.get(prompt), rate)
        for prompt, rate in sorted(now.rates.items())
        if was.rates.get(prompt) != rate
    }
    before = _count_next(was, sampling)
    found.more = {
        prompt: count
        for prompt, count in sorted(_count_next(now, sampling).items())
        if prompt not in before
    }


def _count_next(state: _Before, sampling: Sampling) -> dict[str, int]:
    """How many samples the next build would draw of each prompt by its verdicts. Where the policy
    does not go by them, a prompt without an accepted sample lacks one."""
    if sampling.policy not in ("until", "difficulty"):
        return {prompt: 1 for prompt in state.drawn if not state.kept[prompt]}
    policy = WAVE_POLICIES[sampling.policy](sampling)
    counts = {name: policy.more(drawn, state.kept[name]) for name, drawn in state.drawn.items()}
    return {prompt: count for prompt, count in counts.items() if count}


def _compare_log(found: Difference, rows: Mapping[str, Logged], states: Mapping[str, str]) -> None:
    rewards: dict[str, list[tuple[float | None, float | None]]] = defaultdict(list)
    for name, state in sorted(states.items()):
        was, now = rows[name].reward, accuracy(state)
        rewards[rows[name].prompt].append((was, now))
        if was is not None and _is_right(was) != _is_right(now):
            found.flips.append(Flip(name, rows[name].prompt, f"{was:g}", state, was, now))
    for prompt, pairs in sorted(rewards.items()):
        before, after = (_share([_is_right(pair[side]) for pair in pairs]) for side in (0, 1))
        if before is not None and before != after:
            found.rates[prompt] = before, after
        if before and not after:
            found.more[prompt] = 1


def _is_right(reward: float | None) -> bool | None:
    return None if reward is None else reward >= 1.0


def _share(right: list[bool | None]) -> float | None:
    known = [one for one in right if one is not None]
    return sum(known) / len(known) if known else None


class _RunWork:
    """The verdicts of a run's samples, part by part: kept ones, known ones and new ones."""

    def __init__(
        self,
        run: Path,
        target: Path,
        chosen: Correctness,
        version: NewVersion,
        verifiers: Verifiers,
    ) -> None:
        self._run, self._target, self._chosen = run, target, chosen
        self._version, self._verifiers = version, verifiers
        self._prompts = prompt_frame(run)
        self._meta = _read_meta(run) if version.own is not None else {}
        self._folder = recorded_folder(run, "correctness")
        rule = {"later": KINDS, "judge": None, "combine": "rule"}
        self._pending = chosen.model_copy(update=rule)
        self._verdicts = self._again = 0
        self._versions = Counter[str]()
        self._costs: list[float] = []
        self._spent_s = 0.0

    def describe(self) -> Difference:
        """Return what was to be given again, and what it should cost by what it cost before."""
        known = self._costs
        cpu_s = sum(known) / len(known) * self._again / 1000 if known else None
        cpu_s = cpu_s if self._again else 0.0
        found = Difference(str(self._run), self._verdicts, self._again, dict(self._versions), cpu_s)
        found.spent_s = self._spent_s
        return found

    def judge_part(self, part: Path, *, give: bool, write: bool) -> None:
        """Count the verdicts of a part that are to be given again. With `give` they are, and the
        metrics of the part are put into the target; with `write` also into the ledger."""
        rows = input_frame(pl.read_parquet(part), self._prompts)
        metrics = measure_rows(self._pending, rows)
        items = dict(zip(rows["sample_id"], self._read_items(rows), strict=True))
        due, _ = find_due(items, self._verifiers)
        old = self._read_old(part)
        again = [one for one in due if self._is_new(one, old.get(one.sample_id))]
        self._count(metrics.height, again, old)
        if not give:
            return
        given = give_verdicts(again, self._verifiers, self._run, write=write)
        self._spent_s += sum(verdict.ms for verdict in given.values()) / 1000
        late = set(metrics.filter(IS_LATE)["sample_id"])
        found = []
        for row in metrics.to_dicts():
            name = row["sample_id"]
            if verdict := given.get(name):
                row |= {f"correctness_{key}": getattr(verdict, key) for key in _GIVEN}
                row |= {key: old[name][key] for key in _JUDGED if name in old}
            elif name in late:
                row = old[name]
            found.append(row)
        changed = pl.DataFrame(found, schema=metrics.schema)
        inputs = inputs_key(base_frame(part, self._prompts))
        save_metrics(self._target, "correctness", self._chosen, part.stem, changed, inputs)

    def _read_items(self, rows: pl.DataFrame) -> list[Item]:
        return [
            self._version.adapt(item, self._meta.get(prompt))
            for item, prompt in zip(read_items(rows), rows["prompt_id"], strict=True)
        ]

    def _is_new(self, one: Due, old: Mapping[str, Any] | None) -> bool:
        if old is None:
            return True
        key = old["correctness_version"], old["correctness_input"]
        known = key == (one.version, one.input) and old["correctness_state"] != "pending"
        return not known and self._version.covers(one)

    def _count(self, verdicts: int, again: list[Due], old: Mapping[str, Mapping[str, Any]]) -> None:
        self._verdicts += verdicts
        self._again += len(again)
        for one in again:
            before = old.get(one.sample_id, {})
            version = before.get("correctness_version") or "none"
            self._versions[f"{version} -> {one.version}"] += 1
            if before.get("correctness_ms"):
                self._costs.append(before["correctness_ms"])

    def _read_old(self, part: Path) -> dict[str, dict[str, Any]]:
        """The metrics that the run's verdicts were made with, by sample id."""
        file = self._folder / part.name
        if not file.exists():
            return {}
        old = pl.read_parquet(file)
        missing = [name for name in METRICS if name not in old.columns]
        old = old.with_columns(pl.lit(None, METRICS[name]).alias(name) for name in missing)
        return {row["sample_id"]: row for row in old.select("sample_id", *METRICS).to_dicts()}


def _read_meta(run: Path) -> dict[str, dict[str, Any]]:
    """What a class of the user's own is told of each prompt besides its reference."""
    rows = pl.read_parquet(run / "prompts.parquet", columns=["id", "meta", "messages"])
    return {
        row["id"]: {"meta": json.loads(row["meta"] or "{}"), "messages": row["messages"]}
        for row in rows.to_dicts()
    }
