"""Judging what a build left pending: during it, after it, by several processes.

Only the ledger is written by those that judge. A running build takes what comes into account when
it draws more. At its end it puts the verdicts into its metrics (`settle`), so that one process
alone writes those.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow.parquet as pq

from factory.core.errors import RunError
from factory.core.files import append_line, read_json, write_parquet
from factory.core.models import TRAINING
from factory.core.nouns import Judged
from factory.core.parallel import spread
from factory.core.run_dir import read_manifest, sample_parts
from factory.judging.ledger import (
    QUEUE,
    LateVerdict,
    Leases,
    LedgerReader,
    LineReader,
    own_file,
    read_verdicts,
    record_verdicts,
)
from factory.judging.metrics import input_frame, metrics_folder, prompt_frame
from factory.recipe.build import load_run_recipe
from factory.recipe.document import load_document
from factory.recipe.grpo import Grpo
from factory.recipe.rewards import AccuracyReward
from filters.base import Filter
from filters.correctness import METRICS, Correctness, read_items
from filters.verify.verification import LATER
from filters.verify.verifiers import Item, Verifiers, read_verifier

Key = tuple[str, str, str]
"""A sample, and the hash of the input and the version of the verifier that its verdict is of."""

MOST_AT_ONCE = 64
QUICK_S = 1.0
"""A process claims some samples at a time, and writes their verdicts together. It begins with one,
and claims twice as many after a quick batch, half as many after another one."""
_LOOK_S = 2.0
_KNOWN = ["sample_id", "correctness_input", "correctness_version"]
IS_LATE = (pl.col("correctness_state") == "pending") & (pl.col("correctness_method") == LATER)
_REPLACED = ("state", "extracted", "method", "detail", "ms")


class Waiting(NamedTuple):
    """A sample without a verdict. What is to be verified is in `part` of the samples or, during the
    build that drew it, here."""

    sample_id: str
    input: str
    version: str
    part: str | None
    prompt_id: str = ""
    response: str | None = None


@dataclass(frozen=True)
class Drained:
    """What a call has judged, and what is waiting still."""

    judged: int
    waiting: int


def find_pending(run: Path, filters: Mapping[str, Filter]) -> list[Waiting]:
    """The samples that are pending in the metrics, in the order of the parts."""
    return [one for file in _metric_files(run, filters) for one in _read_pending(file)]


def find_waiting(run: Path, filters: Mapping[str, Filter]) -> list[Waiting]:
    """The pending samples whose verdicts are not in the ledger yet, in the order of the parts."""
    return list(Backlog(run, filters).look().values())


class Backlog:
    """The samples of a run that wait for a verdict. Each look reads only what is new."""

    def __init__(self, run: Path, filters: Mapping[str, Filter]) -> None:
        self._run, self._filters = run, filters
        self._ledger = LedgerReader(run)
        self._queue = LineReader(run / QUEUE)
        self._parts: dict[Path, int] = {}
        self._waiting: dict[str, Waiting] = {}

    def look(self) -> dict[str, Waiting]:
        """Return them by sample id."""
        for row in self._queue.read():
            if row.keys() == _QUEUED:
                self._waiting[row["sample_id"]] = Waiting(part=None, **row)
        for file in _metric_files(self._run, self._filters):
            written = file.stat().st_mtime_ns
            if self._parts.get(file) != written:
                self._parts[file] = written
                self._waiting |= {one.sample_id: one for one in _read_pending(file)}
        self._ledger.refresh()
        decided = self._ledger.verdicts
        self._waiting = {k: one for k, one in self._waiting.items() if one[:3] not in decided}
        return dict(self._waiting)


_QUEUED = set(Waiting._fields) - {"part"}


def leave_to_judges(run: Path, rows: pl.DataFrame, metrics: pl.DataFrame) -> dict[str, Key]:
    """Let processes that judge know of pending samples that no sealed part has yet.

    `rows` are samples as filters get them, `metrics` what `correctness` measured on them. Returns
    the keys of the verdicts that are to come, by sample id.
    """
    found = list_pending(rows, metrics)
    append_to_queue(run, found.values())
    return {name: one[:3] for name, one in found.items()}


def list_pending(rows: pl.DataFrame, metrics: pl.DataFrame) -> dict[str, Waiting]:
    """Return the rows that are pending, by sample id, with what is to be verified."""
    keys = {row[0]: row for row in metrics.filter(IS_LATE).select(_KNOWN).iter_rows()}
    pending = rows.filter(pl.col("sample_id").is_in(list(keys)))
    found = {}
    for name, prompt_id, item in zip(
        pending["sample_id"], pending["prompt_id"], read_items(pending), strict=True
    ):
        _, read, version = keys[name]
        found[name] = Waiting(name, read, version, None, prompt_id, item.response)
    return found


def append_to_queue(run: Path, some: Iterable[Waiting]) -> None:
    """Let processes that judge know of samples that wait for a verdict."""
    for one in some:
        waiting = one._asdict()
        append_line(own_file(run / QUEUE), {key: waiting[key] for key in _QUEUED})


def clear_queue(run: Path) -> None:
    """Forget what a build has left to be judged: all of it is in the metrics of sealed parts."""
    for file in (run / QUEUE).glob("*.jsonl"):
        file.unlink(missing_ok=True)


class LateArrivals:
    """The verdicts that come to a running build, as decisions of its filter `correctness`."""

    def __init__(self, run: Path, filters: Mapping[str, Filter]) -> None:
        self._ledger = LedgerReader(run)
        self._filter = filters.get("correctness")
        self._looked = 0.0
        self._keys: dict[str, Key] = {}

    def expect(self, keys: Mapping[str, Key]) -> None:
        """Wait for the verdicts of these samples; some may be there already."""
        self._keys |= keys
        self._looked = 0.0

    def collect(self) -> list[Judged]:
        """Return what has come of the samples that are waited for."""
        now = time.monotonic()
        if not self._keys or now - self._looked < _LOOK_S / 4:
            return []
        self._looked = now
        self._ledger.refresh()
        known = self._ledger.verdicts
        come = [known[key] for key in self._keys.values() if key in known]
        for verdict in come:
            del self._keys[verdict.sample_id]
        return [self._decide(verdict) for verdict in come]

    def _decide(self, verdict: LateVerdict) -> Judged:
        """The decision on a sample that no other filter drops: it was pending."""
        assert self._filter is not None
        row = {f"correctness_{name}": getattr(verdict, name) for name in _REPLACED}
        schema = METRICS | {"sample_id": pl.String}
        frame = pl.DataFrame([row | {"sample_id": verdict.sample_id}], schema=schema)
        decided = self._filter.decide(frame).row(0, named=True)
        return Judged(verdict.sample_id, decided["decision"], decided["reason"])


def count_news(run: Path, filters: Mapping[str, Filter]) -> int:
    """How many samples are pending in the metrics and decided in the ledger."""
    decided = read_verdicts(run)
    if not decided:
        return 0
    return sum(one[:3] in decided for one in find_pending(run, filters))


def settle(run: Path, filters: Mapping[str, Filter]) -> None:
    """Put the ledger's verdicts into the metrics of pending samples."""
    decided = read_verdicts(run)
    if not decided:
        return
    for file in _metric_files(run, filters):
        if pl.scan_parquet(file).select(IS_LATE.any()).collect().item():
            _settle_part(file, decided)


