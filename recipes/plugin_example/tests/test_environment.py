"""An episode played by a player that halves the range, and one that says nothing of use."""

from __future__ import annotations

from plugin_example.environment import GuessNumber

from factory.core.environment import Action
from factory.core.nouns import Message, Prompt

PROMPT = Prompt("test", "games", (Message(role="user", content="Play."),))


def test_halving_wins() -> None:
    game = GuessNumber()
    seen = game.reset(PROMPT, 7)
    low, high = 1, 100
    while not seen.done:
        guess = (low + high) // 2
        seen = game.step(Action(role="assistant", content=f"I say {guess}"))
        if seen.messages[0]["content"] == "Higher.":
            low = guess + 1
        else:
            high = guess - 1
    assert seen.reward == 1.0


def test_the_same_seed_is_the_same_episode_and_no_text_raises() -> None:
    game = GuessNumber(guesses=2)
    assert game.reset(PROMPT, 1) == GuessNumber(guesses=2).reset(PROMPT, 1)
    assert not game.step(Action(role="assistant", content="\u202e")).done
    last = game.step(Action(role="assistant", content=""))
    assert (last.done, last.reward) == (True, 0.0)
