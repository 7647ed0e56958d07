"""The tools and the environment of a prompt: as a recipe names them, and as rows bring them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from factory.core import trust
from factory.core.environment import (
    ENVIRONMENTS,
    GROUP,
    PLACE_KEYS,
    allow_places,
    name_environment,
)
from factory.core.plugins import PluginError, UntrustedCode, is_known, known_names, suggest


class EnvironmentOptions(BaseModel):
    """The environment of a source's prompts, whose samples become episodes.

    Every key but `class` and `kind` is an option of the environment.
    """

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        populate_by_name=True,
        json_schema_extra={"anyOf": [{"required": ["class"]}, {"required": ["kind"]}]},
    )

    kind: str | None = Field(
        None,
        description="calculator, python, sqlite, search, mcp, functions, bfcl, textarena, "
        "openenv or repository; or the name of an entry point of the group factory.environments.",
    )
    class_: str | None = Field(
        None, alias="class", description="path/to/file.py:Class, relative to the recipe."
    )

    @model_validator(mode="after")
    def _can_be_found(self) -> EnvironmentOptions:
        if (self.class_ is None) == (self.kind is None):
            raise ValueError("give either `class`, a file and a class in it, or `kind`")
        if self.kind is not None:
            _require_known(self.kind)
        if self.kind == "functions":
            _require_trusted((self.model_extra or {}).get("path"))
        allow_places(self.mapping())
        return self

    def mapping(self) -> dict[str, Any]:
        """Return what every prompt carries. Raises PluginError naming file and class."""
        options = _json(self.model_extra or {})
        named = name_environment(self.class_) if self.class_ else {"kind": str(self.kind)}
        return {**options, **named}


def combine_environments(
    row: Mapping[str, Any] | None, source: EnvironmentOptions | None
) -> Mapping[str, Any] | None:
    """Return the environment of a prompt: its row's, else its source's.

    A row with the kind of its source's environment, or with none, adds its options to the
    source's.
    """
    given = source.mapping() if source is not None else None
    if row is None or given is None:
        return row or given
    if row.get("kind", given["kind"]) != given["kind"]:
        return row
    return {**given, **row}


def read_environment(value: Any) -> dict[str, Any]:
    """Return the environment that a row of data names. Raises ValueError.

    A row can name an environment that ships or is installed, never a file: neither one to run nor
    one to read. Without a `kind` it has options of the source's environment.
    """
    found = json.loads(value) if isinstance(value, str) else value
    if not isinstance(found, Mapping) or not isinstance(found.get("kind", ""), str):
        raise ValueError(f"{str(value)[:80]!r} is no mapping with a `kind`")
    if found.get("kind") == "verifiers":
        _require_known("verifiers")  # says where they come from, whatever else the row names
    for key in ("class", *PLACE_KEYS):
        if key in found:
            raise ValueError(
                f"a row of data cannot name a {key}; name it in the source's `environment`"
            )
    if "kind" in found:
        _require_known(found["kind"])
    return _json({key: value for key, value in found.items() if value is not None})


def read_tools(value: Any) -> tuple[dict[str, Any], ...]:
    """Return functions in OpenAI's form, from a list of them or its JSON. Raises ValueError.

    Each is `{"type": "function", "function": {…}}`, or the inner mapping alone.
    """
    found = json.loads(value) if isinstance(value, str) else value
    if not isinstance(found, list):
        raise ValueError(f"{str(value)[:80]!r} is no list of functions")
    tools: list[dict[str, Any]] = []
    names: list[str] = []
    for item in found:
        function = item.get("function", item) if isinstance(item, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise ValueError(f"{str(item)[:80]!r} is no function with a name")
        parameters = function.get("parameters")
        if not isinstance(parameters, Mapping | None):
            raise ValueError(f"the parameters of {function['name']!r} are no JSON schema")
        given = function.items()
        kept = {key: value for key, value in given if value is not None and key != "type"}
        tools.append({"type": "function", "function": kept})
        names.append(function["name"])
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"two functions have the name {repeated[0]!r}")
    return tuple(_json(tool) for tool in tools)


def _require_known(kind: str) -> None:
    if kind == "verifiers":  # its prompts are the taskset's, and its Python is to be trusted
        raise PluginError(
            "tasks of `verifiers` come with their prompts: name a source of that kind"
        )
    if not is_known(ENVIRONMENTS, kind, GROUP):
        known = known_names(ENVIRONMENTS, GROUP)
        raise PluginError(
            f"{kind!r} is no environment; it must be one of {', '.join(known)}, or a recipe gives a"
            f" `class`{suggest(kind, known)}"
        )


def _require_trusted(path: Any) -> None:
    """Ask whether the file of services may run. They run in the processes of episodes."""
    if not isinstance(path, str) or not Path(path).is_file():
        raise PluginError(f"`path` is {path!r}; name the file with the classes of `services`")
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    if refusal := trust.require(Path(path), text, "services"):
        raise UntrustedCode(refusal)


def _json(value: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(dict(value), allow_nan=False))
    return found
