"""Budgets in whole builds on recorded samples: spent, respected, and continued."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.files import append_line
from factory.core.run_dir import engine_seconds
from factory.recipe.build import load_recipe
from tests.recorded import prompts, recipe_file, record

BUDGET = "sampling={n: 8, policy: budget, accept: 2, budget: {samples: 60}, temperature: 0.7}"


@pytest.mark.parametrize("first", [None, 20])
def test_a_budget_of_samples_is_kept_over_restarts(tmp_path: Path, first: int | None) -> None:
    path = recipe_file(tmp_path, record(tmp_path / "recorded", 8), 8)
    for samples in [first, 60] if first else [60]:
        recipe = load_recipe(path, [BUDGET.replace("60", str(samples))])
        funnel = build(recipe, tmp_path / "run", Console(quiet=True))
        assert funnel.drawn.samples == samples
    assert funnel.kept.samples > 0
    assert funnel.drawn.samples < 8 * len(prompts())


def test_until_draws_less_than_fixed(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, record(tmp_path / "recorded", 8), 8)
    change = "sampling={n: 8, policy: until, accept: 1, wave: 2, temperature: 0.7}"
    funnel = build(load_recipe(path, [change]), tmp_path / "run", Console(quiet=True))
    assert all(group.covered == group.prompts for group in funnel.by_source.values())
    assert funnel.drawn.samples < 4 * len(prompts())


def test_the_last_verdict_may_ask_for_another_wave(tmp_path: Path) -> None:
    """Every fourth recorded sample is right, so the third success is each prompt's ninth sample."""
    path = recipe_file(tmp_path, record(tmp_path / "recorded", 12), 12)
    change = "sampling={n: 12, policy: until, accept: 3, wave: 1, temperature: 0.7}"
    funnel = build(load_recipe(path, [change]), tmp_path / "run", Console(quiet=True))
    assert funnel.drawn.samples == 9 * len(prompts())


def test_engine_seconds_add_up_over_sittings(tmp_path: Path) -> None:
    """The first process was killed. The wall clock, which jumps here, has no effect."""
    assert engine_seconds(tmp_path) == 0
    sittings = [[2.0, 4.0], [], [2.0, 3.5]]
    for number, sitting in enumerate(sittings):
        append_line(
            tmp_path / "events.jsonl", {"at": 9e9 - 1e6 * number, "event": "engine_started"}
        )
        for seconds in sitting:
            event = {"at": 1e9 * seconds, "event": "throughput", "seconds": seconds}
            append_line(tmp_path / "events.jsonl", event)
        append_line(tmp_path / "events.jsonl", {"at": 0.0, "event": "failure"})
    assert engine_seconds(tmp_path) == 7.5
