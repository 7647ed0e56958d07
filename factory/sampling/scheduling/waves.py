"""The order of prompts whose number of samples depends on nothing but themselves."""

from __future__ import annotations

from array import array
from collections import deque

from factory.sampling.scheduling.policies import WavePolicy
from factory.sampling.scheduling.prompt_state import Book, Ticket


class Waves:
    """Every prompt's first wave, prompt after prompt; then further waves as they come due.

    A wave's samples are handed out in a row, so that they share the prompt's prefill. Hard prompts
    come back to the end of the line: while one waits for its wave to end, others keep the engine
    busy, and the last waves of all hard prompts run side by side.
    """

    def __init__(self, book: Book, policy: WavePolicy) -> None:
        self._book, self._policy = book, policy
        self._limit = array("H", bytes(2 * book.prompts))  # where each prompt's last wave ends
        self._level = bytearray(book.prompts)
        self._fresh = 0  # prompts from here on had no turn yet
        self._again: deque[int] = deque()
        self._current = -1

    def restore(self, prompt: int, held: int, accepted: int) -> None:
        """Find the wave an interrupted prompt was in, by going through the waves it had."""
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
        """The next sample to draw."""
        while True:
            prompt = self._current
            if prompt >= 0:
                index = self._book.free(prompt, self._limit[prompt])
                if index >= 0:
                    self._book.take(prompt, index)
                    return Ticket(prompt, index, self._level[prompt])
            if self._fresh < self._book.prompts:
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
        """Take a verdict; true if it made the prompt's samples in flight superfluous."""
        prompt = ticket.prompt
        if accepted and self._policy.enough(self._book.accepted[prompt]):
            first = self._limit[prompt] != 0
            self._limit[prompt] = 0
            return first
        if (
            prompt not in self._book.open
            and self._book.free(prompt, self._limit[prompt]) < 0
            and self._begin_wave(prompt)
        ):
            self._again.append(prompt)
        return False

    def _begin_wave(self, prompt: int) -> bool:
        limit, accepted = self._limit[prompt], self._book.accepted[prompt]
        # With enough, a limit of zero says that no more is wanted, not that nothing was drawn yet.
        size = 0 if self._policy.enough(accepted) else self._policy.more(limit, accepted)
        if size:
            self._level[prompt] = self._policy.level(limit, accepted, self._level[prompt])
            self._limit[prompt] = limit + size
        return size > 0