def drain(run: Path, workers: int, *, watch: bool, say: Callable[[str], None]) -> Drained:
    """Judge what is pending, with `workers` processes; with `watch` until the build has ended and
    nothing is left. Raises RunError where the run has no verdicts that come later."""
    filters, _ = find_settings(run)
    judged, backlog = 0, Backlog(run, filters)
    while True:
        ended = _has_ended(run)  # before the look: nothing comes after it
        done = _drain_once(run, workers) if backlog.look() else 0
        judged += done
        waiting = len(backlog.look())
        if done:
            say(f"judged {judged:,}, {waiting:,} waiting")
        if not watch or (ended and not waiting):
            return Drained(judged, waiting)
        if not done:
            time.sleep(_LOOK_S)


def find_settings(run: Path) -> tuple[Mapping[str, Filter], Correctness]:
    """Return the filters whose metrics hold what is pending, and how verdicts are given.

    A training has no metrics: what it waits for is in the queue alone. Raises RunError where no
    verdict comes later.
    """
    filters: Mapping[str, Filter] = {}
    if (run / TRAINING).exists():
        document = load_document(run / "recipe.yaml")
        rewards = Grpo.parse(document).rewards if document.data.get("kind") == "grpo" else {}
        parts = [part for part in rewards.values() if isinstance(part, AccuracyReward)]
        chosen = next((part.filter for part in parts if part.later), None)
        key = "rewards.accuracy.later"
    else:
        filters = load_run_recipe(run).filters
        found = filters.get("correctness")
        chosen = found if isinstance(found, Correctness) and found.later else None
        key = "correctness.later"
    if chosen is None:
        raise RunError(
            f"{run}: no verdict comes later: its recipe does not set `{key}`, such as "
            "`later: [repository]`"
        )
    return filters, chosen


