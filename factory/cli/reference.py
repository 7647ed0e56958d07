"""What is generated from the code: recipes/schema.json and pages of docs/reference/.

`python -m factory.cli.reference` writes them; a test holds them equal to the code.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from factory.cli import reference_cluster, reference_pages, reference_plans, reference_recipes
from factory.cli.reference_recipes import REFERENCE, ROOT, kinds
from factory.prompts import LOADERS, loader_class
from factory.recipe.build import Recipe
from factory.recipe.rewards import REWARDS, reward_class
from filters import FILTERS, filter_class

SCHEMA = ROOT / "recipes" / "schema.json"


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


_SHORT = {"model", "store"}
"""Sections that may be written as one string."""


def _keys_of(part: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    """One kind's keys, with every loader's, filter's and domain's own where it takes them."""
    schema = part.model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(schema.pop("$defs", {}))
    properties = schema["properties"]
    properties["extends"] = _EXTENDS
    for name in _SHORT & properties.keys():
        properties[name] = {"anyOf": [{"type": "string"}, properties[name]]}
    if "sources" in properties:
        loaders = [_define(loader_class(kind), kind, definitions) for kind in LOADERS]
        properties["sources"]["items"] = {"anyOf": [*loaders, _OWN]}
    if "rewards" in properties:
        rewards = [_define(reward_class(kind), None, definitions) for kind in REWARDS]
        properties["rewards"]["additionalProperties"] = {"anyOf": [*rewards, _OWN]}
    if "filters" in properties:
        properties["filters"] = _filters(properties["filters"], definitions)
    if "quotas" in properties:
        properties["quotas"] = _quotas(properties["quotas"])
    schema["required"] = []  # a recipe may get any key from the one it extends
    return schema


_OWN = {
    "type": "object",
    "properties": {"class": {"type": "string", "description": "path/to/file.py:Class"}},
    "required": ["class"],
}
"""A part of the user's own, with whatever keys its class has."""


def _filters(key: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": ["object", "null"],
        "description": key.get("description", ""),
        "properties": {
            # null takes away what an extended recipe has.
            name: {"anyOf": [_define(filter_class(name), None, definitions), {"type": "null"}]}
            for name in FILTERS
        },
        # A filter of the user's own, by any name.
        "additionalProperties": _OWN,
    }


def _quotas(key: dict[str, Any]) -> dict[str, Any]:
    # A bare number is a number of rows.
    rows = {"anyOf": [{"type": "integer", "minimum": 0}, {"$ref": "#/$defs/Quota"}]}
    return {
        "type": "object",
        "description": key.get("description", ""),
        "additionalProperties": rows,
    }


def _define(part: type[BaseModel], kind: str | None, definitions: dict[str, Any]) -> dict[str, Any]:
    own = part.model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(own.pop("$defs", {}))
    if kind is not None:
        own["properties"]["kind"] = {"const": kind}
        own["required"] = sorted({*own.get("required", []), "kind"})
    definitions[part.__name__] = own
    return {"$ref": f"#/$defs/{part.__name__}"}


def schema_text() -> str:
    return json.dumps(schema(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def generated() -> dict[Path, Callable[[], str]]:
    """Every generated file, and what makes its text."""
    files: dict[Path, Callable[[], str]] = {
        SCHEMA: schema_text,
        REFERENCE / "commands.md": reference_pages.commands,
        REFERENCE / "corpus-row.md": reference_pages.row_page,
        REFERENCE / "errors-and-exit-codes.md": reference_pages.error_page,
        REFERENCE / "metrics-and-reasons.md": reference_pages.metric_page,
        REFERENCE / "r1-recipes.md": reference_plans.plans_page,
    }
    for name in reference_cluster.EXAMPLES:
        files[reference_cluster.CLUSTER / name] = partial(reference_cluster.write_example, name)
    for page in reference_recipes.pages():
        make = partial(reference_recipes.recipe_page, page)
        files[REFERENCE / "recipes" / page.file] = make
    return files


if __name__ == "__main__":
    for file, make in generated().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(make(), encoding="utf-8")
