"""The public Python interface: what `factory.__all__` offers, on a recorded run."""

from __future__ import annotations

import logging
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import factory
from factory import Run
from tests.export import tokenizers
from tests.export.runs import small_run
from tests.recorded import PROMPTS, recipe_file, record

CHOICES = {"A": "x", "B": "y"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("recorded"), 4)


@pytest.fixture(scope="module")
def run(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("built")
    return factory.build(recipe_file(folder, recorded, 4), run=folder / "run")


def test_importing_is_light_and_the_names_are_there() -> None:
    code = (
        "import sys, factory\n"
        "heavy = {'polars', 'pyarrow', 'pydantic', 'datasets', 'torch', 'vllm', 'yaml', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "import factory.build.build, factory.train.train, factory.export.export\n"
        "print([callable(getattr(factory, name)) for name in ('build', 'train', 'export')])\n"
        "print(all(hasattr(factory, name) for name in factory.__all__))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[True, True, True]", "True"]


def test_every_public_name_is_documented() -> None:
    silent = [
        name
        for name in factory.__all__
        if name != "__version__" and not (getattr(factory, name).__doc__ or "").strip()
    ]
    assert not silent
    methods = [getattr(Run, name) for name in vars(Run) if not name.startswith("_")]
    assert all(method.__doc__ for method in methods)
    with pytest.raises(AttributeError, match="no attribute 'biuld'"):
        _ = factory.biuld


def test_a_build_is_quiet_and_logs(
    recorded: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: Any
) -> None:
    with caplog.at_level(logging.INFO, logger="factory"):
        run = factory.build(recipe_file(tmp_path, recorded, 2), run=tmp_path / "run")
    assert capfd.readouterr() == ("", "")
    assert any("prompts from" in record.getMessage() for record in caplog.records)
    assert run.finished
    assert repr(run) == f"Run({str(tmp_path / 'run')!r})"


def test_progress_shows_on_stderr(
    recorded: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    factory.build(recipe_file(tmp_path, recorded, 2), run=tmp_path / "run", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "prompts from" in err


def test_frames_of_a_run(run: Run) -> None:
    prompts, samples = run.prompts(), run.samples()
    assert samples.height == 4 * prompts.height
    assert samples.columns[:4] == ["sample_id", "prompt_id", "index", "source"]
    assert samples.columns[-3:] == ["decision", "reason", "filter"]
    assert samples["sample_id"].n_unique() == samples.height
    wrong = run.samples(reason="wrong")
    assert wrong.height == prompts.height
    assert set(wrong["filter"]) == {"correctness"}
    assert run.samples(filter="correctness", decision="drop").height >= wrong.height
    one = run.samples(prompt=prompts["id"][0])
    assert one["index"].to_list() == [0, 1, 2, 3]
    assert run.samples(prompt=prompts["id"][0], reason="wrong").height == 1
    assert run.verdicts().height == samples.height
    kept = run.samples(decision="keep")
    corpus = run.corpus()
    assert corpus.columns[0] == "split"
    assert set(corpus["id"]) <= set(kept["sample_id"])
    assert run.corpus("train").height + run.corpus("validation").height == corpus.height
    funnel = run.funnel()
    assert funnel.columns == ["stage", "filter", "reason", "samples", "tokens"]
    counted = funnel.filter(reason="wrong")["samples"].item()
    assert counted == wrong.height
    assert funnel.filter(stage="rows")["samples"].item() == corpus.height
    assert run.manifest["state"] == "done"


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (lambda run: run.samples(reason="worng"), "no sample whose reason is 'worng'; there are"),
        (lambda run: run.samples(filter="correct"), "no sample whose filter is 'correct'"),
        (lambda run: run.samples(decision="kept"), "there are drop, keep"),
        (lambda run: run.samples(source="x"), "no sample whose source is 'x'"),
        (lambda run: run.samples(prompt="0"), r"no prompt '0'; Run\.prompts\(\) lists"),
        (lambda run: run.corpus("test"), "no split 'test'; it has train, validation"),
        (lambda run: Run(run.path.parent), "is not a run directory"),
    ],
)
def test_what_is_not_there_is_refused(run: Run, ask: Any, complaint: str) -> None:
    with pytest.raises(factory.RunError, match=complaint):
        ask(run)


def test_an_unfinished_run_says_so(recorded: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"format": 1}', encoding="utf-8")
    run = Run(tmp_path)
    assert not run.finished
    for ask in (run.prompts, run.samples, run.verdicts, run.corpus, run.funnel):
        with pytest.raises(factory.RunError, match=r"build|not finished"):
            ask()


def test_samples_before_any_verdict(recorded: Path, tmp_path: Path) -> None:
    """A run that was sampled and not judged: the samples are there, undecided by null."""
    half = record(tmp_path / "half", 1)
    (half / "run.json").write_text('{"format": 1}', encoding="utf-8")
    samples = Run(half).samples()
    assert samples.height == Run(half).prompts().height
    assert samples["decision"].null_count() == samples.height
    assert samples["source"].null_count() == 0
    with pytest.raises(factory.RunError, match="no verdicts yet"):
        Run(half).samples(reason="wrong")


def test_a_run_of_a_stranger_runs_nothing(run: Run, tmp_path: Path) -> None:
    """Every frame of a run whose recipe names a file is read without that file being run."""
    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    ran = tmp_path / "ran"
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(ran)!r}, 'w').close()\n", encoding="utf-8")
    text = (copy / "recipe.yaml").read_text(encoding="utf-8")
    text = text.replace("filters:", f"filters:\n  evil: {{class: '{evil}:Evil'}}")
    (copy / "recipe.yaml").write_text(text, encoding="utf-8")
    theirs = Run(copy)
    for ask in (theirs.prompts, theirs.samples, theirs.verdicts, theirs.corpus, theirs.funnel):
        assert ask().height
    assert not ran.exists()


