"""The webhook, against a server that fails: retries are bounded, secrets stay out of messages."""

from __future__ import annotations

import pytest

from factory.watch import webhook
from factory.watch.webhook import ATTEMPTS, post, shorten
from tests.ports import free_ports
from tests.watch.hooks import running_hook

DOCUMENT = {"text": "sums (build) is done", "state": "done"}


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "FIRST_WAIT_S", 0.001)


CASES = [
    ([], None, 1),
    ([500, 503], None, 3),
    ([429], None, 2),
    ([500] * 9, "it answered 500, 4 times", ATTEMPTS),
    ([404], "it answered 404; check the address", 1),
    ([401], "it answered 401; check the address", 1),
    ([302], "it answered 302; check the address", 1),
]


@pytest.mark.parametrize(("answers", "why", "requests"), CASES)
def test_what_is_tried_again(answers: list[int], why: str | None, requests: int) -> None:
    with running_hook() as hook:
        hook.answers = list(answers)
        assert post(hook.url + "/hooks/SECRET", DOCUMENT) == why
        assert hook.paths == ["/hooks/SECRET"] * requests
        assert hook.got == [DOCUMENT] * (why is None)


def test_a_dead_host_is_given_up_without_its_address() -> None:
    (port,) = free_ports(1)
    why = post(f"http://user:password@127.0.0.1:{port}/SECRET", DOCUMENT)
    assert why == "no answer (ConnectError), 4 times"


def test_what_is_shown_of_an_address() -> None:
    assert shorten("https://u:p@hooks.example:9/T/B/SECRET?k=v") == "https://hooks.example/…"
