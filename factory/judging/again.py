"""Verdicts of another version: which are to be given, which a ledger has, and giving the rest."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from factory.judging.ledger import Leases, LedgerReader, record_verdicts
from filters.verify import VERIFIERS
from filters.verify.verification import LATER, Verification
from filters.verify.verifiers import Item, Verifiers

KINDS = tuple(kind for kind in VERIFIERS if kind != "rubric")
"""Kinds whose verdicts may come later. A judge answers what is open of a rubric."""

_AT_ONCE = 64
_LOOK_S = 1.0


class Due(NamedTuple):
    """A verdict to give, and the key by which a ledger knows it."""

    sample_id: str
    input: str
    version: str
    item: Item


def find_due(
    items: Mapping[str, Item], verifiers: Verifiers
) -> tuple[list[Due], dict[str, Verification]]:
    """Return the verdicts that a verifier has to give, and those that are given at once.

    An answer that is missing needs no verifier. Starts no process for the others.
    """
    found = dict(zip(items, verifiers.verify(list(items.values()), later=KINDS), strict=True))
    due = [
        Due(name, verdict.input or "", verdict.version or "", items[name])
        for name, verdict in found.items()
        if verdict.state == "pending" and verdict.method == LATER
    ]
    return due, {name: found[name] for name in found.keys() - {one.sample_id for one in due}}


def give_verdicts(
    due: Sequence[Due], verifiers: Verifiers, ledger: Path, *, write: bool
) -> dict[str, Verification]:
    """Return the verdicts by sample id. Those that the ledger has are not given again.

    With `write` each new one goes into the ledger of the folder. Then several processes may share
    the work: what another one is at work on is waited for.
    """
    reader = LedgerReader(ledger)
    found, left = _take_known(due, reader)
    if not write:
        for at in range(0, len(left), _AT_ONCE):
            found |= _judge(left[at : at + _AT_ONCE], verifiers)
        return found
    with Leases(ledger) as leases:
        while left:
            claimed = set(leases.claim([one.sample_id for one in left], _AT_ONCE))
            # What another process has decided since then has no lease any more.
            known, left = _take_known(left, reader)
            mine = [one for one in left if one.sample_id in claimed]
            given = _judge(mine, verifiers)
            record_verdicts(ledger, given.items())
            found |= known | given
            leases.release(claimed)
            left = [one for one in left if one.sample_id not in given]
            if not claimed:
                time.sleep(_LOOK_S)
    return found


def _take_known(
    due: Sequence[Due], reader: LedgerReader
) -> tuple[dict[str, Verification], list[Due]]:
    """Split into what the ledger has and what is left."""
    reader.refresh()
    known, left = {}, []
    for one in due:
        verdict = reader.verdicts.get(one[:3])
        if verdict is None:
            left.append(one)
        else:
            known[one.sample_id] = verdict.as_verification()
    return known, left


def _judge(some: Sequence[Due], verifiers: Verifiers) -> dict[str, Verification]:
    verdicts = verifiers.verify([one.item for one in some])
    return {one.sample_id: verdict for one, verdict in zip(some, verdicts, strict=True)}
