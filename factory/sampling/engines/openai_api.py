"""The OpenAI wire format: builds request bodies and the text of replies. Pure: no network here.

Stop strings work as in the embedded engine: a stop string is not part of the text, except for
those in KEPT_STOPS.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from factory.core.errors import Problem, RecipeError
from factory.core.nouns import Message, fingerprint
from factory.core.think import THINK_OPEN, join_think
from factory.recipe.engines.options import ServerOptions
from factory.sampling.engines.replies import Reply, join_pieces, write_calls
from factory.sampling.engines.vllm import KEPT_STOPS

if TYPE_CHECKING:
    from factory.prompts.templates import Prompting
    from factory.recipe.sampling import Sampling

Dialect = Literal["vllm", "openai"]

STREAM_INTERVAL = 16
"""Tokens per streamed message. One message per token would cost the client too much."""


@dataclass(frozen=True, slots=True)
class Served:
    """The recipe's models that an endpoint serves, and its dialect.

    `own` is the endpoint's name of the recipe's model, or None if it serves only models for
    escalation. `contexts` maps each model to its context length in tokens, as far as known.
    """

    dialect: Dialect
    own: str | None
    others: frozenset[str] = frozenset()
    contexts: Mapping[str, int] = field(default_factory=dict)

    def name(self, model: str | None) -> str | None:
        """Return its name for a model (None: the recipe's own), or None if it doesn't serve it."""
        if model is None:
            return self.own
        return model if model in self.others else None


@dataclass(frozen=True, slots=True)
class RenderedRequest:
    """One request as the model gets it: a prompt text or messages, and the assistant prefill."""

    sample_id: str
    prefill: str = ""
    prompt: str = ""
    special_tokens: bool = True
    messages: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()  # offered next to messages
    opening: str | None = None  # of an episode: the prompt text of its first turn
    max_tokens: int | None = None  # fewer than the settings allow
    stop: tuple[str, ...] = ()  # in addition to the settings', and kept in the text
    level: int = 0  # number of escalations that apply
    model: str | None = None  # None: the recipe's own

    @property
    def prompt_text(self) -> str:
        """The prompt text; for a chat API the messages as JSON, as the server renders them."""
        if not self.messages:
            return self.prompt if self.opening is None else self.opening
        if self.opening is not None:
            return self.opening
        shown: Any = list(self.messages)
        if self.tools:
            shown = {"messages": shown, "tools": list(self.tools)}
        return json.dumps(shown, ensure_ascii=False)


CANARY = "1 + 1 ="
"""The question of a health check."""

CHECK_TOKENS = 1024
"""Its limit where reasoning counts: OpenAI's models refuse a limit they can't meet."""


class Wire:
    """Builds request bodies and reads replies for one recipe."""

    def __init__(self, prompting: Prompting, sampling: Sampling, options: ServerOptions) -> None:
        self._sampling, self._options = sampling, options
        self._stops = [*dict.fromkeys([*prompting.stop, *sampling.stop])]
        self.path = "/completions" if options.api == "completions" else "/chat/completions"
        self._chat = options.api == "chat"
        variants = prompting.variants.values()
        self._prefilled = bool(prompting.prefill) or any(one.prefill for one in variants)
        self.other_models = sorted({step.model for step in sampling.escalate if step.model})

    def body(
        self, rendered: RenderedRequest, served: Served, max_tokens: int | None = None
    ) -> dict[str, Any]:
        """Return the JSON request body for one sample."""
        sampling, extended = self._sampling.at(rendered.level), served.dialect == "vllm"
        name = served.name(rendered.model)
        limit = min(sampling.max_tokens, served.contexts.get(str(name), sampling.max_tokens))
        limit = min(limit, rendered.max_tokens or limit)
        body: dict[str, Any] = {
            "model": name,
            "temperature": sampling.temperature,
            "max_tokens": max_tokens or limit,
        }
        if self._chat:
            body["messages"] = [encode_message(message) for message in rendered.messages]
            if rendered.tools:
                body["tools"] = [dict(tool) for tool in rendered.tools]
            if rendered.prefill:
                body["messages"].append(Message(role="assistant", content=rendered.prefill))
                body |= {"continue_final_message": True, "add_generation_prompt": False}
        else:
            body["prompt"] = rendered.prompt + rendered.prefill
        if extended:
            body |= {
                # Send all of them: the model's generation_config.json fills in what is missing.
                "top_p": sampling.top_p,
                "top_k": sampling.top_k,
                "min_p": sampling.min_p,
                "repetition_penalty": sampling.repetition_penalty,
                "skip_special_tokens": False,
                "spaces_between_special_tokens": False,
            }
            if not self._chat:
                body["add_special_tokens"] = rendered.special_tokens
        elif sampling.top_p < 1:
            body["top_p"] = sampling.top_p
        stops = self._stops if extended else [s for s in self._stops if s not in KEPT_STOPS]
        stops = [*stops, *rendered.stop]
        if stops:
            body["stop"] = stops
        if self._options.request_seeds:
            body["seed"] = int(fingerprint([sampling.seed, rendered.sample_id], 7), 16)
        if self.streams(served) and max_tokens is None:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
            if extended:
                body["stream_options"]["continuous_usage_stats"] = True
                body["stream_interval"] = STREAM_INTERVAL
        body |= self._options.extra_body
        if "max_completion_tokens" in body:  # OpenAI's reasoning models require it instead
            body.pop("max_tokens", None)
            if max_tokens is not None:
                body["max_completion_tokens"] = CHECK_TOKENS
        return body

    def canary(self, served: Served) -> dict[str, Any]:
        """Return the body of a health check: one token with the recipe's own settings."""
        question = Message(role="user", content=CANARY)
        other = None if served.own is not None else min(served.others)
        messages = (question,) if self._chat else ()
        rendered = RenderedRequest("canary", prompt=CANARY, messages=messages, model=other)
        return self.body(rendered, served, max_tokens=1)

    def streams(self, served: Served) -> bool:
        if self._options.stream is not None:
            return self._options.stream
        return served.dialect == "vllm" or self._sampling.early_stop is not None

    def text(self, rendered: RenderedRequest, reply: Reply) -> str:
        """Return the whole assistant turn in canonical form."""
        content, thinking = join_pieces(reply.content), join_pieces(reply.reasoning)
        calls = write_calls(reply.calls)
        if calls:  # read by the server: written as Hermes and Qwen write them
            content = "\n".join(filter(None, (content.rstrip(), calls)))
        if thinking:
            thinking = rendered.prefill.partition(THINK_OPEN)[2] + thinking
            if not content.strip():  # the reasoning may not be complete
                return f"{THINK_OPEN}\n{thinking.lstrip()}"
            return join_think(thinking, self._trim_at_stop(content, reply))
        text = rendered.prefill + self._trim_at_stop(content, reply, rendered.stop)
        return text[: reply.halt.keep] if reply.halt is not None else text

    def _trim_at_stop(self, content: str, reply: Reply, kept: Sequence[str] = ()) -> str:
        """Return the text with the same end as the embedded engine gives it."""
        if reply.stop in KEPT_STOPS or reply.stop in kept:
            return content + str(reply.stop)
        # Servers that don't report the stop string were not sent the kept ones.
        ends = [content.find(s) + len(s) for s in self._stops if s in KEPT_STOPS and s in content]
        return content[: min(ends)] if ends else content

    def find_unsupported(self, dialect: Dialect) -> list[Problem]:
        """Return problems for settings of the recipe that a server of this dialect can't apply."""
        if dialect == "vllm":
            return []
        neutral = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
        levels = [self._sampling.at(level) for level in range(1 + len(self._sampling.escalate))]
        problems = [
            Problem(
                f"sampling.{name}",
                f"is {getattr(sampling, name)}, which the server does not support; set it to "
                f"{off}, or set engine.server.dialect: vllm if it does support it",
            )
            for sampling in levels
            for name, off in neutral.items()
            if getattr(sampling, name) != off
        ]
        if self._sampling.search is not None:
            what = (
                "needs a server that says which stop string ended a text, as vLLM and SGLang do; "
            )
            what += "set engine.server.dialect: vllm if this one does"
            problems.append(Problem("sampling.search", what))
        if self._chat and self._prefilled:
            what = "cannot be sent to this chat API; leave it out, or use engine.server.api: "
            problems.append(Problem("prompting.prefill", what + "completions"))
        return problems


def encode_message(message: Message) -> dict[str, Any]:
    """Return a message as the API takes it: the arguments of tool calls are JSON texts."""
    encoded: dict[str, Any] = dict(message)
    if "tool_calls" in message:
        encoded["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": _dump_arguments(call)}}
            for call in message["tool_calls"]
        ]
        encoded["content"] = message["content"] or None
    return encoded


def _dump_arguments(call: Mapping[str, Any]) -> str:
    return json.dumps(call["function"]["arguments"], ensure_ascii=False)


def check_api_options(prompting: Prompting, sampling: Sampling, options: ServerOptions) -> None:
    """Raise RecipeError if template, settings and API don't fit together."""
    problems = []
    if options.api == "chat" and not prompting.is_chat:
        what = (
            f"is chat, but prompting.template is {prompting.template}, a plain text that no chat "
            "API takes; set api: completions"
        )
        problems.append(Problem("engine.server.api", what))
    if options.stream is False and sampling.early_stop is not None:
        what = "is false, but sampling.early_stop needs a stream; remove one of the two"
        problems.append(Problem("engine.server.stream", what))
    others = [step.model for step in sampling.escalate if step.model]
    if others and options.api == "completions" and prompting.is_chat:
        what = (
            f"is completions, so prompts are rendered locally with the template of the recipe's "
            f"model, which is not that of {others[0]} (sampling.escalate); set api: chat"
        )
        problems.append(Problem("engine.server.api", what))
    if problems:
        raise RecipeError(problems)
