"""Reward models that score one answer at a time: in this process, or behind a server."""

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
"""A question and an answer to it."""


def conversation(pair: Pair) -> list[Message]:
    """A pair as the two turns that a reward model reads."""
    question, answer = pair
    return [Message(role="user", content=question), Message(role="assistant", content=answer)]


class RewardModel(BaseModel):
    """A sequence classifier with one output, as `kind: reward_model` trains and the Hub has many.

    The pair is rendered by the tokenizer's own chat template, which such models are trained with.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        description="A Hub id or a folder (it starts with a dot or a slash), a training's too."
    )
    max_tokens: int = Field(8192, ge=16, description="Tokens that are read, the last ones.")
    batch: int = Field(8, ge=1, description="Answers scored at once.")

    def scores(self, pairs: Sequence[Pair]) -> Iterator[float]:
        """The scores, in order. Raises ModelError where the model is no such one."""
        import torch

        tokenizer, model = _loaded(self.model)
        texts = [
            tokenizer.apply_chat_template(conversation(pair), tokenize=False) for pair in pairs
        ]
        scores = [math.nan] * len(texts)
        # Answers of like length together: a batch is padded to its longest.
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        for start in range(0, len(order), self.batch):
            chosen = order[start : start + self.batch]
            inputs = tokenizer(
                [texts[number] for number in chosen],
                return_tensors="pt",
                padding=True,
                truncation=True,
                max_length=self.max_tokens,
                add_special_tokens=False,  # the template wrote them
            ).to(model.device)
            with torch.inference_mode():
                logits = model(**inputs).logits[:, 0].float().tolist()
            for number, score in zip(chosen, logits, strict=True):
                scores[number] = score
        return iter(scores)


@lru_cache(maxsize=2)  # all-scenario RL asks one for helpfulness and one for safety
def _loaded(name: str) -> tuple[Any, Any]:
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
    model.config.pad_token_id = tokenizer.pad_token_id  # says where a padded row's last token is
    return tokenizer, model.eval()


class RewardServer(BaseModel):
    """A reward model behind a server that speaks vLLM's `/classify` with messages.

    `vllm serve MODEL --runner pooling` does; it applies the model's chat template itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = Field(pattern=r"^https?://", description="The server, without /classify.")
    model: str = Field(description="The model, by the name the server gives it.")
    api_key_env: str = Field("REWARD_API_KEY", description="Environment variable with the key.")
    concurrency: int = Field(16, ge=1, description="Requests in flight, at most.")
    timeout_s: float = Field(120.0, gt=0, description="Seconds for one request.")
    attempts: int = Field(5, ge=1, description="Tries of a request, with growing pauses.")

    def scores(self, pairs: Sequence[Pair]) -> list[float | None]:
        """The scores, in order; None where the server stayed away or its reply held none.

        Raises EngineError for what a retry cannot mend: a wrong key, URL or model.
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
        # The raw output: a sigmoid would press good answers together near one.
        body = {"model": self.model, "messages": conversation(pair), "use_activation": False}
        what = f"quality.reward_server and the key in the environment variable {self.api_key_env}"
        url = self.base_url.rstrip("/") + "/classify"
        blame = ("the reward server", what)
        response = post(client, url, body, attempts=self.attempts, blame=blame)
        return None if response is None else _score_in(response)


def _score_in(response: httpx.Response) -> float | None:
    """The one output of a reply; a classifier of several classes is no reward model."""
    try:
        outputs = response.json()["data"][0]["probs"]
        score = float(outputs[0])
    except (ValueError, LookupError, TypeError):
        return None
    return score if len(outputs) == 1 and math.isfinite(score) else None
