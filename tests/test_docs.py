"""The generated files say what the code says."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from factory.cli import reference
from factory.recipe import kinds
from factory.recipe.document import load_document
from factory.recipe.pipeline import load_pipeline

RECIPES = sorted(
    path
    for path in reference.SCHEMA.parent.rglob("*.yaml")
    if not {"launch", "cluster"} & set(path.parts)
)


def read(path: Path) -> None:
    """Read a recipe of any kind as its command would."""
    kind = load_document(path).data.get("kind", kinds.SAMPLES)
    if kind == "pipeline":
        load_pipeline(path)
    else:
        kinds.load(kind, path)


@pytest.mark.parametrize("path", reference.GENERATED, ids=lambda path: path.name)
def test_generated_files_are_the_codes(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == reference.GENERATED[path](), "run `make docs`"


@pytest.mark.parametrize("path", [*RECIPES, reference.ROOT / "data" / "starter.yaml"], ids=str)
def test_shipped_recipes_fit_schema_and_code(path: Path) -> None:
    schema = json.loads(reference.SCHEMA.read_text(encoding="utf-8"))
    jsonschema.validate(load_document(path).data, schema)
    read(path)


@pytest.mark.parametrize(
    "text",
    [
        "filters: {fromat: {}}",
        "sampling: {n: zero}",
        "sources: [{kind: gmy}]",
        "nam: x",
        "kind: stf",
    ],
)
def test_the_schema_refuses_what_the_code_refuses(text: str) -> None:
    schema = json.loads(reference.SCHEMA.read_text(encoding="utf-8"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), schema)


def test_every_key_of_a_recipe_is_documented() -> None:
    silent = [
        f"{title}: {name}"
        for title, part in reference._parts()
        for name, field in part.model_fields.items()
        if not reference.meaning(field)
        and name not in ("kind", "name", "model")
        and not (part.__doc__ and f"`{name}`" in part.__doc__)
    ]
    assert not silent