def _has_ended(run: Path) -> bool:
    training = read_json(run / TRAINING)
    manifest = read_manifest(run) if training is None else training
    return manifest.get("state") == "done"


def _drain_once(run: Path, workers: int) -> int:
    if workers == 1:
        return judge_waiting(run)
    shares = spread(_judge_in_worker, range(workers), _init_worker, run)
    return sum(shares)


_run: Path
"""The run of a worker process."""


def _init_worker(run: Path) -> None:
    global _run
    _run = run


def _judge_in_worker(number: int) -> int:
    return judge_waiting(_run)


def judge_waiting(run: Path) -> int:
    """Judge pending samples that no other process is at work on. Returns how many."""
    filters, chosen = find_settings(run)
    judged = 0
    prompts = prompt_frame(run)
    with (
        Leases(run) as leases,
        Verifiers(
            workers=1,
            require_think=chosen.think == "required",
            deadline_s=chosen.deadline_s,
            unsafe_without_sandbox=chosen.unsafe_without_sandbox,
        ) as verifiers,
    ):
        backlog, at_once = Backlog(run, filters), 1
        while waiting := backlog.look():
            started = time.monotonic()
            claimed = leases.claim(list(waiting), at_once)
            if not claimed:
                return judged  # others are at work on all that is left
            # What another process has decided since then has no lease any more.
            fresh = backlog.look()
            mine = [fresh[name] for name in claimed if name in fresh]
            texts = _read_texts(run, mine, prompts)
            verdicts = verifiers.verify(list(texts.values()))
            record_verdicts(run, zip(texts, verdicts, strict=True))
            judged += len(texts)
            leases.release(claimed)
            quick = time.monotonic() - started < QUICK_S
            at_once = min(2 * at_once, MOST_AT_ONCE) if quick else max(1, at_once // 2)
            if mine and not texts:  # their parts or prompts are gone
                return judged
    return judged


def _read_texts(run: Path, mine: Sequence[Waiting], prompts: pl.DataFrame) -> dict[str, Item]:
    """What is to be verified of samples, by sample id."""
    texts: dict[str, Item] = {}
    names = {one.sample_id for one in mine if one.part is not None}
    for part in sorted({one.part for one in mine if one.part is not None}):
        rows = input_frame(pl.read_parquet(run / "samples" / part), prompts)
        rows = rows.filter(pl.col("sample_id").is_in(list(names)))
        texts |= dict(zip(rows["sample_id"], read_items(rows), strict=True))
    specs = dict(prompts.select("prompt_id", "verifier").iter_rows())
    for one in mine:
        if one.part is None and one.prompt_id in specs:
            texts[one.sample_id] = Item(read_verifier(specs[one.prompt_id]), one.response)
    return texts


def _read_pending(file: Path) -> list[Waiting]:
    pending = pl.scan_parquet(file).filter(IS_LATE).select(_KNOWN).collect()
    return [Waiting(name, read, version, file.name) for name, read, version in pending.iter_rows()]


def _metric_files(run: Path, filters: Mapping[str, Filter]) -> list[Path]:
    """The metrics of `correctness` that are there, where its verdicts may come later."""
    chosen = filters.get("correctness")
    if not isinstance(chosen, Correctness) or not chosen.later:
        return []
    folder = metrics_folder(run, "correctness", chosen)
    files = [folder / part.name for part in sample_parts(run)]
    return [file for file in files if file.exists()]


def _settle_part(file: Path, decided: Mapping[tuple[str, str, str], LateVerdict]) -> None:
    """Replace pending rows of one part's metrics."""
    table = pq.read_table(file)
    rows = pl.DataFrame(table).to_dicts()
    settled = False
    for row in rows:
        key = row["sample_id"], row["correctness_input"], row["correctness_version"]
        is_late = row["correctness_state"] == "pending" and row["correctness_method"] == LATER
        if is_late and key in decided:
            for name in _REPLACED:
                row[f"correctness_{name}"] = getattr(decided[key], name)
            settled = True
    if settled:
        changed = pl.DataFrame(rows, schema=pl.DataFrame(table).schema).to_arrow()
        write_parquet(file, changed.replace_schema_metadata(table.schema.metadata))
