"""Scheduling policies on the real engine, in this process: what each prompt got is the policy's.

A verdict comes while the engine samples, so these runs go through the live judge, the abort of what
became superfluous, and the escalated settings, as no replayed run does.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.run_dir import sample_parts
from factory.judging.funnel import Funnel
from factory.judging.verdicts import load_verdicts
from factory.recipe.build import Recipe, load_recipe
from factory.sampling.scheduling.policies import WAVE_POLICIES
from tests.e2e.test_main_job import recipe

pytestmark = pytest.mark.real

SHORT = "sampling.max_tokens=80"


def built(folder: Path, size: int, n: int, *changes: str) -> tuple[Recipe, Funnel]:
    loaded = load_recipe(recipe(folder, size=size, n=n), changes)
    return loaded, build(loaded, folder / "run", Console(quiet=True))


def samples(run: Path) -> pl.DataFrame:
    """prompt_id, index, params_fp and whether it was accepted, in the order of indices."""
    columns = ["prompt_id", "index", "params_fp"]
    drawn = pl.concat(pl.read_parquet(part, columns=columns) for part in sample_parts(run))
    verdicts = load_verdicts(run).select("sample_id", accepted=pl.col("decision") == "keep")
    named = drawn.with_columns(sample_id=pl.format("{}-{}", "prompt_id", "index"))
    return named.join(verdicts.collect(), on="sample_id").sort("prompt_id", "index")


def wanted(loaded: Recipe, accepted: list[bool]) -> int:
    """The samples that the policy draws of a prompt with these verdicts."""
    policy = WAVE_POLICIES[loaded.sampling.policy](loaded.sampling)
    drawn = 0
    while drawn <= len(accepted) and (size := policy.more(drawn, sum(accepted[:drawn]))):
        drawn += size
    return drawn


WAVES = {
    "until": ["sampling.accept=1", "sampling.early_stop={every: 32}", "sampling.temperature=0.8"],
    "difficulty": ["sampling.accept=3", SHORT],
}


@pytest.mark.parametrize("policy", WAVES)
def test_a_prompt_gets_what_its_verdicts_ask_for(policy: str, tmp_path: Path) -> None:
    """In this process, on purpose: kernels compiled for filters must not break vLLM's start."""
    changes = [f"sampling.policy={policy}", "sampling.wave=2", *WAVES[policy]]
    loaded, funnel = built(tmp_path, 12, 6, *changes)
    for prompt, own in samples(tmp_path / "run").group_by("prompt_id"):
        assert own.height == wanted(loaded, own["accepted"].to_list()), prompt
    assert funnel.kept.samples
    assert funnel.drawn.samples < 6 * funnel.prompts


def test_barren_prompts_escalate_and_are_then_given_up(tmp_path: Path) -> None:
    escalate = "sampling.escalate=[{temperature: 0.9}, {temperature: 1.2, max_tokens: 60}]"
    options = ["sampling.policy=until", "sampling.accept=1", "sampling.give_up_after=2"]
    loaded, _ = built(tmp_path, 8, 12, *options, escalate, SHORT)
    levels = {loaded.params_fp(level): level for level in range(3)}
    assert len(levels) == 3
    found = samples(tmp_path / "run")
    for _, own in found.group_by("prompt_id"):
        accepted = own["accepted"].to_list()
        assert own.height == wanted(loaded, accepted) <= 6
        # Two at each level while nothing is accepted; once something is, there is no more to draw.
        assert [levels[fp] for fp in own["params_fp"]] == [i // 2 for i in range(own.height)]
    assert set(found["params_fp"]) == set(levels), "too easy a set to say anything"
    rows = pl.read_parquet(tmp_path / "run" / "corpus" / "*.parquet").select(
        "prompt_id", "index", hot=pl.col("sampling").str.contains('"sampling.temperature": 1.2')
    )
    assert rows.filter(pl.col("hot") != (pl.col("index") >= 4)).is_empty()


def test_a_budget_is_spent_where_it_pays_and_more_of_it_goes_on(tmp_path: Path) -> None:
    spent = 0
    for tokens in (1200, 2400):
        budget = f"sampling.budget={{tokens: {tokens}}}"
        changes = ["sampling.policy=budget", "sampling.wave=2", budget, SHORT]
        _, funnel = built(tmp_path, 12, 8, *changes)
        # What is in flight when the budget runs out was counted at the mean length.
        assert 0.6 * tokens < funnel.drawn.tokens < 1.3 * tokens
        assert funnel.drawn.tokens > spent
        spent = funnel.drawn.tokens
    per_prompt = (
        samples(tmp_path / "run")
        .group_by("prompt_id")
        .agg(drawn=pl.len(), accepted=pl.col("accepted").sum())
    )
    fruitful = per_prompt.filter(pl.col("accepted") > 0)["drawn"].mean()
    barren = per_prompt.filter(pl.col("accepted") == 0)["drawn"].mean()
    assert fruitful is not None
    assert barren is None or fruitful > barren


@pytest.mark.parametrize("judge", ["engine", "{start: demo, args: {max_model_len: 2048}}"])
def test_a_model_on_this_machine_judges_after_sampling(tmp_path: Path, judge: str) -> None:
    """A second engine in the same process; a model this small has no opinion worth counting."""
    judge = f"filters.correctness={{combine: rule_or_judge, judge: {judge}}}"
    _, funnel = built(tmp_path, 3, 2, judge, "sampling.max_tokens=60", "corpus.min_rows=0")
    reasons = {item.reason for item in funnel.taken}
    assert reasons <= {"judge_undecided", "judge_wrong", "unclosed_think", "truncated", "loop"}
    asked = load_verdicts(tmp_path / "run").collect().height
    assert asked == 2 * funnel.prompts
