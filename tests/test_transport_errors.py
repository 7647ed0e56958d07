"""Which errors say that a server cannot be reached."""

from __future__ import annotations

import httpx
import pytest

from factory.core.errors import is_transport_error


class Httpx2Error(Exception):
    """As httpx2 names its errors."""


TransportError = type("TransportError", (Httpx2Error,), {"__module__": "httpx2"})
ConnectError = type("ConnectError", (TransportError,), {"__module__": "httpx2"})
OtherTransportError = type("TransportError", (Exception,), {"__module__": "somewhere"})


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (httpx.ConnectError("refused"), True),
        (httpx.ReadTimeout("late"), True),
        (ConnectError("refused"), True),
        (OtherTransportError("not HTTP"), False),
        (httpx.InvalidURL("no address"), False),
        (ValueError("a value"), False),
    ],
    ids=["httpx", "httpx timeout", "httpx2", "another library", "no address", "a value"],
)
def test_an_error_of_transport(error: Exception, expected: bool) -> None:
    assert is_transport_error(error) is expected
