"""All errors that a user can meet, as one tree.

    FactoryError                 1  base class: a message that names place, value and remedy
    ├── RecipeError              2  the recipe (or a flag) is wrong; lists every problem at once
    ├── EngineError              3  the engine is lost; all samples are saved, run again to continue
    ├── RunError                 4  the run directory cannot be used (locked, incompatible, damaged)
    ├── StorageError             5  disk full, or no files, memory or processes are left; all
    │                               committed data stays readable
    ├── SourceError              6  a prompt source or file cannot be read
    ├── ModelError               7  a model, tokenizer or chat template is missing or unfit
    ├── MissingDependency        8  an optional package is not installed
    ├── QuotaError               9  the corpus has fewer rows than required, or unfilled quotas
    ├── PushError               10  the Hub refused or could not be reached; nothing was published
    ├── TrainError              11  training failed (NaN, collapse); its checkpoints are complete
    ├── CapacityError           12  a plan does not fit on its GPUs; the message has the remedy
    └── GateError               13  a model is worse than its recipe requires; it was not written

The number is the exit code of the process. 0 is success, 130 an interrupt (Ctrl-C). A traceback is
always a bug in the factory; its exit code is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple


class FactoryError(Exception):
    """An error that a user can fix. Printed without a traceback."""

    exit_code: ClassVar[int] = 1


class Problem(NamedTuple):
    """One problem at one place, with its remedy."""

    place: str  # "recipes/x.yaml:12: filters.length.max_tokens"
    what: str  # "is -1; it must be at least 1"

    def __str__(self) -> str:
        return f"{self.place} {self.what}"


class RecipeError(FactoryError):
    """The recipe is wrong. Has all problems found, not only the first."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[RecipeError], tuple[list[Problem]]]:
        return type(self), (self.problems,)  # for pickling between processes: its args are a text


class EngineError(FactoryError):
    """The sampling engine is lost and could not be restarted."""

    exit_code = 3


class RunError(FactoryError):
    """The run directory cannot be used for the command."""

    exit_code = 4


class RunLocked(RunError):
    """Another process uses the run directory."""


class StorageError(FactoryError):
    """The machine refused a write, a file, memory or a process. All that was committed is safe."""

    exit_code = 5


class StoreError(StorageError):
    """An object store refused or could not be reached. What is on this machine is safe.

    `passing` says that the same may work in a minute; `code` is the store's own name for it.
    """

    def __init__(self, message: str, *, passing: bool = False, code: str = "") -> None:
        super().__init__(message)
        self.passing, self.code = passing, code


class SourceError(FactoryError):
    """A prompt source is missing, unreadable, empty or too damaged."""

    exit_code = 6


class ModelError(FactoryError):
    """A model, tokenizer or chat template is missing or does not fit."""

    exit_code = 7


class MissingDependency(FactoryError):
    """An optional package is needed but not installed."""

    exit_code = 8


class QuotaError(FactoryError):
    """The corpus has fewer rows than `corpus.min_rows`, or a strict recipe unfilled quotas."""

    exit_code = 9


class PushError(FactoryError):
    """The Hub refused the push or could not be reached. Nothing was published."""

    exit_code = 10


class TrainError(FactoryError):
    """A training run cannot continue: the loss is NaN, a policy collapsed, rollouts died."""

    exit_code = 11


class CapacityError(FactoryError):
    """A recipe can't fit on the GPUs it was planned for. Names the smallest change that does."""

    exit_code = 12


class GateError(FactoryError):
    """A trained model measures worse than its recipe requires, and was not written."""

    exit_code = 13


class Stopped(Exception):
    """Ctrl-C. Everything finished in `directory` is saved, and the same command continues."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        super().__init__(
            f"stopped; all finished work is saved in {directory}. Run the same command to continue."
        )


def is_transport_error(error: BaseException) -> bool:
    """Return True if an HTTP client could not reach its server, or lost the connection.

    The Hub's client raises httpx's error or, in newer versions, that of its successor httpx2.
    """
    return any(
        kind.__name__ == "TransportError" and kind.__module__.split(".")[0] in ("httpx", "httpx2")
        for kind in type(error).__mro__
    )


def is_hub_error(error: BaseException) -> bool:
    """Return True for what the Hub's client raises when a request fails."""
    return isinstance(error, OSError | ValueError | RuntimeError) or is_transport_error(error)
