"""Judging what a build left pending: during it, after it, by several processes.

Only the ledger is written here. The next build puts the verdicts into its metrics (`settle`), so
that one process alone writes those.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow.parquet as pq

from factory.core.errors import RunError
from factory.core.files import write_parquet
from factory.core.parallel import spread
from factory.core.run_dir import read_manifest, sample_parts
from factory.judging.ledger import LateVerdict, Leases, read_verdicts, record_verdicts
from factory.judging.metrics import input_frame, metrics_folder, prompt_frame
from factory.recipe.build import load_run_recipe
from filters.base import Filter
from filters.correctness import Correctness
from filters.verify.verification import LATER
from filters.verify.verifiers import Item, Verifiers, read_verifier

MOST_AT_ONCE = 64
QUICK_S = 1.0
"""A process claims some samples at a time, and writes their verdicts together. It begins with one,
and claims twice as many after a quick batch, half as many after another one."""
_LOOK_S = 2.0
_KNOWN = ["sample_id", "correctness_input", "correctness_version"]
_IS_LATE = (pl.col("correctness_state") == "pending") & (pl.col("correctness_method") == LATER)
_REPLACED = ("state", "extracted", "method", "detail", "ms")


class Waiting(NamedTuple):
    """A sample without a verdict, and the part of the samples that holds its text."""

    sample_id: str
    input: str
    version: str
    part: str


@dataclass(frozen=True)
class Drained:
    """What a call has judged, and what is waiting still."""

    judged: int
    waiting: int


def find_pending(run: Path, filters: Mapping[str, Filter]) -> list[Waiting]:
    """The samples that are pending in the metrics, in the order of the parts."""
    found = []
    for file in _metric_files(run, filters):
        pending = pl.scan_parquet(file).filter(_IS_LATE).select(_KNOWN).collect()
        found += [
            Waiting(name, read, version, file.name) for name, read, version in pending.iter_rows()
        ]
    return found


def find_waiting(run: Path, filters: Mapping[str, Filter]) -> list[Waiting]:
    """The pending samples whose verdicts are not in the ledger yet, in the order of the parts."""
    decided = read_verdicts(run)
    return [one for one in find_pending(run, filters) if one[:3] not in decided]


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
        if pl.scan_parquet(file).select(_IS_LATE.any()).collect().item():
            _settle_part(file, decided)


def drain(run: Path, workers: int, *, watch: bool, say: Callable[[str], None]) -> Drained:
    """Judge what is pending, with `workers` processes; with `watch` until the build has ended and
    nothing is left. Raises RunError where the run has no verdicts that come later."""
    filters = load_run_recipe(run).filters
    chosen = filters.get("correctness")
    if not isinstance(chosen, Correctness) or not chosen.later:
        raise RunError(
            f"{run}: no verdict comes later: its recipe does not set `correctness.later`, such as "
            "`later: [repository]`"
        )
    judged = 0
    while True:
        done = _drain_once(run, workers)
        judged += done
        waiting = len(find_waiting(run, filters))
        if done:
            say(f"judged {judged:,}, {waiting:,} waiting")
        ended = read_manifest(run).get("state") == "done"
        if not watch or (ended and not waiting):
            return Drained(judged, waiting)
        if not done:
            time.sleep(_LOOK_S)


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
    filters = load_run_recipe(run).filters
    chosen = filters["correctness"]
    assert isinstance(chosen, Correctness)
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
        waiting, at_once = find_waiting(run, filters), 1
        while waiting:
            started = time.monotonic()
            parts = {one.sample_id: one.part for one in waiting}
            claimed = leases.claim(list(parts), at_once)
            if not claimed:
                return judged  # others are at work on all that is left
            # What another process has decided since then has no lease any more.
            fresh = {one.sample_id for one in find_waiting(run, filters)}
            mine = [sample_id for sample_id in claimed if sample_id in fresh]
            for part in sorted({parts[sample_id] for sample_id in mine}):
                texts = _read_texts(run, part, prompts, mine)
                verdicts = verifiers.verify(list(texts.values()))
                record_verdicts(run, zip(texts, verdicts, strict=True))
                judged += len(texts)
            leases.release(claimed)
            quick = time.monotonic() - started < QUICK_S
            at_once = min(2 * at_once, MOST_AT_ONCE) if quick else max(1, at_once // 2)
            waiting = [one for one in waiting if one.sample_id not in set(claimed)]
    return judged


def _read_texts(
    run: Path, part: str, prompts: pl.DataFrame, sample_ids: list[str]
) -> dict[str, Item]:
    """What is to be verified of samples of one part, by sample id."""
    rows = input_frame(pl.read_parquet(run / "samples" / part), prompts)
    rows = rows.filter(pl.col("sample_id").is_in(sample_ids))
    columns = rows.select("sample_id", "verifier", "response", "shape").iter_rows()
    return {name: Item(read_verifier(spec), *parts) for name, spec, *parts in columns}


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
