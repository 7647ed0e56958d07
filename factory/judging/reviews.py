"""Stores people's reviews of samples in RUN/reviews.sqlite, durably and as a log of actions.

Actions are only appended. The version of a sample's text is the number of its last edit. An action
names the version that the reviewer saw, and is refused if the text was edited since. Each reviewer
has their own decision, valid for one version, so that agreement can be measured.

`factory.view.import_reviews` imports reviews made elsewhere. `factory.judging.review_verdicts`
applies them in a build.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal, NamedTuple

from factory.core.errors import FactoryError, RunError

FILE = "reviews.sqlite"
CLAIM_SECONDS = 600.0

Choice = Literal["accept", "reject"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS actions (
    id INTEGER PRIMARY KEY,
    sample_id TEXT NOT NULL,
    reviewer TEXT NOT NULL,
    at REAL NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('accept', 'reject', 'edit')),
    base INTEGER NOT NULL,
    reason TEXT,
    thinking TEXT,
    response TEXT,
    flags TEXT NOT NULL DEFAULT '[]'
);
CREATE INDEX IF NOT EXISTS actions_of_sample ON actions (sample_id, id);
CREATE TABLE IF NOT EXISTS claims (
    sample_id TEXT PRIMARY KEY,
    reviewer TEXT NOT NULL,
    until REAL NOT NULL
);
"""


class StaleReview(FactoryError):
    """The sample was edited after this reviewer had opened it."""

    exit_code = 4


class Action(NamedTuple):
    """One action of a reviewer."""

    id: int
    sample_id: str
    reviewer: str
    at: float
    kind: str
    base: int
    reason: str | None
    thinking: str | None
    response: str | None
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Standing:
    """The current review state of a sample: the last edit, and each reviewer's decision on it."""

    sample_id: str
    edit: Action | None
    decisions: dict[str, Action]

    @property
    def version(self) -> int:
        """The version of the text: 0 is the model's own."""
        return 0 if self.edit is None else self.edit.id

    @property
    def decision(self) -> Literal["keep", "drop", "undecided"] | None:
        """The majority's decision; `undecided` in a tie, None without decisions on this text."""
        votes = Counter(action.kind for action in self.decisions.values())
        if not votes:
            return None
        if votes["accept"] == votes["reject"]:
            return "undecided"
        return "keep" if votes["accept"] > votes["reject"] else "drop"


class Agreement(NamedTuple):
    """Agreement of two reviewers. Kappa is None if the expected agreement by chance is 1."""

    first: str
    second: str
    both: int
    agreed: int
    kappa: float | None


