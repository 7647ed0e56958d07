"""Who watches a run: the keys `track`, `metrics_port`, `notify` and `notify_env` of a recipe.

They change no result. They may differ between two starts of one run, and enter no fingerprint.
"""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal, Protocol
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from factory.core.errors import Problem, RecipeError
from factory.recipe.parsing import UNSAFE

TrackerName = Literal["trackio", "wandb", "mlflow", "tensorboard"]

WATCHING = frozenset({"track", "metrics_port", "notify", "notify_env"})
"""The keys that say who watches."""

_LOCAL = "127.0.0.1"
_ADDRESS = re.compile(r"(?:(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):)?(\d{1,5})")


def _check_port(value: int | str | None) -> int | str | None:
    if value is not None:
        split_address(value)
    return value


def _check_url(value: str | None) -> str | None:
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        whole = False
    if not whole:
        raise PydanticCustomError(
            UNSAFE, "is no address (it is not shown, it may hold a secret); write https://HOST/PATH"
        )
    return value


Trackers = Annotated[
    tuple[TrackerName, ...],
    Field(
        description="Trackers that get the run's numbers while it goes on. Each runs in a process "
        "of its own and takes its account and its project from its own environment variables. One "
        "that fails or hangs is reported once, and the run goes on."
    ),
]
MetricsPort = Annotated[
    int | str | None,
    Field(
        description="Serve the run's numbers for Prometheus at http://127.0.0.1:PORT/metrics. "
        "HOST:PORT, such as 0.0.0.0:9400, serves them at another address."
    ),
    AfterValidator(_check_port),
]
NotifyUrl = Annotated[
    str | None,
    Field(
        description="POST a JSON document to this address when the run ends or is in trouble. "
        "Never published; for an address that holds a secret use `notify_env`."
    ),
    AfterValidator(_check_url),
]
NotifyEnv = Annotated[
    str | None, Field(description="Environment variable with the address, instead of `notify`.")
]


class Watched(Protocol):
    """A recipe that says who watches."""

    @property
    def name(self) -> str: ...
    @property
    def track(self) -> tuple[TrackerName, ...]: ...
    @property
    def metrics_port(self) -> int | str | None: ...
    @property
    def notify(self) -> str | None: ...
    @property
    def notify_env(self) -> str | None: ...


def split_address(value: int | str) -> tuple[str, int]:
    """Return host and port of a `metrics_port`. Raises ValueError."""
    match = _ADDRESS.fullmatch(str(value))
    if match is None or not 0 < int(match[2]) < 65536:
        raise ValueError("write a port from 1 to 65535, or HOST:PORT such as 0.0.0.0:9400")
    return (match[1] or _LOCAL).strip("[]"), int(match[2])


def check_watching(
    metrics_port: int | str | None, notify: str | None, notify_env: str | None
) -> str | None:
    """Check these values as flags. Returns the webhook's address. Raises RecipeError."""
    problems = []
    try:
        _check_port(metrics_port)
    except ValueError as error:
        problems.append(Problem("--metrics-port", f"is {metrics_port!r}: {error}"))
    try:
        _check_url(notify)
    except PydanticCustomError as error:
        problems.append(Problem("--notify", str(error)))
    if problems:
        raise RecipeError(problems)
    return find_address(notify, notify_env)


def find_address(notify: str | None, notify_env: str | None) -> str | None:
    """Return the webhook's address; None if there is none. Raises RecipeError."""
    if notify_env is None:
        return notify
    if notify is not None:
        raise RecipeError([Problem("notify_env", "stands next to notify; keep one of them")])
    value = os.environ.get(notify_env)
    if not value:
        raise RecipeError([Problem("notify_env", f"is {notify_env}, which is not set; export it")])
    try:
        return _check_url(value)
    except PydanticCustomError as error:
        raise RecipeError(
            [Problem("notify_env", f"is {notify_env}, whose value {error}")]
        ) from None
