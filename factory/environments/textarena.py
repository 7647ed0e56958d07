"""Text games of the package `textarena`, for one player."""

from __future__ import annotations

from typing import Any

from factory.core.environment import Action, Observation
from factory.core.nouns import Message, Prompt


class TextArena:
    """A game, such as `GuessTheNumber-v0`. Further options are the game's own.

    What the game shows are turns of the user. `seed` draws the game: all samples of a prompt play
    the same one. A second invalid move in a row ends most games. The reward is the game's, at its
    end.
    """

    replayable = True  # textarena seeds Python's random state, and each episode has a process

    def __init__(self, game: str, seed: int | None = None, **options: Any) -> None:
        self._game, self._seed, self._options = game, seed, options

    @classmethod
    def prepare(cls, **_: Any) -> None:
        """Import the package once for all episodes."""
        import textarena  # noqa: F401

    def reset(self, prompt: Prompt, seed: int) -> Observation:
        self._made = make_game(self._game, self._options)
        try:
            self._made.reset(num_players=1, seed=seed if self._seed is None else self._seed)
        except AssertionError as error:
            raise ValueError(f"{self._game} is no game for one player: {error}") from None
        return self._show()

    def step(self, action: Action) -> Observation:
        done, _ = self._made.step(action["content"])
        if not done:
            return self._show()
        rewards, information = self._made.close()
        mine = information.get(0, {})
        text = str(mine.get("reason") or "The game is over.")
        state = {"game": self._game, "reason": text, "invalid": bool(mine.get("invalid_move"))}
        reward = float((rewards or {}).get(0, 0.0))
        return Observation((Message(role="user", content=text),), True, reward, state)

    def _show(self) -> Observation:
        """Return what is new. What the player said itself is in the conversation already."""
        player, seen = self._made.get_observation()
        text = "\n".join(said for speaker, said, _ in seen if speaker != player)
        return Observation((Message(role="user", content=text or "Go on."),))


def make_game(game: str, options: dict[str, Any]) -> Any:
    """Return the game without textarena's wrappers, which repeat what was shown before.

    Raises ValueError for an unknown game, RuntimeError where the package is missing.
    """
    try:
        import textarena
        from textarena.envs.registration import ENV_REGISTRY
    except ImportError as error:
        raise RuntimeError(
            f"the package `textarena` is missing ({error}); install the extra `textarena`"
        ) from None
    name = f"{game}-raw" if f"{game}-raw" in ENV_REGISTRY else game
    if name not in ENV_REGISTRY:
        raise ValueError(f"textarena has no game {game!r}; one is GuessTheNumber-v0")
    return textarena.make(name, **options)
