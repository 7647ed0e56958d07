"""Who may talk to the app: this machine alone, unless a token was set.

Model text is shown here, so every answer forbids scripts but the app's own. A page elsewhere on the
web can neither read answers (no CORS, the Host is checked) nor act: browsers say where a request
comes from, only JSON is taken, which other origins cannot send without asking first, and the cookie
is SameSite=Strict.
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
OUR_OWN = (None, "same-origin", "none")
"""What Sec-Fetch-Site says of a request by a program, by the app's own page, by hand."""
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
    """ASGI middleware. Without a token only requests addressed to this machine are answered."""

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

        refusal = self._refusal(scope)
        await (refusal or self.app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if self.token is None:
            if not is_loopback(_hostname(headers.get("host", ""))):
                return PlainTextResponse("addressed to another host", 403)
        elif not self._is_known(headers):
            return self._entry(scope)
        if scope["method"] in ("GET", "HEAD"):
            return None
        if headers.get("sec-fetch-site") not in OUR_OWN:
            return PlainTextResponse("sent by a page of another site", 403)
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return PlainTextResponse("only JSON is taken", 415)
        return None

    def _is_known(self, headers: Headers) -> bool:
        cookies = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:
            return False
        shown = [unquote(cookies[COOKIE].value)] if COOKIE in cookies else []
        shown.append(headers.get("authorization", "").removeprefix("Bearer "))
        return any(self._matches(value) for value in shown)

    def _entry(self, scope: Scope) -> Response:
        """The first visit brings the token in the address; from then on a cookie does."""
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        if scope["method"] != "GET" or not self._matches(query.pop("token", "")):
            return PlainTextResponse("a token is wanted: open this address with ?token=…", 401)
        path = "/" + scope["path"].lstrip("/")  # `//host` would lead elsewhere
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
