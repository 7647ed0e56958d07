"""Settings of all tests: one real engine at a time, and no deadlines on a busy machine."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("factory", deadline=None)
settings.load_profile("factory")


@pytest.fixture
def trusted_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own classes may run, in its worker processes and commands too."""
    monkeypatch.setenv("FACTORY_TRUST_CODE", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real engines run on one worker, real trainers on one: memory holds one of each.

    The long groups come first, so that the short tests fill what is left of both workers.
    """

    def group(item: pytest.Item) -> str | None:
        mark = item.get_closest_marker("real")
        return mark.kwargs.get("group", "engine") if mark else None

    for item in items:
        if name := group(item):
            item.add_marker(pytest.mark.xdist_group(name))
    order = {"engine": 0, "torch": 1, None: 3}
    items.sort(key=lambda item: order.get(group(item), 2))
