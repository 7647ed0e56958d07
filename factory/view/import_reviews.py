"""Import reviews made elsewhere, for instance in a labelling tool or a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from factory.core.errors import Problem, RecipeError
from factory.judging.reviews import Action, Choice, Reviews
from factory.report.rejudge import find_row, rejudge_edit
from factory.report.snapshot import take_snapshot


class RecordedReview(NamedTuple):
    """The result of recording one review."""

    version: int  # of the text that the decision is about
    flags: tuple[str, ...]  # "correctness: wrong": the filters that would drop the edited text
    new: bool  # False where the same review had been recorded before


class Recorder:
    """Records reviews of one run and judges edited texts with the run's filters.

        recorder = Recorder(run)
        recorder.record("0123456789abcdef-3", "ann", "reject", reason="unreadable")
        recorder.record("0123456789abcdef-4", "ann", "accept", thinking="…", response="…")

    Each review is on disk when `record` returns. Recording the same review again changes nothing,
    so a killed import can be repeated, and so can one whose source file has grown since.
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
    ) -> RecordedReview:
        """Accept or reject a sample.

        If `response` is given, it and `thinking` first replace the sample's text, and the decision
        is about the new text; give it only where the reviewer changed something. `thinking` None
        with a `response` means a text without reasoning. `base` is the version of the text that
        the reviewer saw (`Standing.version`); 0 is the model's own text. An edit that filters
        would drop is stored with its flags; a build leaves out one that breaks the answer.

        Raises RunError for a sample that the run does not have, RecipeError for an empty reviewer
        or an unknown choice, StaleReview if the text was edited after version `base`.
        """
        if choice not in ("accept", "reject"):
            raise RecipeError([Problem("choice", f"is {choice!r}; it must be accept or reject")])
        if not (reviewer := reviewer.strip()):
            raise RecipeError([Problem("reviewer", "is empty; give the reviewer's name")])
        reason = None if choice == "accept" else reason or "other"
        find_row(self._snapshot, sample_id)
        own = [a for a in self.reviews.history(sample_id) if a.reviewer == reviewer]
        flags: tuple[str, ...] = ()
        new = False
        if response is not None:
            edit = _find_edit(own, base, thinking, response)
            if edit is None:
                found = rejudge_edit(self._snapshot, sample_id, thinking, response).flags()
                made = self.reviews.edit(sample_id, reviewer, base, thinking, response, found)
                assert made.edit is not None
                edit, new = made.edit, True
            base, flags = edit.id, edit.flags
        if not any((a.kind, a.base, a.reason) == (choice, base, reason) for a in own):
            self.reviews.decide(sample_id, reviewer, choice, base, reason)
            new = True
        return RecordedReview(base, flags, new)


def _find_edit(
    actions: Iterable[Action], base: int, thinking: str | None, response: str
) -> Action | None:
    """Return the edit that turned version `base` into this text; None where there is none."""
    wanted = ("edit", base, thinking, response)
    return next((a for a in actions if (a.kind, a.base, a.thinking, a.response) == wanted), None)
