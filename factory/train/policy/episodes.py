"""Episodes of a policy in training: the same environments as in sampling, tokens in, tokens out.

TRL's own loop for tools (`environment_factory`) keeps environments in the trainer's process, parses
calls by a template that it must know byte for byte, and drops a call that it cannot read without a
word. Here episodes are played as `factory build` plays them: in processes of their own with
deadlines, with calls read in any format. TRL gets the result by its `rollout_func`: the tokens, and
which of them the policy wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from factory.core.nouns import FinishReason, Prompt, Turn
from factory.environments.host import EnvironmentHost, Reply, StepLimits
from factory.prompts.conversation import continue_episode, find_tools, read_action
from factory.prompts.templates import Prompting
from factory.recipe.sampling import EpisodeLimits
from factory.sampling.episodes import describe_opening, describe_step
from factory.train.scoring import Played

Generate = Callable[[list[list[int]]], tuple[list[list[int]], list[list[float]] | None]]
"""Prompts as tokens → completions as tokens, with the log probability of each if known."""

WAIT_SECONDS = 1.0


class EpisodePlayer:
    """Plays the prompts of a training. `room` is the context of the model, in tokens."""

    def __init__(
        self,
        limits: EpisodeLimits,
        prompting: Prompting,
        tokenizer: Any,
        prompts: Sequence[Prompt],
        *,
        max_tokens: int,
        room: int,
    ) -> None:
        self._limits, self._prompting, self._tokenizer = limits, prompting, tokenizer
        self._prompts = {prompt.id: prompt for prompt in prompts}
        self._max_tokens, self._room = max_tokens, room
        self._ends = frozenset({tokenizer.eos_token_id})
        self._host: EnvironmentHost | None = None

    def play(
        self, prompt_ids: Sequence[str], seeds: Sequence[int], generate: Generate
    ) -> list[Played]:
        """Play an episode of each prompt. Those of one turn are generated in one batch."""
        if self._host is None:
            limits = self._limits
            self._host = EnvironmentHost(
                StepLimits(limits.step_cpu_s, limits.step_s, limits.memory_mb)
            )
        played: list[Played] = []
        for start in range(0, len(prompt_ids), self._limits.concurrency):
            part = slice(start, start + self._limits.concurrency)
            prompts = [self._prompts[name] for name in prompt_ids[part]]
            played += _Round(self, self._host, prompts, seeds[part], generate).play()
        return played

    def close(self) -> None:
        """End all environments."""
        if self._host is not None:
            self._host.close()
            self._host = None

    def extend(self, prompt: Prompt, played: Played) -> str | None:
        """Append what the policy is given before its next turn. Returns the start of that turn.

        Returns None, and ends the episode, where no room is left for another turn.
        """
        found = continue_episode(self._prompting, prompt, played.turns, self._tokenizer)
        before = len(played.prompt) + len(played.tokens)
        if not played.turns or not any(turn.role == "assistant" for turn in played.turns):
            played.prompt = found.ids
        elif found.ids[:before] != played.prompt + played.tokens:
            raise AssertionError("the tokens of earlier turns have changed")
        if len(found.ids) + 1 > self._room or played.n_tokens >= self._limits.max_tokens:
            played.finish_reason = "length"
            return None
        if played.tokens:
            new = found.ids[before:]
            played.tokens += new
            played.own += [False] * len(new)
            played.logprobs += [0.0] * len(new)
        return found.prefill

    def add_turn(self, played: Played, prefill: str, ids: list[int], logprobs: list[float]) -> bool:
        """Append what the policy wrote. Returns whether the turn is complete."""
        ended = bool(ids) and ids[-1] in self._ends
        written = ids[:-1] if ended else ids
        text = prefill + self._tokenizer.decode(written, skip_special_tokens=False)
        complete = ended or len(ids) < self._max_tokens
        played.turns.append(
            Turn(
                role="assistant",
                text=text,
                finish_reason="stop" if complete else "length",
                n_tokens=len(ids),
                n_prompt_tokens=len(played.prompt) + len(played.tokens),
                token_ids=tuple(ids),
            )
        )
        played.tokens += ids
        played.own += [True] * len(ids)
        played.logprobs += logprobs
        return complete

    def read(self, prompt: Prompt, played: Played) -> Any:
        """Return the policy's last turn as an action."""
        tools = find_tools(prompt, played.turns)
        number = sum(turn.role == "assistant" for turn in played.turns) - 1
        return read_action(played.turns[-1].text, number, self._limits.tool_format, tools)

    def is_last(self, played: Played) -> bool:
        """Return whether no further turn may follow."""
        return sum(t.role == "assistant" for t in played.turns) >= self._limits.max_turns


