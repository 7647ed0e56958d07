"""The Berkeley Function-Calling Leaderboard, from the data in the package `bfcl-eval`.

Its multi-turn categories are episodes in the environment `bfcl`. Nothing of the package is
imported here: its data are JSON lines. The traps: parameters are not JSON Schema; among the
accepted values `""` means that the argument may be left out; Java and JavaScript values are source
text in BFCL's own prompts, and JSON here; four irrelevance rows offer no tool at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from factory.core.environment import BFCL_SERVICES
from factory.core.errors import SourceError
from factory.core.machine import find_version
from factory.core.nouns import Prompt
from factory.prompts.mapping import as_turns
from factory.prompts.sets.bfcl_turns import (
    MULTI_TURN,
    VERIFIER,
    MultiTurn,
    build_environment,
    describe_services,
    held_back,
)
from factory.prompts.sets.tool_schemas import Tool, make_tool, tool_prompt, tool_verifier
from factory.prompts.source import BadRow, Row, Source, Unwanted

SingleTurn = Literal[
    "simple_python",
    "multiple",
    "parallel",
    "parallel_multiple",
    "simple_java",
    "simple_javascript",
    "irrelevance",
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "live_irrelevance",
    "live_relevance",
]
Category = SingleTurn | MultiTurn
CATEGORIES: tuple[Category, ...] = get_args(SingleTurn)

MAX_LINE = 2_000_000


class Bfcl(Source):
    """BFCL v4's questions: with one answer turn, each with its accepted calls; or with several.

    The categories `multi_turn_*` are episodes: simulated services, further turns of the user, and
    a final state. Their verifier is `state`.

    Install the data with `pip install --no-deps bfcl-eval`: the package pins an old numpy.
    """

    LICENSE = "Apache-2.0"
    DOMAIN = "general"

    kind: Literal["bfcl"] = "bfcl"
    categories: tuple[Category, ...] = Field(
        CATEGORIES,
        min_length=1,
        description="Which categories to load, in this order. Default: those with one turn.",
    )
    path: Path | None = Field(
        None, description="Folder with BFCL_v4_*.json. Default: the installed package's."
    )
    names: Literal["kept", "underscored"] = Field(
        "kept",
        description="Names of functions: as they are, or with `_` for each dot, since many servers "
        "refuse dots.",
    )
    strings: Literal["folded", "exact"] = Field(
        "folded",
        description="How texts are compared: as BFCL does, without case, spaces and `,./-_*^`, or "
        "exactly.",
    )

    def identity(self) -> Any:
        """The keys, and the package's version or the state of the folder's files."""
        if self.path is None:
            return [super().identity(), find_version("bfcl-eval")]
        files = sorted(self.path.glob("**/BFCL_v4_*.json"))
        stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return [super().identity(), stats]

    def read(self) -> Iterator[tuple[str, Row | BadRow]]:
        folder = self.path or find_data()
        schemas = read_schemas(folder) if set(self.categories) & {*MULTI_TURN} else {}
        for category in self.categories:
            answers = {
                row.get("id"): row.get("ground_truth")
                for _, row in read_rows(folder / "possible_answer" / f"BFCL_v4_{category}.json")
                if isinstance(row, dict)
            }
            file = folder / f"BFCL_v4_{category}.json"
            if not file.is_file():
                raise SourceError(f"bfcl: {file} does not exist; `path` names the folder with it")
            for place, row in read_rows(file):
                if isinstance(row, BadRow):
                    yield place, row
                else:
                    more = {"category": category, "answer": answers.get(row.get("id"))}
                    yield place, row | more | ({"schemas": schemas} if schemas else {})

    def prompt(self, row: Row) -> Prompt:
        try:
            return self._prompt(row)
        except (LookupError, TypeError, AttributeError) as error:
            what = f"{type(error).__name__}: {error}"
            raise BadRow("bad_shape", f"not a row of bfcl ({what}): {', '.join(row)}") from None

    def _prompt(self, row: Row) -> Prompt:
        if row["category"] in MULTI_TURN:
            return self._episode(row)
        if not row["function"]:
            raise Unwanted("no_tools")
        tools = [
            make_tool(self._name(tool["name"]), tool.get("description"), tool["parameters"])
            for tool in row["function"]
        ]
        if len(row["question"]) != 1:
            raise Unwanted("several_turns")
        messages = as_turns(row["question"][0])
        verifier = tool_verifier(tools, self._calls(row, tools), strings=self.strings)
        meta = {"category": row["category"], "id": row["id"]}
        return tool_prompt(self, messages, verifier, tools, meta)

    def _episode(self, row: Row) -> Prompt:
        if not row["answer"]:
            raise BadRow("no_answer", f"{row['id']} has no possible answer")
        tools = describe_services(row, row["schemas"])
        later = {name for names in held_back(row).values() for name in names}
        return self.make(
            as_turns(row["question"][0]),
            VERIFIER,
            meta={"category": row["category"], "id": row["id"]},
            tools=tuple(tool for tool in tools if tool["function"]["name"] not in later),
            environment=build_environment(row, tools),
        )

    def _name(self, name: str) -> str:
        return name if self.names == "kept" else name.replace(".", "_")

    def _calls(self, row: Row, tools: list[Tool]) -> list[dict[str, Any]] | str:
        category = row["category"]
        if category.endswith("irrelevance"):
            return []
        if category == "live_relevance":
            return "any"  # BFCL asks here only whether a tool is called
        if not row["answer"]:
            raise BadRow("no_answer", f"{row['id']} has no possible answer")
        described = {
            tool["function"]["name"]: tool["function"]["parameters"]["properties"] for tool in tools
        }
        calls = []
        for answer in row["answer"]:
            ((name, arguments),) = answer.items()
            name = self._name(name)
            calls.append(convert_call(name, arguments, described.get(name, {})))
        return calls


def convert_call(
    name: str, arguments: Mapping[str, Any], described: Mapping[str, Any]
) -> dict[str, Any]:
    """BFCL's accepted values of a call, as the verifier `tool_call` reads them.

    `""` makes an argument optional. It is also an accepted value where the argument is a text.
    """
    accepted: dict[str, list[Any]] = {}
    optional = []
    for key, values in arguments.items():
        if not isinstance(values, list):
            raise BadRow("bad_answer", f"the accepted values of {name}.{key} are no list")
        is_text = described.get(key, {}).get("type", "string") == "string"
        accepted[key] = [convert_value(value) for value in values if value != "" or is_text]
        if "" in values:
            optional.append(key)
    return {"name": name, "accepted": accepted} | ({"optional": optional} if optional else {})


def convert_value(value: Any) -> Any:
    """An accepted value. A mapping, also in a list, holds accepted values for each member."""
    if isinstance(value, list):
        return [_convert_object(item) if isinstance(item, Mapping) else item for item in value]
    return _convert_object(value) if isinstance(value, Mapping) else value


def _convert_object(value: Mapping[str, Any]) -> dict[str, Any]:
    members = {key: item if isinstance(item, list) else [item] for key, item in value.items()}
    optional = [key for key, accepted in members.items() if "" in accepted]
    return {"$object": members} | ({"$optional": optional} if optional else {})


def find_data() -> Path:
    """The data folder of the installed package, which is not imported. Raises SourceError."""
    spec = find_spec("bfcl_eval")
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / "data"
        if folder.is_dir():
            return folder
    raise SourceError(
        "bfcl: the package bfcl-eval is not installed; install its data with "
        "`pip install --no-deps bfcl-eval`, or name a folder with BFCL_v4_*.json as `path:`"
    )


def read_schemas(folder: Path) -> dict[str, list[Row]]:
    """The functions of every service, as its multi-turn categories describe them."""
    documents = folder / "multi_turn_func_doc"
    return {
        service: [row for _, row in read_rows(documents / f"{file}.json") if isinstance(row, dict)]
        for service, file in BFCL_SERVICES.items()
    }


def read_rows(file: Path) -> Iterator[tuple[str, dict[str, Any] | BadRow]]:
    """The rows of a file of JSON lines; none where there is no file."""
    if not file.is_file():
        return
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            place = f"{file.name}:{number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line) if len(line) <= MAX_LINE else None
            except (ValueError, RecursionError) as error:
                yield place, BadRow("bad_json", str(error))
                continue
            yield place, row if isinstance(row, dict) else BadRow("bad_json", "no object")
