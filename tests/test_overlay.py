"""Reviews in the corpus: which samples are dropped or kept, and the content of the rows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from rich.console import Console

from factory.build.build import build, is_finished
from factory.core.errors import RecipeError, RunError
from factory.core.nouns import Prompt
from factory.core.think import join_think
from factory.corpus.assembly.assemble import build_assembly
from factory.judging.funnel import Funnel
from factory.judging.review_verdicts import (
    BREAKS_ANSWER,
    DISAGREE,
    REASONS,
    Overlay,
    summarize_reviews,
)
from factory.judging.reviews import FILE, Reviews, StaleReview
from factory.judging.verdicts import load_verdicts
from factory.recipe.assembly import load_assembly
from factory.recipe.build import Recipe, load_recipe
from factory.recipe.corpus import ReviewOptions
from factory.report.snapshot import take_snapshot
from factory.view.import_reviews import Recorder
from tests.recorded import prompts, recipe_file, record

RIGHT, WRONG, UNCLOSED, SILENT = range(4)
"""What the recorded samples of every prompt are, by index."""

THOUGHT = "A person thought about this, and then thought again."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("overlay")
    recipe_file(made, record(made / "recorded", 4), 4)
    build(load_recipe(made / "recipe.yaml"), made / "run", Console(quiet=True))
    return made


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "run"
    shutil.copytree(folder / "run", copy)
    return copy


def again(run: Path, *assignments: str) -> tuple[Funnel, str]:
    """Build the run again. Returns the run and the output."""
    said = StringIO()
    recipe = load_recipe(run / "recipe.yaml", assignments)
    return build(recipe, run, Console(file=said, width=400)), said.getvalue()


def corpus(run: Path) -> dict[str, dict[str, Any]]:
    return {r["id"]: r for r in pl.read_parquet(run / "corpus" / "*.parquet").rows(named=True)}


def verdict(run: Path, sample_id: str) -> tuple[str, str | None, str | None]:
    row = load_verdicts(run).filter(sample_id=sample_id).collect().row(0, named=True)
    return row["decision"], row["reason"], row["filter"]


def answer(prompt: Prompt) -> str:
    assert prompt.verifier is not None
    return f"So it is \\boxed{{{prompt.verifier['answer']}}}, as was to be shown."


Act = Callable[[Recorder, str, Prompt], object]


def accept(by: str = "ann") -> Act:
    return lambda recorder, name, _: recorder.record(name, by, "accept")


def reject(reason: str | None = None, by: str = "ann") -> Act:
    return lambda recorder, name, _: recorder.record(name, by, "reject", reason=reason)


def rewrite(response: str | None = None, by: str = "ann") -> Act:
    """Edited, and the edit accepted."""
    return lambda recorder, name, prompt: recorder.record(
        name, by, "accept", thinking=THOUGHT, response=response or answer(prompt)
    )


def only_edit(recorder: Recorder, name: str, prompt: Prompt) -> None:
    recorder.reviews.edit(name, "ann", 0, THOUGHT, answer(prompt))


CASES: list[tuple[int, Sequence[Act], tuple[str, str | None, str | None]]] = [
    (RIGHT, [], ("keep", None, None)),
    (RIGHT, [accept()], ("keep", None, "review")),
    (RIGHT, [reject("unreadable")], ("drop", "reviewer_unreadable", "review")),
    (RIGHT, [reject("poor summary")], ("drop", "reviewer_poor_summary", "review")),
    (RIGHT, [reject("I do not like it")], ("drop", "reviewer_other", "review")),
    (RIGHT, [reject()], ("drop", "reviewer_other", "review")),
    (RIGHT, [accept(), reject(by="bob")], ("undecided", DISAGREE, "review")),
    (RIGHT, [accept(), reject("unsafe", "bob"), reject("unsafe", "cid")],
     ("drop", "reviewer_unsafe", "review")),
    (RIGHT, [accept(), accept("bob"), reject(by="cid")], ("keep", None, "review")),
    (RIGHT, [reject("wrong"), accept()], ("keep", None, "review")),  # changed their mind
    (RIGHT, [only_edit], ("keep", None, None)),  # nobody accepted the edit yet
    (RIGHT, [accept(), only_edit], ("keep", None, None)),  # and it asks for a new decision
    (RIGHT, [rewrite("It is \\boxed{-5}.")], ("drop", BREAKS_ANSWER, "review")),
    (RIGHT, [rewrite("It is what it is.")], ("drop", BREAKS_ANSWER, "review")),
    (WRONG, [reject("wrong")], ("drop", "reviewer_wrong", "review")),
    (WRONG, [accept()], ("drop", "wrong", "correctness")),  # wrong stays wrong
    (WRONG, [rewrite()], ("keep", None, "review")),
    (SILENT, [rewrite()], ("keep", None, "review")),
    (UNCLOSED, [accept()], ("drop", "unclosed_think", "format")),
    (UNCLOSED, [rewrite()], ("keep", None, "review")),
]  # fmt: skip


def test_reviews_decide_over_the_filters_and_under_the_answer(run: Path) -> None:
    recorder = Recorder(run)
    placed = [
        (f"{p.id}-{case[0]}", p, *case[1:]) for p, case in zip(prompts(), CASES, strict=False)
    ]
    assert len(placed) == len(CASES)
    for name, prompt, actions, _ in placed:
        for act in actions:
            act(recorder, name, prompt)
    before = set(corpus(run))
    funnel, said = again(run)
    rows = corpus(run)
    for name, _, actions, expected in placed:
        assert verdict(run, name) == expected, (name, actions)
        assert (name in rows) == (expected[0] == "keep")
    touched = {name for name, *_ in placed}
    assert set(rows) - touched == before - touched
    removed = {(t.filter, t.reason): t.count.samples for t in funnel.taken if t.filter == "review"}
    assert removed["review", "reviewer_other"] == 2
    assert removed["review", BREAKS_ANSWER] == 2
    assert (
        "reviews: 6 accepted (3 edited, 3 that filters had dropped), 6 rejected, 1 disputed" in said
    )
    assert "4 that reviewers accepted are still dropped: 2 edit_breaks_answer, 1 " in said


def test_a_row_says_who_reviewed_it_and_an_edited_one_is_the_edit(run: Path) -> None:
    one, other = prompts()[:2]
    recorder = Recorder(run)
    recorder.record(f"{one.id}-0", "ann", "accept")
    rewrite(by="bob")(recorder, f"{other.id}-{UNCLOSED}", other)
    recorder.record(f"{other.id}-{UNCLOSED}", "Zoë", "accept", base=recorder.reviews.standing(
        f"{other.id}-{UNCLOSED}").version)  # fmt: skip
    plain = corpus(run)[f"{one.id}-0"]
    again(run)
    rows = corpus(run)
    review = json.loads(rows[f"{one.id}-0"]["meta"])["review"]
    assert {k: v for k, v in review.items() if k != "at"} == {
        "reviewers": ["ann"],
        "edited": False,
        "original": f"{one.id}-0",
    }
    assert {**rows[f"{one.id}-0"], "meta": plain["meta"]} == plain
    row = rows[f"{other.id}-{UNCLOSED}"]
    review = json.loads(row["meta"])["review"]
    assert (review["reviewers"], review["edited"]) == (["bob", "Zoë"], True)
    assert (row["thinking"].strip(), row["response"].strip()) == (THOUGHT, answer(other))
    assert row["messages"][-1]["content"] == join_think(THOUGHT, answer(other))
    assert (row["finish_reason"], row["extracted_answer"]) == ("stop", None)
    assert {v["filter"]: v["decision"] for v in row["verdicts"]} == dict.fromkeys(
        ("format", "length", "correctness"), "keep"
    )
    samples = pl.read_parquet(run / "samples" / "*.parquet")
    original = samples.filter(prompt_id=other.id, index=UNCLOSED)["text"][0]
    assert "A person" not in original


def test_an_accepted_sample_comes_back_from_a_filter_of_form_and_first(run: Path) -> None:
    limits = ("filters.length.max_tokens=1", "select.per_prompt=1", "corpus.min_rows=0")
    assert again(run, *limits)[0].kept.samples == 0
    prompt = prompts()[0]
    recorder = Recorder(run)
    rewrite()(recorder, f"{prompt.id}-{SILENT}", prompt)
    recorder.record(f"{prompts()[1].id}-{RIGHT}", "ann", "accept")
    assert again(run, *limits)[0].kept.samples == 2
    again(run, "filters.length.max_tokens=8192", "select.per_prompt=1")
    of_prompt = [row["index"] for row in corpus(run).values() if row["prompt_id"] == prompt.id]
    assert of_prompt == [SILENT]  # index 0 is correct as well, and was not looked at


def test_edits_of_equal_texts_are_no_duplicates(run: Path) -> None:
    prompt = prompts()[0]
    names = [f"{prompt.id}-{index}" for index in (WRONG, SILENT)]
    recorder = Recorder(run)
    for name, text in zip(names, ("Once more: ", "Again: "), strict=True):
        rewrite(text + answer(prompt))(recorder, name, prompt)
    again(run)
    assert set(names) <= set(corpus(run))
    for name in names:  # and edits into equal texts are
        recorder.record(
            name, "bob", "accept", thinking=THOUGHT, response=answer(prompt),
            base=recorder.reviews.standing(name).version,
        )  # fmt: skip
    again(run)
    assert len(set(names) & set(corpus(run))) == 1


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        ("reviews.use=false", [True, False]),
        ("reviews.overrule_correctness=true", [False, True]),
    ],
)
def test_what_the_recipe_says_of_reviews(run: Path, key: str, rows: list[bool]) -> None:
    recorder = Recorder(run)
    names = [f"{prompts()[0].id}-{RIGHT}", f"{prompts()[1].id}-{WRONG}"]
    recorder.record(names[0], "ann", "reject", reason="other")
    recorder.record(names[1], "ann", "accept")
    again(run, key)
    assert [name in corpus(run) for name in names] == rows


def finished(run: Path) -> bool:
    return is_finished(load_recipe(run / "recipe.yaml"), run)


def test_a_run_is_not_finished_while_its_reviews_are_newer(run: Path) -> None:
    name = f"{prompts()[0].id}-0"
    assert finished(run)
    Reviews(run)
    assert finished(run)  # nobody has said anything
    Recorder(run).record(name, "ann", "reject")
    assert not finished(run)
    again(run)
    assert finished(run)
    Recorder(run).record(name, "ann", "reject")  # imported once more
    assert finished(run)
    again(run, "reviews.use=false")
    assert not finished(run) or load_recipe(run / "recipe.yaml").reviews.use is False
    assert name in corpus(run)


def test_an_edit_nobody_accepted_builds_nothing(run: Path) -> None:
    only_edit(Recorder(run), f"{prompts()[0].id}-0", prompts()[0])
    assert finished(run)


def test_building_again_gives_the_same_rows(run: Path) -> None:
    rewrite()(Recorder(run), f"{prompts()[0].id}-{WRONG}", prompts()[0])
    again(run)
    first = corpus(run)
    again(run, "corpus.seed=7")
    assert corpus(run) == first


def test_reviews_of_samples_that_are_gone_are_told(run: Path) -> None:
    Reviews(run).decide("gone-0", "ann", "reject", 0, "other")
    assert "1 reviews are of samples that this run does not have" in again(run)[1]


def test_an_assembly_takes_the_edited_rows(run: Path, tmp_path: Path) -> None:
    prompt = prompts()[0]
    rewrite()(Recorder(run), f"{prompt.id}-{SILENT}", prompt)
    again(run)
    recipe = tmp_path / "mix.yaml"
    mix = {"kind": "assembly", "name": "mix", "runs": [{"path": str(run)}]}
    recipe.write_text(yaml.safe_dump(mix))
    build_assembly(load_assembly(recipe), tmp_path / "mix", Console(quiet=True))
    rows = pl.read_parquet(tmp_path / "mix" / "corpus" / "*.parquet")
    row = rows.filter(id=f"{prompt.id}-{SILENT}").row(0, named=True)
    assert row["thinking"].strip() == THOUGHT
    assert json.loads(row["meta"])["review"]["edited"]


def test_the_browser_shows_the_reviewers_verdict(run: Path) -> None:
    names = [f"{prompt.id}-0" for prompt in prompts()[:2]]
    Recorder(run).record(names[0], "ann", "accept")
    Recorder(run).record(names[1], "ann", "reject", reason="unsafe")
    again(run)
    samples = take_snapshot(run).samples
    shown = samples.filter(pl.col("sample_id").is_in(names)).select("decision", "reason", "filter")
    assert sorted(shown.rows()) == [
        ("drop", "reviewer_unsafe", "review"),
        ("keep", None, "review"),
    ]


class TestRecorder:
    """Reviews that were made elsewhere."""

    def test_an_import_repeated_changes_nothing(self, run: Path) -> None:
        prompt = prompts()[0]
        name = f"{prompt.id}-0"

        def imported() -> list[bool]:
            recorder = Recorder(run)
            return [
                recorder.record(name, "ann", "reject", reason="wrong").new,
                recorder.record(
                    name, "bob", "accept", thinking=THOUGHT, response=answer(prompt)
                ).new,
            ]

        assert imported() == [True, True]
        history = Reviews(run).history(name)
        assert imported() == [False, False]
        assert Reviews(run).history(name) == history

    def test_an_edit_is_judged_by_the_runs_filters(self, run: Path) -> None:
        recorder, name = Recorder(run), f"{prompts()[0].id}-0"
        good = recorder.record(
            name, "ann", "accept", thinking=THOUGHT, response=answer(prompts()[0])
        )
        assert (good.flags, good.new) == ((), True)
        bad = recorder.record(
            name, "ann", "accept", thinking=None, response="\\boxed{-5}", base=good.version
        )
        assert bad.flags == ("format: no_think", "correctness: no_answer")
        assert summarize_reviews(run)["flags"].to_list() == [list(bad.flags)]

    def test_what_was_edited_meanwhile_is_refused(self, run: Path) -> None:
        recorder, name = Recorder(run), f"{prompts()[0].id}-0"
        only_edit(recorder, name, prompts()[0])
        with pytest.raises(StaleReview, match="ann has edited"):
            recorder.record(name, "bob", "accept")

    @pytest.mark.parametrize(
        ("sample", "reviewer", "choice", "error"),
        [
            ("none-0", "ann", "accept", RunError),
            (None, " ", "accept", RecipeError),
            (None, "ann", "perhaps", RecipeError),
        ],
    )
    def test_nonsense_is_refused_and_stored_nowhere(
        self, run: Path, sample: str | None, reviewer: str, choice: Any, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            Recorder(run).record(sample or f"{prompts()[0].id}-0", reviewer, choice)
        assert summarize_reviews(run).is_empty()


def test_a_run_without_reviews_is_left_alone(folder: Path) -> None:
    recipe: Recipe = load_recipe(folder / "recipe.yaml")
    none = Overlay(folder / "run", recipe.reviews, {})
    rows = pl.DataFrame({"sample_id": ["x-0"], "meta": ["{}"]})
    hashes = pl.LazyFrame({"sample_id": ["x-0"], "text_hash": [1]})
    assert none.fingerprint is None
    assert list(none.apply_to_verdicts()) == []
    assert none.apply_to_rows(rows) is rows
    assert none.update_hashes(hashes) is hashes
    assert not (folder / "run" / FILE).exists()


def test_every_reason_of_the_app_has_a_code_of_its_own() -> None:
    assert len({f"reviewer_{reason.replace(' ', '_')}" for reason in REASONS}) == len(REASONS)
    assert ReviewOptions().use
