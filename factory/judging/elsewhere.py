"""Measuring on a Ray cluster: a task per sealed part of the samples.

A task measures a part as this machine would, and returns its metrics, which are narrow. Only this
process writes them. A node that sees the run directory at the same path reads the samples itself;
to any other they are sent.
"""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from pydantic import ValidationError

from factory.cluster.connection import Cluster
from factory.cluster.tasks import Done, Lost, TaskPool
from factory.core import trust
from factory.core.checksums import digest, known_digest
from factory.core.errors import MissingDependency, RunError
from factory.core.parallel import share_cores
from factory.core.plugins import PluginError
from factory.core.run_dir import log_event
from factory.judging.metrics import (
    TextHash,
    base_frame,
    find_unmeasured,
    inputs_key,
    measure_samples,
    read_sampled,
    save_metrics,
)
from factory.recipe.corpus import Judging
from filters import filter_class
from filters.base import Filter
from filters.correctness import Correctness
from filters.judges.asked import asks_server, loads_model
from filters.verify.own import find_places, name_again
from filters.verify.verifiers import read_verifier

SENT_BYTES = 2 << 30
"""Samples on their way to nodes that don't see the run directory. Bounds the object store."""

_SANDBOXED = frozenset({"code", "gym", "repository"})
"""Verifiers that run programs."""


class Measured(NamedTuple):
    """What a task returns."""

    host: str
    metrics: dict[str, pl.DataFrame] | None  # None: it can't read the samples


def measure_elsewhere(
    run: Path,
    parts: Sequence[Path],
    prompts: pl.DataFrame,
    filters: Mapping[str, Filter],
    judging: Judging,
) -> Counter[str]:
    """Measure on a cluster what no metrics exist of. Returns the parts that each filter measured.

    Filters that ask a model are left to this machine. Raises EngineError if the cluster is lost,
    and what a filter raises.
    """
    able = {name: filter_ for name, filter_ in filters.items() if may_leave(filter_)}
    missing = find_unmeasured(run, parts, prompts, able)
    stale = [part for part in parts if missing[part]]
    if not stale:
        return Counter()
    cluster = Cluster(judging.address, "judging.address")
    try:
        return _Round(cluster, run, prompts, able, judging.cpus).measure(stale, missing)
    finally:
        cluster.close()


def may_leave(filter_: Filter) -> bool:
    """Return whether another machine may measure with a filter: it asks no model for it."""
    return not (asks_server(filter_) or loads_model(filter_) or filter_.local_judge)


class _Round:
    """One round over the parts that are not measured yet."""

    def __init__(
        self,
        cluster: Cluster,
        run: Path,
        prompts: pl.DataFrame,
        filters: Mapping[str, Filter],
        cpus: int,
    ) -> None:
        self._cluster, self._run, self._prompts, self._cpus = cluster, run, prompts, cpus
        self._filters = filters
        self._described: dict[frozenset[str], str] = {}  # by their names: a key may read files
        self._sends = False  # whether samples are sent along
        self._sent: dict[Path, int] = {}
        variables = {"POLARS_MAX_THREADS": str(cpus), "OMP_NUM_THREADS": str(cpus)}
        self._task = cluster.ray.remote(_measure).options(
            num_cpus=cpus, max_retries=0, runtime_env={"env_vars": variables}
        )

    def measure(self, stale: Sequence[Path], missing: Mapping[Path, set[str]]) -> Counter[str]:
        counts, hosts = Counter[str](), Counter[str]()
        self._missing = missing
        left: Sequence[Path] = stale
        while left:
            unseen = []
            pool = TaskPool[Path](self._cluster, self._cpus, self._start, self._is_full)
            for outcome in pool.run(left):
                self._sent.pop(outcome.item, None)
                match outcome:
                    case Lost(part, why):
                        log_event(self._run, "judged_again", part=part.name, why=why)
                    case Done(part, Measured(_, None)):
                        self._sends = True
                        unseen.append(part)
                    case Done(part, Measured(host, dict(metrics))):
                        self._save(part, metrics)
                        counts.update(metrics.keys())
                        hosts[host] += 1
            left = unseen
        log_event(self._run, "judged_on_ray", parts=len(stale), hosts=dict(hosts))
        return counts

    def _is_full(self) -> bool:
        """Whether as many samples are on their way as may."""
        return sum(self._sent.values()) >= SENT_BYTES

    def _start(self, part: Path) -> Any:
        keys = pl.read_parquet(part, columns=["prompt_id"]).unique()
        prompts = self._prompts.join(keys, on="prompt_id", how="semi")
        content = part.read_bytes() if self._sends else None
        if content is not None:
            self._sent[part] = len(content)
        return self._task.remote(
            str(part), known_digest(part), content, prompts, self._describe(part), self._cpus
        )

    def _describe(self, part: Path) -> str:
        """Describe the filters that have not measured a part."""
        missing = frozenset(self._missing[part])
        if missing not in self._described:
            chosen = {name: own for name, own in self._filters.items() if name in missing}
            self._described[missing] = describe_filters(chosen)
        return self._described[missing]

    def _save(self, part: Path, metrics: Mapping[str, pl.DataFrame]) -> None:
        inputs = inputs_key(base_frame(part, self._prompts))
        for name, measured in metrics.items():
            save_metrics(self._run, name, self._filters[name], part.stem, measured, inputs)


