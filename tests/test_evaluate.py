"""Evaluations of recorded runs: known numbers, resuming, comparing, refusing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from factory.core.errors import FactoryError, ModelError, RecipeError, RunError, SourceError
from factory.core.nouns import Prompt, Sample
from factory.core.run_dir import RunDir, sample_parts, save_prompts
from factory.core.think import join_think
from factory.evaluation.evaluate import _weights, evaluate
from factory.evaluation.figure import write_figure
from factory.evaluation.result import Evaluation, load_evaluation
from factory.evaluation.table import format_markdown, print_evaluation
from factory.judging.funnel import load_funnel
from factory.judging.recorded import open_filters
from factory.prompts.files import Files
from factory.recipe.evaluation import load_eval
from factory.report.browse import find_samples
from factory.report.explain import explain
from tests.recorded import PROMPTS, prompts, record
from tests.recorded import sample as recorded_sample

QUIET = Console(stderr=True, quiet=True)
N = 4

RECIPE = """
kind: eval
name: {name}
model: demo
sources:
  - {{kind: files, name: aime24, path: {prompts}, language: en, limit: 30}}
engine: {{kind: replay, replay: {recorded}}}
sampling: {{temperature: 0.7, max_tokens: 256}}
k: 4
bootstrap: {{resamples: 400}}
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording with a right, a wrong, an unclosed and an answerless sample of every prompt."""
    return record(tmp_path_factory.mktemp("recorded") / "run", N)


@pytest.fixture(scope="module")
def better(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like `recorded`, but every second prompt has a second right sample, spelled differently."""
    folder = tmp_path_factory.mktemp("better") / "run"
    asked = prompts()
    save_prompts(folder, asked)
    with RunDir(folder) as run:
        for place, prompt in enumerate(asked):
            for index in range(N):
                run.append(_improved(prompt, index, place))
    return folder


def _improved(prompt: Prompt, index: int, place: int) -> Sample:
    sample = recorded_sample(prompt, index)
    if index != 1 or place % 2:
        return sample
    assert prompt.verifier is not None
    answer = f"The answer is \\boxed{{{prompt.verifier['answer']}}}."
    return replace(
        sample, text=join_think("Again, from the start.", answer), finish_reason="length"
    )


