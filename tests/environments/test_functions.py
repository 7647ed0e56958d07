"""Simulated services as environments: turns of a user, expected calls, states; and bad services."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.core.errors import RecipeError
from factory.core.nouns import Message, Prompt
from factory.core.resources import recipe_path
from factory.environments.functions import Functions
from factory.environments.host import EnvironmentHost, Reply, StepLimits, play
from factory.prompts.files import Files
from factory.prompts.sets.bfcl import Bfcl
from factory.prompts.sets.bfcl_turns import MULTI_TURN
from factory.prompts.source import Reject
from factory.prompts.tools import EnvironmentOptions
from filters.verify.verifiers import Item, Verifiers
from tests.episodes import act, call, named

SHOP = str(recipe_path("tools/services.py"))
ROWS = recipe_path("tools/services.jsonl")
BAD = str(Path(__file__).with_name("bad_services.py"))
PROMPT = Prompt("test", "tools", (Message(role="user", content="Go."),))
CONFIG = {"Shop": {"stock": {"lamp": 3}, "prices": {"lamp": 20.0}}}
ORDER = {"name": "order", "arguments": {"item": "lamp"}}
FIND = {"name": "find_item", "arguments": {"item": "lamp"}}
DONE = act(content="Done.")

pytestmark = pytest.mark.usefixtures("trusted_code")


@pytest.fixture(scope="module")
def host() -> Iterator[EnvironmentHost]:
    made = EnvironmentHost(StepLimits(cpu_s=1.0, wall_s=180.0))
    yield made
    made.close()


def shop(**options: Any) -> dict[str, Any]:
    given = {"kind": "functions", "path": SHOP, "services": ["Shop", "Mail"], "config": CONFIG}
    return named(given | options)


def make(calls: Sequence[dict[str, Any]]) -> Any:
    return act(*(call(one["name"], one["arguments"]) for one in calls))


def steps(turns: Sequence[Sequence[dict[str, Any]]]) -> list[Any]:
    """The actions of turns: their calls at once, if there are any, then an answer."""
    return [step for calls in turns for step in (*([make(calls)] if calls else []), DONE)]


def played(options: dict[str, Any], *actions: Any) -> list[Any]:
    """The observations of actions, in this process: for many cases at once."""
    made = Functions(**{key: value for key, value in options.items() if key != "kind"})
    return [made.reset(PROMPT, 0), *(made.step(action) for action in actions)]


def test_the_shipped_rows_can_be_solved(host: EnvironmentHost) -> None:
    options = EnvironmentOptions(kind="functions", path=SHOP, services=["Shop", "Mail"])
    source = Files(path=str(ROWS), columns={"environment": "environment"}, environment=options)
    prompts = [row for row in source.rows() if isinstance(row, Prompt)]
    assert len(prompts) == 3
    for prompt in prompts:
        spec = dict(prompt.environment or {})
        *_, last = play(host, "gold", spec, prompt, 0, steps(spec["expected"]))
        assert last.observation is not None, last.failure
        reached = {"state": dict(last.observation.state), "reward": last.observation.reward}
        with Verifiers(workers=1) as verifiers:
            (found,) = verifiers.verify([Item(prompt.verifier, json.dumps(reached))])
        assert found.state == "correct", last.observation.state


def test_methods_are_tools_with_schemas_from_their_signatures() -> None:
    (begun,) = played(shop())
    tools = {tool["function"]["name"]: tool["function"] for tool in begun.tools}
    assert set(tools) == {"find_item", "order", "cancel", "send"}
    assert tools["order"]["parameters"] == {
        "type": "object",
        "properties": {
            "item": {"type": "string", "description": "its name"},
            "count": {"type": "integer", "description": "how many"},
        },
        "required": ["item"],
    }


def test_a_function_is_offered_from_its_turn_on() -> None:
    send = act(call("send", {"to": "Ana", "text": "Hello."}))
    options = shop(turns=[{"content": "Now you can write.", "tools": ["send"]}])
    begun, early, turn, sent, end = played(options, send, DONE, send, DONE)
    assert "send" not in {tool["function"]["name"] for tool in begun.tools}
    assert early.messages[0]["content"].startswith("error: there is no tool 'send'")
    (message,) = turn.messages
    assert message["role"] == "user"
    assert message["content"].startswith("Now you can write.\n{")
    assert [tool["function"]["name"] for tool in turn.tools] == ["send"]
    assert sent.messages[0]["content"] == "sent"
    assert (end.done, end.reward, end.state["outcome"]) == (True, None, "ended")


OUTCOMES = [  # calls of two turns, the reward, and what the outcome says
    ([[ORDER], [ORDER]], 1.0, "as expected"),
    ([[FIND, ORDER], [FIND, ORDER]], 1.0, "as expected"),
    ([[ORDER, ORDER], []], 0.0, "turn 1: Shop.stock.lamp is 1, not 2"),
    ([[ORDER], []], 0.0, "turn 2: no call was made"),
    ([[], [ORDER]], 0.0, "turn 1: no call was made"),
    ([[ORDER], [FIND]], 0.0, "turn 2: Shop.stock.lamp is 2, not 1"),
    ([[{"name": "order", "arguments": {"item": "lamp", "count": 1}}], [ORDER]], 1.0, "as"),
    ([[{"name": "fly", "arguments": {}}], [ORDER]], 0.0, "turn 1: Shop.stock"),
    ([[{"name": "order", "arguments": {"count": []}}], [ORDER]], 0.0, "turn 1: Shop.stock"),
]


@pytest.mark.parametrize(("made", "reward", "outcome"), OUTCOMES)
def test_each_turn_must_leave_the_expected_state(
    made: list[Any], reward: float, outcome: str
) -> None:
    options = shop(turns=["And another one."], expected=[[ORDER], [ORDER]])
    seen = played(options, *steps(made))
    last = next(one for one in seen if one.done)
    assert last.reward == reward
    assert str(last.state["outcome"]).startswith(outcome)


def test_what_was_to_be_read_must_be_read() -> None:
    options = shop(expected=[[FIND]])
    assert played(options, make([FIND]), DONE)[-1].reward == 1.0
    missing = played(options, make([{"name": "find_item", "arguments": {"item": "x"}}]), DONE)[-1]
    assert missing.reward == 0.0
    assert "nothing answered" in str(missing.state["outcome"])


def test_a_turn_without_expected_calls_is_judged_by_the_next() -> None:
    options = shop(turns=["Buy it."], expected=[[], [ORDER]])
    assert played(options, DONE, make([ORDER]), DONE)[-1].reward == 1.0
    assert played(options, make([ORDER]), DONE, make([ORDER]), DONE)[-1].reward == 0.0


def test_a_key_1_is_no_key_of_text() -> None:
    options = {"path": BAD, "services": ["Bad"]}
    expected = [[{"name": "keep", "arguments": {"key": 1, "value": 1}}]]
    for key, value, reward in ((1, 1, 1.0), (1, 1.0, 1.0), ("1", 1, 0.0), (1, True, 0.0)):
        done = act(call("keep", {"key": key, "value": value}))
        assert played(options | {"expected": expected}, done, DONE)[-1].reward == reward


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"services": []}, "names no class"),
        ({"services": "Shop"}, "names no class"),
        ({"services": ["Shelf"]}, "has no class Shelf"),
        ({"services": ["Shop"], "path": None}, "path is missing"),
        ({"config": {"Shop": {"stock": {}}}}, "missing 1 required positional argument"),
        ({"expected": [[], []]}, "expected has 2 turns, and the user has 1"),
        ({"expected": [[{"name": "fly", "arguments": {}}]]}, "no service has a method 'fly'"),
        ({"turns": [{"tools": ["fly"]}]}, "no service has a method 'fly'"),
        ({"turns": [7]}, "is no text"),
        ({"turns": [{"text": "x"}]}, "is no text"),
        ({"path": BAD, "services": ["Bad", "Other"], "config": {}}, "two services have a method"),
        ({"path": BAD, "services": ["Bad"], "config": {"Bad": {"size": 60_000}}}, "too large"),
        ({"path": BAD, "services": ["Bad"], "config": {"Bad": {"deep": 50}}}, "too large"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], why: str) -> None:
    with pytest.raises((ValueError, TypeError), match=why):
        played(shop(**options))


BAD_CALLS = {  # how a call ends: the episode's failure, or what the model reads
    "spin": ("it used more than 1 s of CPU time", None),
    "crash": ("its process ended", None),
    "leave": ("Functions failed", None),
    "grow": ("Functions failed", None),
    "flood": (None, "2,980,000 more characters are left out"),
    "garble": (None, "??"),
    "odd": (None, "class 'object'"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_a_bad_service_costs_its_episode_alone(host: EnvironmentHost, name: str) -> None:
    failure, shown = BAD_CALLS[name]
    spec = named({"kind": "functions", "path": BAD, "services": ["Bad"]})
    begun, after = play(host, name, spec, PROMPT, 0, [act(call(name, {}))])
    assert begun.failure is None
    if failure is not None:
        assert failure in str(after.failure)
    else:
        assert after.observation is not None, after.failure
        assert str(shown) in after.observation.messages[0]["content"]
    assert fine(play(host, "next", spec, PROMPT, 0, [DONE]))


def test_a_service_that_waits_is_ended() -> None:
    short = EnvironmentHost(StepLimits(wall_s=2.0))
    try:
        spec = named({"kind": "functions", "path": BAD, "services": ["Bad"]})
        *_, last = play(short, "wait", spec, PROMPT, 0, [act(call("wait", {}))])
        assert last.failure == "it did not answer in 2 s"
    finally:
        short.close()


def fine(replies: list[Reply]) -> bool:
    return all(reply.failure is None for reply in replies)


def test_a_file_that_is_not_trusted_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FACTORY_TRUST_CODE", raising=False)
    ran = tmp_path / "ran"
    file = tmp_path / "services.py"
    file.write_text(f"open({str(ran)!r}, 'w')\nclass Shop: pass\n", encoding="utf-8")
    with pytest.raises(ValueError, match="not trusted"):
        EnvironmentOptions(kind="functions", path=str(file), services=["Shop"])
    guarded = EnvironmentHost(StepLimits())
    try:
        spec = {"kind": "functions", "path": str(file), "services": ["Shop"]}
        (unnamed,) = play(guarded, "episode", spec, PROMPT, 0, [])
        (untrusted,) = play(guarded, "episode", named(spec), PROMPT, 0, [])
    finally:
        guarded.close()
    assert "no recipe here names the path" in str(unnamed.failure)
    assert "not trusted" in str(untrusted.failure)
    assert not ran.exists()


def test_a_row_adds_to_the_environment_of_its_source(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [
        {"turns": ["Go on."]},
        {"kind": "functions", "replayable": False},
        {"kind": "calculator"},
        {"path": "/etc/passwd"},
        {"kind": "openenv", "url": "http://localhost"},
        {"kind": "mcp", "command": ["true"]},
        {"kind": 7},
    ]
    file.write_text("".join(json.dumps({"question": str(n), "environment": row}) + "\n"
                            for n, row in enumerate(rows)), encoding="utf-8")  # fmt: skip
    options = EnvironmentOptions(kind="functions", path=SHOP, services=["Shop"])
    columns = {"environment": "environment"}
    found = [*Files(path=str(file), columns=columns, environment=options).rows()]
    given = {"kind": "functions", "path": SHOP, "services": ["Shop"]}
    assert [row.environment for row in found if isinstance(row, Prompt)] == [
        {**given, "turns": ["Go on."]},
        {**given, "replayable": False},
        {"kind": "calculator"},
    ]
    assert [row.reason for row in found if isinstance(row, Reject)] == ["bad_environment"] * 4
    alone = next(iter(Files(path=str(file), columns=columns).rows()))
    assert isinstance(alone, Reject)
    assert alone.reason == "no_environment"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["keep", "odd", "nothing"]), st.dictionaries(st.text(), JSON, max_size=3))
def test_any_arguments_are_answered(name: str, arguments: dict[str, Any]) -> None:
    _, seen, end = played({"path": BAD, "services": ["Bad"]}, act(call(name, arguments)), DONE)
    assert isinstance(seen.messages[0]["content"], str)
    json.dumps(dict(end.state), allow_nan=False)


# BFCL's multi-turn categories, with the package's own services


@pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="bfcl-eval is not installed")
def test_the_expected_calls_of_bfcl_are_right(host: EnvironmentHost) -> None:
    found = [*Bfcl(categories=MULTI_TURN).rows()]
    prompts = [row for row in found if isinstance(row, Prompt)]
    assert (len(prompts), len(found)) == (799, 800)
    for prompt in prompts[::50]:
        spec = dict(prompt.environment or {})
        *_, last = play(host, "gold", spec, prompt, 0, steps(spec["expected"]))
        assert last.observation is not None, last.failure
        assert last.observation.reward == 1.0, prompt.meta


def test_without_the_package_the_episode_says_how_to_get_it(host: EnvironmentHost) -> None:
    if find_spec("bfcl_eval") is not None:
        pytest.skip("bfcl-eval is installed")
    spec = {"kind": "bfcl", "services": ["MathAPI"]}
    (reply,) = play(host, "bfcl", spec, PROMPT, 0, [])
    assert "pip install --no-deps bfcl-eval" in str(reply.failure)
    (reply,) = play(host, "bfcl", {"kind": "bfcl", "services": ["os"]}, PROMPT, 0, [])
    assert "'os' is no service of BFCL" in str(reply.failure)


def test_an_environment_of_a_recipe_needs_its_file() -> None:
    with pytest.raises((RecipeError, ValueError), match="name the file"):
        EnvironmentOptions(kind="functions", services=["Shop"])
