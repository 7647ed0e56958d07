"""Access control: a token that visitors present, and a Host header that must be this server's.

Another user of the same machine can reach its loopback address, so the commands set a token by
default. The pages show model text, so every response carries a Content-Security-Policy that
allows only the app's own scripts. A page of another site can't read responses: there is no CORS,
and the Host header is checked, as a name of another site can be made to resolve to this server
(DNS rebinding). It can't change anything either: Sec-Fetch-Site is checked, only JSON bodies are
accepted (other origins need a preflight to send them), and the cookie is SameSite=Strict.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, quote, unquote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "factory_token"
ALLOWED_FETCH_SITES = (None, "same-origin", "none")
"""Sec-Fetch-Site of a request by a program, by the app's own page, and by a typed address."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware that rejects requests without the token, or addressed to another host.

    `hosts` are the names and addresses that visitors use, besides those of the loopback interface.
    A wildcard address (0.0.0.0, ::) stands for every address of this machine and its own name.
    """

    def __init__(self, app: ASGIApp, token: str | None, hosts: Iterable[str] = ()) -> None:
        self.app, self.token = app, token
        self._hosts = {host.lower().rstrip(".") for host in hosts}
        self._any_address = bool(self._hosts & {"0.0.0.0", "::"})
        if self._any_address:
            self._hosts |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        rejection = self._reject(scope)
        await (rejection or self.app)(scope, receive, send_guarded)

    def _reject(self, scope: Scope) -> Response | None:
        """Return the response that rejects a request; None where it may pass."""
        headers = Headers(scope=scope)
        named = headers.getlist("host")
        if len(named) != 1 or not self._is_served(named[0]):
            what = "addressed to a host that is not served; --allow-host NAME adds one"
            return PlainTextResponse(what, 403)
        if self.token is not None and not self._has_token(headers):
            return self._log_in(scope)
        if scope["method"] in ("GET", "HEAD"):
            return None
        if headers.get("sec-fetch-site") not in ALLOWED_FETCH_SITES:
            return PlainTextResponse("sent by a page of another site", 403)
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return PlainTextResponse("only application/json is accepted", 415)
        return None

    def _is_served(self, header: str) -> bool:
        host = _hostname(header)
        if host is None:
            return False
        if is_loopback(host) or host in self._hosts:
            return True
        # Only a name can be rebound, so any address may stand for a wildcard one.
        return self._any_address and _is_address(host)

    def _has_token(self, headers: Headers) -> bool:
        cookies = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:
            return False
        presented = [unquote(cookies[COOKIE].value)] if COOKIE in cookies else []
        presented.append(headers.get("authorization", "").removeprefix("Bearer "))
        return any(self._matches(value) for value in presented)

    def _log_in(self, scope: Scope) -> Response:
        """Exchange the token in the address for a cookie; answer 401 without a valid one."""
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        if scope["method"] != "GET" or not self._matches(query.pop("token", "")):
            return PlainTextResponse("token required: open this address with ?token=…", 401)
        path = "/" + scope["path"].lstrip("/")  # `//host` would redirect to another host
        answer = RedirectResponse(f"{path}?{urlencode(query)}" if query else path, 303)
        assert self.token is not None
        answer.set_cookie(COOKIE, quote(self.token), httponly=True, samesite="strict")
        return answer

    def _matches(self, value: str) -> bool:
        assert self.token is not None
        return secrets.compare_digest(value.encode(), self.token.encode())


def new_token() -> str:
    """Return a token that can't be guessed."""
    return secrets.token_urlsafe(24)


_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?", re.ASCII)


def _hostname(header: str) -> str | None:
    """Return the host of a Host header in lower case; None where it is malformed."""
    found = _HOST.fullmatch(header.lower())
    return (found[1] or found[2].rstrip(".")) if found else None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