def test_a_recipe_as_file_mapping_object_and_name(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = recipe_file(tmp_path, recorded, 2)
    loaded = factory.load_recipe(file, {"sampling.n": 1})
    assert loaded.sampling.n == 1
    assert factory.load_recipe(str(file), ["sampling.n=3"]).sampling.n == 3
    assert factory.load_recipe(loaded, {"sampling.n": 2}).sampling.n == 2
    assert factory.load_recipe(loaded) is loaded
    monkeypatch.chdir(tmp_path)
    mapping = {
        "name": "mapped",
        "model": "demo",
        "sources": [{"kind": "files", "path": Path("prompts.jsonl"), "language": "en"}],
        "engine": {"kind": "replay", "replay": recorded},
        "prompting": {"template": "few_shot", "prefill": "<think>\n"},
        "sampling": {"n": 1, "top_k": 50, "max_tokens": 256},
        "filters": {"correctness": {}},
    }
    Path("prompts.jsonl").write_bytes(PROMPTS.read_bytes())
    run = factory.build(mapping)
    assert run.path == Path("runs/mapped")
    assert run.corpus().height
    # What the run recorded is read from elsewhere too: relative paths became absolute.
    monkeypatch.chdir("/")
    again = factory.load_recipe(tmp_path / "runs" / "mapped" / "recipe.yaml")
    assert again.fingerprint() == factory.load_recipe(again).fingerprint()
    assert factory.load_recipe("quickstart").name == "quickstart"
    assert factory.load_recipe("factory:quickstart.yaml").name == "quickstart"
    assert factory.load_recipe({"extends": "factory:quickstart.yaml", "name": "x"}).name == "x"


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("no_such_recipe", "no_such_recipe is no file and no shipped recipe"),
        ("quickstrat", "did you mean quickstart"),
        ("factory:../pyproject.toml", "is no file and no shipped recipe"),
        ({"name": "x"}, "model is missing"),
        ({"name": "x", "model": object()}, "holds a value that a recipe cannot"),
        ({"extends": "factory:nothing"}, "cannot be read"),
        ({"filters": {"langauge": {}}}, "did you mean language"),
    ],
)
def test_a_wrong_recipe_is_refused(given: Any, complaint: str) -> None:
    with pytest.raises(factory.RecipeError, match=complaint) as caught:
        factory.load_recipe(given)
    assert caught.value.problems
    assert "<mapping>" not in str(caught.value)


def test_a_recipe_changed_by_copy_is_refused(recorded: Path, tmp_path: Path) -> None:
    """A run would record what was written, and resume with that."""
    loaded = factory.load_recipe(recipe_file(tmp_path, recorded, 2))
    changed = loaded.model_copy(update={"name": "other"})
    with pytest.raises(factory.RecipeError, match="was changed after it was loaded"):
        factory.build(changed, run=tmp_path / "run")


