"""Plays episodes over any engine: the model's turns by the engine, the rest by environments.

An engine that plays episodes is an engine itself: a request goes in, a sample with all its turns
comes out. While an environment works, the engine generates turns of other episodes. Every turn is
logged as it comes, so that a killed run continues.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from factory.core.environment import Observation
from factory.core.nouns import Failure, FinishReason, Prompt, Sample, Turn, fingerprint
from factory.environments.host import EnvironmentHost, Reply, StepLimits
from factory.prompts.conversation import find_tools, read_action
from factory.sampling.engine import Engine, Request, Worker
from factory.sampling.turn_log import First, TurnLog

if TYPE_CHECKING:
    from factory.recipe.sampling import Sampling

WAIT_SECONDS = 0.05
"""How long the loop waits for environments when the engine has nothing to do."""

Note = Callable[..., None]
"""Writes an event to the run's log: its kind, and its fields."""


@dataclass(slots=True)
class _Episode:
    request: Request
    turns: list[Turn] = field(default_factory=list)
    recorded: deque[Turn] = field(default_factory=deque)  # of a killed run, to play again
    first: First | None = None
    generating: bool = False
    unwanted: bool = False  # aborted while the engine generated; it may hear of it too late

    @property
    def name(self) -> str:
        return self.request.sample_id

    @property
    def own(self) -> list[Turn]:
        return [turn for turn in self.turns if turn.role == "assistant"]

    @property
    def tokens(self) -> int:
        return sum(turn.n_tokens for turn in self.turns)


