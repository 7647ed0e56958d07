"""Settings of all tests: one real engine at a time, and no deadlines on a busy machine."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("factory", deadline=None)
settings.load_profile("factory")


collect_ignore_glob = ["data/*"]  # projects there have tests of their own


SLOW = (
    "api/test_api.py",
    "api/test_script_and_notebook.py",
    "api/test_wheel.py",
    "e2e/",
    "environments/",
    "filters/verify/test_generated.py",
    "filters/verify/test_gym.py",
    "filters/verify/test_own_verifier.py",
    "filters/verify_code/",
    "filters/verify_repository/test_cheats.py",
    "filters/verify_repository/test_repairs.py",
    "filters/verify_repository/test_repository_tools.py",
    "loaders/test_bombs.py",
    "loaders/test_drafts.py",
    "loaders/test_gym_loader.py",
    "loaders/test_prefixes.py",
    "loaders/test_repository_bugs.py",
    "plugins/test_extensions.py",
    "push/test_follow.py",
    "sampling/test_batches.py",
    "sampling/test_budget_build.py",
    "sampling/test_deaths.py",
    "sampling/test_episodes.py",
    "sampling/test_search.py",
    "sampling/test_server_loss.py",
    "stores/test_stored_build.py",
    "test_build.py",
    "test_build_swe.py",
    "test_cli.py",
    "test_cli_output.py",
    "test_corpus_form.py",
    "test_damage.py",
    "test_evaluate.py",
    "test_json_recipes.py",
    "test_judges_in_turn.py",
    "test_late_builds.py",
    "test_late_verdicts.py",
    "test_live_judging.py",
    "test_losses.py",
    "test_new_user.py",
    "test_overlay.py",
    "test_pipeline.py",
    "test_refusals.py",
    "test_rejudge.py",
    "test_strangers.py",
    "test_tutorials.py",
    "train/test_episodes.py",
    "view/test_episode.py",
    "watch/test_trackers.py",
    "watch/test_watched_runs.py",
)
"""Suites that start many commands or build whole runs: `make check` leaves them to `make test`."""


@pytest.fixture
def trusted_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own classes may run, in its worker processes and commands too."""
    monkeypatch.setenv("FACTORY_TRUST_CODE", "1")


def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores: many tests wait for an engine, a sandbox or another machine."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real engines run on one worker, real trainers on one: memory holds one of each.

    The long groups come first, so that the short tests fill what is left of the workers.
    """

    def group(item: pytest.Item) -> str | None:
        mark = item.get_closest_marker("real")
        return mark.kwargs.get("group", "engine") if mark else None

    for item in items:
        if any(
            f"/tests/{suite}" in f"/tests/{item.nodeid.partition('tests/')[2]}" for suite in SLOW
        ):
            item.add_marker(pytest.mark.slow)
        if name := group(item):
            item.add_marker(pytest.mark.xdist_group(name))
    order = {"engine": 0, "torch": 1, "hosts": 1, None: 3}
    items.sort(key=lambda item: order.get(group(item), 2))
