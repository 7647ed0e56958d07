"""The OpenAI wire format, both ways: what a request says, and what a reply means.

Pure: no network here. The embedded engine's meaning of stop strings is kept: a stop string is not
part of the text, except those of KEPT_STOPS.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from factory.core.errors import Problem, RecipeError
from factory.core.nouns import FinishReason, Message, fingerprint
from factory.core.think import THINK_OPEN, join_think
from factory.recipe.engine import ServerOptions
from factory.sampling.engines.vllm import KEPT_STOPS

if TYPE_CHECKING:
    from factory.prompts.templates import Prompting
    from factory.recipe.sampling import Sampling
    from factory.sampling.early_stop import Halt, Watch

Dialect = Literal["vllm", "openai"]

STREAM_INTERVAL = 16
"""Tokens a streamed message; one each would cost the client more than the text is worth."""


@dataclass(frozen=True, slots=True)
class Served:
    """What an endpoint offers of what is wanted, and which fields it knows.

    `own` is its name for the recipe's model, or None where it has only models that prompts are
    escalated to. `contexts` has the length of each model's context, as far as it is told.
    """

    dialect: Dialect
    own: str | None
    others: frozenset[str] = frozenset()
    contexts: Mapping[str, int] = field(default_factory=dict)

    def name(self, model: str | None) -> str | None:
        """Its name for a model (None: the recipe's own); None if it has it not."""
        if model is None:
            return self.own
        return model if model in self.others else None


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of a model: text to continue, or messages, and the words put into its mouth."""

    sample_id: str
    prefill: str = ""
    prompt: str = ""
    special_tokens: bool = True
    messages: tuple[Message, ...] = ()
    level: int = 0  # escalations that apply
    model: str | None = None  # another than the recipe's own

    @property
    def prompt_text(self) -> str:
        """What the model was given, as far as it is known here: of a chat, the messages sent."""
        if not self.messages:
            return self.prompt
        return json.dumps(list(self.messages), ensure_ascii=False)


CANARY = "1 + 1 ="


class Malformed(ValueError):
    """A reply that is no reply."""


@dataclass(slots=True)
class Reply:
    """A reply as it comes in: whole at once, or a piece at a time."""

    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    choices: int = 0
    finish: str | None = None
    stop: str | None = None  # the stop string that ended it, where the server says so
    n_tokens: int | None = None
    n_prompt_tokens: int | None = None
    watch: Watch | None = None
    halt: Halt | None = None  # ended early, by the watch

    def add(self, payload: Any) -> None:
        """Take in a response body or one streamed message. Raises Malformed."""
        if not isinstance(payload, dict):
            raise Malformed(f"a {type(payload).__name__} where an object belongs")
        if payload.get("error"):
            raise Malformed(f"an error inside the reply: {str(payload['error'])[:200]}")
        usage = payload.get("usage")
        if isinstance(usage, dict):
            self.n_tokens = _count(usage, "completion_tokens", self.n_tokens)
            self.n_prompt_tokens = _count(usage, "prompt_tokens", self.n_prompt_tokens)
        choices = payload.get("choices")
        if not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices):
            raise Malformed("no list of choices")
        self.choices += len(choices)
        for choice in choices[:1]:
            piece = self._add_choice(choice)
            if self.watch is not None:
                self.halt = self.watch.feed(piece, self.n_tokens or self.choices)

    def _add_choice(self, choice: dict[str, Any]) -> str:
        """Take in one choice and return its new text."""
        part = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
        if not isinstance(part, dict):
            raise Malformed("a choice without a message")
        thinking = part.get("reasoning_content") or part.get("reasoning")
        for piece, pieces in ((part.get("content"), self.content), (thinking, self.reasoning)):
            if isinstance(piece, str):
                pieces.append(piece)
            elif piece is not None:
                raise Malformed(f"text that is a {type(piece).__name__}")
        finish = choice.get("finish_reason")
        if isinstance(finish, str):
            self.finish = finish
            ended_by = choice.get("stop_reason", choice.get("matched_stop"))  # vLLM, SGLang
            self.stop = ended_by if isinstance(ended_by, str) else None
        return (thinking or "") + (part.get("content") or "")

    @property
    def reason(self) -> FinishReason:
        if self.halt is not None:
            return self.halt.finish_reason
        return "length" if self.finish in ("length", "max_tokens") else "stop"


class Wire:
    """Builds request bodies and reads replies for one recipe."""

    def __init__(self, prompting: Prompting, sampling: Sampling, options: ServerOptions) -> None:
        self._sampling, self._options = sampling, options
        self._stops = [*dict.fromkeys([*prompting.stop, *sampling.stop])]
        self.path = "/completions" if options.api == "completions" else "/chat/completions"
        self._chat = options.api == "chat"
        self._prefilled = bool(prompting.prefill)
        self.other_models = sorted({step.model for step in sampling.escalate if step.model})

    def body(self, ask: Ask, served: Served, max_tokens: int | None = None) -> dict[str, Any]:
        """The JSON to send for one sample."""
        sampling, extended = self._sampling.at(ask.level), served.dialect == "vllm"
        name = served.name(ask.model)
        limit = min(sampling.max_tokens, served.contexts.get(str(name), sampling.max_tokens))
        body: dict[str, Any] = {
            "model": name,
            "temperature": sampling.temperature,
            "max_tokens": max_tokens or limit,
        }
        if self._chat:
            body["messages"] = list(ask.messages)
            if ask.prefill:
                body["messages"].append(Message(role="assistant", content=ask.prefill))
                body |= {"continue_final_message": True, "add_generation_prompt": False}
        else:
            body["prompt"] = ask.prompt + ask.prefill
        if extended:
            body |= {
                # All of them, always: a model's generation_config.json fills in what is not said.
                "top_p": sampling.top_p,
                "top_k": sampling.top_k,
                "min_p": sampling.min_p,
                "repetition_penalty": sampling.repetition_penalty,
                "skip_special_tokens": False,
                "spaces_between_special_tokens": False,
            }
            if not self._chat:
                body["add_special_tokens"] = ask.special_tokens
        elif sampling.top_p < 1:
            body["top_p"] = sampling.top_p
        stops = self._stops if extended else [s for s in self._stops if s not in KEPT_STOPS]
        if stops:
            body["stop"] = stops
        if self._options.request_seeds:
            body["seed"] = int(fingerprint([sampling.seed, ask.sample_id], 7), 16)
        if self.streams(served) and max_tokens is None:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
            if extended:
                body["stream_options"]["continuous_usage_stats"] = True
                body["stream_interval"] = STREAM_INTERVAL
        body |= self._options.extra_body
        if "max_completion_tokens" in body:  # what OpenAI's reasoning models want instead
            body.pop("max_tokens", None)
        return body

    def canary(self, served: Served) -> dict[str, Any]:
        """One token under the recipe's own settings: what an endpoint can do if it is well."""
        question = Message(role="user", content=CANARY)
        other = None if served.own is not None else min(served.others)
        messages = (question,) if self._chat else ()
        ask = Ask("canary", prompt=CANARY, messages=messages, model=other)
        return self.body(ask, served, max_tokens=1)

    def streams(self, served: Served) -> bool:
        if self._options.stream is not None:
            return self._options.stream
        return served.dialect == "vllm" or self._sampling.early_stop is not None

    def text(self, ask: Ask, reply: Reply) -> str:
        """The whole assistant turn, in canonical form."""
        content, thinking = _sound(reply.content), _sound(reply.reasoning)
        if thinking:
            thinking = ask.prefill.partition(THINK_OPEN)[2] + thinking
            if not content.strip():  # nothing shows that the section was ever closed
                return f"{THINK_OPEN}\n{thinking.lstrip()}"
            return join_think(thinking, self._ended(content, reply))
        text = ask.prefill + self._ended(content, reply)
        return text[: reply.halt.keep] if reply.halt is not None else text

    def _ended(self, content: str, reply: Reply) -> str:
        """Text with its end as the embedded engine leaves it."""
        if reply.stop in KEPT_STOPS:
            return content + str(reply.stop)
        # A server that does not say which string stopped it was not told the kept ones.
        ends = [content.find(s) + len(s) for s in self._stops if s in KEPT_STOPS and s in content]
        return content[: min(ends)] if ends else content

    def unsupported(self, dialect: Dialect) -> list[Problem]:
        """Settings of the recipe that a server of this dialect cannot carry out."""
        if dialect == "vllm":
            return []
        neutral = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
        levels = [self._sampling.at(level) for level in range(1 + len(self._sampling.escalate))]
        problems = [
            Problem(
                f"sampling.{name}",
                f"is {getattr(sampling, name)}, which the server does not know; set it to {off}, "
                "or set engine.server.dialect: vllm if it does know it",
            )
            for sampling in levels
            for name, off in neutral.items()
            if getattr(sampling, name) != off
        ]
        if self._chat and self._prefilled:
            what = "cannot be sent to this chat API; leave it out, or use engine.server.api: "
            problems.append(Problem("prompting.prefill", what + "completions"))
        return problems


def check_fit(prompting: Prompting, sampling: Sampling, options: ServerOptions) -> None:
    """Raises RecipeError where template, settings and API cannot go together."""
    problems = []
    if options.api == "chat" and not prompting.is_chat:
        what = (
            f"is chat, but prompting.template is {prompting.template}, a plain text that no chat "
            "API takes; set api: completions"
        )
        problems.append(Problem("engine.server.api", what))
    if options.stream is False and sampling.early_stop is not None:
        what = "is false, but sampling.early_stop looks at the stream; leave one of them out"
        problems.append(Problem("engine.server.stream", what))
    others = [step.model for step in sampling.escalate if step.model]
    if others and options.api == "completions" and prompting.is_chat:
        what = (
            f"is completions, so that prompts are rendered here with the template of the recipe's "
            f"model, which is not that of {others[0]} (sampling.escalate); set api: chat"
        )
        problems.append(Problem("engine.server.api", what))
    if problems:
        raise RecipeError(problems)


def _sound(pieces: list[str]) -> str:
    """The pieces as one text. JSON can say half a surrogate pair; UTF-8, and so a file, cannot."""
    return "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _count(usage: dict[str, Any], name: str, otherwise: int | None) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) and value >= 0 else otherwise
