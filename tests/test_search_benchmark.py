"""The benchmark of choices among samples: tables and claims of a run written here."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchmarks import search, search_facts
from factory.recipe.pipeline import load_pipeline
from tests.test_claims import ROOT


def estimate(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "prompts": 9}


def write_seed(run: Path, seed: int, gain: float) -> None:
    """Write what the benchmark reads of one seed; votes by the PRM are `gain` better."""
    metrics = {
        **dict.fromkeys(("pass@1", "best@16:quality_score", "best@4:steps_min"), estimate(0.3)),
        **dict.fromkeys(("best@8:steps_min", "cons@16", "vote@16:quality_score"), estimate(0.4)),
        "best@16:steps_min": estimate(0.35),
        "vote@16:steps_min": estimate(0.4 + gain),
        "pass@16": estimate(0.9),
        "tokens": estimate(12.0),
    }
    choices = {name: estimate(one["value"] - 0.4) for name, one in metrics.items() if "@16" in name}
    del choices["cons@16"]
    wrong = {"margin": 0.5, "prompts": 4, "of": 9, "wrong": 0.25, "low": 0.0, "high": 0.6}
    document = {
        "groups": {"sums": {"metrics": metrics}},
        "choices": {"sums": choices},
        "margins": {"sums": [wrong]},
    }
    steps = run / "steps"
    for name, content in (
        (f"choices-{seed}/eval.json", document),
        (f"prm-{seed}/train.json", {"metrics": {"eval_auc": 0.8, "eval_auc_within": 0.7}}),
        (f"prm-soft-{seed}/train.json", {}),
    ):
        (steps / name).parent.mkdir(parents=True)
        (steps / name).write_text(json.dumps(content))
    by_prompt = {name: [one["value"]] * 9 for name, one in metrics.items()}
    ids = {"prompt_id": [str(n) for n in range(9)], "cons@80t": [0.4] * 9}
    pl.DataFrame(ids | by_prompt).write_parquet(steps / f"choices-{seed}" / "scores.parquet")
    write_rounds(steps, seed, gain)
    (run / "pipeline.json").write_text(json.dumps({"steps": {"texts": {"seconds": 90.0}}}))
    (steps / f"rl-free-{seed}").mkdir()
    lines = [
        {"step": n, "rewards/steps/mean": 0.5 + n / 100, "rewards/accuracy/mean": 0.5 - n / 100}
        for n in range(30)
    ]
    log = "".join(json.dumps(line) + "\n" for line in lines)
    (steps / f"rl-free-{seed}" / "log.jsonl").write_text(log)


def write_rounds(steps: Path, seed: int, gain: float) -> None:
    """Write rounds of search and training: the second gains `gain`, the third a hundredth."""
    names = (f"{word}-{what}" for word in ("second", "third") for what in ("alone", "tree"))
    means = dict(
        zip(("tree", *names), (0.5, 0.3 + gain, 0.5 + gain, 0.32, 0.51 + gain), strict=True)
    )
    for name, right in (means | {search_facts.UNSEARCHED: 0.25}).items():
        (steps / f"{name}-{seed}").mkdir()
        scores = {"prompt_id": [str(n) for n in range(9)], "pass@1": [right] * 9}
        scores |= {"cons@80t": [0.4] * 9, "tokens": [70.0] * 9}
        if seed % 2:  # the order of prompts is nobody's promise
            scores["prompt_id"].reverse()
        pl.DataFrame(scores).write_parquet(steps / f"{name}-{seed}" / "scores.parquet")
    for word in ("second", "third"):
        (steps / f"{word}-prm-{seed}").mkdir()
        metrics = {"metrics": {"eval_auc_within": 0.6}}
        (steps / f"{word}-prm-{seed}" / "train.json").write_text(json.dumps(metrics))


def test_one_seed_has_the_evaluations_own_intervals(tmp_path: Path) -> None:
    write_seed(tmp_path, 0, 0.2)
    facts = search_facts.read_run(tmp_path)
    text = search.render(search.tabulate_choices(facts, "16"))
    assert "| vote weighted by PRM, min | vote@16:steps_min | 60.0 | +20.0 [+10.0, +30.0] |" in text
    assert "| vote | cons@16 | 40.0 | – |" in text


def test_several_seeds_have_intervals_over_seeds(tmp_path: Path) -> None:
    for seed, gain in enumerate((0.1, 0.2, 0.3)):
        write_seed(tmp_path, seed, gain)
    facts = search_facts.read_run(tmp_path)
    spread = search.collect_differences(facts, "vote@16:steps_min")
    assert spread is not None
    assert (spread.value, spread.low) == pytest.approx((0.2, 0.2 - 0.2484), abs=1e-3)
    assert "4 of 9" not in search.render(search.tabulate_margins(facts))
    assert "| 50% | 12 of 27 | 25.0" in search.render(search.tabulate_margins(facts))
    assert "| PRM, hard labels | 80.0 [80.0, 80.0] | 70.0" in search.render(
        search.tabulate_aucs(facts)
    )


def test_what_comes_out_negative_is_printed_as_it_is(tmp_path: Path) -> None:
    write_seed(tmp_path, 0, -0.2)
    claims = {one["name"]: one for one in search.list_claims(search_facts.read_run(tmp_path))}
    weighted = claims["vote weighted by PRM, min, minus the vote"]
    assert (weighted["value"], weighted["high"], weighted["holds"]) == (-0.2, -0.1, False)
    best = claims["best by ORM, minus the vote"]
    assert (best["low"], best["high"], best["holds"]) == (-0.2, 0.0, None)
    assert claims["best by PRM, min: of 16 samples minus of 4"]["value"] == 0.05
    weights = claims["vote weighted by PRM, min, minus weighted by ORM"]
    assert (weights["value"], weights["holds"]) == (-0.2, None), "nine prompts decide nothing"
    hacked = claims["rl-free: true accuracy, last steps minus first"]
    assert (hacked["value"], hacked["holds"]) == (-0.2, None), "one seed decides nothing"
    assert claims["PRM: least AUC within questions, of all seeds"]["holds"] is True


def test_rounds_of_search_and_training(tmp_path: Path) -> None:
    for seed, gain in enumerate((0.1, 0.2, 0.3)):
        write_seed(tmp_path, seed, gain)
    facts = search_facts.read_run(tmp_path)
    first, second, third, plain = search.tabulate_rounds(facts)[1]
    assert first[-2:] == ["–", "–"]
    assert second[-2:] == ["+20.0 [-4.8, +44.8]", "undecided"]
    assert third[-2:] == ["+1.0 [+1.0, +1.0]", "goes on"]
    assert plain[:2] == ["plain samples", "25.0 [25.0, 25.0]"]
    claims = {one["name"]: one for one in search.list_claims(facts)}
    assert claims["3rd round: search, minus the round before"]["value"] == 0.01
    assert claims["2nd round: policy alone, minus the round before"]["value"] == 0.2
    assert claims["a policy of searches, minus one of plain samples"]["value"] == 0.25


def test_a_round_that_one_seed_lacks_is_not_shown(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_seed(tmp_path, seed, 0.1)
    (tmp_path / "steps" / "third-tree-1" / "scores.parquet").unlink()
    table = search.tabulate_rounds(search_facts.read_run(tmp_path))[1]
    assert [row[0] for row in table] == ["1st", "2nd", "plain samples"]
    (tmp_path / "steps" / "second-tree-0" / "scores.parquet").unlink()
    facts = search_facts.read_run(tmp_path)
    assert search.tabulate_rounds(facts) == ([], [])
    report = search.render_report(facts)
    assert "took 2 minutes" in report
    assert "search again" not in report


def test_the_report_stands_between_the_marks_of_the_page() -> None:
    page = search.PAGE.read_text(encoding="utf-8")
    assert search.place_report(page, "what was measured").count("what was measured") == 1
    for mark in search.MARKS:
        assert page.count(mark) == 1
    again = search.place_report(search.place_report(page, "one"), "two")
    assert again == search.place_report(page, "two")


def test_no_finished_seed_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no evaluation is done"):
        search_facts.read_run(tmp_path)


@pytest.mark.usefixtures("trusted_code")
def test_the_recipe_has_what_the_benchmark_reads() -> None:
    pipeline = load_pipeline(ROOT / "recipes" / "search" / "mini.yaml")
    rounds = [name for one in search_facts.ROUNDS for name in (one.prm, one.alone, one.tree)]
    names = ("prm-soft", "rl-free", "rl-clipped", search_facts.UNSEARCHED, *rounds)
    assert {f"{name}-4" for name in names} <= pipeline.steps.keys()
    assert len(pipeline.seeds) == 5


def test_examples_in_docstrings() -> None:
    for module in (search, search_facts):
        found = doctest.testmod(module)
        assert (found.failed, found.attempted > 0) == (0, True)
