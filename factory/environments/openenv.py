"""Environments of an OpenEnv server: one websocket is one episode.

The server runs in a Python of its own, on this machine or another. Its messages are JSON, so that
nothing of OpenEnv is needed here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from factory.core.environment import Action, Observation
from factory.core.nouns import Message, Prompt
from factory.environments.tools import EnvironmentLost

PATIENCE_S = 60.0
"""Seconds to wait for a session of a server that has no free one."""

_RETRY_S = 0.5
_FULL = "CAPACITY_REACHED"
_REFUSED = frozenset({"VALIDATION_ERROR", "INVALID_JSON"})
"""Errors that say that an action does not fit: the model reads them."""


class ServerError(Exception):
    """The server answered with an error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class OpenEnv:
    """A session of the server at `url`.

    `action` names the field of an action that takes the model's text; without it, the text must be
    an action as JSON. `observation` names the field to show; without it, all of it is shown as
    JSON. `reset` holds further arguments of the server's reset, and `seed` draws the episode for
    all samples of a prompt. Rewards of all steps are summed.
    """

    def __init__(
        self,
        url: str,
        action: str | None = None,
        observation: str | None = None,
        reset: Mapping[str, Any] | None = None,
        seed: int | None = None,
        replayable: bool = False,
    ) -> None:
        self._url, self._action, self._field = url, action, observation
        self._options, self._seed, self.replayable = dict(reset or {}), seed, replayable

    def reset(self, prompt: Prompt, seed: int) -> Observation:
        chosen = seed if self._seed is None else self._seed
        message = {"type": "reset", "data": {**self._options, "seed": chosen}}
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._socket = connect(self._url)
                begun = self._ask(message)
                break
            except ServerError as error:
                if error.code != _FULL or time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_S)
        self._earned: float | None = None
        return self._show(begun)

    def step(self, action: Action) -> Observation:
        written = action["content"]
        try:
            made = {self._action: written} if self._action else json.loads(written)
        except (ValueError, RecursionError):
            made = None
        if not isinstance(made, dict):
            return _say("error: an action is a JSON object")
        try:
            return self._show(self._ask({"type": "step", "data": made}))
        except ServerError as error:
            if error.code not in _REFUSED:
                raise
            return _say(f"error: {error}")

    def _show(self, answer: Mapping[str, Any]) -> Observation:
        seen, reward = answer.get("observation"), answer.get("reward")
        if isinstance(reward, int | float):
            self._earned = (self._earned or 0.0) + float(reward)
        done = bool(answer.get("done"))
        state = self._ask({"type": "state"}) if done else {}
        message = Message(role="user", content=self._text(seen))
        return Observation((message,), done, self._earned, state)

    def _text(self, seen: Any) -> str:
        if self._field is None:
            return json.dumps(seen, ensure_ascii=False)
        if not isinstance(seen, Mapping) or self._field not in seen:
            raise ValueError(f"the observation {str(seen)[:200]} has no field {self._field!r}")
        shown = seen[self._field]
        return shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)

    def _ask(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a message and return the data of its answer. Raises ServerError for an error."""
        from websockets.exceptions import ConnectionClosed

        try:
            self._socket.send(json.dumps(message))
            answer = json.loads(self._socket.recv())
        except (ConnectionClosed, OSError) as error:
            raise EnvironmentLost(f"the server at {self._url} is gone: {error}") from None
        except (ValueError, RecursionError) as error:
            raise EnvironmentLost(f"the server at {self._url} sent no JSON: {error}") from None
        if not isinstance(answer, Mapping) or not isinstance(answer.get("data"), Mapping):
            raise EnvironmentLost(f"the server at {self._url} sent {str(answer)[:80]!r}")
        data: Mapping[str, Any] = answer["data"]
        if answer.get("type") == "error":
            raise ServerError(str(data.get("code")), str(data.get("message")))
        return data


def _say(text: str) -> Observation:
    return Observation((Message(role="user", content=text),))


def connect(url: str) -> Any:
    """Return a websocket of the server. Raises RuntimeError that says how to begin."""
    try:
        from websockets.sync.client import connect as open_socket
    except ImportError as error:
        raise RuntimeError(
            f"the package `websockets` is missing ({error}); install the extra `openenv`"
        ) from None
    scheme, _, place = url.partition("://")
    schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
    if scheme not in schemes or not place:
        raise ValueError(f"url is {url!r}; give one such as http://localhost:8000")
    try:
        return open_socket(f"{schemes[scheme]}://{place.rstrip('/')}/ws", max_size=1 << 24)
    except (OSError, EOFError) as error:
        raise RuntimeError(
            f"no OpenEnv server answers at {url} ({error}); start it in its own Python, such as "
            "`uvicorn server:app --port 8000`"
        ) from None
