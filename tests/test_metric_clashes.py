"""Two filters whose rules read a metric of the same name: refused, or the same in any order."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.errors import RecipeError
from factory.core.nouns import Prompt
from factory.core.think import join_think
from factory.recipe.build import load_recipe
from filters import FILTERS, filter_class
from filters.base import BASE_COLUMNS
from tests.replayed import write_recipe

pytestmark = pytest.mark.usefixtures("trusted_code")

OWN = """
from typing import ClassVar
import polars as pl
from filters.base import Filter, Rule

class Short(Filter):
    MEASURED: ClassVar[frozenset[str]] = frozenset({"part"})
    part: str = "response"
    most: int = 40

    def expressions(self):
        return {"short_length": pl.col(self.part).str.len_chars()}

    def rules(self):
        return [Rule("long", pl.col("short_length") > self.most, "short_length", f"{self.most}")]

class Raises(Filter):
    def rules(self):
        return [][0]
"""

ROWS = [{"question": f"{n} + 0?", "answer": str(n)} for n in range(4)]


def text(prompt: Prompt, index: int) -> str:
    assert prompt.verifier is not None
    number = int(prompt.verifier["answer"])
    return join_think("I think. " * (1 + number * 4), f"So \\boxed{{{number}}}." + " Yes." * index)


def recipe(folder: Path) -> Path:
    (folder / "own.py").write_text(OWN)
    return write_recipe(folder, ROWS, text, filters="{format: {}}")


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_another_measure_under_the_same_name_is_refused(tmp_path: Path, order: str) -> None:
    path = recipe(tmp_path)
    own = {"a": "a: {class: 'own.py:Short'}", "b": "b: {class: 'own.py:Short', part: thinking}"}
    listed = "\n  ".join(own[name] for name in order)
    path.write_text(path.read_text().replace("filters: {format: {}}", f"filters:\n  {listed}"))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    first, second = order
    assert (
        f"recipe.yaml:11: filters.{second} measures 'short_length', as does filters.{first} "
        "in another way" in str(caught.value)
    )
    assert "metrics have another name" in str(caught.value)


def test_the_same_measure_with_other_limits_gives_the_same_rows_in_any_order(
    tmp_path: Path,
) -> None:
    path = recipe(tmp_path)
    wide, narrow = (
        f"{{class: 'own.py:Short', part: thinking, most: {most}}}" for most in (60, 100)
    )
    plain = path.read_text()
    rows = []
    for number, (first, second) in enumerate([(wide, narrow), (narrow, wide)]):
        listed = f"filters:\n  one: {first}\n  two: {second}\n  three: {first}\n"
        path.write_text(plain.replace("filters: {format: {}}", listed))
        run = tmp_path / f"run{number}"
        build(load_recipe(path), run, Console(quiet=True))
        rows.append(sorted(pl.read_parquet(run / "corpus" / "*.parquet")["id"]))
    assert rows[0] == rows[1]
    assert 0 < len(rows[0]) < 8


def test_rules_that_raise_are_named_at_load(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    own = "filters: {bad: {class: 'own.py:Raises'}}"
    path.write_text(path.read_text().replace("filters: {format: {}}", own))
    with pytest.raises(RecipeError, match=r"own.py:Raises: rules raises IndexError"):
        load_recipe(path)


def test_no_shipped_filters_share_a_metric() -> None:
    owners: dict[str, str] = {}
    for name in FILTERS:
        try:
            rules = filter_class(name)().rules()
        except ValueError:
            continue  # needs options
        for metric in {c for rule in rules for c in rule.when.meta.root_names()}:
            if metric not in BASE_COLUMNS:
                assert owners.setdefault(metric, name) == name
