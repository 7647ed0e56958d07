"""What an engine is: requests go in, samples and failures come out as they finish."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from factory.core.errors import EngineError, FactoryError
from factory.core.nouns import Failure, Prompt, Sample, Turn, sample_id
from factory.core.plugins import find_class, look_up
from factory.recipe.engines.options import ENGINES, GROUP, REPLICAS

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec


@dataclass(frozen=True, slots=True)
class Request:
    """One sample asked for. `prompt` is carried whole; the engine renders it.

    A prompt that continues a text is answered with a Sample whose text begins with it; its tokens
    are those generated after it. With `turns` it asks for the next assistant turn of an episode.
    The engine answers with a Sample of that turn alone, whose one turn has the token ids, where the
    engine knows them. A string of `stop` ends the text and stays a part of it.
    """

    prompt: Prompt
    index: int
    level: int = 0  # escalations that apply to it
    turns: tuple[Turn, ...] | None = None  # of the episode so far; None: no episode
    max_tokens: int | None = None  # fewer than the settings allow
    stop: tuple[str, ...] = ()  # in addition to those of the settings

    @property
    def sample_id(self) -> str:
        return sample_id(self.prompt.id, self.index)

    def variant(self, spec: EngineSpec) -> str | None:
        """The wording that this sample gets, of `prompting.variants`; None without variants."""
        return spec.prompting.pick_variant(self.prompt.id, self.index)


@dataclass(frozen=True, slots=True)
class Worker:
    """One of an engine's endpoints or replicas: how it does, and what it has done so far."""

    name: str
    up: bool
    limit: int  # requests it is given at once, at most
    in_flight: int
    samples: int
    tokens: int
    seconds: float  # from its first request to its last answer
    faults: Mapping[str, int] = field(default_factory=dict)
    host: str = ""  # where it runs, or last ran, if that is another machine

    @property
    def place(self) -> str:
        """Its name, with its host."""
        return f"{self.name} on {self.host}" if self.host else self.name

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


class Engine(Protocol):
    """A source of samples. A bad request is a Failure; a dead engine raises EngineError."""

    @property
    def capacity(self) -> int:
        """Requests worth holding at once; more only wait in line."""

    def submit(self, request: Request) -> None:
        """Take a request. Never waits for generation."""

    def completed(self) -> Iterator[Sample | Failure]:
        """What has finished since the last call, in any order; may take one engine step."""

    def abort(self, sample_ids: Iterable[str]) -> None:
        """Stop these; each still comes back as a Sample with `finish_reason` abort."""

    def workers(self) -> list[Worker]:
        """Its endpoints or replicas; none where it is one engine in this process."""

    def close(self) -> None:
        """Give back every process and byte the engine took. May be called again."""


def engine_class(name: str) -> type[Engine]:
    """The class of an engine that is not shipped: an entry point's name, or `path/file.py:Class`.

    It is called with (spec, run directory, start). Raises PluginError.
    """
    found: type[Engine] = find_class(
        {},
        name,
        Engine,  # type: ignore[type-abstract]
        GROUP,
    )
    return found


def open_engine(spec: EngineSpec, run: Path, start: int) -> Engine:
    """The engine that `spec` names. `start` counts this run's engine starts: the seed has it.

    Raises what the engine raises: EngineError if it cannot be opened.
    """
    options = spec.engine
    if options.kind not in ENGINES:
        return open_own(spec, run, start)
    function = REPLICAS if options.replicas > 1 else ENGINES[options.kind]
    engine: Engine = look_up(function)(spec, run, start)
    return engine


def open_own(spec: EngineSpec, run: Path, start: int) -> Engine:
    """Open the engine that is not shipped. Raises EngineError if it cannot be loaded or opened."""
    name = spec.engine.reference or spec.engine.kind
    try:
        made: Any = engine_class(name)
        opened: Engine = made(spec, run, start)
    except FactoryError:
        raise
    except Exception as error:  # a user's engine may raise anything
        raise EngineError(
            f"the engine {name} cannot be opened: {type(error).__name__}: {error}"
        ) from error
    return opened
