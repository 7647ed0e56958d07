"""The recipe of repairs, from bugs to a corpus: a scripted server gives attempts of every kind."""

from __future__ import annotations

import difflib
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.models import model_path
from factory.core.nouns import Prompt
from factory.core.resources import recipe_path
from factory.export.export import export_run
from factory.judging.late import drain
from factory.prompts.load import load_prompts
from factory.recipe.build import load_recipe
from filters.verify.repository.environments import read_texts
from filters.verify.sandbox import available
from tests.fake_server import FakeServer

PROJECTS = Path(__file__).parent / "data" / "projects"

Attempt = Callable[[str, str, str], str]
"""Path, the file with the bug, the file as it should be → a response."""


def as_diff(path: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"a/{path}", f"b/{path}", lineterm="", n=3
    )
    return "```diff\n" + "\n".join(lines) + "\n```\n"


ATTEMPTS: dict[str, tuple[Attempt, str | None]] = {
    "gold": (as_diff, None),
    "gold_in_other_words": (
        lambda path, bug, gold: as_diff(path, bug, f"{gold}\n\nREPAIRED = True\n"),
        None,
    ),
    "broken": (lambda path, bug, gold: as_diff(path, bug, f"{bug}\n\nX = 1\n"), "f2p_failed"),
    "breaks_all": (
        lambda path, bug, gold: as_diff(path, bug, f"{gold}\n\nraise ImportError\n"),
        "build_failed",
    ),
    "edits_tests": (
        lambda path, bug, gold: "--- /dev/null\n+++ b/conftest.py\n@@ -0,0 +1 @@\n+x = 1\n",
        "edits_tests",
    ),
    "cheats": (
        lambda path, bug, gold: as_diff(
            path,
            bug,
            f"{bug}\n\nimport _pytest.python\n"
            "_pytest.python.Function.runtest = lambda self: None\n",
        ),
        "tampered",
    ),
    "reaches": (
        lambda path, bug, gold: as_diff(path, bug, f"{gold}\n\nimport sys\n"),
        "suspicious",
    ),
    "wrong_context": (
        lambda path, bug, gold: as_diff(path, f"{bug}# end\n", f"{gold}# end\n\n\nX = 1\n"),
        "patch_rejected",
    ),
    "talks": (lambda path, bug, gold: "The comparison is wrong; all 44 tests pass.", "no_patch"),
}


@pytest.mark.real(group=None)
def test_every_attempt_is_judged_rightly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert available() is None, available()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    changes = [
        f"sources=[{{kind: repository_bugs, path: {PROJECTS}, bugs: 2}}]",
        "model=fake",
        f"sampling={{n: {len(ATTEMPTS)}, max_tokens: 64, temperature: 0.7}}",
        "filters={format: {thinking: required}, correctness: {later: [repository]}}",
        "select={per_prompt: 4}",
    ]
    recipe = recipe_path("swe/mutations.yaml")
    prompts = load_prompts(load_recipe(recipe, changes).sources).prompts
    assert len(prompts) == 4
    script = Script(prompts)
    with FakeServer(answer=script.answer, context=32768) as server:
        engine = f"engine={{kind: server, server: {{urls: ['{server.url}'], api: chat}}}}"
        run = tmp_path / "run"
        first = build(load_recipe(recipe, [*changes, engine]), run, Console(quiet=True))
    assert [(item.reason, item.decision) for item in first.taken] == [("pending", "undecided")]
    done = drain(run, 2, watch=True, say=lambda line: None)
    assert (done.judged, done.waiting) == (len(prompts) * len(ATTEMPTS), 0)
    funnel = build(load_recipe(recipe, [*changes, engine]), run, Console(quiet=True))
    reasons = {item.reason: item.count.samples for item in funnel.taken}
    assert reasons == {reason: len(prompts) for _, reason in ATTEMPTS.values() if reason}
    assert funnel.kept.samples == 2 * len(prompts)
    corpus = pl.read_parquet(run / "corpus" / "*.parquet")
    assert corpus.height == 2 * len(prompts)
    metrics = pl.read_parquet(run / "metrics" / "correctness-*" / "*.parquet")
    (diffs,) = metrics.filter(correctness_state="correct").select("correctness_extracted")
    assert all(diff.startswith("--- a/") for diff in diffs)


@pytest.mark.real(group=None)
def test_repairs_by_tools_become_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted_code: None
) -> None:
    """Episodes: a corpus with trajectories, exported whole and turn by turn."""
    assert available() is None, available()
    demo = model_path("demo")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = f"{{kind: repository_bugs, path: {PROJECTS / 'textkit'}, bugs: 1, "
    changes = [
        f"sources=[{source} environment: {{kind: repository}}}}]",
        "model=fake",
        f"engine={{class: '{REPAIRER}:Repairer'}}",
        "sampling.n=2",
    ]
    run = tmp_path / "run"
    recipe = load_recipe(recipe_path("swe/mutations_by_tools.yaml"), changes)
    funnel = build(recipe, run, Console(quiet=True))
    assert {item.reason: item.count.samples for item in funnel.taken} == {"f2p_failed": 1}
    (question,) = pl.read_parquet(run / "prompts.parquet")["messages"].to_list()
    assert "Use the tools" in question[-1]["content"]
    assert "```" not in question[-1]["content"]  # the code is not shown
    (row,) = pl.read_parquet(run / "corpus" / "*.parquet").to_dicts()
    roles = [message["role"] for message in row["messages"]]
    assert roles == ["user", *["assistant", "tool"] * 3, "assistant"]
    assert row["messages"][6]["content"].startswith("all ")
    assert row["extracted_answer"].startswith("--- a/textkit/")
    for turns, count in (("trajectory", 1), ("single", 4)):
        out = tmp_path / turns
        options = {"template": "chatml_tools", "max_length": 8192, "overlong": "fail"}
        report = export_run(run, "trl", demo, out, turns=turns, **options)
        assert report.rows == {"train": count}
        rows = pl.read_parquet(out / "data" / "*.parquet").to_dicts()
        assert len({row["id"] for row in rows}) == count
        last = [row["messages"][-1] for row in rows]
        calls = ["tool_calls" in one and bool(one["tool_calls"]) for one in last]
        assert calls == [True] * (count - 1) + [False]


REPAIRER = Path(__file__).parent / "repairer.py"


class Script:
    """Gives each prompt every attempt once, in order of its requests."""

    def __init__(self, prompts: list[Prompt]) -> None:
        self._prompts = {prompt.question: prompt for prompt in prompts}
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def answer(self, body: dict[str, Any]) -> str:
        asked = body["messages"][-1]["content"]
        question = next((text for text in self._prompts if text in asked), None)
        if question is None:  # what the engine asks to see whether the server works
            return "2"
        with self._lock:
            number = self._asked[question]
            self._asked[question] += 1
        spec = self._prompts[question].verifier
        assert spec is not None
        ((path, bug),) = spec["changes"].items()
        attempt, _ = list(ATTEMPTS.values())[number % len(ATTEMPTS)]
        response = attempt(path, bug, read_texts(spec["snapshot"])[path])
        return f"<think>\nThe bug must be in {path}.\n</think>\n\n{response}"
