"""Verification without a run: judges outputs of any origin on all cores.

`factory verify` runs `verify_lines` between two files; `verify` does the same for Python objects. A
record has `id`, `kind`, what the kind needs (`reference`, `tests`, `choices`, …) and `text`, the
whole response. A record that can't be read gives a result with the state `error`; the others are
still verified.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any

from factory.core.parallel import cores
from filters.verify.pool import Pool
from filters.verify.verifiers import Item, Verifiers

TASK = "factory.judging.standalone:judge_chunk"
CHUNK = 32

_NOT_THE_VERIFIERS = frozenset(("id", "text", "reference"))


def verify(
    records: Iterable[Mapping[str, Any]], workers: int | None = None
) -> Iterator[dict[str, Any]]:
    """Verify records and yield their verdicts in order.

    >>> next(verify([{"id": 1, "kind": "math", "reference": "1/2", "text": "0.5"}], 1))["state"]
    'correct'
    """
    return verify_lines((json.dumps(record) for record in records), workers)


def verify_lines(lines: Iterable[str], workers: int | None = None) -> Iterator[dict[str, Any]]:
    """Verify JSON lines. Yields `id`, `state`, `extracted`, `method`, `ms`, `detail` per line.

    Blank lines are skipped. With one worker each line is verified before the next is read; with
    more workers, `CHUNK` lines are read at once.
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    workers = workers or cores()
    if workers == 1:
        with Verifiers(workers=1) as verifiers:
            for numbered_line in numbered:
                yield from _judge([numbered_line], verifiers)
        return
    # No limits here: the verifiers inside each worker have their own deadlines and workers.
    pool = Pool(TASK, workers=workers, attempts=(None, None), memory_mb=0)
    sent: list[list[tuple[int, str]]] = []

    def chunks() -> Iterator[list[tuple[int, str]]]:
        while chunk := list(islice(numbered, CHUNK)):
            sent.append(chunk)
            yield chunk

    try:
        for outcome in pool.outcomes(chunks()):
            chunk = sent.pop(0)
            if outcome.failure:
                yield from (_error_row(None, number, f"{outcome.detail}") for number, _ in chunk)
            else:
                yield from outcome.value
    finally:
        pool.close()


def judge_chunk(chunk: list[tuple[int, str]]) -> list[dict[str, Any]]:
    """Verify numbered lines. Runs in a worker, which keeps its verifiers between calls."""
    return _judge(chunk, _worker_verifiers())


@cache
def _worker_verifiers() -> Verifiers:
    return Verifiers(workers=1)


def _judge(chunk: list[tuple[int, str]], verifiers: Verifiers) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    items: list[Item] = []
    for number, line in chunk:
        try:
            record = json.loads(line)
            item = _parse_item(record)
        except (ValueError, RecursionError) as error:
            rows.append(_error_row(None, number, f"not JSON: {error}"))
        except _MalformedRecord as error:
            rows.append(_error_row(error.record_id, number, str(error)))
        else:
            rows.append({"id": record.get("id")})
            items.append(item)
    verdicts = iter(verifiers.verify(items))
    for row in rows:
        if "state" not in row:
            verdict = next(verdicts)
            row.update(
                state=verdict.state,
                extracted=verdict.extracted,
                method=verdict.method,
                ms=verdict.ms,
                detail=verdict.detail,
            )
    return rows


class _MalformedRecord(Exception):
    """A JSON record that can't be verified."""

    def __init__(self, record_id: Any, why: str) -> None:
        self.record_id = record_id
        super().__init__(why)


def _parse_item(record: Any) -> Item:
    if not isinstance(record, dict):
        raise _MalformedRecord(None, f"expected an object, not {type(record).__name__}")
    for key in ("kind", "text"):
        if not isinstance(record.get(key), str):
            raise _MalformedRecord(
                record.get("id"), f"{key} is {record.get(key)!r:.40}, not a string"
            )
    verifier = {key: value for key, value in record.items() if key not in _NOT_THE_VERIFIERS}
    if "reference" in record:
        verifier["answer"] = record["reference"]
    return Item.of(verifier, record["text"])


def _error_row(record_id: Any, number: int, why: str) -> dict[str, Any]:
    return {
        "id": record_id,
        "state": "error",
        "extracted": None,
        "method": "input",
        "ms": 0.0,
        "detail": f"line {number}: {why}",
    }
