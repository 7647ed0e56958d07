from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from filters.verify.code.verifier import CodeVerifier
from filters.verify.sandbox import Boxes, available


@pytest.fixture(scope="session")
def sandboxed() -> None:
    reason = available()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def boxes(sandboxed: None) -> Iterator[Boxes]:
    shared = Boxes(2)
    yield shared
    shared.close()


@pytest.fixture(scope="session")
def verifier(sandboxed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeVerifier]:
    cache: Path = tmp_path_factory.mktemp("binaries")
    shared = CodeVerifier(workers=2, cache=cache)
    yield shared
    shared.close()
