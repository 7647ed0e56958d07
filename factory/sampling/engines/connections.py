"""Connections to a server that cost the same each, however many there are."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

import httpx

_CONNECT_S = 10.0


class Lanes:
    """Idle HTTP clients, one connection each, taken for one request and put back.

    One client with many connections would be httpx's way, but its pool looks at every connection
    for every request: at a hundred in flight that was most of the time, and a server stood idle.
    """

    def __init__(self, key: str | None) -> None:
        self._key = key
        self._idle: list[httpx.AsyncClient] = []

    @asynccontextmanager
    async def one(self) -> AsyncIterator[httpx.AsyncClient]:
        client = self._idle.pop() if self._idle else self._open()
        try:
            yield client
        finally:
            self._idle.append(client)

    def hide(self, text: str) -> str:
        """A server's words without the key, which some of them repeat."""
        return text.replace(self._key, "***") if self._key else text

    async def close(self) -> None:
        """Close what is idle; call it when no request is left."""
        while self._idle:
            await self._idle.pop().aclose()

    def _open(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            verify=_tls(),
            timeout=httpx.Timeout(None, connect=_CONNECT_S),  # an exchange has a limit of its own
        )


@cache
def _tls() -> ssl.SSLContext:
    """One for all: reading the certificates takes longer than a connection."""
    return httpx.create_ssl_context()
