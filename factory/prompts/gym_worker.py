"""Prints the items of reasoning-gym tasks as JSON lines. Run by `gym.py`, never imported.

    python -P gym_worker.py '["chain_sum", …]' '{"size": 100, "seed": 0, …}'

A line is {"place", "task", "category", "entry"}, or {"place", "reason", "detail"} for an unusable
item. If a task or the settings are wrong, {"refused"} is the only line.
"""

from __future__ import annotations

import difflib
import json
import sys
from typing import Any

lines = sys.stdout


def main(tasks: list[str], settings: dict[str, Any]) -> None:
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    datasets = {}
    for task in tasks:
        if task not in DATASETS:
            near = difflib.get_close_matches(task, DATASETS, 3) or sorted(DATASETS)
            return write_line(refused=f"{task}: no such task; did you mean {', '.join(near)}?")
        if task == "composite":
            return write_line(
                refused="composite: a mixture of other tasks; list them as `task: [a, b]`"
            )
        try:
            datasets[task] = reasoning_gym.create_dataset(task, **settings)
        except (TypeError, ValueError, AssertionError) as error:
            return write_line(refused=f"{task}: does not accept these settings: {error}")
    for task, items in datasets.items():
        for index in range(len(items)):
            emit(f"{task}[{index}]", task, items, index)
    return None


def emit(place: str, task: str, items: Any, index: int) -> None:
    try:
        entry = items[index]
    except Exception as error:  # any of 106 generators may raise anything
        write_line(
            place=place, reason="generator_failed", detail=f"{type(error).__name__}: {error}"
        )
        return
    try:
        write_line(place=place, task=task, category=items.category, entry=entry)
    except (TypeError, ValueError) as error:
        write_line(
            place=place, reason="not_json", detail=f"the scorer's data are not JSON: {error}"
        )


def write_line(**line: Any) -> None:
    print(json.dumps(line, allow_nan=False), file=lines, flush=True)


if __name__ == "__main__":
    sys.stdout = sys.stderr  # some generators print as they go (binary_alternation: dots)
    main(json.loads(sys.argv[1]), json.loads(sys.argv[2]))