def test_verify() -> None:
    records = [
        {"kind": "math", "reference": "1/2", "text": "\\boxed{0.5}"},
        {"kind": "math", "reference": "1/2", "text": "\\boxed{0.6}"},
        {
            "kind": "choice",
            "reference": "B",
            "choices": {"A": "x", "B": "y"},
            "text": "The answer is (B).",
        },
        {"kind": "wizardry", "text": "?"},
        {"text": "no kind"},
    ]
    found = factory.verify(records)
    states = ["correct", "wrong", "correct", "unverifiable", "error"]
    assert [one.state for one in found] == states
    assert "kind is None" in (found[-1].detail or "")
    assert [one.state for one in factory.verify(iter(records * 10), workers=2)] == states * 10
    assert factory.verify([]) == []


@pytest.mark.parametrize("records", [{"kind": "math"}, "text", ["text"], [{"x": object()}]])
def test_verify_refuses_what_is_no_record(records: Any) -> None:
    with pytest.raises(TypeError, match=r"list|mapping|JSON"):
        factory.verify(records)


def test_filter_texts() -> None:
    texts = [
        "All of this is written in plain English words.",
        "Das hier ist ein ganz und gar deutscher Satz, wie man sieht.",
    ]
    found = factory.filter_texts(texts, filters={"language": {}}, language="en")
    assert found.columns[:4] == ["row", "decision", "reason", "filter"]
    assert found["row"].to_list() == [0, 1]
    assert found["decision"].to_list() == ["keep", "drop"]
    assert "language_consistency" in found.columns
    each = factory.filter_texts(texts, filters=["language"], language=["en", "de"])
    assert each["decision"].to_list() == ["keep", "keep"]
    asked = factory.filter_texts(
        texts, filters=["language"], questions=["What is this?", "Was ist das hier für ein Satz?"]
    )
    assert asked["decision"].to_list() == ["keep", "keep"]
    assert factory.filter_texts([], filters=["language"]).columns[0] == "row"


@pytest.mark.parametrize(
    ("given", "error", "complaint"),
    [
        ({"texts": "one text", "filters": ["length"]}, TypeError, "put it into a list"),
        ({"texts": ["a", 3], "filters": ["length"]}, TypeError, r"texts\[1\] is int"),
        ({"texts": ["a"], "filters": ["lenght"]}, factory.RecipeError, "did you mean length"),
        ({"texts": ["a"], "filters": {"length": {"x": 1}}}, factory.RecipeError, "is not a key"),
        ({"texts": ["a"], "filters": "length"}, TypeError, "a list of names"),
        ({"texts": ["a"], "filters": [], "language": "xx"}, ValueError, "'xx' is not known"),
        ({"texts": ["a"], "filters": [], "language": ["en", "de"]}, ValueError, "give one each"),
        ({"texts": ["a"], "filters": [], "questions": []}, ValueError, "0 items for 1 texts"),
    ],
)
def test_filter_texts_refuses(given: Any, error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        factory.filter_texts(**given)


def test_export(tmp_path: Path) -> None:
    tokenizer = tokenizers.write_tokenizer(tmp_path / "tokenizer", tokenizers.CHATML)
    corpus = small_run(tmp_path / "run")
    report = factory.export(corpus, "openai", tokenizer=tokenizer, out=tmp_path / "out")
    assert (tmp_path / "out" / "train.jsonl").is_file()
    assert report.rows["train"]
    with pytest.raises(factory.ModelError, match="did you mean trl"):
        factory.export(corpus, "trll", tokenizer=tokenizer, out=tmp_path / "again")


def test_push_writes_what_it_would_send(run: Run, tmp_path: Path) -> None:
    report = factory.push(run, "me/sums", dry_run=tmp_path / "look", accept_licenses=True)
    assert (tmp_path / "look" / "README.md").is_file()
    assert report.url is None
    with pytest.raises(factory.PushError, match="OWNER/NAME"):
        factory.push(run, "sums", dry_run=tmp_path / "again")


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: factory.train("quickstart"), "kind is None; a training's kind is one of sft"),
        (lambda: factory.train({"kind": "stf"}), "kind is 'stf'; a training's kind"),
        (lambda: factory.train("sft_quickstart", overrides={"epoch": 1}), "did you mean epochs"),
        (lambda: factory.evaluate({"kind": "eval", "name": "x"}), "is missing"),
    ],
)
def test_trainings_and_evaluations_are_checked_first(call: Any, complaint: str) -> None:
    with pytest.raises(factory.RecipeError, match=complaint):
        call()


