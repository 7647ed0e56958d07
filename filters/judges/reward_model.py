"""Reward models that score single answers: in this process, or on a server."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from factory.core.errors import MissingDependency, ModelError
from factory.core.models import load_tokenizer
from factory.core.nouns import Message
from filters.judges.retry import post

if TYPE_CHECKING:
    import httpx

Pair = tuple[str, str]
"""(question, answer)."""


def conversation(pair: Pair) -> list[Message]:
    """Return a pair as the two turns that a reward model reads."""
    question, answer = pair
    return [Message(role="user", content=question), Message(role="assistant", content=answer)]


class RewardModel(BaseModel):
    """A sequence classifier with one output, trained by `kind: reward_model` or from the Hub.

    Pairs are rendered with the tokenizer's own chat template, as in training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        description="A Hub id, or a folder (starts with a dot or a slash) of a model or training."
    )
    max_tokens: int | None = Field(
        None,
        ge=128,
        description="Longest conversation that is read at once. A longer answer is read in "
        "overlapping windows, each after the whole question, and gets their lowest score. Default: "
        "the model's context.",
    )
    batch: int = Field(8, ge=1, description="Batch size in answers.")

    def scores(self, pairs: Sequence[Pair]) -> Iterator[float | None]:
        """Return the scores in order; None if a question leaves no room for an answer.

        All of every answer is read: R1 has no limit here. Raises ModelError if the model is not a
        reward model.
        """
        tokenizer, model = _load(self.model)
        limit = self.max_tokens or getattr(model.config, "max_position_embeddings", None)
        windows: list[tuple[int, list[int]]] = []  # (place of the pair, token ids)
        for place, pair in enumerate(pairs):
            windows += [(place, ids) for ids in _split_pair(self.model, tokenizer, pair, limit)]
        lowest: list[float | None] = [None] * len(pairs)
        # Batch windows of similar length: a batch is padded to its longest.
        windows.sort(key=lambda window: len(window[1]))
        for batch in _make_batches(windows, self.batch):
            found = _score_batch(tokenizer, model, [ids for _, ids in batch])
            for (place, _), score in zip(batch, found, strict=True):
                known = lowest[place]
                lowest[place] = score if known is None else min(known, score)
        return iter(lowest)


BATCH_TOKENS = 65_536
"""Most tokens of a batch, padding included; a longer conversation is a batch of its own."""

MIN_WINDOW = 64
"""Fewest tokens of an answer that a window must have room for: any eight characters fit."""

Window = tuple[int, list[int]]


def _split_pair(name: str, tokenizer: Any, pair: Pair, limit: int | None) -> list[list[int]]:
    """Return a conversation as token ids: once, or once per window of a long answer.

    An answer that is too long is halved until its parts fit. The halves share an eighth, so that a
    passage on a border is whole in one of them. Returns [] if the question leaves no room.
    """
    question, answer = pair
    whole = _tokenize(name, tokenizer, pair)
    if limit is None or len(whole) <= limit:
        return [whole]
    if len(_tokenize(name, tokenizer, (question, ""))) + MIN_WINDOW > limit:
        return []
    middle, shared = len(answer) // 2, max(1, len(answer) // 16)
    halves = answer[: middle + shared], answer[middle - shared :]
    return [ids for half in halves for ids in _split_pair(name, tokenizer, (question, half), limit)]


def _tokenize(name: str, tokenizer: Any, pair: Pair) -> list[int]:
    """Return a conversation as token ids. Raises ModelError if the template leaves out text."""
    text = tokenizer.apply_chat_template(conversation(pair), tokenize=False)
    if not all(part.strip() in text for part in pair):
        raise ModelError(
            f"reward model {name}: its chat template changes or leaves out a part of the "
            "conversation (such as the reasoning), so the score would be that of another text; "
            "train it with a template that keeps all (`chatml`)"
        )
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]  # the template has them
    return ids


def _make_batches(windows: Sequence[Window], most: int) -> Iterator[list[Window]]:
    """Split windows, sorted by length, into batches of at most `most` and BATCH_TOKENS."""
    batch: list[Window] = []
    for window in windows:
        if batch and (len(batch) == most or (len(batch) + 1) * len(window[1]) > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def _score_batch(tokenizer: Any, model: Any, rows: Sequence[list[int]]) -> list[float]:
    import torch

    inputs = tokenizer.pad({"input_ids": list(rows)}, return_tensors="pt").to(model.device)
    with torch.inference_mode():
        found: list[float] = model(**inputs).logits[:, 0].float().tolist()
    return found


@lru_cache(maxsize=2)  # all-scenario RL uses one for helpfulness and one for safety
def _load(name: str) -> tuple[Any, Any]:
    try:
        import torch
        from transformers import AutoModelForSequenceClassification
    except ImportError as error:
        raise MissingDependency(
            f"a reward model needs {error.name}; install the extra `cpu` or `gpu`, or score by "
            "quality.reward_server or quality.judge"
        ) from error
    if name.startswith((".", "/", "~")):
        folder = Path(name).expanduser()
        folder = folder if (folder / "config.json").is_file() else folder / "model"
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"reward model {name}: there is no config.json in it; name the folder of a trained "
                "reward model, or a Hub id"
            )
        name = str(folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    try:
        model = AutoModelForSequenceClassification.from_pretrained(name, dtype=dtype).to(device)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"reward model {name} cannot be loaded: {reason}") from error
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


class RewardServer(BaseModel):
    """A reward model on a server with vLLM's `/classify` API for messages.

    Start one with `vllm serve MODEL --runner pooling`. The server applies the chat template.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = Field(
        pattern=r"^https?://", description="URL of the server, without /classify."
    )
    model: str = Field(description="Name of the model on the server.")
    api_key_env: str = Field("REWARD_API_KEY", description="Environment variable with the API key.")
    concurrency: int = Field(16, ge=1, description="Maximum number of concurrent requests.")
    timeout_s: float = Field(120.0, gt=0, description="Time limit of one request in seconds.")
    attempts: int = Field(5, ge=1, description="Maximum number of attempts per request.")

    def scores(self, pairs: Sequence[Pair]) -> list[float | None]:
        """Return the scores in order; None if all attempts failed or the reply has no score.

        Raises EngineError for errors that a retry can't fix: a wrong key, URL or model.
        """
        import httpx

        key = os.environ.get(self.api_key_env)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with (
            httpx.Client(headers=headers, timeout=self.timeout_s) as client,
            ThreadPoolExecutor(self.concurrency) as threads,
        ):
            return list(threads.map(lambda pair: self._score(client, pair), pairs))

    def _score(self, client: httpx.Client, pair: Pair) -> float | None:
        # Raw output: a sigmoid would compress the scores of good answers near 1.
        body = {"model": self.model, "messages": conversation(pair), "use_activation": False}
        what = f"quality.reward_server and the key in the environment variable {self.api_key_env}"
        url = self.base_url.rstrip("/") + "/classify"
        blame = ("the reward server", what)
        response = post(client, url, body, attempts=self.attempts, blame=blame)
        return None if response is None else _read_score(response)


def _read_score(response: httpx.Response) -> float | None:
    """Return the single output of a reply, or None (a classifier with several classes)."""
    try:
        outputs = response.json()["data"][0]["probs"]
        score = float(outputs[0])
    except (ValueError, LookupError, TypeError):
        return None
    return score if len(outputs) == 1 and math.isfinite(score) else None