class EpisodeEngine:
    """An engine whose requests with an environment become episodes; others pass through."""

    def __init__(
        self,
        engine: Engine,
        host: EnvironmentHost,
        log: TurnLog,
        sampling: Sampling,
        note: Note,
        settings_of: Callable[[Request], str] | None = None,
    ) -> None:
        """`settings_of` gives the fingerprint of a request's settings, where a sample may be drawn
        with others in a later process: an episode with turns of other settings begins again."""
        self._engine, self._host, self._log, self._note = engine, host, log, note
        self._settings_of = settings_of
        self._sampling, self._limits = sampling, sampling.episode
        self._waiting: deque[Request] = deque()
        self._episodes: dict[str, _Episode] = {}
        self._ended: list[Sample | Failure] = []

    @property
    def capacity(self) -> int:
        """The engine's, and the episodes that wait for an environment: others use their slots."""
        acting = sum(not episode.generating for episode in self._episodes.values())
        return self._engine.capacity + acting

    def submit(self, request: Request) -> None:
        if request.prompt.environment is None:
            self._engine.submit(request)
        elif len(self._episodes) < self._limits.concurrency:
            self._begin(request)
        else:
            self._waiting.append(request)

    def completed(self) -> Iterator[Sample | Failure]:
        for outcome in self._engine.completed():
            episode = self._episodes.get(outcome.sample_id)
            if episode is None:
                yield outcome
            elif isinstance(outcome, Sample):
                self._add_own_turn(episode, outcome)
            else:
                self._give_up(episode, outcome)
        idle = not any(episode.generating for episode in self._episodes.values())
        for reply in self._host.poll(WAIT_SECONDS if idle and self._host.busy else 0.0):
            if reply.episode in self._episodes:
                self._hear(self._episodes[reply.episode], reply)
        while self._waiting and len(self._episodes) < self._limits.concurrency:
            self._begin(self._waiting.popleft())
        yield from self._ended
        self._ended.clear()

    def abort(self, sample_ids: Iterable[str]) -> None:
        names = set(sample_ids)
        for request in [request for request in self._waiting if request.sample_id in names]:
            self._waiting.remove(request)
            self._episodes[request.sample_id] = _Episode(request)
        for name in list(names):
            episode = self._episodes.get(name)
            if episode is not None and episode.generating:
                episode.unwanted = True
            elif episode is not None:
                names.remove(name)
                self._finish(episode, "abort")
        self._engine.abort(names)

    def workers(self) -> list[Worker]:
        return self._engine.workers()

    def close(self) -> None:
        try:
            self._engine.close()
        finally:
            self._host.close()

    def _begin(self, request: Request) -> None:
        turns, first = self._log.take(request.sample_id)
        episode = _Episode(request, recorded=deque(turns), first=first)
        self._episodes[episode.name] = episode
        own = self._settings_of(request) if first is not None and self._settings_of else None
        if first is not None and own is not None and own != first.params_fp:
            self._restart(episode, "another teacher draws its sample now")
        self._reset(episode)

    def _reset(self, episode: _Episode) -> None:
        prompt = episode.request.prompt
        assert prompt.environment is not None
        seed = int(fingerprint([self._sampling.seed, episode.name], 7), 16)
        self._host.begin(episode.name, prompt.environment, prompt, seed)

    def _hear(self, episode: _Episode, reply: Reply) -> None:
        """Go on with what an environment showed."""
        seen = reply.observation
        if seen is None:
            self._fail(episode, str(reply.failure))
            return
        begins = not episode.own
        turns = describe_opening(episode.request.prompt, seen) if begins else describe_step(seen)
        if episode.recorded:
            known = list(episode.recorded)[: len(turns)]  # a step may be recorded in part
            if begins and not reply.replayable:
                self._restart(episode, "its environment is not replayable")
            elif any(_shown(a) != _shown(b) for a, b in zip(known, turns, strict=False)):
                self._restart(episode, "its environment showed something else than before")
                if not begins:
                    self._host.end(episode.name)
                    self._reset(episode)
                    return
            else:
                episode.turns += [episode.recorded.popleft() for _ in known]
                turns = turns[len(known) :]
        for turn in turns:
            self._log_turn(episode, turn)
        self._go_on(episode, over=not begins and (seen.done or not seen.messages))

    def _go_on(self, episode: _Episode, over: bool) -> None:
        """Ask for the next turn, or finish."""
        left = self._limits.max_tokens - episode.tokens
        if over or (episode.turns and episode.turns[-1].done):
            self._finish(episode, "stop")
        elif episode.recorded:
            self._play_recorded(episode)
        elif len(episode.own) >= self._limits.max_turns:
            self._finish(episode, "max_turns")
        elif left <= 0:
            self._finish(episode, "length")
        else:
            episode.generating = True
            self._engine.submit(
                replace(episode.request, turns=tuple(episode.turns), max_tokens=left)
            )

    def _play_recorded(self, episode: _Episode) -> None:
        turn = episode.recorded.popleft()
        if turn.role == "end":
            self._fail(episode, turn.text, logged=True)
            return
        episode.turns.append(turn)
        self._act(episode, turn)

    def _add_own_turn(self, episode: _Episode, outcome: Sample) -> None:
        episode.generating = False
        (turn,) = outcome.turns or (_as_turn(outcome),)
        if episode.first is None:
            episode.first = First(
                outcome.prompt_text, outcome.n_prompt_tokens, outcome.model, outcome.params_fp
            )
        self._log_turn(episode, turn, episode.first if not episode.own else None)
        self._act(episode, turn)

    def _act(self, episode: _Episode, turn: Turn) -> None:
        reason = "abort" if episode.unwanted else turn.finish_reason or "stop"
        if reason != "stop":
            self._finish(episode, reason)
            return
        tools = find_tools(episode.request.prompt, episode.turns)
        number, tool_format = len(episode.own) - 1, self._limits.tool_format
        self._host.act(episode.name, read_action(turn.text, number, tool_format, tools))

    def _log_turn(self, episode: _Episode, turn: Turn, first: First | None = None) -> None:
        request = episode.request
        self._log.append(request.prompt.id, request.index, len(episode.turns), turn, first)
        episode.turns.append(turn)

    def _restart(self, episode: _Episode, why: str) -> None:
        """Forget what a killed run recorded of an episode."""
        self._note("episode_restarted", sample=episode.name, turns=len(episode.recorded), why=why)
        self._log.forget(episode.name)
        episode.turns, episode.first = [], None
        episode.recorded.clear()

    def _fail(self, episode: _Episode, why: str, logged: bool = False) -> None:
        """End an episode whose environment failed. It is no fault of the model's."""
        self._note("environment_failed", sample=episode.name, why=why)
        if not episode.own:  # nothing was drawn; a later try may do better
            detail = f"the environment failed: {why}"
            self._give_up(episode, _failure(episode.request, detail))
            return
        turn = Turn(role="end", text=why, finish_reason="environment")
        if logged:
            episode.turns.append(turn)
        else:
            self._log_turn(episode, turn)
        self._finish(episode, "environment")

    def _give_up(self, episode: _Episode, failure: Failure) -> None:
        """End an episode whose turn the engine could not draw. Its turns stay in the log."""
        if failure.kind == "prompt_too_long" and episode.own:
            self._finish(episode, "length")
            return
        del self._episodes[episode.name]
        self._host.end(episode.name)
        if not failure.retryable:
            self._log.forget(episode.name)
        self._ended.append(failure)

    def _finish(self, episode: _Episode, reason: FinishReason) -> None:
        """End an episode: its sample is complete."""
        del self._episodes[episode.name]
        self._host.end(episode.name)
        self._log.forget(episode.name)
        own, first = episode.own, episode.first
        self._ended.append(
            Sample(
                prompt_id=episode.request.prompt.id,
                index=episode.request.index,
                text=own[-1].text if own else "",
                prompt_text=first.prompt_text if first else "",
                finish_reason=reason,
                n_tokens=episode.tokens,
                n_prompt_tokens=first.n_prompt_tokens if first else 0,
                model=first.model if first else "",
                params_fp=first.params_fp if first else "",
                created_at=own[-1].created_at if own else time.time_ns() // 1_000_000,
                turns=tuple(self._kept(turn) for turn in episode.turns),
            )
        )

    def _kept(self, turn: Turn) -> Turn:
        keep = self._sampling.keep
        return replace(
            turn,
            token_ids=turn.token_ids if "token_ids" in keep else None,
            logprobs=turn.logprobs if "logprobs" in keep else None,
        )


