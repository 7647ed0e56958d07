"""Process reward models: a score for every step of an answer.

A classifier of tokens with one output, read at the last token of each step (Math-Shepherd,
arXiv 2312.08935; PRM800K, arXiv 2305.20050). Its sigmoid is the chance that the answer is still
right after that step.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field

from factory.core.errors import ModelError
from filters.judges.classifier import (
    Pair,
    Window,
    load_classifier,
    load_config,
    make_batches,
    pad_batch,
    render,
)
from filters.reasoning_steps import STEP_RULES, StepRule, cut_response

Aggregate = Literal["min", "product", "last", "mean"]

AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)

_AGGREGATE: Mapping[Aggregate, Callable[[Sequence[float]], float]] = {
    "min": min,
    "product": math.prod,
    "last": lambda scores: scores[-1],
    "mean": lambda scores: math.fsum(scores) / len(scores),
}

RULE_KEY = "step_rule"
"""Key of a model's config.json: the rule by which its training rows were cut into steps."""


def aggregate(scores: Sequence[float], how: Aggregate) -> float:
    """Return one score of an answer from those of its steps, of which there is at least one.

    >>> aggregate([0.5, 0.8], "min"), aggregate([0.5, 0.8], "product")
    (0.5, 0.4)
    """
    return _AGGREGATE[how](scores)


class Encoded(NamedTuple):
    """A conversation as token ids, and the place of each step's last token."""

    ids: list[int]
    places: list[int]


def encode_steps(name: str, tokenizer: Any, question: str, steps: Sequence[str]) -> Encoded:
    """Return a question and the steps of its answer as token ids, as in training and in use.

    A step ends with its last visible character. Raises ModelError for a tokenizer that can't say
    which characters a token is, and for a chat template that leaves out text.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"process reward model {name}: its tokenizer cannot say which characters a token is; "
            "use a model with a tokenizer.json"
        )
    joined = "".join(steps)
    answer = joined.strip()
    text = render(name, tokenizer, (question, answer))
    start = text.rfind(answer) - (len(joined) - len(joined.lstrip()))
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    begins = [begin for begin, _ in found["offset_mapping"]]
    ends = (
        start + end - (len(step) - len(step.rstrip()))
        for step, end in zip(steps, accumulate(map(len, steps)), strict=True)
    )
    # A token that is read begins before the step ends. So it never lies behind it.
    return Encoded(list(found["input_ids"]), [bisect_left(begins, end) - 1 for end in ends])


class ProcessModel(BaseModel):
    """A process reward model, trained by `kind: reward_model` with `shape: stepwise`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        description="A Hub id, or a folder (starts with a dot or a slash) of a model or training."
    )
    rule: StepRule | None = Field(
        None,
        description="Rule that cuts an answer into steps. Default: that of the model's training, "
        "which its config.json names.",
    )
    max_tokens: int | None = Field(
        None,
        ge=16,
        description="Longest conversation that is scored. A longer one has no score. Default: the "
        "model's context.",
    )
    batch: int = Field(8, ge=1, description="Batch size in answers.")

    def scores(self, pairs: Sequence[Pair]) -> list[list[float] | None]:
        """Return the scores of every step of every answer, each between 0 and 1, in order.

        None for an answer without text, and for one that is too long. Raises ModelError if the
        model is no process reward model, or nobody says how it cuts steps.
        """
        tokenizer, model = load_classifier(self.model, "token")
        rule = self._find_rule(model.config)
        limit = self.max_tokens or getattr(model.config, "max_position_embeddings", None)
        windows: list[Window] = []
        places: dict[int, list[int]] = {}
        for number, (question, answer) in enumerate(pairs):
            if not answer.strip():
                continue
            ends = cut_response(answer.strip(), rule)
            steps = [answer.strip()[a:b] for a, b in pairwise([0, *ends])]
            encoded = encode_steps(self.model, tokenizer, question, steps)
            if limit is None or len(encoded.ids) <= limit:
                places[number] = encoded.places
                windows.append((number, encoded.ids))
        found: list[list[float] | None] = [None] * len(pairs)
        windows.sort(key=lambda window: len(window[1]))  # a batch is padded to its longest
        for batch in make_batches(windows, self.batch):
            rows = _score_tokens(tokenizer, model, [ids for _, ids in batch])
            for (number, _), row in zip(batch, rows, strict=True):
                found[number] = [row[place] for place in places[number]]
        return found

    def read_rule(self) -> StepRule:
        """Return the rule that cuts answers into steps, without the model's weights.

        Raises ModelError if the model is no process reward model, or nobody says how it cuts.
        """
        return self._find_rule(load_config(self.model, "token"))

    def _find_rule(self, config: Any) -> StepRule:
        trained: StepRule | None = getattr(config, RULE_KEY, None)
        if trained is not None and trained not in STEP_RULES:
            raise ModelError(
                f"process reward model {self.model}: its config.json has {RULE_KEY}: {trained!r}, "
                f"which is none of {', '.join(STEP_RULES)}; set process_model.rule"
            )
        rule = self.rule or trained
        if rule is None:
            raise ModelError(
                f"process reward model {self.model}: its config.json has no {RULE_KEY}; set "
                f"process_model.rule to one of {', '.join(STEP_RULES)}"
            )
        return rule


def _score_tokens(tokenizer: Any, model: Any, rows: Sequence[list[int]]) -> list[list[float]]:
    import torch

    inputs = pad_batch(tokenizer, model, rows)
    with torch.inference_mode():
        found: list[list[float]] = model(**inputs).logits[..., 0].float().sigmoid().tolist()
    return found
