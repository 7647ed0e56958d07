"""Runs the project's verifiers over records, and what CPU time that took."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filters.verify.verifiers import Item, Verifiers

_NOT_THE_VERIFIERS = ("id", "text", "reference", "expected", "got", "method", "why")


def item_of(record: Mapping[str, Any]) -> Item:
    """A record of `factory verify` (kind, reference, text, …) as the verifiers take it."""
    verifier = {key: value for key, value in record.items() if key not in _NOT_THE_VERIFIERS}
    if "reference" in record:
        verifier["answer"] = record["reference"]
    return Item.of(verifier, record["text"])


def judge(records: Sequence[Mapping[str, Any]], verifiers: Verifiers) -> list[str]:
    """The states of records, in their order."""
    return [verdict.state for verdict in verifiers.verify([item_of(record) for record in records])]


def judge_math(pairs: Sequence[tuple[str, str]], verifiers: Verifiers) -> list[str]:
    """The states of (reference, response) pairs."""
    return judge([{"kind": "math", "reference": r, "text": text} for r, text in pairs], verifiers)


def cpu_seconds() -> float:
    """CPU time of this process and all below it, whether ended or running."""
    total = sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
    stats: dict[int, tuple[int, int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text("utf-8").rsplit(")", 1)[1].split()
            except OSError:  # it ended meanwhile
                continue
            stats[int(folder.name)] = int(fields[1]), sum(map(int, fields[11:15]))
    ours = {os.getpid()}
    while below := {pid for pid, (parent, _) in stats.items() if parent in ours} - ours:
        ours |= below
    ticks = sum(stats[pid][1] for pid in ours - {os.getpid()} if pid in stats)
    return total + ticks / os.sysconf("SC_CLK_TCK")
