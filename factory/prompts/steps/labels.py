"""Labels of steps: pass rates of a run over prefixes, and published sets, as rows of one shape.

The shape is in filters.reasoning_steps. A soft label is the share of judged continuations that
are correct, a hard one whether any is (Math-Shepherd, arXiv 2312.08935, §3.3). The label of the
last step is whether the sample itself is correct.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

from factory.core.files import write_parquet
from factory.core.nouns import Prompt
from factory.prompts.steps.prefixes import PREFIX

LabelKind = Literal["soft", "hard"]

FOLDER = "step_labels"
"""Folder of a run over prefixes with `soft.parquet` and `hard.parquet`."""

MATH_SHEPHERD_TAG = "ки"
"""Ends every step in `input`; in `label` a `+` or `-` stands in its place."""


def write_step_labels(run: Path) -> int:
    """Write a run's labels of steps to its folder `step_labels`. Returns the number of rows.

    Writes nothing for a run whose prompts continue nothing.
    """
    import pyarrow as pa

    count = 0
    for kind in get_args(LabelKind):
        rows = list(read_step_labels(run, kind))
        count = len(rows)
        if rows:
            (run / FOLDER).mkdir(exist_ok=True)
            write_parquet(run / FOLDER / f"{kind}.parquet", pa.Table.from_pylist(rows))
    return count


def read_step_labels(run: Path, kind: LabelKind) -> Iterator[dict[str, Any]]:
    """Yield a row per sample whose prefixes were judged: all its steps with their labels.

    A step without a judged continuation has the label None.
    """
    rates = _read_rates(run)
    steps: dict[str, list[tuple[str, float | None]]] = defaultdict(list)  # sample → prefixes
    whole: dict[str, tuple[str, bool, Prompt]] = {}
    for prompt in _read_prompts(run):
        if prompt.continues is None or PREFIX not in prompt.meta:
            continue
        rate = rates.get(prompt.id)
        label = rate if rate is None or kind == "soft" else float(rate > 0)
        meta = prompt.meta[PREFIX]
        for name in meta["samples"]:
            steps[name].append((prompt.continues["text"], label))
        for one in meta["whole"]:
            whole[one["sample_id"]] = one["rest"], one["correct"], prompt
    for name, (rest, correct, prompt) in whole.items():
        own = sorted(steps[name], key=lambda step: len(step[0]))
        starts = ["", *(text for text, _ in own)]
        cut = [text[len(start) :] for start, text in pairwise(starts)]
        yield {
            "prompt_id": name.rpartition("-")[0],
            "sample_id": name,
            "question": prompt.question,
            "steps": [*cut, rest],
            "labels": [*(label for _, label in own), float(correct)],
            "kind": kind,
        }


def _read_rates(run: Path) -> dict[str, float | None]:
    import pyarrow.parquet as pq

    table = pq.read_table(run / "pass_rates.parquet", columns=["prompt_id", "pass_rate"])
    return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _read_prompts(run: Path) -> Iterator[Prompt]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(run / "prompts.parquet").iter_batches(1024):
        for row in batch.to_pylist():
            yield Prompt.from_row(row)


def read_labelled_rows(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the labelled solutions of a row: this project's own, or one of a published set.

    Known are PRM800K (`question`, `label`), Math-Shepherd (`input`, `label`) and TRL's stepwise
    sets (`prompt`, `completions`, `labels`). Raises ValueError for any other row, and LookupError,
    TypeError or AttributeError for one with other contents.
    """
    if "steps" in row and "labels" in row:
        return [dict(row)]
    if "completions" in row and "labels" in row:
        steps = [f"{step}\n" for step in row["completions"]]
        return [_labelled(row["prompt"], steps, [float(label) for label in row["labels"]])]
    if "input" in row and "label" in row:
        return [read_math_shepherd(row["input"], row["label"])]
    if "question" in row and "label" in row:
        return list(_read_prm800k(row["question"]["problem"], row["label"]["steps"]))
    raise ValueError(
        f"the columns are {', '.join(row)}; needed are steps and labels, or those of PRM800K "
        "(question, label), of Math-Shepherd (input, label) or of TRL (prompt, completions, labels)"
    )


def _labelled(question: str, steps: list[str], labels: list[float | None]) -> dict[str, Any]:
    return {"question": question, "steps": steps, "labels": labels, "kind": "hard"}


def read_math_shepherd(text: str, labelled: str) -> dict[str, Any]:
    """Read the question and steps, each with the tag at its end, and the same text with `+` or `-`
    in place of the tag."""
    *pieces, _ = text.split(MATH_SHEPHERD_TAG)
    labels: list[float | None] = []
    place = 0
    for piece in pieces:
        place += len(piece)
        mark = labelled[place : place + 1]
        if mark not in ("+", "-"):
            raise ValueError(f"label has {mark!r} for + or - after the step {piece[-60:]!r}")
        labels.append(float(mark == "+"))
        place += 1
    question, mark, first = pieces[0].partition("Step 1:") if pieces else ("", "", "")
    if not mark:
        raise ValueError("input has no `Step 1:`, or no step with a label")
    steps = [f"{step.strip()}\n" for step in (mark + first, *pieces[1:])]
    return _labelled(question.strip(), steps, labels)


def _read_prm800k(question: str, steps: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the solution that goes on from each chosen completion, and a row per other completion.

    Ratings are 1 (good), 0 (neutral) and -1 (bad); neutral counts as good, as in the paper (arXiv
    2305.20050, §2.4). A person's own step is good. In the row of another completion only its own
    step has a label: those before it are in the solution.
    """
    texts: list[str] = []
    labels: list[float | None] = []
    for step in steps:
        completions = step["completions"] or []
        chosen, human = step["chosen_completion"], step["human_completion"]
        for number, one in enumerate(completions):
            if number != chosen and one["rating"] is not None:
                own: list[float | None] = [*[None] * len(texts), float(one["rating"] >= 0)]
                yield _labelled(question, [*texts, f"{one['text']}\n"], own)
        if chosen is not None:
            rating = completions[chosen]["rating"]
            texts.append(f"{completions[chosen]['text']}\n")
            labels.append(None if rating is None else float(rating >= 0))
        elif human is not None:
            texts.append(f"{human['text']}\n")
            labels.append(1.0)
        else:
            break
    if any(label is not None for label in labels):
        yield _labelled(question, texts, labels)
