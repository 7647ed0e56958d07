from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textkit_prompt import make_spec

from filters.verify.repository.verifier import RepositoryVerifier
from filters.verify.sandbox import available


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store of snapshots of these tests alone, and the variable that names it."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def verifier(cache: Path) -> Iterator[RepositoryVerifier]:
    reason = available()
    if reason is not None:
        pytest.skip(reason)
    shared = RepositoryVerifier(workers=2)
    yield shared
    shared.close()


@pytest.fixture(scope="module")
def numerals(cache: Path) -> dict[str, Any]:
    """A prompt of the project textkit: `to_roman` compares by > where >= is right."""
    return make_spec()
