"""The order of samples for policies that treat each prompt independently, in waves."""

from __future__ import annotations

from array import array
from collections import deque

from factory.sampling.scheduling.policies import WavePolicy
from factory.sampling.scheduling.prompt_state import PromptState, Ticket


class Waves:
    """Draws the first wave of every prompt in order, then further waves as they become due.

    The samples of a wave are handed out in a row, so that they share the prompt's prefill. A
    prompt that needs another wave goes to the end of the queue. Other prompts keep the engine busy
    while its wave ends, and the last waves of all hard prompts run concurrently.
    """

    def __init__(self, state: PromptState, policy: WavePolicy) -> None:
        self._state, self._policy = state, policy
        self._limit = array("H", bytes(2 * state.prompts))  # where each prompt's last wave ends
        self._level = bytearray(state.prompts)
        self._fresh = 0  # the first prompt that was not drawn yet
        self._again: deque[int] = deque()
        self._current = -1

    def restore(self, prompt: int, held: int, accepted: int) -> None:
        """Find the wave an interrupted prompt was in by replaying its waves."""
        limit = level = before = 0
        while size := self._policy.more(limit, before):
            level = self._policy.level(limit, before, level)
            limit += size
            whole = (1 << limit) - 1
            if held & whole != whole:
                break
            before = (accepted & whole).bit_count()
        self._limit[prompt], self._level[prompt] = limit, level
        if self._policy.enough(accepted.bit_count()):
            self._limit[prompt] = 0

    def next(self) -> Ticket | None:
        """Return the next sample to draw, or None if none is due."""
        while True:
            prompt = self._current
            if prompt >= 0:
                index = self._state.next_index(prompt, self._limit[prompt])
                if index >= 0:
                    self._state.reserve(prompt, index)
                    return Ticket(prompt, index, self._level[prompt])
            if self._fresh < self._state.prompts:
                self._current = self._fresh
                self._fresh += 1
                if not self._limit[self._current]:
                    self._begin_wave(self._current)
            elif self._again:
                self._current = self._again.popleft()
            else:
                self._current = -1
                return None

    def learn(self, ticket: Ticket, accepted: bool, tokens: int | None) -> bool:
        """Record a verdict. Returns True if the prompt's samples in flight are no longer needed."""
        prompt = ticket.prompt
        if accepted and self._policy.enough(self._state.accepted[prompt]):
            first = self._limit[prompt] != 0
            self._limit[prompt] = 0
            return first
        if (
            prompt not in self._state.open
            and self._state.next_index(prompt, self._limit[prompt]) < 0
            and self._begin_wave(prompt)
        ):
            self._again.append(prompt)
        return False

    def _begin_wave(self, prompt: int) -> bool:
        limit, accepted = self._limit[prompt], self._state.accepted[prompt]
        # For a prompt with enough, a limit of 0 means "no more", not "nothing drawn yet".
        size = 0 if self._policy.enough(accepted) else self._policy.more(limit, accepted)
        if size:
            self._level[prompt] = self._policy.level(limit, accepted, self._level[prompt])
            self._limit[prompt] = limit + size
        return size > 0
