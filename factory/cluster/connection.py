"""A Ray cluster as its driver sees it: how it is joined, and whether its head still answers.

Ray itself ends a driver on a node of the cluster a minute after the head is lost, without an
exception. A driver outside (ray://) waits for a reply over a cut link for ten minutes. So the head
is probed here, and a lost one is an EngineError in both cases.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from factory.core.errors import EngineError, MissingDependency

LOST_S = 30.0
"""Seconds without an answer of the head until the cluster counts as lost. A head that is only busy
answers: the probe opens a connection, which the kernel accepts."""

_PROBE_EVERY_S = 2.0
_PROBE_TIMEOUT_S = 2.0
_JOIN_ATTEMPTS = 3
_CLIENT = "ray://"


class Cluster:
    """A connection to a Ray cluster. There is one per process: Ray allows no second one."""

    def __init__(self, address: str | None, key: str) -> None:
        """Join the cluster at `address`, else at RAY_ADDRESS, else a new one on this machine.

        `key` is the recipe's key for the address, for messages. Raises EngineError if no cluster is
        there, MissingDependency without Ray.
        """
        self.ray = _import_ray(key)
        address = address or os.environ.get("RAY_ADDRESS")
        self._name = address or "this machine"
        try:
            _require_listener(address)
            _join(self.ray, address)
        except (OSError, RuntimeError, ValueError, self.ray.exceptions.RayError) as error:
            raise EngineError(
                f"the Ray cluster at {self._name} cannot be reached: {error}. Start one "
                f"(`ray start --head`), or correct {key} or RAY_ADDRESS."
            ) from error
        self._is_client = (address or "").startswith(_CLIENT)
        self._head = self._find_head(address)
        self._lost = threading.Event()
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="ray-head", daemon=True).start()

    @property
    def is_lost(self) -> bool:
        return self._lost.is_set()

    @contextmanager
    def calls(self) -> Iterator[Any]:
        """Calls of Ray, which is what the block gets. Raises EngineError if the head is lost."""
        try:
            if not self.is_lost:
                yield self.ray
        except Exception as error:
            if not self.is_lost and not isinstance(error, ConnectionError):
                raise
            self._lost.set()
            raise self._say_lost() from error
        if self.is_lost:
            raise self._say_lost()

    def close(self) -> None:
        """Leave the cluster. Of a lost one it takes five seconds."""
        self._closed.set()
        self.ray.shutdown()

    def _say_lost(self) -> EngineError:
        host, port = self._head or (self._name, 0)
        return EngineError(
            f"the head of the Ray cluster, {host}:{port}, has not answered for {LOST_S:.0f} s. All "
            "samples so far are saved. Start the cluster again and run the same command to go on."
        )

    def _find_head(self, address: str | None) -> tuple[str, int] | None:
        if not self._is_client:
            address = str(self.ray.get_runtime_context().gcs_address)
        return _split_address(address)

    def _watch(self) -> None:
        """Probe the head until it is lost or the cluster is closed."""
        answered = time.monotonic()
        while not self._closed.wait(_PROBE_EVERY_S) and self._head is not None:
            try:
                socket.create_connection(self._head, timeout=_PROBE_TIMEOUT_S).close()
                answered = time.monotonic()
            except OSError:
                if time.monotonic() - answered >= LOST_S:
                    break
        if self._closed.is_set() or self._head is None:
            return
        self._lost.set()
        if self._is_client:
            with suppress(Exception):
                self.ray.util.disconnect()  # ends the calls that wait for the head


def _import_ray(key: str) -> Any:
    try:
        import ray
        import ray.exceptions
        import ray.util
    except ImportError as error:
        raise MissingDependency(
            f"{key.partition('.')[0]} on a Ray cluster needs Ray, which is not installed; install "
            "the extra `ray`"
        ) from error
    return ray


def _join(ray: Any, address: str | None) -> None:
    """Connect as a driver of the cluster.

    With ray:// the head node starts one process per client. That process may die at its start, as
    on an overloaded node. The next attempt gets a new one.
    """
    for attempt in range(1, _JOIN_ATTEMPTS + 1):
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level="ERROR",
                include_dashboard=None if address else False,
                ignore_reinit_error=True,
            )
            return
        except ConnectionAbortedError:
            if attempt == _JOIN_ATTEMPTS:
                raise


def _require_listener(address: str | None) -> None:
    """Raise OSError at once if nothing listens there. Ray itself would retry for minutes."""
    place = _split_address(address)
    if place is not None:
        socket.create_connection(place, timeout=10).close()


def _split_address(address: str | None) -> tuple[str, int] | None:
    host, _, port = (address or "").removeprefix(_CLIENT).rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdigit() else None
