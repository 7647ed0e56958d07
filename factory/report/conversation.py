"""An episode as a conversation, for a terminal and for the web app."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

import click
from markupsafe import Markup

from factory.core.think import join_think
from factory.judging.own_words import join_own_words
from factory.report.highlight import Flagged, find_flagged, list_flagged, show_controls
from factory.report.markup import render
from filters.tool_calls.parsing import parse_turn

Turns = Sequence[Mapping[str, Any]]

LINE = 700
"""Characters of a turn that are shown unless the whole text is wanted."""


class ShownTurn(NamedTuple):
    """A turn of an episode for the web app."""

    head: str
    body: Markup
    folded: bool


def is_episode(turns: Turns | None) -> TypeGuard[Turns]:
    """Return whether turns are more than the one answer whose tokens were kept."""
    return turns is not None and any(turn["role"] != "assistant" for turn in turns)


def format_turns(turns: Turns, *, full: bool = True) -> Iterator[str]:
    """Yield the lines of an episode: for each turn who speaks, what came of it, and the text."""
    for number, turn in enumerate(turns, 1):
        yield click.style(f"[{number}] {describe_turn(turn)}", bold=True)
        text = show_controls(_list_tools(turn["text"]) if turn["role"] == "tools" else turn["text"])
        if not full and len(text) > LINE:
            text = f"{text[:LINE]}\n… {len(text) - LINE:,} characters …"
        if text:
            yield text


def list_turns(turns: Turns) -> list[ShownTurn]:
    """Return the turns for the web app. What the model was shown, and calls, are folded."""
    shown = []
    for number, turn in enumerate(turns, 1):
        text = _list_tools(turn["text"]) if turn["role"] == "tools" else turn["text"]
        calls = turn["role"] == "assistant" and bool(parse_turn(text).calls)
        folded = calls or turn["role"] in ("tools", "tool")
        shown.append(ShownTurn(f"{number}. {describe_turn(turn)}", render(text), folded))
    return shown


def describe_turn(turn: Mapping[str, Any]) -> str:
    """Describe a turn in one line: who speaks, its calls, tokens, reward and state."""
    role = turn["role"]
    facts = [{"tools": "tools offered", "end": "environment"}.get(role, role)]
    if role == "assistant":
        facts += [
            _format_call(call.name, call.arguments) for call in parse_turn(turn["text"]).calls
        ]
        facts.append(f"{turn['n_tokens']} tokens")
        if turn["finish_reason"] not in (None, "stop"):
            facts.append(f"finish reason {turn['finish_reason']}")
    if turn["name"]:
        facts.append(f"of {turn['name']}")
    if turn["reward"] is not None:
        facts.append(f"reward {turn['reward']:g}")
    if turn["done"]:
        facts.append("episode over")
    if turn["state"]:
        state = turn["state"]
        facts.append(f"state {state if len(state) <= 120 else state[:119] + '…'}")
    return show_controls(", ".join(facts))


def list_flagged_words(turns: Turns, metrics: Mapping[str, Any]) -> list[str]:
    """Return a line for each span of the model's own words that a filter flagged."""
    own = join_own_words(turns)
    if own is None:
        return []
    _, thinking, response, _ = own
    text = join_think(None, response or "")
    if thinking is not None:
        text = f"<think>{thinking}</think>{response or ''}"
    found: list[Flagged] = find_flagged(text, metrics)
    return list(list_flagged(text, found))


def _list_tools(text: str) -> str:
    names = [tool.get("function", tool).get("name", "?") for tool in json.loads(text)]
    return ", ".join(map(str, names))


def _format_call(name: str, arguments: Mapping[str, Any]) -> str:
    inner = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    shown = f"{name}({inner})"
    return shown if len(shown) <= 120 else f"{shown[:119]}…"