def describe_opening(prompt: Prompt, seen: Observation) -> list[Turn]:
    """Return the turns of a reset: the tools, if the prompt names none, and what it showed."""
    tools = () if prompt.tools else seen.tools
    return [*_tools(tools), *_messages(seen)]


def describe_step(seen: Observation) -> list[Turn]:
    """Return the turns of a step: tools that are new, and what it showed.

    The last one has the state and the reward.
    """
    turns = [*_tools(seen.tools), *(_messages(seen) or [Turn(role="end", text="")])]
    state = json.dumps(dict(seen.state), sort_keys=True) if seen.state else None
    done = seen.done or not seen.messages
    turns[-1] = replace(turns[-1], state=state, reward=seen.reward, done=done)
    return turns


def _tools(tools: Sequence[Mapping[str, Any]]) -> list[Turn]:
    return [Turn(role="tools", text=json.dumps(list(tools), sort_keys=True))] if tools else []


def _messages(seen: Observation) -> list[Turn]:
    return [
        Turn(
            role="user" if message["role"] == "user" else "tool",
            text=message["content"],
            name=message.get("name"),
            call_id=message.get("tool_call_id"),
        )
        for message in seen.messages
    ]


def _shown(turn: Turn) -> tuple[Any, ...]:
    return turn.role, turn.text, turn.name, turn.call_id, turn.reward, turn.done


def _as_turn(sample: Sample) -> Turn:
    """Return the turn of an engine that gives no turns."""
    return Turn(
        role="assistant",
        text=sample.text,
        finish_reason=sample.finish_reason,
        n_tokens=sample.n_tokens,
        n_prompt_tokens=sample.n_prompt_tokens,
        created_at=sample.created_at,
    )


def _failure(request: Request, detail: str) -> Failure:
    return Failure(request.prompt.id, request.index, "environment", detail, retryable=True)


def step_limits(sampling: Sampling) -> StepLimits:
    """Return what a step of an environment may use."""
    limits = sampling.episode
    return StepLimits(limits.step_cpu_s, limits.step_s, limits.memory_mb)
