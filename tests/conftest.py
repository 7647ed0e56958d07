"""Shared by every test: one real engine at a time, and no deadline a noisy machine could miss."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("factory", deadline=None)
settings.load_profile("factory")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that needs a real engine goes to one worker: two engines do not fit a small machine."""
    for item in items:
        mark = item.get_closest_marker("real")
        if mark and mark.kwargs.get("engine", True):
            item.add_marker(pytest.mark.xdist_group("real"))
