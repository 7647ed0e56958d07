"""Votes of a run in place of references: who gets one, what its verdicts are, who may use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.errors import RecipeError
from factory.core.nouns import Message, Prompt
from factory.core.think import join_think
from factory.prompts.from_run import EarlierRun
from factory.prompts.source import Reject, Skip
from factory.recipe.build import load_recipe
from factory.recipe.evaluation import load_eval
from factory.recipe.rewards import AccuracyReward
from factory.report.browse import find_samples, format_question
from factory.report.explain import explain
from factory.train.scoring import Scoring
from filters.verify.verification import CONSENSUS, VOTED_AS
from filters.verify.verifiers import Item, Verifiers
from tests.replayed import write_recipe

QUIET = Console(stderr=True, quiet=True)
N = 8

ANSWERS: dict[str, list[str | None]] = {
    "clear": ["7", "7.0", "7", "7.00", "7", "7", "8", None],  # 6 against 1 of 8
    "split": ["7", "7", "7", "7", "8", "8", "8", None],  # leads by 1 of 8
    "tie": ["7", "7", "8", "8", "9", None, None, None],
    "silent": [None] * N,
    "words": ["I don't know"] * N,
    "known": ["5", "5", "5", "5", "5", "5", "5", "5"],  # has a reference, which says 4
}
SILENCE = "I would rather not say.\n\nPlease ask me something else."
PLAIN = "{kind: files, path: rows.jsonl, language: en}"


def text(prompt: Prompt, index: int) -> str:
    answer = ANSWERS[prompt.question.rstrip("?")][index]
    said = SILENCE if answer is None else f"So \\boxed{{{answer}}}."
    return join_think("Let me see. It is a sum.", said)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of questions of which one alone has a reference."""
    folder = tmp_path_factory.mktemp("votes")
    rows: list[dict[str, Any]] = [{"question": f"{name}?"} for name in ANSWERS]
    rows[-1]["verifier"] = {"kind": "math", "answer": "4"}
    path = write_recipe(folder, rows, text, source=PLAIN, n=N, extra="corpus: {min_rows: 0}")
    build(load_recipe(path), folder / "run", QUIET)
    return folder / "run"


def read(first: Path, **vote: Any) -> dict[str, Prompt | Reject | Skip]:
    source = EarlierRun.model_validate({"path": str(first), "name": "again", "vote": vote})
    rows = list(source.rows())
    order = pl.read_parquet(first / "prompts.parquet")["messages"].list.last().struct[1]
    names = [question.rstrip("?") for question in order]
    return dict(zip(names, rows, strict=True))


def test_a_clear_vote_becomes_the_reference(first: Path) -> None:
    found = read(first, margin=0.5)
    clear, known = found["clear"], found["known"]
    assert isinstance(clear, Prompt)
    assert clear.verifier == {
        "kind": "math",
        "answer": "7",
        CONSENSUS: {"votes": 6, "of": 8, "margin": 0.625},
    }
    assert clear.meta[VOTED_AS] != clear.id
    assert isinstance(known, Prompt)
    assert known.verifier == {"kind": "math", "answer": "4"}, "a reference is never replaced"
    for name in ("split", "tie", "silent"):
        assert found[name] == Skip("no_consensus"), "left out on purpose, and not malformed"
    assert found["words"] == Skip("vote_in_words")


def test_the_margin_decides_and_few_samples_have_no_vote(first: Path) -> None:
    assert isinstance(read(first, margin=0.1)["split"], Prompt)
    assert isinstance(read(first, margin=0.625)["clear"], Prompt)
    assert read(first, margin=0.63)["clear"] == Skip("no_consensus")
    assert read(first, margin=0.1, samples=9)["clear"] == Skip("few_votes")


VERDICTS = [("7", "consensus"), ("8", "dissent"), (None, "no_answer")]


@pytest.mark.parametrize(("answer", "state"), VERDICTS)
def test_a_vote_makes_nothing_correct_or_wrong(answer: str | None, state: str) -> None:
    spec = {"kind": "math", "answer": "7", CONSENSUS: {"votes": 6, "of": 8, "margin": 0.6}}
    with Verifiers() as verifiers:
        response = SILENCE if answer is None else f"\\boxed{{{answer}}}"
        assert verifiers.verify([Item(spec, response)])[0].state == state
        assert verifiers.check([spec]) == [None]


