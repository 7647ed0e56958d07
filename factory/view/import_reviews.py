"""Reviews made elsewhere, in a labelling tool or a table, recorded as the app records its own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from factory.core.errors import Problem, RecipeError
from factory.judging.reviews import Action, Choice, Reviews
from factory.report.rejudge import find_row, rejudge_edit
from factory.report.snapshot import take_snapshot


class Recorded(NamedTuple):
    """What became of one review."""

    version: int  # names the text that the decision is of
    flags: tuple[str, ...]  # "correctness: wrong": the filters that would take the edited text
    new: bool  # False where this very review was there already


class Recorder:
    """Takes reviews of one run, judges edited texts with the run's filters, stores all durably.

        recorder = Recorder(run)
        recorder.record("0123456789abcdef-3", "ann", "reject", reason="unreadable")
        recorder.record("0123456789abcdef-4", "ann", "accept", thinking="…", response="…")

    The run is read once. Recording the same review again changes nothing, so an import that was
    killed, or an export that has grown since, is simply imported again.
    """

    def __init__(self, run: Path) -> None:
        self.reviews = Reviews(run)
        self._snapshot = take_snapshot(run)

    def record(
        self,
        sample_id: str,
        reviewer: str,
        choice: Choice,
        *,
        reason: str | None = None,
        thinking: str | None = None,
        response: str | None = None,
        base: int = 0,
    ) -> Recorded:
        """Accept or reject a sample. With `response` its text is replaced first, and the decision
        is of the new one; give it only where the reviewer changed something.

        `base` is the version of the text that the reviewer saw (`Standing.version`); 0 is the
        model's own. `thinking` None beside a `response` is a text without reasoning. An edit that
        filters would take is stored with its flags: a build leaves out one that breaks the answer.

        Raises RunError for a sample that the run does not have, RecipeError for an empty reviewer
        or an unknown choice, StaleReview where somebody has edited the text since version `base`.
        """
        if choice not in ("accept", "reject"):
            raise RecipeError([Problem("choice", f"is {choice!r}; it must be accept or reject")])
        if not (reviewer := reviewer.strip()):
            raise RecipeError([Problem("reviewer", "is empty; say who reviewed")])
        reason = None if choice == "accept" else reason or "other"
        find_row(self._snapshot, sample_id)
        own = [a for a in self.reviews.history(sample_id) if a.reviewer == reviewer]
        flags: tuple[str, ...] = ()
        new = False
        if response is not None:
            edit = _edit_of(own, base, thinking, response)
            if edit is None:
                found = rejudge_edit(self._snapshot, sample_id, thinking, response).flags()
                made = self.reviews.edit(sample_id, reviewer, base, thinking, response, found)
                assert made.edit is not None
                edit, new = made.edit, True
            base, flags = edit.id, edit.flags
        if not any((a.kind, a.base, a.reason) == (choice, base, reason) for a in own):
            self.reviews.decide(sample_id, reviewer, choice, base, reason)
            new = True
        return Recorded(base, flags, new)


def _edit_of(
    actions: Iterable[Action], base: int, thinking: str | None, response: str
) -> Action | None:
    """The edit of version `base` into this text, if there is one."""
    wanted = ("edit", base, thinking, response)
    return next((a for a in actions if (a.kind, a.base, a.thinking, a.response) == wanted), None)
