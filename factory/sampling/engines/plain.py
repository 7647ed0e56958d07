"""Sampling with transformers alone: one batch after another, in this process.

For models that vLLM does not know, and for small ones: it starts in the time of an import, where
vLLM's start takes about 20 CPU seconds. A batch waits for its longest sample, so vLLM is faster
for anything that takes longer than its start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from factory.core.errors import EngineError, MissingDependency, ModelError, Problem, RecipeError
from factory.core.models import DEMO, DEMO_NAME, load_tokenizer, model_path
from factory.core.nouns import Failure, FinishReason, Sample, fingerprint
from factory.sampling.engine import Engine, Request, Worker

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec

ARGS = ("dtype", "batch")
BATCH = 256
"""Samples generated at once, unless `engine.args.batch` says otherwise."""

KEPT_STOPS = frozenset({"</answer>"})
"""Stop strings that stay part of the text, as in the engine `vllm`."""


BYTES = 4
"""Tokens that a character has at most: its bytes."""


class _Pending(NamedTuple):
    """A request with its prompt as tokens."""

    request: Request
    prompt_text: str
    prefill: str
    tokens: list[int]


class BatchEngine:
    """A model loaded with transformers."""

    def __init__(self, spec: EngineSpec, start: int) -> None:
        self.spec, self._start, self._batches = spec, start, 0
        check_args(spec)
        self._tokenizer: Any = load_tokenizer(
            spec.model.tokenizer or spec.model.id,
            needed_for="the engine `transformers`",
            revision=spec.model.revision,
            trust_remote_code=spec.model.trust_remote_code,
            padding_side="left",
        )
        self._model: Any = _load_model(spec)
        stops = self._model.generation_config.eos_token_id
        stops = [] if stops is None else stops if isinstance(stops, list) else [stops]
        own = self._tokenizer.eos_token_id
        self._stop_ids = sorted({*stops} | ({own} if own is not None else set()))
        if not self._stop_ids:
            raise ModelError(
                f"model {spec.model.id!r} has no EOS token, neither in its tokenizer nor in its "
                "generation_config.json, so no answer could end"
            )
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token_id = self._stop_ids[0]
        self._forget_own_settings()
        config = self._model.config.get_text_config()
        self._context = int(getattr(config, "max_position_embeddings", 0) or 2**31)
        self._size = int(spec.engine.args.get("batch", BATCH))
        self.capacity: int = spec.engine.max_in_flight or self._size
        self._pending: dict[str, _Pending] = {}
        self._ended: list[Sample | Failure] = []  # ended without a batch: refused or aborted

    def _forget_own_settings(self) -> None:
        """Drop the sampling settings that a model brings along: the recipe's are the only ones."""
        from transformers import GenerationConfig

        self._model.generation_config = GenerationConfig()

    def submit(self, request: Request) -> None:
        prompting = self.spec.prompting.with_variant(request.variant(self.spec))
        rendered = prompting.render(request.prompt, self._tokenizer)
        tokens = self._tokenizer.encode(
            rendered.prompt_text + rendered.prefill, add_special_tokens=rendered.special_tokens
        )
        if len(tokens) >= self._context:
            detail = (
                f"the prompt has {len(tokens)} tokens, the context {self._context}; drop the prompt"
            )
            failure = Failure(
                request.prompt.id, request.index, "prompt_too_long", detail, retryable=False
            )
            self._ended.append(failure)
            return
        pending = _Pending(request, rendered.prompt_text, rendered.prefill, tokens)
        self._pending[request.sample_id] = pending

    def completed(self) -> Iterator[Sample | Failure]:
        yield from self._ended
        self._ended.clear()
        if not self._pending:
            return
        first = next(iter(self._pending.values())).request
        alike = [
            one for one in self._pending.values() if _settings(one.request) == _settings(first)
        ]
        batch = alike[: self._size]
        outputs = self._generate(batch, first)
        for pending, tokens in zip(batch, outputs, strict=True):
            del self._pending[pending.request.sample_id]
            yield self._finish(pending, tokens)

    def abort(self, sample_ids: Iterable[str]) -> None:
        for name in sample_ids:
            pending = self._pending.pop(name, None)
            if pending is not None:
                self._ended.append(self._sample(pending, "", "abort", 0))

    def workers(self) -> list[Worker]:
        return []

    def close(self) -> None:
        self._pending.clear()
        self._model = None

    def _generate(self, batch: list[_Pending], first: Request) -> list[list[int]]:
        """Return the generated tokens of each request, without what follows an EOS token.

        All have the settings of the first one.
        """
        import torch
        from transformers import StoppingCriteriaList

        sampling = self.spec.sampling.at(first.level)
        most = min(sampling.max_tokens, first.max_tokens or sampling.max_tokens)
        # Whatever is random must differ from batch to batch, and from start to start.
        key = [sampling.seed, self._start, self._batches]
        torch.manual_seed(int(fingerprint(key, 7), 16))
        self._batches += 1
        inputs = self._tokenizer.pad(
            {"input_ids": [one.tokens for one in batch]}, return_tensors="pt"
        ).to(self._model.device)
        width = inputs["input_ids"].shape[1]
        settings: dict[str, Any] = {"do_sample": sampling.temperature > 0}
        if sampling.temperature > 0:
            settings |= {
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k,
                "min_p": sampling.min_p or None,
            }
        stop = self._stops(first)
        try:
            with torch.inference_mode():
                output = self._model.generate(
                    **inputs,
                    **settings,
                    repetition_penalty=sampling.repetition_penalty,
                    max_new_tokens=min(most, self._context - width),
                    eos_token_id=self._stop_ids,
                    pad_token_id=self._tokenizer.pad_token_id,
                    stopping_criteria=StoppingCriteriaList(
                        [self._stop_at(stop, width)] if stop else []
                    ),
                )
        except (RuntimeError, ValueError) as error:  # out of memory, and settings it refuses
            raise EngineError(
                f"transformers could not generate a batch of {len(batch)}: {error}. If memory ran "
                "out, lower engine.args.batch. All samples so far are saved."
            ) from error
        padding = self._tokenizer.pad_token_id
        return [_cut(row, self._stop_ids, padding) for row in output[:, width:].tolist()]

    def _stop_at(self, stops: Sequence[str], width: int) -> Callable[..., Any]:
        """Return what ends each row of a batch once its generated text has one of the strings.

        transformers' own `stop_strings` can't read a vocabulary without the letters a to f.
        """
        import torch

        most = BYTES * max(map(len, stops))  # tokens that the longest string may have

        def has_stopped(ids: Any, scores: Any, **_: Any) -> Any:
            ends = ids[:, max(width, ids.shape[1] - most) :]
            texts = self._tokenizer.batch_decode(ends, skip_special_tokens=False)
            found = [any(stop in text for stop in stops) for text in texts]
            return torch.tensor(found, device=ids.device)

        return has_stopped

    def _stops(self, request: Request) -> tuple[str, ...]:
        own = self.spec.sampling.at(request.level).stop
        return (*self.spec.prompting.stop, *own, *request.stop)

    def _finish(self, pending: _Pending, tokens: list[int]) -> Sample:
        ended = bool(tokens) and tokens[-1] in self._stop_ids
        # Template tokens inside a text are a defect and must stay visible.
        text: str = self._tokenizer.decode(
            tokens[:-1] if ended else tokens, skip_special_tokens=False
        )
        found = [(text.find(stop), stop) for stop in self._stops(pending.request)]
        found = [(place, stop) for place, stop in found if place >= 0]
        if found:
            place, stop = min(found)
            kept = stop in KEPT_STOPS or stop in pending.request.stop
            ended, text = True, text[: place + (len(stop) if kept else 0)]
        return self._sample(pending, text, "stop" if ended else "length", len(tokens))

    def _sample(self, pending: _Pending, text: str, reason: FinishReason, count: int) -> Sample:
        request, model = pending.request, self.spec.model.id
        return Sample(
            prompt_id=request.prompt.id,
            index=request.index,
            text=pending.prefill + text,
            prompt_text=pending.prompt_text,
            finish_reason=reason,
            n_tokens=count,
            n_prompt_tokens=len(pending.tokens),
            model=DEMO_NAME if model == DEMO else model,
            params_fp=self.spec.params_fp(request.level, request.variant(self.spec)),
            created_at=time.time_ns() // 1_000_000,
        )


