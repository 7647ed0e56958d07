"""The claims: the small world, the rule of decision, and a page that agrees with its facts."""

from __future__ import annotations

import doctest
import json
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import claims
from benchmarks.claims_page import render_figure, render_page, render_table
from factory.api.judging import verify
from factory.core.plugins import own_module
from factory.core.trust import trusting

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "recipes" / "r1" / "claims"


@pytest.fixture(scope="module")
def world() -> ModuleType:
    with trusting(True):
        return own_module(RECIPES / "world.py", "everything")


@pytest.fixture(scope="module")
def rules() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(claims.RULES.read_text(encoding="utf-8"))
    return found


# The world


def test_a_problem_is_of_one_part_and_its_sum_is_right(world: ModuleType) -> None:
    seen: dict[str, set[str]] = {}
    for part in world.PARTS:
        source = world.Sums(kind="sums", part=part, size=80, steps=(3, 6, 8))
        prompts = list(source.rows())
        seen[part] = {one.question for one in prompts}
        assert len(seen[part]) == 80
        for one in prompts:
            start, steps = world.read_question(one.question)
            assert one.verifier["answer"] == str(start + sum(steps))
            assert len(one.question.split()) == world.SLOTS + 2
    assert sum(map(len, seen.values())) == len(set().union(*seen.values()))


def test_the_same_keys_are_the_same_problems(world: ModuleType) -> None:
    def draw(**keys: Any) -> list[str]:
        return [one.question for one in world.Sums(kind="sums", **keys).rows()]

    assert draw(size=40, seed=1) == draw(size=40, seed=1)
    assert draw(size=40, seed=1) != draw(size=40, seed=2)
    assert draw(size=20, seed=1) == draw(size=40, seed=1)[:20]  # half the lessons


@given(st.integers(0, 10_000), st.integers(1, 8))
def test_an_author_without_faults_is_right(world: ModuleType, seed: int, steps: int) -> None:
    draw = random.Random(seed)
    start, chosen = world.draw_sum(draw, steps)
    text = world.write_solution(draw, start, chosen)
    (found,) = verify([{"kind": "math", "reference": str(start + sum(chosen)), "text": text}])
    assert found.state == "correct"
    totals = [int(total) for total in text.split("</think>")[0][len("<think>") : -1].split(";")]
    assert all(0 <= total < world.TOTALS for total in totals)


def test_faults_come_as_often_as_they_are_asked_for(world: ModuleType) -> None:
    draw = random.Random(5)
    texts = [
        world.write_solution(draw, 5, [9], dropped_carry=0.5, guess=0.1, unclosed=0.1)
        for _ in range(2000)
    ]
    guesses = sum("<think>" not in text for text in texts)
    unclosed = sum("<think>" in text and "</think>" not in text for text in texts)
    dropped = sum("<think>4;" in text for text in texts)
    assert 150 < guesses < 250
    assert 130 < unclosed < 230
    assert 780 < dropped < 1020


def test_the_models_folder_is_what_the_world_writes(world: ModuleType, tmp_path: Path) -> None:
    world.write_model(tmp_path)
    for file in sorted(tmp_path.iterdir()):
        assert file.read_text() == (RECIPES / "model" / file.name).read_text(), file.name


def test_every_text_has_its_tokens(world: ModuleType) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(RECIPES / "model")
    draw = random.Random(3)
    for languages in ([], ["en"], ["de"], ["en", "de"]):
        for _ in range(100):
            start, steps = world.draw_sum(draw, draw.randint(1, 8))
            solution = world.write_solution(draw, start, steps, guess=0.1, languages=languages)
            for text in (world.write_question(start, steps), solution):
                ids = tokenizer(text, add_special_tokens=False)["input_ids"]
                assert tokenizer.unk_token_id not in ids
                assert tokenizer.decode(ids) == text


