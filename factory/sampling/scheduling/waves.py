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

    A prompt whose pending samples may be enough gets no wave until they are known. Where nothing
    else is due, it gets single samples as if they were not accepted, while fewer than
    `most_pending` are pending or in flight.
    """

    def __init__(self, state: PromptState, policy: WavePolicy, most_pending: int = 0) -> None:
        self._state, self._policy, self._most_pending = state, policy, most_pending
        self._limit = array("H", bytes(2 * state.prompts))  # where each prompt's last wave ends
        self._level = bytearray(state.prompts)
        self._fresh = 0  # the first prompt that was not drawn yet
        self._again: deque[int] = deque()
        self._unsure: deque[int] = deque()  # prompts that may have enough; some may be done by now
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
        if self._policy.enough(self._state.known(prompt)):
            self._limit[prompt] = 0
        elif prompt in self._state.pending:
            self._unsure.append(prompt)

    def take_up(self, prompt: int, index: int) -> bool:
        """Go on with a sample that an earlier process asked for, if the prompt has not enough.

        Its wave is not over before it has ended.
        """
        if self._policy.enough(self._state.known(prompt)):
            return False
        if not self._limit[prompt]:
            self.restore(prompt, 0, 0)
        self._state.take_up(prompt, index)
        return True

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
            elif self._unsure:
                prompt = self._unsure.popleft()
                if self._may_draw(prompt):
                    self._limit[prompt] += 1
                    self._current = prompt
                    self._unsure.append(prompt)
            else:
                self._current = -1
                return None

    def learn(
        self, ticket: Ticket, accepted: bool, tokens: int | None, price: float | None
    ) -> bool:
        """Record a verdict. Returns True if the prompt's samples in flight are no longer needed."""
        prompt = ticket.prompt
        if accepted and self._policy.enough(self._state.known(prompt)):
            return self._stop(prompt)
        self._go_on(prompt)
        return False

    def settle(self, prompt: int) -> bool:
        """Note that a pending sample of a prompt is known. Returns what `learn` returns."""
        if self._policy.enough(self._state.known(prompt)):
            return self._stop(prompt)
        self._go_on(prompt)
        return False

    def _stop(self, prompt: int) -> bool:
        first = self._limit[prompt] != 0
        self._limit[prompt] = 0
        return first

    def _go_on(self, prompt: int) -> None:
        """Begin the next wave if the last one has ended."""
        if prompt in self._state.open or self._state.next_index(prompt, self._limit[prompt]) >= 0:
            return
        if self._begin_wave(prompt):
            self._again.append(prompt)
        elif prompt in self._state.pending and self._most_pending:
            self._unsure.append(prompt)

    def _may_draw(self, prompt: int) -> bool:
        """Whether a prompt without a wave may get a sample while some are pending."""
        drawn, known = self._limit[prompt], self._state.known(prompt)
        waiting = self._state.pending.get(prompt, 0) + self._state.open.get(prompt, 0).bit_count()
        return (
            waiting < self._most_pending
            and not self._policy.enough(known)
            and self._state.next_index(prompt, drawn) < 0
            and self._policy.more(drawn, known) > 0
        )

    def _begin_wave(self, prompt: int) -> bool:
        """Begin the next wave with something to draw. Returns False if there is none.

        A restored prompt may hold all of a wave: its samples were drawn while others were pending.
        """
        accepted = self._state.accepted[prompt]
        # For a prompt with enough, a limit of 0 means "no more", not "nothing drawn yet".
        while not self._policy.enough(accepted):
            limit = self._limit[prompt]
            size = self._policy.more(limit, accepted)
            if not size:
                break
            self._level[prompt] = self._policy.level(limit, accepted, self._level[prompt])
            self._limit[prompt] = limit + size
            if self._state.next_index(prompt, limit + size) >= 0:
                return True
        return False