def _settings(request: Request) -> tuple[Any, ...]:
    """Return what requests that are generated together have in common."""
    return request.level, request.max_tokens, request.stop


def _cut(tokens: list[int], stop_ids: list[int], padding: int) -> list[int]:
    """Return the tokens without the padding behind an EOS token, which stays, or a stop string."""
    end = next((place for place, token in enumerate(tokens) if token in stop_ids), None)
    if end is not None:
        return tokens[: end + 1]
    while tokens and tokens[-1] == padding:
        tokens = tokens[:-1]
    return tokens


def check_args(spec: EngineSpec) -> None:
    """Raise RecipeError for settings that this engine does not have."""
    problems = []
    for name in spec.engine.args:
        if name not in ARGS:
            what = f"is no argument of the engine `transformers`; it has {', '.join(ARGS)}"
            problems.append(Problem(f"engine.args.{name}", what))
    size = spec.engine.args.get("batch", BATCH)
    if not isinstance(size, int) or size < 1:
        problems.append(Problem("engine.args.batch", f"is {size!r}; it must be a number from 1 on"))
    if spec.sampling.early_stop is not None:
        what = "needs an engine that streams (vllm, server); leave it out with `transformers`"
        problems.append(Problem("sampling.early_stop", what))
    if problems:
        raise RecipeError(problems)


def _load_model(spec: EngineSpec) -> Any:
    try:
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging
    except ImportError as error:
        raise MissingDependency(
            f"the engine `transformers` needs {error.name}; install the extra `cpu`, `gpu` or "
            "`train`"
        ) from error
    logging.disable_progress_bar()
    model, device = spec.model, torch.accelerator.current_accelerator() or torch.device("cpu")
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            model_path(model.id),
            revision=model.revision,
            trust_remote_code=model.trust_remote_code,
            dtype=spec.engine.args.get("dtype", "auto"),
        )
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(
            f"model {model.id!r} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error
    return loaded.to(device).eval()


def open_engine(spec: EngineSpec, run: Path, start: int) -> Engine:
    """Open the `transformers` engine of a recipe."""
    return BatchEngine(spec, start)
