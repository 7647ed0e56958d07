"""Turns of an episode as the messages of a chat, and as the text that follows what was generated.

A model's turns are never rendered again: the ids that it generated stay as they are, and only what
comes after them is rendered and encoded. So reasoning of earlier turns stays in the context, unless
a server renders the messages itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from factory.core.environment import Action
from factory.core.errors import ModelError
from factory.core.nouns import Message, Prompt, Turn
from factory.core.think import join_think
from factory.prompts.templates import ChatTokenizer, Prompting, Rendered
from filters.tool_calls.parsing import parse_turn
from filters.tool_calls.schemas import cast_arguments, read_tools

Tools = Sequence[Mapping[str, Any]]

_MARK = "QXTURNQX"
"""Stands where a model's turn stood, to find what the template writes after it."""


def read_action(text: str, number: int, tool_format: str = "auto", tools: Tools = ()) -> Action:
    """Return what an assistant turn does. Calls without an id get one from the turn's number.

    Arguments that a format writes as texts get the types that `tools` say.
    """
    parsed = parse_turn(text, tool_format)
    schemas = read_tools(tools) if any(call.untyped for call in parsed.calls) else {}
    read = [cast_arguments(call, schemas.get(call.name, {})) for call in parsed.calls]
    calls = [
        {
            "id": call.id or f"call_{number}_{place}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for place, call in enumerate(read)
    ]
    return Action(
        role="assistant",
        content=parsed.content,
        tool_calls=calls,
        malformed=list(parsed.malformed),
    )


def list_messages(
    turns: Iterable[Turn], tool_format: str = "auto", tools: Tools = ()
) -> list[Message]:
    """Return the messages of turns. Reasoning stands in think tags before the content.

    A turn with a call that cannot be read stays as it was written.
    """
    messages: list[Message] = []
    number = 0
    for turn in turns:
        if turn.role == "assistant":
            messages.append(_assistant_message(turn.text, number, tool_format, tools))
            number += 1
        elif turn.role in ("tool", "user"):
            message = Message(role=turn.role, content=turn.text)
            if turn.name:
                message["name"] = turn.name
            if turn.call_id:
                message["tool_call_id"] = turn.call_id
            messages.append(message)
    return messages


def _assistant_message(text: str, number: int, tool_format: str, tools: Tools) -> Message:
    action = read_action(text, number, tool_format, tools)
    if action["malformed"] or not action["tool_calls"]:
        return Message(role="assistant", content=text)
    thinking = parse_turn(text, tool_format).thinking
    content = join_think(thinking, action["content"]) if thinking else action["content"]
    return Message(role="assistant", content=content, tool_calls=action["tool_calls"])


def find_tools(prompt: Prompt, turns: Sequence[Turn]) -> tuple[Mapping[str, Any], ...]:
    """Return the functions that the model is offered: the prompt's and the environment's.

    An environment may offer more of them in a later turn.
    """
    offered = (tool for turn in turns if turn.role == "tools" for tool in json.loads(turn.text))
    return (*prompt.tools, *offered)


def split_opening(turns: Sequence[Turn]) -> tuple[tuple[Turn, ...], tuple[Turn, ...]]:
    """Split off what stands before the first assistant turn."""
    first = next(
        (place for place, turn in enumerate(turns) if turn.role == "assistant"), len(turns)
    )
    return tuple(turns[:first]), tuple(turns[first:])


def render_opening(
    prompting: Prompting, prompt: Prompt, turns: Sequence[Turn], tokenizer: ChatTokenizer | None
) -> Rendered:
    """Render the input of the first assistant turn: the prompt, its tools, what the reset showed.

    Raises ModelError for a chat template that can't render it.
    """
    opening, _ = split_opening(turns)
    tools = find_tools(prompt, opening)
    return prompting.render(prompt, tokenizer, tools=tools, opening=list_messages(opening))


def render_observations(
    prompting: Prompting,
    prompt: Prompt,
    tools: Tools,
    observations: Sequence[Turn],
    tokenizer: ChatTokenizer,
) -> Rendered:
    """Render what comes after a model's turn: its end, the observations, the next turn's begin."""
    messages = [
        Message(role="user", content="?"),
        Message(role="assistant", content=_MARK),
        *list_messages(observations),
    ]
    _, mark, after = prompting.render_chat(messages, tokenizer, tools).rpartition(_MARK)
    if not mark:
        raise ModelError("the chat template drops the assistant's text, so no turn can follow it")
    return prompting.open_turn(prompt, after)


class Continuation(NamedTuple):
    """The input of an episode's next assistant turn."""

    opening: str
    """The text before the first assistant turn."""
    text: str
    """All text before the next assistant turn."""
    prefill: str
    """The start of that turn."""
    ids: list[int]
    """The tokens of text and prefill."""


def continue_episode(
    prompting: Prompting, prompt: Prompt, turns: Sequence[Turn], tokenizer: Any
) -> Continuation:
    """Return the input of the next assistant turn. What the model generated is never encoded again,
    unless the engine gave no ids for it.

    Raises ModelError for a chat template that can't render it.
    """
    opening, rest = split_opening(turns)
    rendered = render_opening(prompting, prompt, turns, tokenizer)
    text, prefill = rendered.prompt_text, rendered.prefill
    ids: list[int] | None = tokenizer.encode(text + prefill, add_special_tokens=False)
    tools = find_tools(prompt, opening)
    for turn, observations in _steps(rest):
        after = render_observations(prompting, prompt, tools, observations, tokenizer)
        new = tokenizer.encode(after.prompt_text + after.prefill, add_special_tokens=False)
        if ids is not None and turn.token_ids is not None:
            own = list(turn.token_ids)
            # The model generated the end of its turn itself, unless a stop string ended it.
            ids += own + (new[1:] if own and new and own[-1] == new[0] else new)
        else:
            ids = None
        text, prefill = text + turn.text + after.prompt_text, after.prefill
    if ids is None:
        ids = tokenizer.encode(text + prefill, add_special_tokens=False)
    return Continuation(rendered.prompt_text, text, prefill, ids)


def _steps(turns: Sequence[Turn]) -> list[tuple[Turn, list[Turn]]]:
    """Return each assistant turn with what follows it."""
    found: list[tuple[Turn, list[Turn]]] = []
    for turn in turns:
        if turn.role == "assistant":
            found.append((turn, []))
        elif found:
            found[-1][1].append(turn)
    return found
