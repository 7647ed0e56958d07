"""The requests in an EndpointPool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from factory.core.nouns import FailureKind
from factory.sampling.engine import Request
from factory.sampling.engines.endpoint import Endpoint
from factory.sampling.engines.openai_api import RenderedRequest
from factory.sampling.engines.replies import Reply

if TYPE_CHECKING:
    from factory.sampling.early_stop import Watch


@dataclass(slots=True, eq=False)
class Job:
    """A request in the pool."""

    request: Request
    rendered: RenderedRequest
    attempts: int = 0
    watch: Callable[[], Watch | None] | None = None  # makes a Watch for each attempt
    reply: Reply = field(default_factory=Reply)
    last: Endpoint | None = None
    task: asyncio.Task[None] | None = None  # whoever clears it owns the job
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request gives no sample."""

    kind: FailureKind
    detail: str
    transient: bool = False  # it may succeed later