@pytest.mark.parametrize(
    ("faults", "right"),
    [({}, True), ({"slip": 1.0}, None), ({"guess": 1.0}, None), ({"unclosed": 1.0}, False)],
)
def test_the_writer_of_small_sums(faults: dict[str, float], right: bool | None) -> None:
    with trusting(True):
        writer = own_module(RECIPES / "smollm2/writer.py", "everything")
    assert doctest.testmod(writer).failed == 0
    draw = random.Random(1)
    sums = [(draw.randrange(1, 99), draw.randrange(1, 99)) for _ in range(40)]
    texts = [
        writer.write_solution(draw, writer.read_terms(f"Calculate {one} + {other}."), **faults)
        for one, other in sums
    ]
    found = verify(
        [
            {"kind": "math", "reference": str(sum(pair)), "text": text, "think": "optional"}
            for pair, text in zip(sums, texts, strict=True)
        ]
    )
    correct = sum(one.state == "correct" for one in found)
    assert correct == (40 if right else 0) if right is not None else correct < 10


# The rule of decision


def test_the_statistics() -> None:
    assert doctest.testmod(claims).failed == 0
    assert doctest.testmod(claims).attempted >= 4


# Two-sided critical values of Student's t, from a printed table.
@pytest.mark.parametrize(
    ("freedom", "t", "p"),
    [(1, 12.706, 0.05), (1, 63.657, 0.01), (2, 9.925, 0.01), (4, 4.604, 0.01), (7, 3.499, 0.01),
     (7, 1.895, 0.10), (30, 2.042, 0.05)],
)  # fmt: skip
def test_the_tail_of_t(freedom: int, t: float, p: float) -> None:
    assert claims.student_tail(t, freedom) == pytest.approx(p, abs=1e-4)
    assert claims.student_tail(-t, freedom) == pytest.approx(p, abs=1e-4)


def facts(differences: dict[str, list[float]], rules: dict[str, Any]) -> dict[str, Any]:
    """Facts of a run in which the arms of each comparison differ by these amounts."""
    arms: dict[str, Any] = {}
    for name, rule in rules["comparisons"].items():
        one, other = rule["arms"]
        if rule["metric"] == "steps" or name not in differences:
            continue
        for arm in (one, other):
            arms.setdefault(arm, {"title": arm, "by_seed": {}})
        for seed, value in enumerate(differences[name]):
            for arm, figure in ((one, 0.5 + value), (other, 0.5)):
                blank = {"sums": {"pass@1": 0.5, "pass@4": 0.5, "format": 1.0, "language": 0.5}}
                sums = arms[arm]["by_seed"].setdefault(str(seed), blank)["sums"]
                sums[rule["metric"]] = figure
    sums = {"language": 0.5, "pass@1": 0.5, "pass@4": 0.5, "format": 1.0}
    mixing = {str(seed): {"sums": dict(sums)} for seed in range(3)}
    arms["mixing-eval"] = {"title": "", "by_seed": mixing}
    return {"arms": arms, "foreign": [0.0] * 20}


CLEAR = [0.20, 0.22, 0.19, 0.21, 0.20, 0.22, 0.19, 0.21]

OUTCOMES = [
    (CLEAR, "holds"),
    ([-value for value in CLEAR], "fails"),
    ([0.0, 0.001] * 4, "fails"),  # surely less than the margin
    (CLEAR[:4], "inconclusive"),  # too few seeds, however clear
    ([0.2, -0.1, 0.2, 0.0, 0.1, 0.2, -0.1, 0.1], "inconclusive"),
    ([], "inconclusive"),
    ([0.2], "inconclusive"),
    ([0.02] * 8, "inconclusive"),  # exactly the margin
]


@pytest.mark.parametrize(("values", "outcome"), OUTCOMES)
def test_three_outcomes(values: list[float], outcome: str, rules: dict[str, Any]) -> None:
    found = claims.decide(facts({"rl_lifts_the_base": values}, rules), rules)
    assert {one.name: one.outcome for one in found}["rl_lifts_the_base"] == outcome


