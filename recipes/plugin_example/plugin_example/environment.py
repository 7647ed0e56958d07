"""An environment: guess a number."""

from __future__ import annotations

import random
import re

from factory.core.environment import Action, Observation
from factory.core.nouns import Message, Prompt


class GuessNumber:
    """The model guesses a number from 1 to `highest` and learns if it is higher or lower."""

    replayable = True  # the same prompt, seed and actions give the same observations

    def __init__(self, highest: int = 100, guesses: int = 10) -> None:
        self.highest, self.guesses = highest, guesses

    def reset(self, prompt: Prompt, seed: int) -> Observation:
        """Begin an episode. Everything random comes from the prompt and the seed."""
        self._number = random.Random(f"{prompt.id}/{seed}").randint(1, self.highest)
        self._left = self.guesses
        return self._reply(f"Guess a number from 1 to {self.highest}.")

    def step(self, action: Action) -> Observation:
        """What the model's message does. Must not raise on any text."""
        self._left -= 1
        found = re.findall(r"\d+", action["content"])
        guess = int(found[-1][:9]) if found else None
        if guess == self._number:
            return self._reply("That is it.", done=True, reward=1.0)
        if self._left <= 0:
            return self._reply("No guess is left.", done=True, reward=0.0)
        if guess is None:
            return self._reply("Name a number.")
        return self._reply("Higher." if guess < self._number else "Lower.")

    def _reply(self, text: str, done: bool = False, reward: float | None = None) -> Observation:
        message = Message(role="user", content=text)
        return Observation((message,), done, reward, {"guesses_left": self._left})