class _Round:
    """Some episodes, turn by turn: all of them wait for the slowest environment of a turn."""

    def __init__(
        self,
        player: EpisodePlayer,
        host: EnvironmentHost,
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        generate: Generate,
    ) -> None:
        self._player, self._host, self._generate = player, host, generate
        self._prompts, self._seeds = prompts, seeds
        self._played = [Played() for _ in prompts]

    def play(self) -> list[Played]:
        acting = set()
        for place, prompt in enumerate(self._prompts):
            if prompt.environment is not None:
                self._host.begin(str(place), prompt.environment, prompt, self._seeds[place])
                acting.add(place)
        ready = [place for place in range(len(self._prompts)) if place not in acting]
        ready = sorted([*ready, *self._await(acting)])
        while ready:
            ready = self._take_turns(ready)
        return self._played

    def _take_turns(self, places: list[int]) -> list[int]:
        """Generate a turn of some episodes, and take it. Returns those that go on."""
        prefills: dict[int, str] = {}
        for place in places:
            prefill = self._player.extend(self._prompts[place], self._played[place])
            if prefill is None:
                self._host.end(str(place))
            else:
                prefills[place] = prefill
        if not prefills:
            return []
        inputs = [self._played[p].prompt + self._played[p].tokens for p in prefills]
        completions, logprobs = self._generate(inputs)
        known = logprobs or [[0.0] * len(ids) for ids in completions]
        acting = set()
        turns = zip(prefills.items(), completions, known, strict=True)
        for (place, prefill), ids, values in turns:
            played, prompt = self._played[place], self._prompts[place]
            if not self._player.add_turn(played, prefill, ids, values):
                self._finish(place, "length")
            elif prompt.environment is None:
                self._finish(place, "stop")
            else:
                self._host.act(str(place), self._player.read(prompt, played))
                acting.add(place)
        return sorted(self._await(acting))

    def _await(self, acting: set[int]) -> Iterator[int]:
        """Hear from all environments that are at work. Yields the episodes that go on."""
        while acting:
            for reply in self._host.poll(WAIT_SECONDS):
                place = int(reply.episode)
                if place not in acting:
                    continue
                acting.remove(place)
                if self._hear(place, reply):
                    yield place

    def _hear(self, place: int, reply: Reply) -> bool:
        played, seen = self._played[place], reply.observation
        if seen is None:
            played.turns.append(Turn(role="end", text=str(reply.failure)))
            return self._finish(place, "environment")
        if not any(turn.role == "assistant" for turn in played.turns):
            played.turns += describe_opening(self._prompts[place], seen)
            return True
        played.turns += describe_step(seen)
        if seen.done or not seen.messages:
            return self._finish(place, "stop")
        return True if not self._player.is_last(played) else self._finish(place, "max_turns")

    def _finish(self, place: int, reason: FinishReason) -> bool:
        self._played[place].finish_reason = reason
        self._host.end(str(place))
        return False


def as_rollout(episodes: Sequence[Played], filler: int) -> dict[str, Any]:
    """Return episodes as TRL's `rollout_func` does. One without a turn gets a token that it learns
    nothing from: `filler`."""
    whole = [
        one if one.tokens else replace(one, tokens=[filler], own=[False], logprobs=[0.0])
        for one in episodes
    ]
    return {
        "prompt_ids": [one.prompt or [filler] for one in whole],
        "completion_ids": [one.tokens for one in whole],
        "env_mask": [[int(own) for own in one.own] for one in whole],
        "logprobs": [one.logprobs for one in whole],
        "episode": list(episodes),
    }
