"""What an environment is: a place where a model acts, turn by turn, on a prompt."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from factory.core.nouns import Message, Prompt
from factory.core.plugins import PluginError, find_class
from factory.core.process_tree import supervised_command
from factory.core.trust import require_program


class Action(Message, total=False):
    """What the model did: an assistant's message, its tool calls read.

    `content` is what it said after its think section, without the calls. `tool_calls` are in
    OpenAI's form, with `arguments` as a mapping. `malformed` says why further calls can't be read.
    """

    malformed: list[str]


@dataclass(frozen=True, slots=True)
class Observation:
    """What an environment shows after a reset or a step.

    `messages` go to the model next. With `done`, or without messages after a step, the episode is
    over. `reward` is what the episode earned so far, None where the environment gives none. `state`
    is JSON: what a person or a verifier may want to see of it. `tools` are the functions that it
    offers, as OpenAI schemas; they count after a reset, where the prompt names none.
    """

    messages: tuple[Message, ...]
    done: bool = False
    reward: float | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[Mapping[str, Any], ...] = ()


class Environment(Protocol):
    """One episode in a process of its own; it is made with its options as keyword arguments."""

    replayable: bool
    """Whether the same prompt, seed and actions give the same observations. Then a killed run
    continues a half-played episode by playing its actions again; else it starts the episode over.
    """

    def reset(self, prompt: Prompt, seed: int) -> Observation:
        """Begin an episode: what the model sees after the prompt's own messages, maybe nothing."""

    def step(self, action: Action) -> Observation:
        """What the model's message does. Must not raise on any text."""


ENVIRONMENTS: dict[str, str] = {
    "calculator": "factory.environments.calculator:Calculator",
    "python": "factory.environments.python:Python",
    "sqlite": "factory.environments.sqlite:Sqlite",
    "search": "factory.environments.search:Search",
    "mcp": "factory.environments.mcp_server:Mcp",
    "functions": "factory.environments.functions:Functions",
    "bfcl": "factory.environments.bfcl:Bfcl",
    "textarena": "factory.environments.textarena:TextArena",
    "openenv": "factory.environments.openenv:OpenEnv",
    "repository": "factory.environments.repository:Repository",
    "verifiers": "factory.environments.verifiers:Verifiers",
}
"""Name → "package.module:Class" of the environments that ship."""

BFCL_SERVICES: dict[str, str] = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TwitterAPI": "posting_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "VehicleControlAPI": "vehicle_control",
}
"""A class of `bfcl-eval`'s services → its module, and the file with the schemas of its functions.
Its prompts read the files, its environment the modules."""

GROUP = "factory.environments"
"""Installed packages add environments as entry points of this group."""

OWN = "own"
"""The kind of an environment in a user's file, in prompts; `class` is its name there."""

_NAMED: dict[str, str] = {}
"""Environments in files that recipes of this process have named: name → where the class is."""


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


def name_environment(reference: str) -> dict[str, str]:
    """Return what prompts carry of an environment in a user's file, less its options.

    Loads the class, as the user asked for. Raises PluginError.
    """
    place: str = environment_class(reference).REFERENCE  # type: ignore[attr-defined]
    file, _, attribute = place.rpartition(":")
    name = f"{Path(file).parent.name}/{Path(file).name}:{attribute}"
    if _NAMED.get(name, place) != place:
        raise PluginError(f"{name} names two files ({_NAMED[name]}, {place}); rename one")
    _NAMED[name] = place
    return {"kind": OWN, "class": name}


def find_environment(spec: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the reference of a prompt's environment, for `environment_class`, and its options.

    Raises PluginError for a class, file, program or address that no recipe of this process has
    named: data cannot name one.
    """
    options = {key: value for key, value in spec.items() if key not in ("kind", "class")}
    for key, value in _places(spec):
        if (str(spec["kind"]), key, value) not in _PLACES:
            raise PluginError(
                f"no recipe here names the {key} {value:.100} of an environment, and data cannot; "
                "name it in the `environment` of the source"
            )
    if spec["kind"] != OWN:
        return str(spec["kind"]), options
    name = spec.get("class")
    if name not in _NAMED:
        raise PluginError(f"no recipe here names the environment {name!r:.100}, and data cannot")
    return _NAMED[name], options


PLACE_KEYS = ("path", "command", "url")
"""Options of environments that name code, a file or a server. Rows of data cannot give them."""

_PLACES: set[tuple[str, str, str]] = set()
"""Kind, option and value of what recipes of this process have named."""


def allow_places(spec: Mapping[str, Any]) -> None:
    """Note what a recipe's environment names, for its prompts. The caller has checked that it is
    trusted."""
    _PLACES.update((str(spec["kind"]), *place) for place in _places(spec))


def _places(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    own = ("python", "taskset") if spec["kind"] == "verifiers" else ()
    keys = [key for key in (*PLACE_KEYS, *own) if spec.get(key) is not None]
    return [(key, json.dumps(spec[key], sort_keys=True)) for key in keys]


_VERIFIERS = Path(__file__).parents[1] / "environments" / "verifiers_server.py"


def refuse_taskset(options: Mapping[str, Any]) -> str | None:
    """Return None if a taskset of `verifiers` may run in its Python, else why not.

    The Python files below `path` count as they are now; those in the Python are the user's own.
    """
    given = [options.get(key) for key in ("taskset", "path")]
    texts = [json.dumps(given, sort_keys=True)]
    if options.get("path") is not None:
        for file in sorted(Path(options["path"]).rglob("*.py")):
            texts += [str(file), file.read_text(encoding="utf-8", errors="surrogateescape")]
    return require_program(str(options.get("python")), *texts)


def start_verifiers(
    what: str, options: Mapping[str, Any], number: int, **popen: Any
) -> subprocess.Popen[bytes]:
    """Start `verifiers_server.py` in a Python of its own; `what` is `list` or `serve`.

    `options` has `python`, `taskset` and maybe `path`, a folder whose modules can be imported
    there. SIGTERM ends all that it starts, and so does this process's end. Raises RuntimeError if
    that Python cannot be started.
    """
    python, taskset, path = options["python"], options["taskset"], options.get("path")
    if not os.access(python, os.X_OK):
        raise RuntimeError(
            f"{python} cannot be started; `python` is the interpreter of the environment in which "
            "`verifiers` is installed, such as envs/verifiers/bin/python"
        )
    named = {"id": taskset} if isinstance(taskset, str) else taskset
    given = json.dumps({"taskset": named})
    here = ("NO_PROXY=127.0.0.1,localhost", f"PYTHONPATH={path or ''}")
    run = ("sh", "-c", 'exec "$@"', "sh")  # `env` takes a path with a = for a variable
    cleared = ("env", "-u", "PYTHONHOME", "-u", "VIRTUAL_ENV", *here, *run)
    command = [*cleared, python, "-P", str(_VERIFIERS), what, given, str(number)]
    if what == "list":  # the server of episodes lives below their supervisor
        command = supervised_command(command)
    quiet = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    return subprocess.Popen(command, **{**quiet, **popen})