def _measure(
    part: str,
    checksum: str,
    content: bytes | None,
    prompts: pl.DataFrame,
    described: str,
    cpus: int,
) -> Measured:
    """Measure one part. Runs on a node of the cluster."""
    filters = rebuild_filters(described)
    share_cores(cpus)
    host = socket.gethostname()
    if content is None and not _is_same(Path(part), checksum):
        return Measured(host, None)
    for filter_ in filters.values():
        if isinstance(filter_, Correctness) and runs_programs(filter_, prompts["verifier"]):
            _require_sandbox(host)
    samples = read_sampled(Path(part) if content is None else content)
    return Measured(host, measure_samples(samples, prompts, filters))


def runs_programs(chosen: Correctness, verifiers: pl.Series) -> bool:
    """Return whether a verifier of these prompts runs programs in the sandbox."""
    kinds = {(read_verifier(text) or {}).get("kind") for text in verifiers.drop_nulls()}
    return not chosen.unsafe_without_sandbox and bool(kinds & _SANDBOXED.difference(chosen.later))


def _require_sandbox(host: str) -> None:
    """Raise MissingDependency where this node can run no program: its verdicts would differ."""
    if trouble := _find_trouble():
        raise MissingDependency(
            f"{host}, a node of the Ray cluster, cannot run programs in the sandbox: {trouble}"
        )


@cache
def _find_trouble() -> str | None:
    from filters.verify.sandbox import available

    return available()


def describe_filters(filters: Mapping[str, Filter]) -> str:
    """Return filters as JSON, for `rebuild_filters` in another process.

    It has their keys as in a recipe, the verifiers of the user's own, and which code of the user's
    own is trusted here. It has no code.
    """
    verifiers = {
        name
        for filter_ in filters.values()
        if isinstance(filter_, Correctness)
        for name in filter_.own_verifiers
    }
    return json.dumps(
        {
            "filters": {
                name: [filter_.REFERENCE or name, filter_.model_dump(mode="json")]
                for name, filter_ in filters.items()
            },
            "keys": {name: filter_.cache_key() for name, filter_ in filters.items()},
            "verifiers": find_places(sorted(verifiers)),
            "trusted": trust.granted(),
        }
    )


@lru_cache(maxsize=1)
def rebuild_filters(described: str) -> dict[str, Filter]:
    """Build the filters that another process described.

    Raises RunError if one cannot be built, or would measure otherwise than it does there.
    """
    host, given = socket.gethostname(), json.loads(described)
    trust.accept(given["trusted"])
    try:
        name_again(given["verifiers"])
        filters = {
            name: _find_class(reference).model_validate(fields)
            for name, (reference, fields) in given["filters"].items()
        }
    except (PluginError, ValidationError) as error:
        raise RunError(
            f"{host}, a node of the Ray cluster, cannot build the filters: {error}. Install the "
            "same version of the factory on every node, and put the files that the recipe names "
            "at the same paths."
        ) from error
    for name, filter_ in filters.items():
        if isinstance(filter_, Correctness):
            filter_.note_verifiers(given["verifiers"])
        if filter_.cache_key() != given["keys"][name]:
            raise RunError(
                f"{host}, a node of the Ray cluster, would measure {name} otherwise than this "
                "machine: its version of the factory, or a file that the filter reads, is another. "
                "Make both the same on every node."
            )
    return filters


def _find_class(reference: str) -> type[Filter]:
    return TextHash if reference == "text" else filter_class(reference)


def _is_same(file: Path, checksum: str) -> bool:
    """Whether this node sees the very file that the driver means."""
    try:
        return digest(file) == checksum
    except OSError:
        return False