def recipe_file(folder: Path, recorded: Path, name: str = "first", extra: str = "") -> Path:
    path = folder / f"{name}.yaml"
    text = RECIPE.format(name=name, prompts=PROMPTS, recorded=recorded)
    path.write_text(text + extra, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def done(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Path]:
    folder = tmp_path_factory.mktemp("eval")
    path = recipe_file(folder, recorded)
    return evaluate(load_eval(path), folder / "run", QUIET), folder / "run"


def values(found: Evaluation, source: str = "aime24") -> dict[str, float | None]:
    return {name: estimate.value for name, estimate in found.groups[source].metrics.items()}


def test_the_numbers(done: tuple[Evaluation, Path]) -> None:
    found, _ = done
    group = found.groups["aime24"]
    assert (group.samples, group.undecided, group.missing) == (4 * group.prompts, 0, 0)
    got = values(found)
    assert got["pass@1"] == 0.25
    assert got["pass@4"] == 1.0
    assert got["cons@4"] == 0.5  # one right vote against one wrong; the others give no answer
    assert got["truncated"] == 0.0
    assert got["format"] == 0.75  # one of four never closes its reasoning
    assert got["language"] == 1.0
    assert found.groups["aime24"].metrics["pass@1"].low == pytest.approx(0.25, abs=0.2)
    assert list(found.groups) == ["aime24"]  # a single source has no group `all`


def test_the_directory_is_a_run(done: tuple[Evaluation, Path]) -> None:
    _, run = done
    assert not (run / "corpus").exists()  # nobody should train on a test by mistake
    sample = next(find_samples(run, reason="wrong", limit=1))
    assert any(
        "wrong" in line for line in explain(open_filters(run)[0], run, sample["sample_id"].item())
    )
    assert load_funnel(run).drawn.samples == sum(
        pl.scan_parquet(part).select(pl.len()).collect().item() for part in sample_parts(run)
    )


def test_a_second_evaluation_is_the_same_and_draws_nothing(
    done: tuple[Evaluation, Path], recorded: Path, tmp_path: Path
) -> None:
    found, run = done
    parts = {part: part.stat().st_mtime_ns for part in sample_parts(run)}
    again = evaluate(load_eval(recipe_file(tmp_path, recorded)), run, QUIET)
    assert again == found == load_evaluation(run)
    assert parts == {part: part.stat().st_mtime_ns for part in sample_parts(run)}
    assert json.loads((run / "run.json").read_text())["engine_starts"] == 1


def copied(done: tuple[Evaluation, Path], folder: Path) -> Path:
    """Copy the finished evaluation to another directory."""
    return shutil.copytree(done[1], folder / "run")


def test_a_smaller_k_reads_less_and_a_larger_one_draws_the_rest(
    done: tuple[Evaluation, Path], recorded: Path, tmp_path: Path
) -> None:
    """Samples that the recording lacks are reported as never drawn, and don't count."""
    path, run = recipe_file(tmp_path, recorded), copied(done, tmp_path)
    assert values(evaluate(load_eval(path, ["k=1"]), run, QUIET))["pass@1"] == 1.0
    assert values(evaluate(load_eval(path, ["k=2"]), run, QUIET))["pass@1"] == 0.5
    found = evaluate(load_eval(path, ["k=6"]), run, QUIET)
    group = found.groups["aime24"]
    assert (group.samples, group.missing) == (4 * group.prompts, 2 * group.prompts)
    assert values(found)["pass@1"] == 0.25
    assert values(found)["pass@6"] is None
    assert "were never drawn" in format_markdown(found)


TWO_SOURCES = """
sources:
  - {{kind: files, name: few, path: {prompts}, language: en, limit: 5}}
  - {{kind: run, name: many, path: {recorded}, language: en}}
k: {{few: 4, many: 2}}
"""


def test_each_source_has_its_own_k(recorded: Path, tmp_path: Path) -> None:
    lines = RECIPE.format(name="two", prompts=PROMPTS, recorded=recorded).splitlines()
    base = [line for line in lines if not line.lstrip().startswith(("sources", "- {", "k:"))]
    path = tmp_path / "two.yaml"
    text = "\n".join(base) + TWO_SOURCES.format(prompts=PROMPTS, recorded=recorded)
    path.write_text(text, encoding="utf-8")
    found = evaluate(load_eval(path), tmp_path / "run", QUIET)
    few, many, everything = (found.groups[name] for name in ("few", "many", "all"))
    assert (few.prompts, few.samples) == (5, 20)
    assert many.samples == 2 * many.prompts
    assert everything.samples == few.samples + many.samples
    assert values(found, "few")["pass@4"] == 1.0
    assert values(found, "many")["pass@4"] is None
    assert values(found, "many")["pass@2"] == 1.0
    # `all` has only metrics that every source has; its mean is over prompts.
    assert "pass@4" not in everything.metrics
    expected = (5 * 0.25 + many.prompts * 0.5) / everything.prompts
    assert values(found, "all")["pass@1"] == pytest.approx(expected)


def test_undecided_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    """Samples of prompts without a verifier have no verdict."""
    file = tmp_path / "prompts.jsonl"
    rows = [json.loads(line) for line in PROMPTS.read_text(encoding="utf-8").splitlines()]
    for number, row in enumerate(rows):
        if number % 2:
            row.pop("answer", None)
            row.pop("verifier", None)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = tmp_path / "open.yaml"
    text = RECIPE.format(name="open", prompts=file, recorded=_record(file, tmp_path))
    path.write_text(text.replace(", limit: 30", ""), encoding="utf-8")
    found = evaluate(load_eval(path), tmp_path / "run", QUIET)
    group = found.groups["aime24"]
    assert 0 < group.undecided < group.samples
    assert values(found)["pass@1"] == 0.25
    assert group.metrics["pass@1"].prompts < group.prompts
    assert "undecided and not counted in pass@1" in format_markdown(found)


def _record(file: Path, folder: Path) -> Path:
    """Record completions of the prompts in `file`."""
    asked = [p for p in Files(kind="files", path=str(file)).rows() if isinstance(p, Prompt)]
    answers = {prompt.question: prompt for prompt in prompts()}
    save_prompts(folder / "own", asked)
    with RunDir(folder / "own") as run:
        for prompt in asked:
            known = answers.get(prompt.question)
            for index in range(N if known else 0):
                assert known is not None
                run.append(replace(recorded_sample(known, index), prompt_id=prompt.id))
    return folder / "own"


def test_two_models_on_the_same_prompts(
    done: tuple[Evaluation, Path], better: Path, tmp_path: Path
) -> None:
    _, before = done
    extra = f"against: [{{path: {before}, name: before}}]\n"
    path = recipe_file(tmp_path, better, "second", extra)
    found = evaluate(load_eval(path), tmp_path / "run", QUIET)
    (versus,) = found.against
    prompts = found.groups["aime24"].prompts
    assert (versus.prompts, versus.only_here, versus.only_there) == (prompts, 0, 0)
    assert (versus.better, versus.worse) == (prompts // 2, 0)
    gain = versus.groups["aime24"]["pass@1"]
    assert gain.value == pytest.approx(0.125, abs=0.01)
    own = found.groups["aime24"].metrics["pass@1"]
    assert gain.low is not None
    assert own.low is not None
    assert gain.low > 0
    assert versus.groups["aime24"]["format"].value == 0.0
    assert found == load_evaluation(tmp_path / "run")
    page = format_markdown(found)
    assert "second minus before" in page
    assert "| DeepSeek-R1 | 79.8 |" in page


def test_other_prompts_and_other_settings_are_reported(
    done: tuple[Evaluation, Path], recorded: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(done[1], tmp_path / "other")
    settings = done[0].settings | {"model.id": "another", "sampling.temperature": 0.9}
    replace(done[0], settings=settings).save(other)
    path = recipe_file(tmp_path, recorded, "part", f"against: [{other}]\n")
    found = evaluate(load_eval(path, ["sources.0.limit=8"]), copied(done, tmp_path), QUIET)
    (versus,) = found.against
    assert (versus.prompts, versus.only_here) == (8, 0)
    assert versus.only_there > 0
    page = format_markdown(found)
    assert "8 prompts are in both, 0 only here" in page
    assert "sampling.temperature: 0.7 here, 0.9 there" in page
    assert "model.id" not in page


def test_excluded_prompts_are_left_out(
    done: tuple[Evaluation, Path], recorded: Path, tmp_path: Path
) -> None:
    path, run = recipe_file(tmp_path, recorded), copied(done, tmp_path)
    whole = done[0].groups["aime24"].prompts
    part = tmp_path / "corpus"
    part.mkdir()
    asked = pl.read_parquet(run / "prompts.parquet", columns=["messages"])
    asked.head(6).write_parquet(part / "train-00000-of-00001.parquet")
    changes = [f"exclude=[{part}]"]
    found = evaluate(load_eval(path, changes), run, QUIET)
    assert (found.left_out, found.groups["aime24"].prompts) == (6, whole - 6)
    # A resumed run still reports the count; with another exclusion the prompts are loaded again.
    assert evaluate(load_eval(path, changes), run, QUIET) == found
    back = evaluate(load_eval(path), run, QUIET)
    assert (back.left_out, back.groups["aime24"].prompts) == (0, whole)


def test_a_recipe_names_prompts_to_leave_out(
    done: tuple[Evaluation, Path], recorded: Path, tmp_path: Path
) -> None:
    """The recipe's sources are read, though its prompts have other ids; it need not have run."""
    other = tmp_path / "train.yaml"
    columns = {"answer": None, "verifier": None}
    source = {"kind": "files", "path": str(PROMPTS), "limit": 3, "columns": columns}
    other.write_text(json.dumps({"kind": "grpo", "sources": [source]}), encoding="utf-8")
    recipe = load_eval(recipe_file(tmp_path, recorded), [f"exclude=[{other}]"])
    assert evaluate(recipe, copied(done, tmp_path), QUIET).left_out == 3


REFUSED = [
    (["exclude=[{recorded}]"], SourceError, "exclude leaves no prompt"),
    (["exclude=[{tmp}/first.yaml]"], SourceError, "exclude leaves no prompt"),
    (["exclude=[{tmp}/bare.yaml]"], RunError, "bare.yaml has no sources"),
    (["exclude=[{tmp}/nothing]"], RunError, "is no run, no corpus and no recipe"),
    (["against=[{recorded}]"], RunError, "holds no finished evaluation"),
    (["against=[{tmp}/nothing]"], RunError, "holds no finished evaluation"),
    (
        ["sources.0.columns={{answer: null, verifier: null}}"],
        SourceError,
        "no prompt of aime24 has a verifier",
    ),
    (["engine={{}}", "model=/nowhere"], ModelError, "config.json"),
]


@pytest.mark.parametrize(("changes", "kind", "words"), REFUSED)
def test_refused(
    changes: list[str], kind: type[FactoryError], words: str, recorded: Path, tmp_path: Path
) -> None:
    (tmp_path / "bare.yaml").write_text("kind: sft\n", encoding="utf-8")
    filled = [change.format(recorded=recorded, tmp=tmp_path) for change in changes]
    with pytest.raises(kind) as caught:
        evaluate(load_eval(recipe_file(tmp_path, recorded), filled), tmp_path / "run", QUIET)
    assert words in str(caught.value)
    assert not list((tmp_path / "run" / "samples").glob("*"))


def test_a_corpus_run_is_not_written_over(recorded: Path, tmp_path: Path) -> None:
    with RunDir(tmp_path / "run") as run:
        run.save_manifest(name="a corpus")
    with pytest.raises(RunError, match="contains a run that is no evaluation"):
        evaluate(load_eval(recipe_file(tmp_path, recorded)), tmp_path / "run", QUIET)


def test_weights_that_changed_in_place_are_refused(recorded: Path, tmp_path: Path) -> None:
    model, run = tmp_path / "model", tmp_path / "run"
    model.mkdir()
    (model / "config.json").write_text("{}", encoding="utf-8")
    (model / "model.safetensors").write_bytes(b"first")
    path = recipe_file(tmp_path, recorded)
    changes = [f"model={model}", "k=1"]
    evaluate(load_eval(path, changes), run, QUIET)
    with RunDir(run) as directory:  # as sampling from the folder itself leaves it
        weights = _weights(load_eval(path, [*changes, "engine={}"]))
        directory.save_manifest(weights=weights)
    (model / "model.safetensors").write_bytes(b"trained again")
    with pytest.raises(RunError, match="samples of other weights: those at"):
        evaluate(load_eval(path, [*changes, "engine={}"]), run, QUIET)


def test_a_figure_over_training(done: tuple[Evaluation, Path], tmp_path: Path) -> None:
    found, _ = done
    folders = []
    for step in (0, 100, 200):
        folders.append(tmp_path / f"at-{step}")
        replace(found, name=f"at-{step}", step=step, series="grpo").save(folders[-1])
    page = write_figure(folders[::-1], tmp_path / "figure")
    rows = json.loads((tmp_path / "figure" / "training.json").read_text())["pass_at_1"]
    assert [(row["step"], row["line"]) for row in rows] == [(n, "grpo") for n in (0, 100, 200)]
    assert {(row["value"], row["prompts"]) for row in rows} == {
        (0.25, found.groups["aime24"].prompts)
    }
    assert "chart-pass_at_1-0" in page.read_text(encoding="utf-8")
    assert (tmp_path / "figure" / "training-pass_at_1.png").stat().st_size > 5000
    replace(found, name="another", step=100, series="grpo").save(tmp_path / "another")
    with pytest.raises(RunError, match="at-100 and another are both step 100 of series 'grpo'"):
        write_figure([*folders, tmp_path / "another"], tmp_path / "none")


def test_a_figure_needs_a_step_of_each(done: tuple[Evaluation, Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="first has no step"):
        write_figure([done[1]], tmp_path)


def test_tables_fit_a_terminal_and_a_page(done: tuple[Evaluation, Path]) -> None:
    found, run = done
    console = Console(file=StringIO(), width=160)
    print_evaluation(found, console)
    assert isinstance(console.file, StringIO)
    assert "25.0 [" in console.file.getvalue()
    lines = [line for line in (run / "eval.md").read_text().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines[:3]}) == 1


OWN = """
import polars as pl
from filters.base import Filter

class Own(Filter):
    def expressions(self):
        is_wrong = pl.col("text").str.contains("987654321")
        score = pl.when(is_wrong).then(0.2).otherwise(0.9)
        return {"own_score": score, "own_loss": score.neg()}

    def rules(self):
        return []
"""

SCORED = """
filters: {{format: {{}}, correctness: {{}}, own: {{class: '{own}:Own'}}}}
metrics: [{metrics}]
"""


def scored(folder: Path, recorded: Path, metrics: str) -> Evaluation:
    own = folder / "own.py"
    own.write_text(OWN, encoding="utf-8")
    path = recipe_file(folder, recorded, extra=SCORED.format(own=own, metrics=metrics))
    return evaluate(load_eval(path), folder / "scored", QUIET)


@pytest.mark.usefixtures("trusted_code")
def test_choices_by_the_metric_of_a_filter(recorded: Path, tmp_path: Path) -> None:
    names = "pass@1, pass@k, cons@k, best@k:own_score, best@4:own_loss, vote@k:own_score"
    more = ", cons@2, vote@2:own_score, vote@1:own_score, cons@100t, tokens"
    found = scored(tmp_path, recorded, names + more)
    got = values(found)
    assert got["best@4:own_score"] == pytest.approx(1 / 3)  # the right one of three equal ones
    assert got["best@4:own_loss"] == 0.0
    assert got["vote@4:own_score"] == 1.0  # the right vote weighs more than the wrong one
    assert got["cons@4"] == 0.5
    assert got["cons@100t"] is None or 0 <= got["cons@100t"] <= 1
    choices = found.choices["aime24"]
    # Paired with the plain vote over the same samples; there is none over one.
    four = ["pass@4", "best@4:own_score", "best@4:own_loss", "vote@4:own_score"]
    assert list(choices) == [*four, "vote@2:own_score"]
    # Of the first two one is right and one is wrong; of the others nobody has an answer.
    assert (got["cons@2"], got["vote@2:own_score"]) == (0.25, 0.5)
    assert choices["vote@2:own_score"].value == 0.25
    assert choices["vote@4:own_score"].value == 0.5
    assert choices["vote@4:own_score"].low == pytest.approx(0.5, abs=0.15)
    assert found == load_evaluation(tmp_path / "scored")
    text = format_markdown(found)
    assert "## Minus the plain vote over the same samples" in text
    tokens = got["tokens"]
    assert tokens is not None
    assert f"aime24, 4 samples: {4 * tokens:,.0f} generated tokens per prompt." in text
    output = StringIO()
    print_evaluation(found, Console(file=output, width=200))
    assert "+50.0" in output.getvalue()
    stored = pl.read_parquet(tmp_path / "scored" / "scores.parquet")
    assert stored.columns[-1] == "tokens", "answers of samples are not stored there"


@pytest.mark.usefixtures("trusted_code")
def test_scores_that_cannot_choose_are_named(recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"'best_score', which no filter measures; .*own_score"):
        scored(tmp_path, recorded, "best@4:best_score")
    with pytest.raises(RecipeError, match=r"vote@4:own_loss, .*down to -0.9.*sigmoid: true"):
        scored(tmp_path, recorded, "vote@4:own_loss")


def test_how_often_the_vote_is_wrong(done: tuple[Evaluation, Path]) -> None:
    """One right vote and one wrong one of four samples: a tie, which leads by nothing."""
    found, run = done
    margins = found.margins["aime24"]
    assert [one.margin for one in margins] == [0.0, 0.1, 0.25, 0.5, 0.75, 1.0]
    tie, *others = margins
    assert tie.prompts == tie.of == found.groups["aime24"].prompts
    assert tie.wrong is not None
    assert all((one.prompts, one.wrong) == (0, None) for one in others)
    assert "## How often the vote is wrong" in (run / "eval.md").read_text(encoding="utf-8")
