"""What an environment is: a place where a model acts, turn by turn, on a prompt.

Environments are found and checked today, by table, entry point or a user's own file; a build does
not play episodes in them yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from factory.core.nouns import Message, Prompt
from factory.core.plugins import find_class


@dataclass(frozen=True, slots=True)
class Observation:
    """What an environment shows after a reset or a step.

    `messages` go to the model next. With `done` the episode is over. `reward` is what the episode
    earned so far, None where the environment gives none. `state` is JSON: what a person or a
    verifier may want to see of it.
    """

    messages: tuple[Message, ...]
    done: bool = False
    reward: float | None = None
    state: Mapping[str, Any] = field(default_factory=dict)


class Environment(Protocol):
    """One episode at a time. The same prompt, seed and actions give the same observations."""

    def reset(self, prompt: Prompt, seed: int) -> Observation:
        """Begin an episode: what the model sees after the prompt's own messages, maybe nothing."""

    def step(self, action: Message) -> Observation:
        """What the model's message does. Must not raise on any text."""


ENVIRONMENTS: dict[str, str] = {}
"""Name → "package.module:Class" of the environments that ship: none yet."""

GROUP = "factory.environments"
"""Installed packages add environments as entry points of this group."""


def environment_class(name: str) -> type[Environment]:
    """The class of a name, an entry point's, or `path/to/file.py:Class`; it is made with its
    options as keyword arguments. Raises PluginError."""
    found: type[Environment] = find_class(
        ENVIRONMENTS,
        name,
        Environment,  # type: ignore[type-abstract]
        GROUP,
    )
    return found
