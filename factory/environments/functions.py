"""Simulated services, written as plain Python classes: their public methods are the tools.

A service holds state and knows nothing of episodes:

    class Shop:
        def __init__(self, stock: dict[str, int]) -> None:
            self.stock = stock

        def buy(self, item: str) -> str:
            '''Buy one item.'''
            ...

A prompt may bring the state that the services begin with, further turns of the user, and the calls
that are expected in each turn. Where calls are expected, a second set of services makes them, and
after each of the user's turns both sets must have the same state.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from factory.core.environment import Action, Observation
from factory.core.nouns import Message, Prompt
from factory.core.plugins import own_module
from factory.environments.tools import (
    ToolEnvironment,
    ToolError,
    as_text,
    describe_function,
    public_methods,
)
from filters.verify.state import find_difference

MAX_DEPTH = 40
MAX_VALUES = 50_000
"""Of the state of all services: how deep it may be nested, and how many values it may hold."""

NEW_TOOLS = "More functions are available now:"


class Functions(ToolEnvironment):
    """Offers the public methods of the classes `services` in the file `path`.

    `config` gives each class its arguments, `turns` are the user's further turns: a text, or
    `{content, tools}` with functions that are offered from then on. `expected` lists the calls of
    each turn, as `{name, arguments}`. The episode ends when the last turn is answered without a
    call, or when a turn leaves another state, or less read, than expected. Its reward is then 1 or
    0; without `expected` there is none.
    """

    def __init__(
        self,
        services: Sequence[str],
        path: str | None = None,
        config: Mapping[str, Any] | None = None,
        turns: Sequence[str | Mapping[str, Any]] = (),
        expected: Sequence[Sequence[Mapping[str, Any]]] | None = None,
        replayable: bool = True,
    ) -> None:
        if not services or isinstance(services, str):
            raise ValueError("services names no class; give a list of names")
        self._names, self._path, self._config = list(services), path, dict(config or {})
        self._turns = [_read_turn(turn) for turn in turns]
        self._expected, self.replayable = expected, replayable
        if expected is not None and len(expected) != len(self._turns) + 1:
            raise ValueError(
                f"expected has {len(expected)} turns, and the user has {len(self._turns) + 1}"
            )

    def load_service(self, name: str) -> type:
        """Return the class of a service. Raises PluginError for a file that is not trusted."""
        if self._path is None:
            raise ValueError("path is missing; it names the file with the classes")
        found = getattr(own_module(Path(self._path), f"class {name}"), name, None)
        if not isinstance(found, type):
            raise ValueError(f"{self._path} has no class {name}")
        return found

    @classmethod
    def prepare(cls, services: Sequence[str], path: str | None = None, **_: Any) -> None:
        """Run the file once for all episodes."""
        if path is not None:
            own_module(Path(path), f"class {services[0]}")

    def make_service(self, name: str) -> Any:
        """Return a service in the state that it begins with."""
        return self.load_service(name)(**copy.deepcopy(self._config.get(name) or {}))

    def begin(self, prompt: Prompt) -> None:
        self._services = _Services({name: self.make_service(name) for name in self._names})
        self._model = None
        if self._expected is not None:
            self._model = _Services({name: self.make_service(name) for name in self._names})
        later = {name for turn in self._turns for name in turn.names}
        expected = {call["name"] for calls in self._expected or () for call in calls}
        unknown = sorted((later | expected) - set(self._services.methods))
        if unknown:
            raise ValueError(f"turns or expected: no service has a method {unknown[0]!r}")
        offered = [tool["function"]["name"] for tool in prompt.tools]
        self._described = bool(offered)
        self._offered = set(offered) if offered else set(self._services.methods) - later
        self._asked, self._called, self._heard = 0, False, Counter[str]()
        self._outcome: str | None = None

    def find_tools(self) -> dict[str, Callable[..., Any]]:
        methods = self._services.methods
        return {name: methods[name] for name in methods if name in self._offered}

    def describe_tools(self) -> tuple[Mapping[str, Any], ...]:
        return () if self._described else super().describe_tools()

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = {"services": self._services.state(), "turn": self._asked}
        return found if self._outcome is None else {**found, "outcome": self._outcome}

    def step(self, action: Action) -> Observation:
        seen = super().step(action)
        if not seen.done:
            self._called = self._called or bool(action.get("tool_calls"))
            self._heard.update(message["content"] for message in seen.messages)
            return seen
        self._outcome = self._compare()
        if self._outcome is not None or self._asked == len(self._turns):
            reward = None if self._expected is None else float(self._outcome is None)
            self._outcome = self._outcome or ("as expected" if reward else "ended")
            return Observation((), done=True, reward=reward, state=self.state())
        turn = self._turns[self._asked]
        self._asked, self._called = self._asked + 1, False
        self._offered |= set(turn.names)
        self._tools = self.find_tools()
        tools = turn.describe(self._services.methods)
        lines = [turn.content or NEW_TOOLS, *map(as_text, tools)]
        message = Message(role="user", content="\n".join(lines))
        return Observation((message,), state=self.state(), tools=tools)

    def _compare(self) -> str | None:
        """Make the calls that were expected in this turn. Returns what is not as they leave it."""
        if self._model is None or self._expected is None:
            return None
        calls = self._expected[self._asked]
        answers = Counter(self._model.answer(call) for call in calls)
        if not calls:
            return None  # nothing can be done in this turn; what is done shows in the next
        place = f"turn {self._asked + 1}"
        if not self._called:
            return f"{place}: no call was made"
        wanted, found = self._model.state(exact=True), self._services.state(exact=True)
        difference = find_difference(wanted, found) or find_difference(found, wanted)
        if difference is not None:
            return f"{place}: {difference}"
        missing = next(iter(answers - self._heard), None)
        return None if missing is None else f"{place}: nothing answered {missing[:200]!r}"


class _Turn:
    """A further turn of the user, and the functions that it brings."""

    def __init__(self, content: str, tools: Sequence[str | Mapping[str, Any]]) -> None:
        self.content = content
        self._tools = list(tools)
        self.names = [
            tool if isinstance(tool, str) else str(tool["function"]["name"]) for tool in tools
        ]

    def describe(self, methods: Mapping[str, Callable[..., Any]]) -> tuple[Mapping[str, Any], ...]:
        """Return the schemas of the functions."""
        return tuple(
            describe_function(tool, methods[tool]) if isinstance(tool, str) else tool
            for tool in self._tools
        )


def _read_turn(turn: Any) -> _Turn:
    if isinstance(turn, str):
        return _Turn(turn, ())
    if not isinstance(turn, Mapping) or not set(turn) <= {"content", "tools"} or not turn:
        raise ValueError(f"turns: {str(turn)[:80]} is no text and has no content and tools")
    return _Turn(str(turn.get("content") or ""), turn.get("tools") or ())


class _Services:
    """One set of services: their methods by name, and their state."""

    def __init__(self, services: Mapping[str, Any]) -> None:
        self._services = services
        self.methods: dict[str, Callable[..., Any]] = {}
        for name, service in services.items():
            for method, function in public_methods(service, object).items():
                if method in self.methods:
                    raise ValueError(f"two services have a method {method}; rename that of {name}")
                self.methods[method] = function

    def answer(self, call: Mapping[str, Any]) -> str:
        """Make an expected call. Returns what a model reads of it."""
        try:
            return as_text(self.methods[call["name"]](**copy.deepcopy(call["arguments"])))
        except ToolError as error:
            return f"error: {error}"
        except Exception as error:  # a service may raise anything; a model reads the same
            return f"error: {type(error).__name__}: {error}"

    def state(self, exact: bool = False) -> dict[str, Any]:
        """Return the public attributes of each service as JSON. Raises ValueError if it is large.

        `exact` tells the keys 1 and "1" apart, which JSON writes alike.
        """
        reader = _StateReader(exact)
        return {name: reader.read(service, ()) for name, service in self._services.items()}


class _StateReader:
    def __init__(self, exact: bool) -> None:
        self._exact, self._left = exact, MAX_VALUES

    def read(self, value: Any, parents: tuple[int, ...]) -> Any:
        self._left -= 1
        if self._left < 0 or len(parents) > MAX_DEPTH:
            raise ValueError("the state of the services is too large; keep less in attributes")
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if abs(value) < float("inf") else repr(value)
        if id(value) in parents:
            return "(see above)"
        inner = (*parents, id(value))
        if isinstance(value, Mapping):
            return {self._key(key): self.read(item, inner) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.read(item, inner) for item in value]
        if isinstance(value, set | frozenset):
            return sorted((self.read(item, inner) for item in value), key=repr)
        public = {k: v for k, v in getattr(value, "__dict__", {}).items() if not k.startswith("_")}
        if public or not parents:
            return {name: self.read(item, inner) for name, item in public.items()}
        return str(value)

    def _key(self, key: Any) -> str:
        if self._exact and not isinstance(key, str):
            return f"({type(key).__name__}) {key}"
        return str(key)
