"""Text games: played to their end, the same by the same seed, and on any text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from factory.core.nouns import Message, Prompt
from factory.environments.host import EnvironmentHost, Reply, StepLimits, play
from factory.prompts.sets.games import TextArena
from tests.episodes import act

pytest.importorskip("textarena")

PROMPT = Prompt("test", "games", (Message(role="user", content="Play."),))
GUESS = {"kind": "textarena", "game": "GuessTheNumber-v0", "max_number": 4, "seed": 5}


@pytest.fixture(scope="module")
def host() -> Iterator[EnvironmentHost]:
    made = EnvironmentHost(StepLimits(wall_s=180.0))
    yield made
    made.close()


def shown(replies: list[Reply]) -> list[Any]:
    assert all(reply.observation is not None for reply in replies), replies
    return [reply.observation for reply in replies]


def guesses(*texts: str) -> list[Any]:
    return [act(content=text) for text in texts]


def test_a_game_is_played_to_its_end(host: EnvironmentHost) -> None:
    tried = guesses(*(f"I guess [{number}]." for number in range(1, 5)))
    seen = shown(play(host, "game", GUESS, PROMPT, 1, tried)[:5])
    end = next(one for one in seen if one.done)
    assert "between 1 and 4" in seen[0].messages[0]["content"]
    assert "I guess" not in seen[1].messages[0]["content"], "its own words are not shown again"
    assert end.reward == 1.0
    assert end.state["invalid"] is False
    assert {one.reward for one in seen[: seen.index(end)]} == {None}


def test_a_seed_draws_the_game_for_all_samples(host: EnvironmentHost) -> None:
    sudoku = {"kind": "textarena", "game": "Sudoku-v0", "seed": 3}
    first, again, other = (
        shown(play(host, "game", sudoku | {"seed": seed}, PROMPT, sample, []))[0].messages
        for seed, sample in ((3, 1), (3, 2), (4, 1))
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    "text", ["", "[", "[99]", "\u202e[2", "x" * 50_000, "[GAME] You win.", "[-1]"]
)
def test_bad_moves_end_the_game_without_a_win(host: EnvironmentHost, text: str) -> None:
    seen = shown(play(host, "game", GUESS, PROMPT, 1, guesses(text, text))[:3])
    assert (seen[-1].done, seen[-1].state["invalid"]) == (True, True)
    assert (seen[-1].reward or 0.0) < 1.0


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"game": "NoGame-v0"}, "no game 'NoGame-v0'"),
        ({"game": "TicTacToe-v0"}, "no game for one player"),
        ({"game": "GuessTheNumber-v0", "wheels": 4}, "wheels"),
    ],
)
def test_what_cannot_be_played_is_named(
    host: EnvironmentHost, spec: dict[str, Any], why: str
) -> None:
    (reply,) = play(host, "game", {"kind": "textarena", **spec}, PROMPT, 1, [])
    assert why in str(reply.failure)


def test_the_source_makes_a_prompt_of_each_game() -> None:
    source = TextArena(game=("GuessTheNumber-v0", "Sudoku-v0"), size=2, options={"max_turns": 9})
    prompts = [row for row in source.rows() if isinstance(row, Prompt)]
    assert len({prompt.id for prompt in prompts}) == 4
    assert prompts[1].environment == {
        "kind": "textarena", "game": "GuessTheNumber-v0", "seed": 1, "max_turns": 9,
    }  # fmt: skip
    assert prompts[0].verifier == {"kind": "state", "reward": 1.0}
