"""What is generated from the code: recipes/schema.json and the two references in docs/.

`python -m factory.cli.reference` writes them; a test holds them equal to the code.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from factory.cli import SECTIONS, cli
from factory.core.nouns import Domain
from factory.core.plugins import look_up
from factory.prompts import LOADERS, loader_class
from factory.prompts.source import Source
from factory.recipe.assembly import Assembly
from factory.recipe.build import Recipe
from factory.recipe.evaluation import Eval
from factory.recipe.kinds import ASSEMBLY
from factory.recipe.pipeline import Pipeline
from factory.train.train import KINDS as TRAINERS
from filters import FILTERS, filter_class
from filters.base import Filter

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "recipes" / "schema.json"


def kinds() -> dict[str, type[BaseModel]]:
    """What the key `kind` of a recipe file can be, and the schema it asks for."""
    training = {kind: look_up(options) for kind, (options, _) in TRAINERS.items()}
    return {ASSEMBLY: Assembly, **training, "eval": Eval, "pipeline": Pipeline}


def schema() -> dict[str, Any]:
    """The JSON schema of a recipe file of any kind, for editors."""
    definitions: dict[str, Any] = {}
    # What only `extends` may have its kind from the file it is laid over.
    untold = {"not": {"anyOf": [{"required": ["kind"]}, {"required": ["extends"]}]}}
    branches = [{"if": untold, "then": _keys_of(Recipe, definitions)}]
    branches += [
        {
            "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
            "then": _keys_of(part, definitions),
        }
        for kind, part in kinds().items()
    ]
    kind = {"properties": {"kind": {"enum": list(kinds())}}}
    return {"$defs": definitions, **kind, "allOf": branches}


_EXTENDS = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    "description": "A recipe, or several, that this one is laid over.",
}


def _keys_of(part: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    """One kind's keys, with every loader's, filter's and domain's own where it takes them."""
    schema = part.model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(schema.pop("$defs", {}))
    properties = schema["properties"]
    properties["extends"] = _EXTENDS
    if "model" in properties:
        properties["model"] = {"anyOf": [{"type": "string"}, properties["model"]]}
    if "sources" in properties:
        loaders = [_define(loader_class(kind), kind, definitions) for kind in LOADERS]
        properties["sources"]["items"] = {"anyOf": loaders}
    if "filters" in properties:
        properties["filters"] = _filters(properties["filters"], definitions)
    if "quotas" in properties:
        properties["quotas"] = _quotas(properties["quotas"])
    schema["required"] = []  # a recipe may get any key from the one it extends
    return schema


def _filters(key: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    own = {"class": {"type": "string", "description": "path/to/file.py:Class"}}
    return {
        "type": ["object", "null"],
        "description": key.get("description", ""),
        "properties": {
            # null takes away what an extended recipe has.
            name: {"anyOf": [_define(filter_class(name), None, definitions), {"type": "null"}]}
            for name in FILTERS
        },
        # A filter of the user's own, by any name.
        "additionalProperties": {"type": "object", "properties": own, "required": ["class"]},
    }


def _quotas(key: dict[str, Any]) -> dict[str, Any]:
    # A bare number is a number of rows.
    rows = {"anyOf": [{"type": "integer", "minimum": 0}, {"$ref": "#/$defs/Quota"}]}
    return {
        "type": "object",
        "description": key.get("description", ""),
        "properties": dict.fromkeys(get_args(Domain), rows),
        "additionalProperties": False,
    }


def _define(part: type[BaseModel], kind: str | None, definitions: dict[str, Any]) -> dict[str, Any]:
    own = part.model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(own.pop("$defs", {}))
    if kind is not None:
        own["properties"]["kind"] = {"const": kind}
        own["required"] = sorted({*own.get("required", []), "kind"})
    definitions[part.__name__] = own
    return {"$ref": f"#/$defs/{part.__name__}"}


def recipe_reference() -> str:
    """Every key of every kind of recipe as Markdown tables."""
    lines = ["# Recipe reference", "", _MADE, "", _RECIPES]
    for title, part in _parts():
        about = " ".join((inspect.getdoc(part) or "").split())
        lines += ["", f"## {title}", "", _cell(about)]
        lines += ["", "| key | default | meaning |", "|---|---|---|"] if part.model_fields else []
        for name, field in part.model_fields.items():
            if name != "kind":
                lines.append(f"| `{name}` | {_default(field)} | {_cell(meaning(field))} |")
    return "\n".join(lines) + "\n"


_MADE = "Made from the code by `make docs`."
_RECIPES = (
    "A recipe without `kind` samples a corpus. Unknown keys are refused; `extends`, `--set` and "
    "`${VARIABLES}` work in every kind."
)


def _parts() -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section once: where two kinds share one, it stands with the first."""
    seen: set[type[BaseModel]] = set()
    recipes: list[tuple[str, type[BaseModel]]] = [("The recipe", Recipe)]
    recipes += [(f"`kind: {kind}`", part) for kind, part in kinds().items()]
    for title, part in recipes:
        yield title, part
        for name, field in part.model_fields.items():
            for section in _sections(field.annotation):
                if section not in seen:
                    seen.add(section)
                    yield f"`{name}`", section
    for kind in LOADERS:
        yield f"`sources`, `kind: {kind}`", loader_class(kind)
    for name in FILTERS:
        yield f"`filters.{name}`", filter_class(name)


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """The parts of a recipe that a key's type names; sources and filters have tables of theirs."""
    if isinstance(annotation, type):
        known = issubclass(annotation, BaseModel) and annotation not in (Source, Filter)
        return [annotation] if known else []
    return [section for inner in get_args(annotation) for section in _sections(inner)]


def meaning(field: FieldInfo) -> str:
    """What a key is for: its own words, or those of the section it opens."""
    kind = field.annotation
    section = isinstance(kind, type) and issubclass(kind, BaseModel)
    return field.description or (inspect.getdoc(kind) or "" if section else "")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True) if field.default_factory else field.default
    if value is PydanticUndefined or isinstance(value, BaseModel):
        return "see below"
    text = json.dumps(value, default=sorted, ensure_ascii=False)
    return "" if value is None else f"`{_cell(text)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def command_reference() -> str:
    """`--help` of every command, in the order of their use."""
    lines = ["# Commands", "", _MADE, ""]
    commands = [command for section in SECTIONS.values() for command in section]
    for path, command in [
        ("factory", cli),
        *((f"factory {command.name}", command) for command in commands),
    ]:
        context = click.Context(
            command, info_name=path, terminal_width=88, max_content_width=88, **cli.context_settings
        )
        lines += ["```text", f"$ {path} --help", command.get_help(context), "```", ""]
    return "\n".join(lines)


def schema_text() -> str:
    return json.dumps(schema(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


GENERATED = {
    SCHEMA: schema_text,
    ROOT / "docs" / "recipes.md": recipe_reference,
    ROOT / "docs" / "commands.md": command_reference,
}


if __name__ == "__main__":
    for file, make in GENERATED.items():
        file.write_text(make(), encoding="utf-8")
