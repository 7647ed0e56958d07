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
    max_tokens: int = Field(
        8192, ge=16, description="Maximum number of tokens; the last ones are used."
    )
    batch: int = Field(8, ge=1, description="Batch size in answers.")

    def scores(self, pairs: Sequence[Pair]) -> Iterator[float]:
        """Return the scores in order. Raises ModelError if the model is not a reward model."""
        import torch

        tokenizer, model = _load(self.model)
        texts = [
            tokenizer.apply_chat_template(conversation(pair), tokenize=False) for pair in pairs
        ]
        scores = [math.nan] * len(texts)
        # Batch answers of similar length: a batch is padded to its longest.
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        for start in range(0, len(order), self.batch):
            chosen = order[start : start + self.batch]
            inputs = tokenizer(
                [texts[number] for number in chosen],
                return_tensors="pt",
                padding=True,
                truncation=True,
                max_length=self.max_tokens,
                add_special_tokens=False,  # the template has added them
            ).to(model.device)
            with torch.inference_mode():
                logits = model(**inputs).logits[:, 0].float().tolist()
            for number, score in zip(chosen, logits, strict=True):
                scores[number] = score
        return iter(scores)


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
    tokenizer = load_tokenizer(
        name, needed_for="a reward model", padding_side="right", truncation_side="left"
    )
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
