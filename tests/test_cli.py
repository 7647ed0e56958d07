"""The commands, as a user types them: what they print, where, and how they exit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.resources import recipe_path
from factory.recipe.build import load_recipe
from filters import filter_class
from tests.recorded import prompts, recipe_file, record

EXAMPLE = Path(__file__).parent.parent / "recipes" / "own_filter" / "unsure.py"

FACTORY = str(Path(sys.executable).parent / "factory")


def factory(*arguments: object, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FACTORY, *map(str, arguments)], capture_output=True, text=True, input=stdin, check=False
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    recorded = record(folder / "recorded", 4)
    build(load_recipe(recipe_file(folder, recorded, 4)), folder / "run", Console(quiet=True))
    return folder / "run"


def test_show_and_its_json(run: Path) -> None:
    shown = factory("show", run)
    assert shown.returncode == 0, shown.stderr
    for word in ("unclosed_think", "no_answer", "wrong", "kept", "tokens per accepted"):
        assert word in shown.stdout
    assert json.loads(factory("show", run, "--json").stdout)["kept"]["samples"] == len(prompts())


def test_samples_and_explain(run: Path) -> None:
    found = factory("samples", run, "--reason", "wrong", "--show", "2")
    assert found.stdout.count("drop: wrong") == 2
    name = found.stdout.split()[1]
    explained = factory("explain", run, name)
    assert explained.returncode == 0, explained.stderr
    line = "✗ correctness_state                  wrong        wrong unless correct"
    for words in ("verdict   drop: wrong (by correctness)", line, "987654321", "Question:"):
        assert words in explained.stdout
    assert "correctness_state is wrong, required: correct" in found.stdout


GRPO = recipe_path("grpo_quickstart.yaml")
WRONG = [
    (("samples", "{run}", "--reason", "nonsense"), 4, "its reasons are no_answer, unclosed_think"),
    (("explain", "{run}", "abc-9"), 4, "has no sample 'abc-9'"),
    (("show", "{tmp}"), 4, "build it first"),
    (("explain", "{tmp}", "x-1"), 4, "is not a run directory"),
    (("report", "{tmp}"), 4, "is not a run directory: it has no run.json"),
    (("view", "{tmp}", "--port", "0"), 4, "is not a run directory: it has no run.json"),
    (("review", "{tmp}", "--port", "0"), 4, "is not a run directory: it has no run.json"),
    (("build", "{tmp}/none.yaml"), 2, "no file and no shipped recipe"),
    (("build",), 2, "Missing argument"),
    (
        ("build", str(GRPO)),
        2,
        "needs a recipe that samples. Use `factory train`",
    ),
    (("build", str(GRPO), "--set", "kind=gropo"), 2, "kind is 'gropo'; it must be one of assembly"),
    (("show", "{run}", "--nope"), 2, "No such option"),
    (("filter",), 2, "name either a run directory or --on FILE"),
    (
        ("filter", "--on", "{run}/recipe.yaml", "--filters", "langage", "--out", "x"),
        2,
        "did you mean language?",
    ),
    (("filter", "{run}", "--set", "sampling.temperature=0.1"), 4, "drawn with other settings"),
    (
        ("filter", "--on", "{run}/run.json", "--filters", "format", "--out", "{run}/run.json"),
        2,
        "is the file that --on reads",
    ),
    (
        ("filter", "--on", "{run}/run.json", "--filters", "format", "--out", "{tmp}/out.csv"),
        2,
        "must end in .parquet or .jsonl",
    ),
]


@pytest.mark.parametrize(("arguments", "code", "message"), WRONG)
def test_mistakes_are_named(
    run: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = factory(*(a.format(run=run, tmp=tmp_path) for a in arguments))
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_recipe_of_another_kind_is_validated_too() -> None:
    done = factory("validate", GRPO, "--set", "steps=7", "--set", "model=demo")
    assert done.returncode == 0, done.stderr
    assert "steps: 7" in done.stdout
    assert "`factory train" in done.stdout
    wrong = factory("validate", GRPO, "--set", "stepps=7")
    assert wrong.returncode == 2
    assert "did you mean steps?" in wrong.stderr


@pytest.mark.parametrize("kind", ["grpo", "eval"])
def test_a_model_that_is_not_there_is_not_valid(tmp_path: Path, kind: str) -> None:
    recipe = GRPO if kind == "grpo" else GRPO.parent / "eval" / "small_sums.yaml"
    done = factory("validate", recipe, "--set", f"model={tmp_path}/nowhere")
    assert done.returncode == 7, done.stderr
    assert f"there is no config.json in {tmp_path}/nowhere" in done.stderr
    assert "valid; run it" not in done.stdout
    hub = factory("validate", recipe, "--set", "model=somebody/model")
    assert hub.returncode == 0, hub.stderr


def test_audit_gives_rates_with_intervals(run: Path) -> None:
    done = factory("audit", run, "-n", "20")
    assert done.returncode == 0, done.stderr
    assert "0.0% (0.0% to" in done.stdout
    written = json.loads((run / "audit.json").read_text())
    assert written["method"] == "algebra"
    assert written["false_positives"]["hits"] == 0
    assert written["false_positives"]["n"] > 0


def test_filtering_again_lists_changed_verdicts(run: Path) -> None:
    done = factory("filter", run, "--set", "filters.length.max_tokens=25", "--diff")
    assert done.returncode == 0, done.stderr
    assert "keep -> too_long" in done.stdout
    back = factory("filter", run, "--set", "filters.length={}", "--diff")
    assert "too_long -> keep" in back.stdout


def test_filter_on_a_file_of_any_origin(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "q": "What is 2 + 2?", "out": "<think>Two and two.</think>It is 4."},
        {"id": "b", "q": "What is 2 + 2?", "out": "<think>Two and 二 two.</think>It is 4."},
        {"id": "c", "q": "What is 2 + 2?", "out": None},
    ]
    source, out = tmp_path / "x.jsonl", tmp_path / "y.parquet"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = factory(
        "filter",
        "--on",
        source,
        "--filters",
        "language,format",
        "--text",
        "out",
        "--prompt",
        "q",
        "--id",
        "id",
        "--out",
        out,
    )
    assert done.returncode == 0, done.stderr
    found = {
        row["id"]: (row["verdict"], row["reason"]) for row in pl.read_parquet(out).rows(named=True)
    }
    assert found["a"] == ("keep", None)
    assert found["b"] == ("drop", "mixed_script")
    assert found["c"][0] != "keep"


def test_verify_judges_lines_in_order() -> None:
    lines = [
        {"id": 1, "kind": "math", "reference": "1/2", "text": "<think>x</think>\\boxed{0.5}"},
        {"id": 2, "kind": "math", "reference": "7", "text": "<think>x</think>\\boxed{8}"},
        {
            "id": 3,
            "kind": "choice",
            "reference": "B",
            "choices": {"A": "x", "B": "y"},
            "text": "<think>x</think>The answer is B.",
        },
    ]
    done = factory("verify", "-", stdin="".join(json.dumps(line) + "\n" for line in lines))
    assert done.returncode == 0, done.stderr
    states = [(row["id"], row["state"]) for row in map(json.loads, done.stdout.splitlines())]
    assert states == [(1, "correct"), (2, "wrong"), (3, "correct")]


def test_init_writes_a_recipe_that_validates(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    assert factory("init", path).returncode == 0
    assert load_recipe(path).name == "my-corpus"
    again = factory("init", path)
    assert again.returncode != 0
    assert "already exists" in again.stderr


def test_doctor_names_its_checks() -> None:
    done = factory("doctor")
    assert done.returncode == 0, done.stderr
    for name in ("python", "vllm", "accelerator", "sandbox", "cache", "hub token"):
        assert name in done.stdout


def test_a_custom_filter(tmp_path: Path) -> None:
    """The documented example filter in a user's recipe."""
    recorded = record(tmp_path / "recorded", 4)
    recipe = recipe_file(tmp_path, recorded, 4)
    own = f"  unsure: {{class: '{EXAMPLE}:Unsure'}}\n  correctness: {{}}\n"
    recipe.write_text(recipe.read_text().replace("  correctness: {}\n", own))
    done = factory("build", recipe, "--run", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    verdicts = pl.read_parquet(tmp_path / "run" / "verdicts" / "*.parquet")
    assert "unsure_verdict" in verdicts.columns
    strict = recipe.read_text().replace("Unsure'", "Unsure', max_hedges: -1")
    recipe.write_text(strict)
    refused = factory("validate", recipe)
    assert "filters.unsure.max_hedges is -1; it must be at least 0" in refused.stderr
    recipe.write_text(strict.replace("unsure.py:Unsure", "unsure.py:Sure"))
    refused = factory("validate", recipe)
    assert refused.returncode == 2
    assert "has no class Sure" in refused.stderr


HEDGES = [
    ("The answer is 4.", None),
    ("The answer is 4, but I am not sure.", "unsure"),
    ("I'm not sure. It is 4, just a guess.", "unsure"),
    ("Are you sure? Yes, it is 4.", None),
    (None, None),
]


@pytest.mark.parametrize(("response", "reason"), HEDGES)
def test_the_example_filter(response: str | None, reason: str | None) -> None:
    filter_ = filter_class(f"{EXAMPLE}:Unsure")()
    columns = {"sample_id": ["a"], "response": [response]}
    row = pl.DataFrame(columns, schema_overrides={"response": pl.String})
    assert filter_.decide(filter_.measure(row))["reason"].to_list() == [reason]
