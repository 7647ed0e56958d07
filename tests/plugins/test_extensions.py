"""What a newcomer must touch to add something: one file, named by `class:` or an entry point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import factory
from factory.build.build import build
from factory.build.skeletons import SKELETONS
from factory.core.resources import recipe_path
from factory.core.trial import TrialError
from factory.recipe.build import load_recipe
from tests.recorded import recipe_file, record

ROOT = Path(__file__).parents[2]
PACKAGE = recipe_path("plugin_example")


def call(
    *arguments: object, path: Path | None = None, cwd: Path
) -> subprocess.CompletedProcess[str]:
    """Run Python on the checkout and, with `path`, on what was installed there."""
    places = [str(ROOT), *([str(path)] if path else [])]
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
    )


def command(*arguments: object, path: Path | None = None, cwd: Path) -> str:
    done = call("-m", "factory.cli", *arguments, path=path, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example package, built and installed by pip into an empty folder, without a network."""
    target = tmp_path_factory.mktemp("installed")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target")
    done = call("-m", "pip", "install", *options, target, PACKAGE, cwd=target)
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.parametrize("kind", SKELETONS)
def test_a_skeleton_passes_its_own_test_and_validates(kind: str, tmp_path: Path) -> None:
    name = f"my_{kind}"
    printed = command("init", f"--{kind}", f"{name}.py", cwd=tmp_path)
    assert f"pytest test_{name}.py" in printed
    assert f"{name}.py:My{kind.capitalize()}" in printed
    done = call("-m", "pytest", "-q", "-p", "no:cacheprovider", f"test_{name}.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    again = call("-m", "factory.cli", "init", f"--{kind}", f"{name}.py", cwd=tmp_path)
    assert "already exists" in again.stderr
    text = (tmp_path / f"{name}.py").read_text(encoding="utf-8")
    assert "plugin_example" not in text
    assert SKELETONS[kind].name not in text


def test_a_skeleton_with_a_name_that_is_none(tmp_path: Path) -> None:
    done = call("-m", "factory.cli", "init", "--filter", "my-filter.py", cwd=tmp_path)
    assert "is no name of a Python module" in done.stderr
    assert done.returncode == 2
    assert "MyFilter" in command("init", "--filter", "filter.py", cwd=tmp_path)


RECIPE = """
name: extended
model: canned
sources:
  - {loader}
prompting: {{template: few_shot, prefill: "<think>\\n"}}
engine: {engine}
sampling: {{n: 2}}
filters:
  back: {filter}
  correctness: {{}}
"""

QUESTIONS = "Q: What is 1 + 1?\nA: 2\n\nQ: What is 2 + 2?\nA: 4\n"

BY_CLASS = {
    "loader": '{class: "%s/loader.py:QuestionBlocks", path: questions.txt, domain: sums}',
    "engine": '{class: "%s/engine.py:Canned", args: {text: "Two.\\n</think>\\n\\\\boxed{2}"}}',
    "filter": '{class: "%s/filter.py:AsksBack", max_questions: 1}',
}
BY_NAME = {
    "loader": "{kind: question_blocks, path: questions.txt, domain: sums}",
    "engine": '{kind: canned, args: {text: "Two.\\n</think>\\n\\\\boxed{2}"}}',
    "filter": "{max_questions: 1}",
}


@pytest.mark.parametrize("how", ["class", "entry point"])
def test_loader_filter_and_engine_in_a_build(how: str, installed: Path, tmp_path: Path) -> None:
    """A run of its own classes: sampled, judged while sampling in another process, selected."""
    (tmp_path / "questions.txt").write_text(QUESTIONS, encoding="utf-8")
    folder = PACKAGE / "plugin_example"
    parts = {k: v % folder for k, v in BY_CLASS.items()} if how == "class" else BY_NAME
    text = RECIPE.format(**parts)
    if how == "entry point":
        text = text.replace("  back:", "  asks_back:")
    file = tmp_path / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    path = None if how == "class" else installed
    told = command("validate", file, path=path, cwd=tmp_path)
    assert "ran on 4 made-up completions and keeps 4" in told
    assert "opened, gave a sample for the first prompt, and closed" in told
    command("build", file, "--run", "run", path=path, cwd=tmp_path)
    run = factory.Run(tmp_path / "run")
    assert set(run.corpus()["domain"]) == {"sums"}
    assert run.samples(decision="keep").height == 2
    assert run.samples(reason="wrong").height == 2
    again = command("build", file, "--run", "run", "--dry-run", path=path, cwd=tmp_path)
    assert "nothing would be done" in again


def test_the_entry_points_are_unknown_where_the_package_is_not(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(**BY_NAME), encoding="utf-8")
    done = call("-m", "factory.cli", "validate", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "sources.0.kind is 'question_blocks'; it must be one of" in done.stderr
    assert "engine.kind is 'canned': it must be one of" in done.stderr


def test_a_reward(installed: Path, tmp_path: Path) -> None:
    reference = f"{PACKAGE}/plugin_example/reward.py:Brevity"
    reward = factory.reward(reference, characters=10)
    assert reward.__name__ == "Brevity"
    assert reward(["q"], ["<think>x</think>12345"]) == [0.5]
    code = (
        "import factory\n"
        "reward = factory.reward('brevity', characters=10)\n"
        "print(reward(['q'], ['<think>x</think>12345']))\n"
    )
    done = call("-c", code, path=installed, cwd=tmp_path)
    assert done.stdout.strip() == "[0.5]", done.stderr
    recipe = (
        f"kind: grpo\nname: g\nmodel: demo\nsources: [{{kind: gsm8k}}]\n"
        f"rewards: {{accuracy: {{}}, short: {{class: '{reference}', characters: 5}}}}\n"
    )
    recipe = recipe.replace("kind: gsm8k", "kind: gym, task: chain_sum, size: 4")
    (tmp_path / "grpo.yaml").write_text(recipe, encoding="utf-8")
    assert "ran on 4 made-up completions" in command("validate", "grpo.yaml", cwd=tmp_path)


def test_an_exporter(installed: Path, tmp_path: Path) -> None:
    from tests.export import tokenizers
    from tests.export.runs import small_run

    run = small_run(tmp_path / "run")
    tokenizer = tokenizers.write_tokenizer(tmp_path / "tokenizer", tokenizers.CHATML)
    own = f"{PACKAGE}/plugin_example/exporter.py:Alpaca"
    for name, path in ((own, None), ("alpaca", installed)):
        out = tmp_path / f"out-{path is None}"
        given = ("--format", name, "--tokenizer", tokenizer, "--out", out)
        command("export", run, *given, path=path, cwd=tmp_path)
        line = json.loads((out / "train.jsonl").read_text(encoding="utf-8").splitlines()[0])
        assert set(line) == {"instruction", "input", "output"}
        assert (out / "dataset.json").is_file()
    done = call("-m", "factory.cli", "export", run, *given, cwd=tmp_path)
    assert done.returncode == 2
    assert "'alpaca' is no format; it must be one of trl" in done.stderr


def test_an_environment(installed: Path, tmp_path: Path) -> None:
    own = f"{PACKAGE}/plugin_example/environment.py:GuessNumber"
    assert "it is replayable" in command("validate", own, cwd=tmp_path)
    code = (
        "from factory.core.environment import environment_class\n"
        "print(environment_class('guess_number').__module__)\n"
    )
    done = call("-c", code, path=installed, cwd=tmp_path)
    assert done.stdout.strip() == "plugin_example.environment", done.stderr


def test_a_verifier(installed: Path, tmp_path: Path) -> None:
    """By class and by entry point, in the mapping of a source."""
    row = {"question": "Which colours?", "answer": "red, green"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    own = f"class: '{PACKAGE}/plugin_example/verifier.py:SameItems'"
    for named, path in ((own, None), ("kind: same_items", installed)):
        recipe = (
            "name: v\nmodel: canned\n"
            f"sources: [{{kind: files, path: rows.jsonl, language: en, verifier: {{{named}}}}}]\n"
            'prompting: {template: few_shot, prefill: "<think>\\n"}\n'
            f"engine: {{class: '{PACKAGE}/plugin_example/engine.py:Canned', args: "
            '{text: "So.\\n</think>\\nItems: green, red"}}\n'
            "sampling: {n: 1}\nfilters: {correctness: {}}\n"
        )
        (tmp_path / "recipe.yaml").write_text(recipe, encoding="utf-8")
        run = tmp_path / f"run-{path is None}"
        command("build", "recipe.yaml", "--run", run, path=path, cwd=tmp_path)
        assert factory.Run(run).samples()["decision"].to_list() == ["keep"]


FILTER = (PACKAGE / "plugin_example" / "filter.py").read_text(encoding="utf-8")
REWARD = (PACKAGE / "plugin_example" / "reward.py").read_text(encoding="utf-8")
ENVIRONMENT = (PACKAGE / "plugin_example" / "environment.py").read_text(encoding="utf-8")
EXPORTER = (PACKAGE / "plugin_example" / "exporter.py").read_text(encoding="utf-8")
VERIFIER = (PACKAGE / "plugin_example" / "verifier.py").read_text(encoding="utf-8")

BROKEN = [
    (FILTER, 'pl.col("response").fill', 'pl.col("respons").fill', "AsksBack",
     r"measure raises ColumnNotFoundError: .*respons.*the columns are sample_id"),
    (FILTER, '"asks_back_questions": response', '"asked": response', "AsksBack",
     "the rule 'asks_back' reads asks_back_questions, which it does not measure"),
    (FILTER, "return [\n", "return 3 and [3] or [\n", "AsksBack", r"rules returns \[3\]"),
    (FILTER, "return {\"asks", "raise ValueError('no')\n        return {\"asks", "AsksBack",
     r"measure raises ValueError: no at line \d+"),
    (FILTER, "class AsksBack(Filter)", "class AsksBack(object)", "AsksBack",
     "is neither a filter, loader, verifier"),
    (REWARD, "return [\n", "return 3 or [\n", "Brevity", "score returns int for 4 completions"),
    (REWARD, "1 - length", "2 - length", "Brevity", "more than its BEST of 1.0"),
    (REWARD, "return [\n", "return [1.0] or [\n", "Brevity", "score returns 1 for 4 completions"),
    (ENVIRONMENT, "return Observation(", "return list(", "GuessNumber", "reset raises TypeError"),
    (ENVIRONMENT, "self._left = self.guesses", "self._left = random.randint(1, 9**9)",
     "GuessNumber",
     "for the same prompt and seed; take everything random from the seed"),
    (ENVIRONMENT, 'found = re', 'action["text"]\n        found = re', "GuessNumber",
     "step raises KeyError: 'text' at line"),
    (EXPORTER, 'path = "{split}.jsonl"', 'path = "all"', "Alpaca", "path is 'all'; set it"),
    (EXPORTER, 'row["messages"]', 'row["turns"]', "Alpaca", "write raises KeyError: 'turns'"),
    (VERIFIER, 'return self.verdict("no_answer", detail=', 'return str(', "SameItems",
     "verify returns 'no last line"),
    (VERIFIER, "return None if", "return 0 if", "SameItems", "check returns 0; return None or a"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "old", "new", "name", "complaint"),
    BROKEN,
    ids=[f"{one[3]}: {one[2]}" for one in BROKEN],
)
def test_a_mistake_is_named_with_file_class_and_remedy(
    text: str, old: str, new: str, name: str, complaint: str, tmp_path: Path
) -> None:
    from factory.cli.try_class import try_reference
    from factory.core.trial import TrialError

    assert old in text
    file = tmp_path / "mine.py"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(TrialError, match=complaint) as caught:
        list(try_reference(f"{file}:{name}"))
    assert str(caught.value).startswith(f"{file}:{name}")


def test_a_file_without_a_class_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("x = 1\n", encoding="utf-8")
    done = call("-m", "factory.cli", "validate", "mine.py", cwd=tmp_path)
    assert done.returncode == 2
    assert "as path/to/file.py:Class" in done.stderr


FAILING = """
import polars as pl
from filters.base import Filter, Rule

class Failing(Filter):
    def measure(self, samples):
        {body}
        return samples.select("sample_id", failing_n=pl.lit(1))

    def rules(self):
        return [Rule("failing", pl.col("failing_n") > 1, "failing_n", "at most 1")]
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('no such text')", "raises ValueError: no such text at line 7"),
        ("samples = samples.head(3)", "returns 3 rows for 184 samples"),
        ("samples = samples.reverse()", "returns 184 rows for 184 samples"),
        ("return 3", "returns int for 184 samples"),
        ("raise SystemExit(0)", "raises SystemExit: 0 at line 7"),
    ],
)
def test_a_filter_that_fails_on_real_samples_ends_the_build(
    tmp_path: Path, trusted_code: None, body: str, said: str
) -> None:
    """A sample that a filter of the user's own gave no metrics must not pass its rules."""
    (tmp_path / "own.py").write_text(FAILING.format(body=body), encoding="utf-8")
    file = recipe_file(tmp_path, record(tmp_path / "rec", 4), 4)
    file.write_text(
        file.read_text().replace(
            "  correctness: {}\n", '  correctness: {}\n  mine: {class: "own.py:Failing"}\n'
        )
    )
    with pytest.raises(TrialError) as raised:
        build(load_recipe(file), tmp_path / "run", Console(quiet=True))
    assert said in str(raised.value)
    assert "own.py:Failing: measure " in str(raised.value)