AGAIN = """
name: again
model: demo
sources:
  - {{kind: run, path: {run}, name: again, vote: {{margin: 0.5}}}}
engine: {{kind: replay, replay: {run}}}
prompting: {{template: few_shot}}
sampling: {{n: {n}}}
filters: {{format: {{}}, correctness: {{{extra}}}}}
select: {{per_prompt: 8, drop_exact_duplicates: false}}
corpus: {{min_rows: 0}}
"""


def build_again(first: Path, folder: Path, extra: str = "") -> pl.DataFrame:
    """Build from the first run's votes and its own samples; returns the verdicts."""
    path = folder / "again.yaml"
    path.write_text(AGAIN.format(run=first, n=N, extra=extra), encoding="utf-8")
    build(load_recipe(path), folder / "again", QUIET)
    return pl.read_parquet(folder / "again" / "verdicts" / "*.parquet")


def count(verdicts: pl.DataFrame, *columns: str) -> dict[Any, int]:
    groups = verdicts.group_by(*columns).len().iter_rows()
    return {key[0] if len(columns) == 1 else tuple(key): n for *key, n in groups}


def test_agreement_is_undecided_unless_the_recipe_takes_it(first: Path, tmp_path: Path) -> None:
    verdicts = build_again(first, tmp_path)
    voted = verdicts.filter(pl.col("reason") != "wrong")
    assert count(voted, "reason", "decision") == {
        ("consensus", "undecided"): 6,
        ("dissent", "undecided"): 1,
        ("no_answer", "drop"): 1,
    }
    rates = pl.read_parquet(tmp_path / "again" / "pass_rates.parquet").sort("n_judged")
    assert rates["n_correct"].to_list() == [0, 0], "a vote is in no pass rate"
    assert rates["n_judged"].to_list() == [1, 8], "only what has no answer, and the reference"
    assert not list((tmp_path / "again" / "corpus").glob("train-*.parquet"))


def test_a_recipe_may_take_it_and_no_row_claims_a_reference(first: Path, tmp_path: Path) -> None:
    verdicts = build_again(first, tmp_path, "consensus: keep")
    assert count(verdicts, "decision") == {"keep": 6, "drop": 10}
    shown = list(find_samples(tmp_path / "again", limit=16))
    references = {line for row in shown for line in format_question(row.row(0, named=True))}
    assert "reference  7 (no reference: the vote of 6 of 8)" in references
    assert "reference  4" in references, "that of the source"
    agreed = verdicts.filter(decision="keep")["sample_id"][0]
    filters = load_recipe(tmp_path / "again.yaml").filters
    line = "its samples are compared with a vote, so none counts as correct (no reference: the "
    assert f"prompt    {line}vote of 6 of 8)" in explain(filters, tmp_path / "again", agreed)
    rows = pl.read_parquet(tmp_path / "again" / "corpus" / "*.parquet")
    assert rows.height == 6
    assert rows["answer"].to_list() == [None] * 6
    assert rows["n_correct"].sum() == 0
    assert all(VOTED_AS in json.loads(meta) for meta in rows["meta"])


def test_the_reward_counts_agreement_only_if_told() -> None:
    spec = {"kind": "math", "answer": "7", CONSENSUS: {"votes": 6, "of": 8, "margin": 0.6}}
    prompt = Prompt("s", "math", (Message(role="user", content="?"),), spec)
    texts = [join_think("So.", f"\\boxed{{{answer}}}") for answer in ("7", "8")]
    for consensus, wanted in ((False, [None, None]), (True, [1.0, 0.0])):
        scoring = Scoring({"part": AccuracyReward(consensus=consensus)}, [prompt])
        found = scoring.score([prompt.id] * 2, texts, [9] * 2, [False] * 2)
        assert found.parts["part"] == wanted


def test_an_evaluation_never_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "eval.yaml"
    path.write_text(
        "kind: eval\nname: e\nmodel: demo\nsources: [{kind: gym, name: s, task: chain_sum}]\n"
        "filters: {correctness: {consensus: keep}}\n"
    )
    with pytest.raises(RecipeError, match="consensus must be undecided"):
        load_eval(path)


def test_a_corpus_has_no_votes(first: Path, tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "a?"}]}]
    pl.DataFrame(rows).write_parquet(tmp_path / "rows.parquet")
    source = EarlierRun.model_validate({"path": str(tmp_path), "vote": {}})
    (found,) = source.rows()
    assert "name its run to have votes" in str(found)
