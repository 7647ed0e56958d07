"""Load a classifier with one output, of whole conversations or of their tokens, and batch texts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from factory.core.errors import MissingDependency, ModelError
from factory.core.models import load_tokenizer
from factory.core.nouns import Message

Pair = tuple[str, str]
"""(question, answer)."""

Head = Literal["sequence", "token"]
"""`sequence`: one output per conversation. `token`: one output per token."""

BATCH_TOKENS = 65_536
"""Most tokens of a batch, padding included; a longer conversation is a batch of its own."""

Window = tuple[int, list[int]]
"""The place of a pair, and token ids."""

_MADE_BY: dict[Head, str] = {
    "sequence": "a model for whole answers is trained with shape: pairwise or pointwise",
    "token": "a model for steps is trained with shape: stepwise",
}


def conversation(pair: Pair) -> list[Message]:
    """Return a pair as the two turns that a reward model reads."""
    question, answer = pair
    return [Message(role="user", content=question), Message(role="assistant", content=answer)]


def render(name: str, tokenizer: Any, pair: Pair) -> str:
    """Return a conversation as text. Raises ModelError if the template leaves out some of it."""
    text: str = tokenizer.apply_chat_template(conversation(pair), tokenize=False)
    if not all(part.strip() in text for part in pair):
        raise ModelError(
            f"reward model {name}: its chat template changes or leaves out a part of the "
            "conversation (such as the reasoning), so the score would be that of another text; "
            "train it with a template that keeps all (`chatml`)"
        )
    return text


def make_batches(windows: Sequence[Window], most: int) -> Iterator[list[Window]]:
    """Split windows, sorted by length, into batches of at most `most` and BATCH_TOKENS."""
    batch: list[Window] = []
    for window in windows:
        if batch and (len(batch) == most or (len(batch) + 1) * len(window[1]) > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


@lru_cache(maxsize=3)  # all-scenario RL uses one for helpfulness and one for safety
def load_classifier(name: str, head: Head) -> tuple[Any, Any]:
    """Return the tokenizer and the model of a Hub id or a folder, ready to score.

    Raises ModelError if it can't be loaded, has more than one output or no chat template, and
    MissingDependency without torch.
    """
    try:
        import torch
        from transformers import (
            AutoModelForSequenceClassification,
            AutoModelForTokenClassification,
        )
    except ImportError as error:
        raise MissingDependency(
            f"a reward model needs {error.name}; install the extra `cpu` or `gpu`, or score by "
            "quality.reward_server or quality.judge"
        ) from error
    name = _find_model(name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    classes = {"sequence": AutoModelForSequenceClassification}
    classes["token"] = AutoModelForTokenClassification
    try:
        model = classes[head].from_pretrained(name, dtype=dtype).to(device)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"reward model {name} cannot be loaded: {reason}") from error
    _refuse_other_head(name, model.config, head)
    tokenizer = load_tokenizer(name, needed_for="a reward model", padding_side="right")
    if model.config.num_labels != 1 or not tokenizer.chat_template:
        raise ModelError(
            f"reward model {name} has {model.config.num_labels} outputs and "
            f"{'a' if tokenizer.chat_template else 'no'} chat template; it must have one output, "
            "the score, and the template of the conversations it was trained on"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id  # to find the last token of a padded row
    return tokenizer, model.eval()


def load_config(name: str, head: Head) -> Any:
    """Return the config of a model without its weights.

    Raises ModelError if there is none or the model has another head, and MissingDependency
    without transformers.
    """
    try:
        from transformers import AutoConfig
    except ImportError as error:
        raise MissingDependency(
            f"a reward model needs {error.name}; install the extra `cpu` or `gpu`"
        ) from error
    name = _find_model(name)
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"reward model {name} cannot be loaded: {reason}") from error
    _refuse_other_head(name, config, head)
    return config


def _find_model(name: str) -> str:
    """Return the folder of a local model, or the Hub id. Raises ModelError for an empty folder."""
    folder = find_folder(name)
    if folder is not None and not (folder / "config.json").is_file():
        raise ModelError(
            f"reward model {name}: there is no config.json in it; name the folder of a trained "
            "reward model, or a Hub id"
        )
    return name if folder is None else str(folder)


def find_folder(name: str) -> Path | None:
    """Return the folder of a model: of a training's directory its `model`. None for a Hub id."""
    if not name.startswith((".", "/", "~")):
        return None
    folder = Path(name).expanduser()
    return folder if (folder / "config.json").is_file() else folder / "model"


def _refuse_other_head(name: str, config: Any, head: Head) -> None:
    """Raise ModelError for a model without this head: its scores would be random weights'."""
    known = config.architectures or ()
    if known and not any(f"For{head.capitalize()}Classification" in one for one in known):
        raise ModelError(
            f"reward model {name} is a {known[0]} and no classifier of {head}s; "
            f"{_MADE_BY[head]} (kind: reward_model)"
        )


def pad_batch(tokenizer: Any, model: Any, rows: Sequence[list[int]]) -> Any:
    """Return token ids of several lengths as a model's inputs, on its device."""
    return tokenizer.pad({"input_ids": list(rows)}, return_tensors="pt").to(model.device)


def sigmoid(score: float) -> float:
    """Return a score, however large, as a probability.

    >>> sigmoid(0.0), sigmoid(-1e9)
    (0.5, 0.0)
    """
    return 0.5 + 0.5 * math.tanh(score / 2)
