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

FIRST_STEP = "Step 1:"
"""Begins the first step in `input` of Math-Shepherd, behind the question."""


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
        steps = [_end_line(step) for step in row["completions"]]
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


def _end_line(step: Any) -> str:
    if not isinstance(step, str):
        raise TypeError(f"a step is {step!r:.80}, no text")
    return f"{step}\n"


def read_math_shepherd(text: str, labelled: str) -> dict[str, Any]:
    """Read the question and steps, each with the tag at its end, and the same text with `+` or `-`
    in place of the tag.

    A tag within a word of both texts is a part of the text. A step without any text has no label.
    Text behind the last tag was cut off and is left out. Raises ValueError for other texts.
    """
    pieces, marks = list[str](), list[str]()
    start = end = place = 0  # of a step in `text`, and where `labelled` is read
    for piece in text.split(MATH_SHEPHERD_TAG)[:-1]:
        if not labelled.startswith(piece, place):
            raise ValueError(f"label is another text than input: {labelled[place : place + 60]!r}")
        end += len(piece)
        place += len(piece)
        if labelled.startswith(MATH_SHEPHERD_TAG, place) and not piece[-1:].isspace():
            place += len(MATH_SHEPHERD_TAG)
        elif labelled.startswith(("+", "-"), place):
            pieces.append(text[start:end])
            marks.append(labelled[place])
            start = end + len(MATH_SHEPHERD_TAG)
            place += 1
        else:
            mark = labelled[place : place + 1]
            raise ValueError(f"label has {mark!r} for + or - after the step {piece[-60:]!r}")
        end += len(MATH_SHEPHERD_TAG)
    question, heading, step = pieces[0].rpartition(FIRST_STEP) if pieces else ("", "", "")
    if not heading:
        raise ValueError(f"input has no `{FIRST_STEP}`, or no step with a label")
    if not question.strip():
        raise ValueError(f"input has no question before `{FIRST_STEP}`")
    steps = [f"{one.strip()}\n" for one in (heading + step, *pieces[1:])]
    labels = [
        float(mark == "+") if one.strip() else None for one, mark in zip(steps, marks, strict=True)
    ]
    return _labelled(question.strip(), steps, labels)


def _read_prm800k(question: str, steps: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the solution that goes on from each chosen completion, and a row per other completion.

    Ratings are 1 (good), 0 (neutral) and -1 (bad); neutral counts as good, as in the paper (arXiv
    2305.20050, §2.4). A person's own step is good. In the row of another completion only its own
    step has a label: those before it are in the solution. A completion without any text or rating
    has no label.
    """
    texts: list[str] = []
    labels: list[float | None] = []
    for step in steps:
        completions = step["completions"] or []
        chosen, human = step["chosen_completion"], step["human_completion"]
        if chosen is not None and chosen not in range(len(completions)):
            raise ValueError(f"chosen_completion is {chosen!r}, of {len(completions)} completions")
        rated = [(_end_line(one["text"]), _read_rating(one)) for one in completions]
        for number, (text, label) in enumerate(rated):
            if number != chosen and label is not None:
                yield _labelled(question, [*texts, text], [*[None] * len(texts), label])
        if chosen is not None:
            text, label = rated[chosen]
        elif human is not None:
            text = _end_line(human["text"])
            label = 1.0 if text.strip() else None
        else:
            break
        texts.append(text)
        labels.append(label)
    if any(label is not None for label in labels):
        yield _labelled(question, texts, labels)


def _read_rating(completion: Mapping[str, Any]) -> float | None:
    """Return 1 for a good or neutral step, 0 for a bad one, None for one that has no label."""
    rating = completion["rating"]
    if rating not in (None, -1, 0, 1):
        raise ValueError(f"a rating is {rating!r:.80}; known are -1, 0, 1 and null")
    return None if rating is None or not completion["text"].strip() else float(rating >= 0)
