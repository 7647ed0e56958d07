"""Reward models that score single answers: in this process, or on a server."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from filters.judges.classifier import (
    Pair,
    Window,
    conversation,
    load_classifier,
    make_batches,
    pad_batch,
    render,
)
from filters.judges.retry import post

if TYPE_CHECKING:
    import httpx


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
        tokenizer, model = load_classifier(self.model, "sequence")
        limit = self.max_tokens or getattr(model.config, "max_position_embeddings", None)
        windows: list[Window] = []
        for place, pair in enumerate(pairs):
            windows += [(place, ids) for ids in _split_pair(self.model, tokenizer, pair, limit)]
        lowest: list[float | None] = [None] * len(pairs)
        # Batch windows of similar length: a batch is padded to its longest.
        windows.sort(key=lambda window: len(window[1]))
        for batch in make_batches(windows, self.batch):
            found = _score_batch(tokenizer, model, [ids for _, ids in batch])
            for (place, _), score in zip(batch, found, strict=True):
                known = lowest[place]
                lowest[place] = score if known is None else min(known, score)
        return iter(lowest)


MIN_WINDOW = 64
"""Fewest tokens of an answer that a window must have room for: any eight characters fit."""


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
    text = render(name, tokenizer, pair)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]  # the template has them
    return ids


def _score_batch(tokenizer: Any, model: Any, rows: Sequence[list[int]]) -> list[float]:
    import torch

    inputs = pad_batch(tokenizer, model, rows)
    with torch.inference_mode():
        found: list[float] = model(**inputs).logits[:, 0].float().tolist()
    return found


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
