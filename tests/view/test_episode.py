"""An episode as people see it: in the terminal and in the web app."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console
from starlette.testclient import TestClient

from factory.build.build import build
from factory.cli import cli
from factory.core.trust import trusting
from factory.recipe.build import load_recipe
from factory.report.conversation import describe_turn, format_turns, is_episode, list_turns
from factory.view.app import create_app
from tests.episodes import read_samples, write_recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seen")
    with trusting(True):
        build(load_recipe(write_recipe(folder, 2)), folder / "run", Console(quiet=True))
    return folder / "run"


def test_the_terminal_shows_turns(run: Path) -> None:
    name = next(iter(read_samples(run)))
    shown = CliRunner().invoke(cli, ["explain", str(run), name])
    assert shown.exit_code == 0, shown.output
    conversation = shown.output.partition("--- episode\n")[2]
    lines = conversation.splitlines()
    assert lines[0] == "[1] tools offered"
    assert "[2] assistant, calculate(expression='" in conversation
    assert "[3] tool, of calculate" in conversation
    assert "[5] environment, episode over" in conversation
    listed = CliRunner().invoke(cli, ["samples", str(run), "--show", "1"])
    assert "[4] assistant, 10 tokens" in listed.output


def test_the_app_folds_what_the_model_was_shown(run: Path) -> None:
    name = next(iter(read_samples(run)))
    with TestClient(create_app(run), base_url="http://127.0.0.1") as client:
        page = client.get(f"/samples/{name}").text
    assert "<h2>The episode</h2>" in page
    assert "<details><summary>3. tool, of calculate</summary>" in page
    assert "<details open><summary>4. assistant, 10 tokens</summary>" in page


TURN = {
    "role": "assistant", "text": "", "finish_reason": "stop", "n_tokens": 3, "name": None,
    "reward": None, "done": False, "state": None,
}  # fmt: skip


def test_turns_cannot_steer_a_terminal_or_a_page() -> None:
    hostile = "\x1b[2J<script>alert(1)</script>"
    turns = [
        {**TURN, "text": hostile},
        {**TURN, "role": "tool", "text": hostile, "name": hostile, "n_tokens": 0},
        {**TURN, "role": "end", "n_tokens": 0, "reward": 0.5, "state": f'{{"a": "{hostile}"}}'},
    ]
    assert is_episode(turns)
    assert "\x1b[2J" not in "\n".join(format_turns(turns))
    shown = list_turns(turns)
    assert "<script>" not in "".join(turn.body for turn in shown)
    assert [turn.folded for turn in shown] == [False, True, False]
    assert describe_turn(turns[2]).startswith("environment, reward 0.5, state {")


def test_long_turns_are_shortened_unless_asked_for() -> None:
    turns = [{**TURN, "role": "tool", "text": "x" * 5000, "n_tokens": 0}]
    assert "… 4,300 characters …" in "\n".join(format_turns(turns, full=False))
    assert "x" * 5000 in "\n".join(format_turns(turns))
    assert not is_episode([TURN])
    assert not is_episode(None)
