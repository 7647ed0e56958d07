"""An engine in another process, driven in turns: what it receives and what it returns."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from factory.core.nouns import Failure, Sample
from factory.sampling.engine import Engine, Request, open_own

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec


TURN_SECONDS = 0.25
"""Maximum length of a turn. After it the replica can receive new requests."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The first answer of a replica, once it has loaded."""

    capacity: int
    where: str  # its process and machine
    host: str  # its machine


Answer = Ready | list[Sample | Failure]
"""The first answer is `Ready`. Each further answer is the result of a turn."""


class Replica:
    """The other process's side: one engine and its turns."""

    def __init__(self, spec: EngineSpec, folder: Path, seed: int) -> None:
        self._engine = _open_alone(spec, folder, seed)
        self._held = 0

    def ready(self) -> Ready:
        host = socket.gethostname()
        return Ready(self._engine.capacity, f"process {os.getpid()} on {host}", host)

    def turn(self, requests: list[Request], aborts: list[str]) -> list[Sample | Failure]:
        """Submit requests, abort samples, and run until the turn is over or nothing is left."""
        for request in requests:
            self._engine.submit(request)
        self._held += len(requests)
        self._engine.abort(aborts)
        deadline = time.monotonic() + TURN_SECONDS
        done: list[Sample | Failure] = []
        while self._held > len(done) and time.monotonic() < deadline:
            done.extend(self._engine.completed())
        self._held -= len(done)
        return done


def _open_alone(spec: EngineSpec, folder: Path, seed: int) -> Engine:
    """Open vLLM, or an engine of the user's own, for this replica alone."""
    if spec.engine.is_own:
        return open_own(spec, folder, seed)
    from factory.sampling.engines.vllm import VllmEngine, prepare_environment

    prepare_environment()
    return VllmEngine(spec, folder, seed)


class ReplicaDied(Exception):
    """A replica died. Its requests are lost with it."""
