"""Turns requests into what an OpenAI-compatible API gets, and its replies into samples."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from typing import TYPE_CHECKING, Any

from factory.core.errors import Problem, RecipeError
from factory.core.models import DEMO, DEMO_NAME, load_tokenizer
from factory.core.nouns import Failure, FinishReason, Sample
from factory.prompts.conversation import (
    continue_episode,
    find_tools,
    list_messages,
    split_opening,
)
from factory.recipe.engines.options import ServerOptions
from factory.sampling.engine import Request
from factory.sampling.engines.jobs import Refusal
from factory.sampling.engines.openai_api import RenderedRequest, Wire, check_api_options
from factory.sampling.engines.replies import Reply

if TYPE_CHECKING:
    from factory.prompts.templates import Prompting
    from factory.recipe.engine import EngineSpec

_BYTES_PER_TOKEN = 4


class Exchange:
    """Renders the requests of one recipe, and makes samples of the replies.

    Raises RecipeError if the recipe's settings and the API don't fit together.
    """

    def __init__(self, spec: EngineSpec, options: ServerOptions) -> None:
        check_api_options(spec.prompting, spec.sampling, options)
        self.spec, self._options = spec, options
        self.wire = Wire(spec.prompting, spec.sampling, options)
        self._tokenizer = _load_tokenizer(spec, options)
        self._model_name = DEMO_NAME if spec.model.id == DEMO else spec.model.id
        self._rendered_for: tuple[str, str | None] = ("", None)  # prompt, variant
        self._rendered = RenderedRequest("")
        self._levels: dict[tuple[int, str | None], tuple[str | None, str]] = {}

    def render(self, request: Request) -> RenderedRequest:
        """Render a request. The last prompt is cached, as a prompt's samples come in a row."""
        key = (request.prompt.id, request.variant(self.spec))
        prompting = self.spec.prompting.with_variant(key[1])
        if request.turns:
            self._rendered = self._render_episode(request, prompting)
            self._rendered_for = ("", None)
        elif self._rendered_for != key:
            if self._options.api == "chat":
                messages = tuple(prompting.messages_for(request.prompt))
                prefill = prompting.prefill_for(request.prompt)
                tools = request.prompt.tools
                self._rendered = RenderedRequest("", prefill, messages=messages, tools=tools)
            else:
                text, prefill, special = prompting.render(request.prompt, self._tokenizer)
                self._rendered = RenderedRequest("", prefill, text, special)
            self._rendered_for = key
        model, _ = self.settings(request)
        return dataclasses.replace(
            self._rendered,
            sample_id=request.sample_id,
            level=request.level,
            model=model,
            max_tokens=request.max_tokens,
            stop=request.stop,
        )

    def _render_episode(self, request: Request, prompting: Prompting) -> RenderedRequest:
        """Render the next turn of an episode."""
        prompt, turns = request.prompt, request.turns or ()
        if self._options.api != "chat":
            found = continue_episode(prompting, prompt, turns, self._tokenizer)
            return RenderedRequest("", found.prefill, found.text, False, opening=found.opening)
        messages = [*prompting.messages_for(prompt)]
        first = RenderedRequest(
            "",
            prompting.prefill_for(prompt),
            messages=(*messages, *list_messages(split_opening(turns)[0])),
            tools=find_tools(prompt, turns),
        )
        tool_format = self.spec.sampling.episode.tool_format
        shown = (*messages, *list_messages(turns, tool_format, first.tools))
        return dataclasses.replace(first, messages=shown, opening=first.prompt_text)

    def settings(self, request: Request) -> tuple[str | None, str]:
        """Return a request's model (None: the recipe's) and the fingerprint of its settings."""
        key = (request.level, request.variant(self.spec))
        if key not in self._levels:
            model = self.spec.sampling.escalate[key[0] - 1].model if key[0] else None
            self._levels[key] = model, self.spec.params_fp(*key)
        return self._levels[key]

    def read(self, request: Request, rendered: RenderedRequest, reply: Reply) -> Sample | Failure:
        """Return the sample of a complete reply."""
        if reply.n_tokens == 0 and reply.reason == "length" and not reply.has_text:
            # vLLM clamps max_tokens to what the context leaves, down to nothing.
            detail = f"the prompt's {reply.n_prompt_tokens} tokens fill the whole context"
            return make_failure(request, Refusal("prompt_too_long", detail))
        return self.sample(request, rendered, reply, reply.reason)

    def sample(
        self, request: Request, rendered: RenderedRequest, reply: Reply, reason: FinishReason
    ) -> Sample:
        """Return the sample of a reply, also of an aborted one."""
        n_tokens, n_prompt = reply.n_tokens, reply.n_prompt_tokens
        model, params_fp = self.settings(request)
        if n_tokens is None:
            n_tokens = self._count_tokens("".join([*reply.reasoning, *reply.content]))
        return Sample(
            prompt_id=request.prompt.id,
            index=request.index,
            text=self.wire.text(rendered, reply),
            prompt_text=rendered.prompt_text,
            finish_reason=reason,
            n_tokens=n_tokens,
            n_prompt_tokens=(
                self._count_tokens(rendered.prompt_text) if n_prompt is None else n_prompt
            ),
            model=model or self._model_name,
            params_fp=params_fp,
            created_at=time.time_ns() // 1_000_000,
        )

    def _count_tokens(self, text: str) -> int:
        """Count tokens if the server did not: with the tokenizer, or as an estimate from bytes."""
        if self._tokenizer is not None:
            return len(self._tokenizer.encode(text, add_special_tokens=False))
        return math.ceil(len(text.encode("utf-8", "replace")) / _BYTES_PER_TOKEN)


def make_failure(request: Request, refusal: Refusal) -> Failure:
    prompt, index = request.prompt, request.index
    return Failure(prompt.id, index, refusal.kind, refusal.detail, refusal.transient)


def read_headers(options: ServerOptions) -> tuple[dict[str, str], list[str]]:
    """Return the headers of every request, and the secrets among their values.

    Raises RecipeError for a variable that is not set or holds what no header can carry.
    """
    named = {f"headers_env.{name}": variable for name, variable in options.headers_env.items()}
    if options.api_key_env is not None:
        named["api_key_env"] = options.api_key_env
    values, problems = {}, []
    for place, variable in named.items():
        value = os.environ.get(variable, "").strip()
        if not value:
            what = f"names {variable}, which is not set in the environment; export it"
            problems.append(Problem(f"engine.server.{place}", what))
        elif not value.isascii() or not value.isprintable():
            what = f"names {variable}, which holds characters that no header can carry"
            problems.append(Problem(f"engine.server.{place}", what))
        values[place] = value
    if problems:
        raise RecipeError(problems)
    headers = {**options.headers}
    if "api_key_env" in values:
        headers["Authorization"] = f"Bearer {values['api_key_env']}"
    headers |= {name: values[f"headers_env.{name}"] for name in options.headers_env}
    return headers, list(values.values())


def _load_tokenizer(spec: EngineSpec, options: ServerOptions) -> Any:
    """Load the model's tokenizer if prompts are rendered here; otherwise return None."""
    if options.api == "chat" or not spec.prompting.is_chat:
        return None
    model = spec.model
    return load_tokenizer(
        model.tokenizer or model.id,
        needed_for=f"rendering `template: {spec.prompting.template}`",
        remedy=", or let the server render prompts with engine.server.api: chat",
        revision=model.revision,
        trust_remote_code=model.trust_remote_code,
    )
