"""Every recipe that is made for GPUs says where it runs, and fits there."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.cli.reference_plans import RECIPES, plan_where_it_says, planned_recipes, read_place
from factory.recipe.document import load_document


@pytest.mark.parametrize("file", planned_recipes(), ids=lambda file: str(file.relative_to(RECIPES)))
def test_a_recipe_says_where_it_runs_and_fits_there(file: Path) -> None:
    assert read_place(file) is not None
    plan = plan_where_it_says(file)
    assert plan.fits, plan.refusal()


def test_the_engine_of_an_evaluation_has_room_for_the_question() -> None:
    evaluations = [file for file in planned_recipes() if file.parent.name == "eval"]
    assert len(evaluations) >= 6
    for file in evaluations:
        data = load_document(file).data
        assert data["engine"]["args"]["max_model_len"] > data["sampling"]["max_tokens"]


def test_no_recipe_of_r1_needs_a_gated_set_by_default() -> None:
    gated = {"big_math"}
    for file in planned_recipes():
        if file.parent.name != "eval":
            sources = load_document(file).data.get("sources", [])
            assert not {source.get("kind") for source in sources} & gated, file