class Reviews:
    """The store. It opens one connection per call: safe for threads and several processes."""

    def __init__(self, run: Path) -> None:
        self.path = run / FILE
        try:
            with self._connection() as connection:
                connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise RunError(
                f"{self.path} cannot be used ({error}); move it away to start again"
            ) from (error)

    def decide(
        self, sample_id: str, reviewer: str, choice: Choice, base: int, reason: str | None = None
    ) -> Standing:
        """Accept or reject the text of version `base`. Raises StaleReview if it has changed."""
        return self._act(sample_id, reviewer, choice, base, reason=reason)

    def edit(
        self,
        sample_id: str,
        reviewer: str,
        base: int,
        thinking: str | None,
        response: str,
        flags: Sequence[str] = (),
    ) -> Standing:
        """Replace the text of version `base`. Raises StaleReview if it has changed.

        `flags` are the reasons for which filters would drop the new text; they are stored with it.
        """
        return self._act(
            sample_id,
            reviewer,
            "edit",
            base,
            thinking=thinking,
            response=response,
            flags=json.dumps(list(flags)),
        )

    def standing(self, sample_id: str) -> Standing:
        with self._connection() as connection:
            return _standing(sample_id, _actions(connection, sample_id))

    def history(self, sample_id: str) -> list[Action]:
        """Return all actions on a sample, oldest first."""
        with self._connection() as connection:
            return _actions(connection, sample_id)

    def standings(self) -> list[Standing]:
        """Return the state of every sample with at least one action."""
        with self._connection() as connection:
            return _standings(_actions(connection))

    def next(
        self, queue: Iterable[str], reviewer: str, shared: Callable[[str], bool]
    ) -> str | None:
        """Return the first sample of a queue that this reviewer should review, and claim it.

        A claim lasts `CLAIM_SECONDS`. `shared` samples go to every reviewer, so that agreement can
        be measured. Other samples are skipped if someone else has decided on or claimed them.
        """
        now = time.time()
        with self._connection(write=True) as connection:
            decided: dict[str, set[str]] = {}
            for action in _actions(connection, light=True):
                if action.kind == "edit":
                    decided.pop(action.sample_id, None)
                else:
                    decided.setdefault(action.sample_id, set()).add(action.reviewer)
            held = dict(
                connection.execute(
                    "SELECT sample_id, reviewer FROM claims WHERE until > ?", (now,)
                ).fetchall()
            )
            for sample_id in queue:
                by = decided.get(sample_id, set())
                if reviewer in by:
                    continue
                unavailable = by or held.get(sample_id, reviewer) != reviewer
                if unavailable and not shared(sample_id):
                    continue
                connection.execute(
                    "INSERT OR REPLACE INTO claims VALUES (?, ?, ?)",
                    (sample_id, reviewer, now + CLAIM_SECONDS),
                )
                return sample_id
        return None

    def agreement(self) -> list[Agreement]:
        """Return Cohen's kappa of every pair of reviewers, over the texts that both decided on."""
        choices: dict[tuple[str, int], dict[str, str]] = {}
        with self._connection() as connection:
            for action in _actions(connection, light=True):
                if action.kind != "edit":
                    text = choices.setdefault((action.sample_id, action.base), {})
                    text[action.reviewer] = action.kind
        reviewers = sorted({name for by in choices.values() for name in by})
        pairs = []
        for first, second in combinations(reviewers, 2):
            both = [
                (by[first], by[second]) for by in choices.values() if {first, second} <= set(by)
            ]
            if both:
                agreed = sum(a == b for a, b in both)
                pairs.append(Agreement(first, second, len(both), agreed, cohens_kappa(both)))
        return pairs

    def counts(self) -> dict[str, int]:
        """Return the number of decided samples per reviewer."""
        with self._connection() as connection:
            actions = _actions(connection, light=True)
        counts: Counter[str] = Counter()
        for standing in _standings(actions):
            counts.update(standing.decisions.keys())
        return dict(counts)

    def _act(
        self,
        sample_id: str,
        reviewer: str,
        kind: str,
        base: int,
        *,
        reason: str | None = None,
        thinking: str | None = None,
        response: str | None = None,
        flags: str = "[]",
    ) -> Standing:
        with self._connection(write=True) as connection:
            before = _standing(sample_id, _actions(connection, sample_id))
            if before.version != base:
                assert before.edit is not None
                raise StaleReview(
                    f"{before.edit.reviewer} has edited {sample_id} since you opened it; "
                    "look at the new text and decide again"
                )
            connection.execute(
                "INSERT INTO actions "
                "(sample_id, reviewer, at, kind, base, reason, thinking, response, flags) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (sample_id, reviewer, time.time(), kind, base, reason, thinking, response, flags),
            )
            connection.execute("DELETE FROM claims WHERE sample_id = ?", (sample_id,))
            return _standing(sample_id, _actions(connection, sample_id))

    @contextmanager
    def _connection(self, write: bool = False) -> Iterator[sqlite3.Connection]:
        """Run a transaction. A writing one takes the write lock before it reads."""
        connection = sqlite3.connect(self.path, timeout=10, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")  # a commit has reached the disk
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            yield connection
            if connection.in_transaction:
                connection.commit()
        finally:
            connection.close()


def cohens_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Compute Cohen's kappa: agreement beyond chance, given how often each reviewer accepts.

    >>> cohens_kappa([("accept", "accept"), ("reject", "reject"), ("accept", "reject")])
    0.4
    """
    n = len(pairs)
    if not n:
        return None
    observed = sum(a == b for a, b in pairs) / n
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    expected = sum(first[label] * second[label] for label in first) / n**2
    return None if expected == 1 else round((observed - expected) / (1 - expected), 6)


_COLUMNS = "id, sample_id, reviewer, at, kind, base, reason"


def _actions(
    connection: sqlite3.Connection, sample_id: str | None = None, light: bool = False
) -> list[Action]:
    """Return actions in order; if `light`, without the edited texts."""
    texts = "NULL, NULL, '[]'" if light else "thinking, response, flags"
    where, values = ("", ()) if sample_id is None else ("WHERE sample_id = ?", (sample_id,))
    found = connection.execute(
        f"SELECT {_COLUMNS}, {texts} FROM actions {where} ORDER BY id", values
    )
    return [Action._make((*row[:-1], tuple(json.loads(row[-1])))) for row in found]


def _standings(actions: Iterable[Action]) -> list[Standing]:
    by_sample: dict[str, list[Action]] = {}
    for action in actions:
        by_sample.setdefault(action.sample_id, []).append(action)
    return [_standing(sample_id, own) for sample_id, own in by_sample.items()]


def _standing(sample_id: str, actions: Sequence[Action]) -> Standing:
    edits = [action for action in actions if action.kind == "edit"]
    edit = edits[-1] if edits else None
    version = edit.id if edit else 0
    decisions = {
        action.reviewer: action
        for action in actions
        if action.kind != "edit" and action.base == version
    }
    return Standing(sample_id, edit, decisions)
