"""An engine: every prompt gets the same completion. For trying filters without a model."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from factory.core.nouns import Failure, Sample
from factory.recipe.engine import EngineSpec
from factory.sampling.engine import Request, Worker


class Canned:
    """Completes every prompt with `engine.args.text`."""

    VERSION = 1  # raise it whenever samples change: those of two versions are never mixed

    def __init__(self, spec: EngineSpec, run: Path, start: int) -> None:
        """`spec` has model, engine (its `args` are yours), prompting and sampling. `start` counts
        the engine starts of this run: whatever is random must differ from start to start."""
        self.spec = spec
        self.text = str(spec.engine.args.get("text", "I do not know."))
        self._waiting: deque[Request] = deque()

    @property
    def capacity(self) -> int:
        """Requests worth holding at once."""
        return 64

    def submit(self, request: Request) -> None:
        """Take a request. Never waits for generation."""
        self._waiting.append(request)

    def completed(self) -> Iterator[Sample | Failure]:
        """What has finished since the last call. A request that fails is a Failure, not an error;
        an engine that is lost raises EngineError."""
        while self._waiting:
            request = self._waiting.popleft()
            rendered = self.spec.prompting.render(request.prompt, None)
            yield Sample(
                prompt_id=request.prompt.id,
                index=request.index,
                text=rendered.prefill + self.text,
                prompt_text=rendered.prompt_text,
                finish_reason="stop",
                n_tokens=len(self.text.split()),
                n_prompt_tokens=len(rendered.prompt_text.split()),
                model=self.spec.model.id,
                params_fp=self.spec.params_fp(request.level),
                created_at=round(time.time() * 1000),
            )

    def abort(self, sample_ids: Iterable[str]) -> None:
        """Stop these; each still comes back, as a Sample with `finish_reason` abort."""

    def workers(self) -> list[Worker]:
        """Its endpoints or replicas, for the progress display; none here."""
        return []

    def close(self) -> None:
        """Give back every process and byte the engine took. May be called again."""
        self._waiting.clear()