def test_holm_makes_a_single_finding_harder(rules: dict[str, Any]) -> None:
    weak = [0.05, 0.03, 0.04, 0.06, 0.01, 0.05, 0.02, 0.06]
    (one, *_) = claims.decide(facts({"rl_lifts_the_base": weak}, rules), rules)
    raw = claims.student_tail(3.0, 7)
    assert one.p is not None
    assert one.outcome == "inconclusive"
    assert one.p > 0.05 > one.p / len(rules["comparisons"])
    assert raw < 0.05


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"foreign": [0.0] * 18 + [0.5] * 2}, "the meter sees 90%"),
        ({"foreign": []}, "the meter sees 0%"),
        ({"mixing": 0.9}, "is 10% foreign"),
    ],
)
def test_a_closed_gate_makes_claim_3_untestable(
    change: dict[str, Any], gate: str, rules: dict[str, Any]
) -> None:
    found = facts({"language_reward_buys_consistency": CLEAR}, rules)
    assert claims.find_closed_gates(found, rules["gates"]) == []
    if "mixing" in change:
        for one in found["arms"]["mixing-eval"]["by_seed"].values():
            one["sums"]["language"] = change["mixing"]
    else:
        found |= change
    assert gate in claims.find_closed_gates(found, rules["gates"])[0]
    outcomes = {one.claim: one.outcome for one in claims.decide(found, rules)}
    assert outcomes[3] == "not testable"
    assert outcomes[1] == "inconclusive"


def test_claim_3_again_is_decided_by_itself(rules: dict[str, Any]) -> None:
    first = facts({}, rules)
    assert len(claims.decide_all(first, rules)) == len(rules["comparisons"])
    again = facts({"language_reward_buys_consistency": CLEAR}, rules)
    found = claims.decide_all(first | {"again": again}, rules)
    assert [one.claim for one in found[len(rules["comparisons"]) :]] == [3, 3]
    assert found[-2].says.endswith("consistent (again)")
    assert found[-2].outcome == "holds"
    alone, among_ten = found[-2].p, claims.decide(again, rules)[5].p
    assert alone is not None
    assert among_ten is not None
    assert alone < among_ten, "corrected for two comparisons"


def test_claim_3_again_needs_models_that_add(rules: dict[str, Any]) -> None:
    again = facts({"language_reward_buys_consistency": CLEAR}, rules)
    for one in again["arms"]["mixing-eval"]["by_seed"].values():
        one["sums"]["pass@1"] = 0.24
    found = claims.decide_all(facts({}, rules) | {"again": again}, rules)
    assert {one.outcome for one in found[-2:]} == {"not testable"}
    page = render_page(facts({}, rules) | PLAN | {"again": again | PLAN}, rules, found)
    assert "is right on 24% of the sums" in page


def test_smollm2_is_decided_by_its_own_rules(rules: dict[str, Any]) -> None:
    first = facts({}, rules)
    assert claims.decide_other(first, rules, "smollm2") == []
    for values, outcome in (([0.3, 0.31, 0.29], "holds"), ([0.3, 0.31], "inconclusive")):
        own = facts({"rl_lifts_the_base": values}, rules) | PLAN | {"partial": [2]}
        found = claims.decide_other(first | {"smollm2": own}, rules, "smollm2")
        assert {one.claim for one in found} == {1, 4}
        assert found[0].says == "RL lifts the base model (SmolLM2)"
        assert found[0].outcome == outcome
        everything = first | PLAN | {"smollm2": own}
        page = render_page(everything, rules, claims.decide_all(everything, rules))
        assert render_table(found) in page
        assert "**Whole seeds: none**; in part: 2." in page


PLAN = {"seeds": [], "planned": [0], "partial": [], "seconds": 0, "settings": {}}


# The page


def test_page_table_and_figure_agree_with_the_facts(rules: dict[str, Any]) -> None:
    published = json.loads(claims.FACTS.read_text(encoding="utf-8"))
    compared = claims.decide_all(published, rules)
    page = claims.PAGE.read_text(encoding="utf-8")
    assert page == render_page(published, rules, compared)
    assert claims.FIGURE.read_text(encoding="utf-8") == render_figure(compared)
    index = claims.INDEX.read_text(encoding="utf-8")
    assert index == claims.place_table(index, compared)
    assert render_table(compared) in page
    assert len(published["seeds"]) == len(set(published["seeds"]))
    few = len(published["seeds"]) < rules["least_seeds"]
    assert not few or {one.outcome for one in compared} <= {"inconclusive", "not testable"}
