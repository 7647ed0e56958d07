"""Thousands of programs, a third of them hostile: nothing leaks."""

from __future__ import annotations

import random

import pytest
from hostile_programs import HOSTILE
from process_tree import descendants, resident_mb

from filters.verify.sandbox import Boxes, Job, Limits, Task

PROGRAMS, CHUNK = 3000, 500
QUICK = [
    hostile
    for hostile in HOSTILE
    if "time_limit" not in hostile.ends and hostile.name not in ("fill_tmp", "many_files")
]


@pytest.mark.real(group=None)
def test_soak(sandboxed: None) -> None:
    rng = random.Random(7)
    boxes = Boxes(2)
    before = descendants()
    sizes: list[float] = []

    def job(number: int) -> Job[bool]:
        if number % 3 == 0:
            hostile = rng.choice(QUICK)
            outcome = yield Task("script", hostile.source.encode(), limits=Limits(2.0, 256))
            return b"ESCAPED" not in outcome.stdout and outcome.end in hostile.ends
        outcome = yield Task("script", b"print(int(input()) * 3)", stdin=b"%d\n" % number)
        return outcome.stdout == b"%d\n" % (3 * number)

    list(boxes.run([job(1), job(2)]))  # opens both boxes
    warm = descendants() - before
    for start in range(0, PROGRAMS, CHUNK):
        results = dict(boxes.run(job(number) for number in range(start, start + CHUNK)))
        failed = {start + place: found for place, found in results.items() if found is not True}
        assert failed == {}
        assert descendants() - before == warm, "a box was replaced, or a process was left"
        sizes.append(sum(resident_mb(pid) for pid in warm))
    boxes.close()
    assert sizes[-1] - sizes[0] < 8, f"resident MB of the boxes: {sizes}"
    assert descendants() == before
