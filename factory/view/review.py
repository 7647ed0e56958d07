"""The review pages: a queue of samples to accept, reject or edit, and reviewer agreement."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any
from urllib.parse import quote, unquote

import polars as pl
import xxhash
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from factory.core.errors import Problem, RecipeError
from factory.core.think import split_think
from factory.judging.review_verdicts import REASONS
from factory.judging.reviews import StaleReview, Standing
from factory.report.examples import build_examples
from factory.report.markup import render
from factory.report.rejudge import find_row, rejudge_edit
from factory.view.pages import examine, page, read_object
from factory.view.session import RunSession

REVIEWER = "factory_reviewer"
SHARED = 5
"""One in this many samples goes to every reviewer, to measure their agreement."""


class ReviewPages:
    """Handlers of the review pages. A cookie holds the reviewer's name; it is not a credential."""

    def __init__(self, session: RunSession) -> None:
        self.session = session

    async def set_reviewer(self, request: Request) -> Response:
        """Store the reviewer's name in a cookie."""
        name = str((await read_object(request)).get("name", "")).strip()[:60]
        if not name:
            raise RecipeError([Problem("name", "is empty; give your name")])
        answer = JSONResponse({"name": name})
        answer.set_cookie(
            REVIEWER, quote(name), max_age=31_536_000, httponly=True, samesite="strict"
        )
        return answer

    def queue(self, request: Request) -> Response:
        """Redirect to the reviewer's next sample, after the one that `after` names."""
        reviewer = _reviewer(request)
        decision = request.query_params.get("decision", "keep")
        if reviewer is None:
            return self._page(None, None, decision)
        samples = self.session.snapshot().samples
        queue = samples.filter(decision=decision)["sample_id"].to_list()
        after = request.query_params.get("after", "")
        start = queue.index(after) + 1 if after in queue else 0
        rotated = chain(queue[start:], queue[:start])
        found = self.session.reviews().next(rotated, reviewer, is_shared)
        if found is None:
            return self._page(None, reviewer, decision)
        return RedirectResponse(f"/review/{found}?decision={decision}", 303)

    def sample(self, request: Request) -> Response:
        return self._page(
            request.path_params["sample_id"],
            _reviewer(request),
            request.query_params.get("decision", "keep"),
        )

    def _page(self, sample_id: str | None, reviewer: str | None, decision: str) -> Response:
        snapshot, reviews = self.session.snapshot(), self.session.reviews()
        content: dict[str, Any] = {"sample_id": sample_id, "example": None}
        if sample_id is not None:
            row = find_row(snapshot, sample_id)
            standing = reviews.standing(sample_id)
            examples = build_examples(snapshot, row)
            texts = snapshot.texts(row)
            original = split_think(texts["text"][0] if texts.height else "")
            edit = standing.edit
            prompt = snapshot.prompts.filter(pl.col("prompt_id") == row["prompt_id"][0])
            examined = examine(snapshot, row, prompt)
            if edit is not None:
                examined["extracted"] = None  # it was extracted from the model's own text
            content |= {
                "row": row.row(0, named=True),
                "example": examples[0] if examples else None,
                "standing": standing,
                "history": reviews.history(sample_id),
                "thinking": ((edit or original).thinking or "").strip(),
                "response": ((edit or original).response or "").strip(),
                "edited": {
                    "thinking": render(edit.thinking or ""),
                    "response": render(edit.response or ""),
                }
                if edit
                else None,
                "examined": examined,
            }
        return page(
            "review.html.j2",
            self.session,
            reviewer=reviewer,
            decision=decision,
            queues=dict(snapshot.samples.group_by("decision").len().iter_rows()),
            reasons=REASONS,
            counts=reviews.counts(),
            agreement=reviews.agreement(),
            **content,
        )

    async def decide(self, request: Request) -> Response:
        """Accept a sample, or reject it with a reason."""
        given = await read_object(request)
        sample_id, reviewer = request.path_params["sample_id"], _require_reviewer(request)
        choice, reason = given.get("choice"), given.get("reason")
        if choice not in ("accept", "reject"):
            raise RecipeError([Problem("choice", f"is {choice!r}; it must be accept or reject")])
        if choice == "reject" and not reason:
            raise RecipeError([Problem("reason", "is missing; a rejection needs one")])
        base, why = _require_version(given), str(reason) if choice == "reject" else None

        def act() -> Standing:
            find_row(self.session.snapshot(), sample_id)
            return self.session.reviews().decide(sample_id, reviewer, choice, base, why)

        return await _store(act)

    async def edit(self, request: Request) -> Response:
        """Judge an edited text and save it. One that filters would drop needs `insist`."""
        given = await read_object(request)
        sample_id, reviewer = request.path_params["sample_id"], _require_reviewer(request)
        response, thinking = given.get("response"), given.get("thinking")
        if not isinstance(response, str) or not isinstance(thinking, str | None):
            raise RecipeError([Problem("response", "must be text, and thinking text or null")])
        thinking = thinking if thinking and thinking.strip() else None
        snapshot = self.session.snapshot()
        found = await run_in_threadpool(rejudge_edit, snapshot, sample_id, thinking, response)
        flags, skipped = found.flags(), found.skipped
        if flags and given.get("insist") is not True:
            return JSONResponse({"saved": False, "flags": flags, "skipped": skipped})
        base = _require_version(given)

        def act() -> Standing:
            return self.session.reviews().edit(sample_id, reviewer, base, thinking, response, flags)

        return await _store(act, {"flags": flags, "skipped": skipped})


async def _store(act: Callable[[], Standing], facts: dict[str, Any] | None = None) -> Response:
    """Run a store action and report it; 409 where someone else has edited the text since."""
    try:
        standing = await run_in_threadpool(act)
    except StaleReview as error:
        return JSONResponse({"saved": False, "error": str(error)}, 409)
    return JSONResponse({"saved": True, "version": standing.version, **(facts or {})})


def is_shared(sample_id: str) -> bool:
    """Return True if every reviewer gets this sample. Decided by the hash of its id."""
    return xxhash.xxh3_64_intdigest(sample_id.encode()) % SHARED == 0


def _require_version(given: dict[str, Any]) -> int:
    base = given.get("base")
    if not isinstance(base, int):
        raise RecipeError([Problem("base", "is missing; give the version of the text reviewed")])
    return base


def _reviewer(request: Request) -> str | None:
    return unquote(request.cookies.get(REVIEWER, "")) or None


def _require_reviewer(request: Request) -> str:
    reviewer = _reviewer(request)
    if reviewer is None:
        raise RecipeError([Problem("reviewer", "is unknown; give your name first")])
    return reviewer
