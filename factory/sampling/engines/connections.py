"""A pool of HTTP clients with constant cost per request, however many there are."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from functools import cache

import httpx

_CONNECT_S = 10.0


class Redactor:
    """Removes keys from a server's message: some servers repeat them."""

    def __init__(self, secrets: Collection[str]) -> None:
        self._secrets = sorted(secrets, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


class ConnectionPool:
    """HTTP clients with one connection each, reused between requests.

    One httpx client with many connections is slower: its pool scans all connections for every
    request. At a hundred requests in flight that took most of the time and left servers idle.
    """

    def __init__(self, headers: Mapping[str, str], secrets: Collection[str]) -> None:
        self._headers, self.redact = dict(headers), Redactor(secrets)
        self._idle: list[httpx.AsyncClient] = []

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[httpx.AsyncClient]:
        """Lend a client for one request."""
        client = self._idle.pop() if self._idle else self._open()
        try:
            yield client
        finally:
            self._idle.append(client)

    async def close(self) -> None:
        """Close all idle clients. Call it when no request is in flight."""
        while self._idle:
            await self._idle.pop().aclose()

    def _open(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            headers=self._headers,
            verify=tls(),
            timeout=httpx.Timeout(None, connect=_CONNECT_S),  # requests have their own limit
        )


def route(url: str, path: str) -> str:
    """Return the URL of a route. The endpoint's query string stays at its end."""
    base, mark, query = url.partition("?")
    return base + path + mark + query


@cache
def tls() -> ssl.SSLContext:
    """Return one shared context: reading the certificates takes longer than a connection."""
    return httpx.create_ssl_context()
