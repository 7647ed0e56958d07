"""Read and tokenize the training rows of a process reward model: answers with labelled steps.

    {"prompt_id", "question", "steps": [str], "labels": [float | null], "kind": "soft" | "hard"}

A label is the share of continuations from after that step that reach the right answer, or 1 and 0
for a step that is good or bad. A step with the label null, or behind the last label, is read and
not trained on. Rows of PRM800K, of Math-Shepherd and of TRL's stepwise sets are read as well
(`factory.prompts.steps.labels`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from factory.core.errors import SourceError
from factory.core.nouns import Message
from factory.prompts.steps.labels import read_labelled_rows
from factory.recipe.reward_model import RewardModel
from factory.train.reward_models.rows import hash_fraction, read_rows
from filters.judges.process_model import encode_steps
from filters.reasoning_steps import cut_response

Label = float | None


class LabelledAnswer(NamedTuple):
    """An answer as token ids; `places` are the last tokens of its labelled steps."""

    question: str
    ids: list[int]
    places: list[int]
    labels: list[float]
    numbers: list[int]  # of the steps, from 0


class LabelledAnswers(NamedTuple):
    """Answers, split by held-out questions.

    `overlong` counts rows left out, `cut_otherwise` rows that the recipe's rule cuts otherwise.
    """

    train: list[LabelledAnswer]
    validation: list[LabelledAnswer]
    overlong: int
    cut_otherwise: int


def tokenize_steps(recipe: RewardModel, tokenizer: Any) -> LabelledAnswers:
    """Render the rows of a recipe's data with the tokenizer's chat template and tokenize them.

    Questions are held out with all their answers. Raises SourceError for a row that is no answer
    with labelled steps, where no row is left to train on, and where the recipe's rule cuts every
    answer otherwise.
    """
    limit = recipe.max_length or tokenizer.model_max_length
    train: list[LabelledAnswer] = []
    validation: list[LabelledAnswer] = []
    overlong = cut_otherwise = 0
    for place, row in read_rows(recipe):
        try:
            answers = [_parse_row(one) for one in read_labelled_rows(row)]
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise SourceError(
                f"{place}: question, steps (texts) and labels (numbers from 0 to 1, or null) are "
                f"needed: {error!r}"
            ) from error
        for question, steps, labels in answers:
            ids, places = encode_steps(recipe.model.id, tokenizer, question, steps)
            if len(ids) > limit:
                overlong += 1
                continue
            answer = "".join(steps).strip()
            cut_otherwise += len(cut_response(answer, recipe.step_rule)) != len(steps)
            known = list(_list_known(places, labels))
            if known:
                parts = (list(part) for part in zip(*known, strict=True))
                message = [Message(role="user", content=question)]
                held_out = hash_fraction(message) < recipe.validation
                (validation if held_out else train).append(LabelledAnswer(question, ids, *parts))
    if not train:
        raise SourceError(
            f"{recipe.data}: no row to train on: {overlong} rows are longer than max_length "
            f"({limit}), {len(validation)} are held out"
        )
    if cut_otherwise == len(train) + len(validation):
        raise SourceError(
            f"{recipe.data}: not one answer has the number of steps that step_rule: "
            f"{recipe.step_rule} cuts, so the model would learn of other steps than those it "
            "scores later; set `step_rule` to the rule by which the rows were made, or make them "
            "again by this one"
        )
    return LabelledAnswers(train, validation, overlong, cut_otherwise)


def _parse_row(row: Mapping[str, Any]) -> tuple[str, list[str], list[Label]]:
    question, steps, labels = row["question"], row["steps"], row["labels"]
    if not isinstance(question, str):
        raise TypeError(f"question is {question!r}")
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise TypeError(f"steps is {steps!r}")
    if not any(step.strip() for step in steps):
        raise ValueError("steps have no text")
    if not isinstance(labels, list) or len(labels) > len(steps):
        raise ValueError(f"labels is {labels!r}, for {len(steps)} steps")
    parsed = [_parse_label(label) for label in labels]
    for number, (step, label) in enumerate(zip(steps, parsed, strict=False)):
        if label is not None and not step.strip():
            raise ValueError(f"labels[{number}] is {label}, but steps[{number}] has no text")
    return question, steps, parsed


def _parse_label(label: Any) -> Label:
    if label is None:
        return None
    value = float(label)
    if not math.isfinite(value) or not 0 <= value <= 1:
        raise ValueError(f"a label is {label!r}")
    return value


def _list_known(places: Sequence[int], labels: Sequence[Label]) -> Iterator[tuple[int, float, int]]:
    """Yield place, label and number of the steps with a label."""
    for number, (place, label) in enumerate(zip(places, labels, strict=False)):
        if label is not None:
            yield place, label, number
