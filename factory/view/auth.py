"""Access control: only this machine is served, unless a token is set.

The pages show model text, so every response carries a Content-Security-Policy that allows only the
app's own scripts. A page of another site can't read responses: there is no CORS, and the Host
header is checked. It can't change anything either: Sec-Fetch-Site is checked, only JSON bodies are
accepted (other origins need a preflight to send them), and the cookie is SameSite=Strict.
"""

from __future__ import annotations

import ipaddress
import secrets
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
    """ASGI middleware that rejects requests without the token.

    Where no token is set, it rejects requests that are not addressed to this machine.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self.app, self.token = app, token

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
        if self.token is None:
            if not is_loopback(_hostname(headers.get("host", ""))):
                return PlainTextResponse("addressed to another host", 403)
        elif not self._has_token(headers):
            return self._log_in(scope)
        if scope["method"] in ("GET", "HEAD"):
            return None
        if headers.get("sec-fetch-site") not in ALLOWED_FETCH_SITES:
            return PlainTextResponse("sent by a page of another site", 403)
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return PlainTextResponse("only application/json is accepted", 415)
        return None

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


def _hostname(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
