"""A repository by tools: what each shows, and that a change by tools is judged as a patch is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cheats import BY_FILES, IN_SOURCE
from hypothesis import given
from hypothesis import strategies as st
from textkit_prompt import BUGGY, NUMERALS, ORIGINAL

from factory.core.nouns import Message, Prompt
from factory.environments.host import EnvironmentHost, StepLimits, play
from factory.environments.repository import Repository
from factory.environments.tools import ToolError
from filters.correctness import read_items
from filters.verify.repository.notations import read_patch, write_patch
from filters.verify.repository.patch import PatchError, apply_changes
from filters.verify.repository.verifier import RepositoryVerifier
from tests.episodes import act, call

BUG, REPAIR = "        while number > value:", "        while number >= value:"
ENVIRONMENT = {"kind": "repository"}


@pytest.fixture(scope="module")
def prompt(numerals: dict[str, Any]) -> Prompt:
    message = Message(role="user", content="Repair it.")
    return Prompt("test", "code", (message,), verifier=numerals, environment=ENVIRONMENT)


@pytest.fixture
def opened(prompt: Prompt) -> Iterator[Repository]:
    made = Repository()
    made.reset(prompt, 0)
    yield made
    made._environments.close()


def test_an_episode_repairs_a_repository(prompt: Prompt, verifier: RepositoryVerifier) -> None:
    """In a process of its own, as a build plays it."""
    actions = [
        act(call("list", {"folder": "textkit"})),
        act(call("search", {"text": "while number"})),
        act(call("run_tests", {})),
        act(call("edit", {"path": NUMERALS, "old": BUG, "new": REPAIR})),
        act(call("run_tests", {})),
        act(content="It compared by the wrong sign."),
    ]
    host = EnvironmentHost(StepLimits(wall_s=180.0))
    try:
        replies = play(host, "episode", ENVIRONMENT, prompt, 1, actions)
    finally:
        host.close()
    assert all(reply.failure is None for reply in replies), replies
    assert replies[0].replayable
    seen = [reply.observation for reply in replies if reply.observation]
    assert [tool["function"]["name"] for tool in seen[0].tools] == [
        "edit", "list", "run_tests", "search", "view",
    ]  # fmt: skip
    listed, found, failing, edited, passing = (one.messages[0]["content"] for one in seen[1:6])
    assert f"{NUMERALS} ({len(BUGGY.splitlines())} lines)" in listed.splitlines()
    assert found.endswith(BUG.strip())
    assert failing.startswith("7 of 18 tests failed:\n- tests/test_numerals.py::test_to_roman[")
    assert (edited, passing) == (f"{NUMERALS} is changed", "all 18 tests passed")
    assert seen[-1].done
    assert prompt.verifier is not None
    (verdict,) = verifier.verify([(prompt.verifier, seen[-1].state["patch"])])
    assert verdict.state == "correct"
    assert apply_changes(read_patch(seen[-1].state["patch"]), {NUMERALS: BUGGY}) == {
        NUMERALS: ORIGINAL
    }


def test_the_code_as_it_should_be_is_nowhere_to_be_seen(opened: Repository) -> None:
    lines = [line.partition("\t")[2] for line in opened.view(NUMERALS).splitlines()]
    assert lines == BUGGY.splitlines()
    assert opened.search(REPAIR.strip()) == "nothing found"


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    # a tool, its arguments, what it says
    ("view", {"path": "textkit/none.py"}, "there is no Python file"),
    ("view", {"path": "/etc/passwd"}, "there is no Python file"),
    ("view", {"path": "../textkit/numerals.py"}, "there is no Python file"),
    ("view", {"path": NUMERALS, "first": 10_000}, "lines"),
    ("list", {"folder": "nowhere"}, "no Python files"),
    ("search", {"text": ""}, "give a text"),
    ("edit", {"path": NUMERALS, "old": "no such line", "new": "x"}, "not_found"),
    ("edit", {"path": NUMERALS, "old": "", "new": "x = 1"}, "malformed"),
    ("edit", {"path": NUMERALS, "old": BUG, "new": "        while ("}, "syntax_error"),
    ("edit", {"path": NUMERALS, "old": BUG, "new": BUG}, "no_change"),
    ("edit", {"path": "tests/test_words.py", "old": "import", "new": "x"}, "belongs to the tests"),
    ("edit", {"path": "conftest.py", "old": "", "new": "x = 1"}, "belongs to the tests"),
    ("edit", {"path": "setup.py", "old": "", "new": "x = 1"}, "outside of textkit"),
    ("edit", {"path": "textkit/../x.py", "old": "", "new": "x = 1"}, "not a plain path"),
    ("edit", {"path": "textkit/x.pth", "old": "", "new": "x"}, "no Python file"),
    ("run_tests", {"tests": ["tests/test_numerals.py::test_none"]}, "tests there: "),
    ("run_tests", {"tests": ["--collect-only"]}, "there is no test"),
]


@pytest.mark.parametrize(("tool", "arguments", "said"), REFUSED)
def test_calls_are_refused_with_a_reason(
    opened: Repository, tool: str, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ToolError, match=said):
        getattr(opened, tool)(**arguments)
    assert opened.state() == {"patch": None}


def test_a_change_that_is_taken_back_is_none(opened: Repository) -> None:
    opened.edit(NUMERALS, BUG, REPAIR)
    assert opened.state()["patch"]
    opened.edit(NUMERALS, REPAIR, BUG)
    assert opened.state() == {"patch": None}


def test_cheats_by_tools_are_held(prompt: Prompt, verifier: RepositoryVerifier) -> None:
    """Every cheat of the table, its changes made by `edit`."""
    held, items = [], {}
    for name, response in {**BY_FILES, **IN_SOURCE}.items():
        made = Repository()
        made.reset(prompt, 0)
        try:
            for change in read_patch(response):
                old = None if change.old is None else "\n".join(change.old)
                made.edit(change.path, old or "", "\n".join(change.new))
        except (PatchError, ToolError):
            held.append(name)
        items[name] = made.state()["patch"]
    assert set(BY_FILES) <= set(held)
    assert prompt.verifier is not None
    spec = prompt.verifier
    judged = {name: patch for name, patch in items.items() if patch}
    assert len(judged) >= len(IN_SOURCE) - 2
    verdicts = verifier.verify([(spec, patch) for patch in judged.values()])
    states = {name: verdict.state for name, verdict in zip(judged, verdicts, strict=True)}
    assert {name for name, state in states.items() if state == "correct"} == set()


def test_an_episode_is_judged_by_its_changes() -> None:
    """The last state with a patch counts, and without one what the model answers."""
    import polars as pl

    def item(states: list[str | None], response: str = "done") -> str | None:
        turns = [
            {"role": "tool", "state": state, "done": False, "reward": None} for state in states
        ]
        spec = json.dumps({"kind": "repository", "snapshot": "x"})
        row = {"verifier": spec, "response": response, "shape": "ok", "turns": turns}
        (read,) = read_items(pl.DataFrame([row]))
        return read.response

    assert item(['{"patch": "a"}', None, '{"patch": "b"}', None]) == "b"
    assert item(['{"patch": "a"}', '{"patch": null}']) == "done"
    assert item([None]) == "done"


LINES = st.text(alphabet=st.sampled_from("ab -+@=<>\\/\x0c\u2028"), max_size=6)
FILES = st.lists(LINES, max_size=12).map("\n".join)


@given(before=FILES, after=FILES, new=st.booleans())
def test_a_written_patch_reads_back(before: str, after: str, new: bool) -> None:
    """As Python: each line is a comment. Blocks and diffs may both be in a file's text."""
    path = "pkg/text.py"
    old = "".join(f"# {line}\n" for line in before.split("\n"))
    text = "".join(f"# {line}\n" for line in after.split("\n"))
    files = {"pkg/other.py": "x = 1\n"} if new else {path: old}
    if not new and text == old:
        return
    patch = write_patch(files, {path: text})
    assert apply_changes(read_patch(patch), files) == {path: text}