def test_rewards_are_callables_for_trl() -> None:
    accuracy = factory.reward("accuracy", reference="answer", think="optional")
    assert accuracy.__name__ == "accuracy"
    prompts = ["What is 1+1?", "What is 1+2?"]
    completions = ["\\boxed{2}", "\\boxed{2}"]
    assert accuracy(prompts, completions, answer=["2", "3"]) == [1.0, 0.0]
    again = pickle.loads(pickle.dumps(accuracy))  # noqa: S301 (our own bytes)
    assert again(prompts=prompts, completions=completions, answer=["2", "3"]) == [1.0, 0.0]
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    turns = [[{"role": "assistant", "content": text}] for text in completions]
    assert accuracy(chats, turns, answer=["2", "3"]) == [1.0, 0.0]
    spec = [{"kind": "math", "answer": "2"}, None]
    assert accuracy(prompts, completions, verifier=spec) == [1.0, None]
    spec = ['{"kind": "choice", "answer": "B", "choices": {"A": "1", "B": "2"}}', None]
    assert accuracy(prompts, ["The answer is (B).", ""], verifier=spec) == [1.0, None]
    strict = factory.reward("accuracy", reference="answer", prefill="<think>\n")
    assert strict(prompts, ["so</think>\\boxed{2}", "2"], answer=["2", "3"]) == [1.0, 0.0]
    form = factory.reward("format")
    assert form(prompts, ["<think>a</think>b", "b"]) == [1.0, 0.0]
    language = factory.reward("language")
    english, chinese = (
        "<think>This is plain English.</think>x",
        "<think>这是中文的推理过程。</think>x",
    )
    values = language(prompts, [english, chinese], language=["en", "en"])
    assert values[0] == 1.0
    assert values[1] is not None
    assert values[1] < 0.5
    long = factory.reward("overlong", max_tokens=10, buffer=5)
    assert long(prompts, completions, completion_ids=[[1] * 4, [1] * 10]) == [0.0, -1.0]
    kept = factory.reward("filter", filter={"length": {}})
    assert kept(prompts, completions)


@pytest.mark.parametrize(
    ("make", "error", "complaint"),
    [
        (lambda: factory.reward("acuracy"), factory.RecipeError, "did you mean accuracy"),
        (lambda: factory.reward("accuracy", thnk="x"), factory.RecipeError, "is not a key here"),
        (lambda: factory.reward("accuracy", weight=2), factory.RecipeError, "reward_weights"),
        (lambda: factory.reward("accuracy")(["a"], ["b"]), ValueError, "needs a column `verifier`"),
        (
            lambda: factory.reward("format")(["a"], []),
            ValueError,
            "prompts has 1 items for 0 completions",
        ),
        (
            lambda: factory.reward("accuracy")(["a"], ["b"], verifier=[{"kind": "x.py:Y"}]),
            ValueError,
            "no kind of verifier",
        ),
        (
            lambda: factory.reward("overlong", max_tokens=9, buffer=3)(["a"], ["b"]),
            ValueError,
            "needs completion_ids",
        ),
    ],
)
def test_a_reward_that_does_not_fit_is_refused(
    make: Any, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        make()


def test_verls_compute_score() -> None:
    assert factory.compute_score("gsm8k", "\\boxed{0.5}", "1/2") == 1.0
    assert factory.compute_score("gsm8k", "\\boxed{0.6}", "1/2", {"index": 1}) == 0.0
    assert factory.compute_score("x", "(B)", '{"kind": "choice", "answer": "B"}') == 1.0
    assert factory.compute_score("x", "2", "2") in (0.0, 1.0)


@pytest.mark.parametrize(
    ("solution", "reference", "expected"),
    [
        ("\\boxed{2}", 2, 1.0),
        ("\\boxed{0.5}", 0.5, 1.0),
        ("\\boxed{2}", "[" * 100_000, 0.0),
        ("\\boxed{2}", None, ValueError),
        ("\\boxed{2}", ["2"], ValueError),
        (None, "2", TypeError),
    ],
)
def test_a_reference_of_verls_data_is_read_or_named(
    solution: Any, reference: Any, expected: Any
) -> None:
    if isinstance(expected, float):
        assert factory.compute_score("x", solution, reference) == expected
        return
    with pytest.raises(expected, match=r"^(the reference|solution_str) is "):
        factory.compute_score("x", solution, reference)


@pytest.mark.parametrize("column", ["answer", "language", "verifier"])
def test_a_column_of_another_length_is_named(column: str) -> None:
    columns = {"answer": ["2", "2"], column: ["2"]}
    with pytest.raises(ValueError, match=f"^{column} has 1 items for 2 completions"):
        factory.reward("accuracy", reference="answer")(["a", "b"], ["2", "2"], **columns)


def test_frames_are_polars(run: Run) -> None:
    for frame in (run.prompts(), run.samples(), run.verdicts(), run.corpus(), run.funnel()):
        assert isinstance(frame, pl.DataFrame)
