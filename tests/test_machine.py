"""Which CPUs are asked to compute in bfloat16, and which packages count as installed."""

from __future__ import annotations

import os
import subprocess
import sys

import polars
import pytest

from factory.core import machine
from factory.core.machine import find_version, has_bf16_kernels, list_versions

ZEN3 = "flags\t\t: fpu sse sse2 fma avx avx2 bmi2"
SKYLAKE = f"{ZEN3} avx512f avx512dq avx512cd avx512bw avx512vl"
KNIGHTS_LANDING = f"{ZEN3} avx512f avx512pf avx512er avx512cd"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (f"processor\t: 0\nvendor_id\t: AuthenticAMD\n{ZEN3}\n", False),
        (f"processor\t: 0\n{SKYLAKE}\nbogomips\t: 5000\n", True),
        (f"{SKYLAKE} avx512_bf16 amx_bf16\n", True),
        (f"{KNIGHTS_LANDING}\n", False),
        ("Features\t: fp asimd sve i8mm bf16\n", True),
        ("Features\t: fp asimd asimdhp\n", False),
        ("vmx flags\t: avx512f avx512dq avx512bw avx512vl\n", False),
        ("", False),
    ],
)
def test_bfloat16_where_there_are_kernels(cpuinfo: str, expected: bool) -> None:
    assert has_bf16_kernels(cpuinfo) is expected


def test_versions_name_only_what_is_installed() -> None:
    found = list_versions("r1-factory", "polars", "no-such-package")
    assert list(found) == ["python", "r1-factory", "polars"]
    assert found["polars"] == find_version("polars") == polars.__version__
    assert find_version("no-such-package") is None


@pytest.mark.parametrize(
    ("given", "gpu", "loaded", "in_time", "policy"),
    [
        (None, False, False, True, "passive"),
        (None, False, True, False, "passive"),  # torch has read it already
        ("active", False, True, True, "active"),  # the user's own choice
        (None, True, True, True, None),
    ],
)
def test_threads_wait_passively_on_a_cpu(
    given: str | None,
    gpu: bool,
    loaded: bool,
    in_time: bool,
    policy: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "has_gpu", lambda: gpu)
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    if loaded:
        monkeypatch.setitem(sys.modules, "torch", machine)
    else:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert machine.wait_passively() is in_time
    assert os.environ.get("OMP_WAIT_POLICY") == policy


def test_the_command_has_not_loaded_torch_before_it_trains() -> None:
    """Otherwise OpenMP's threads spin: their policy is read when torch is loaded."""
    code = "import sys, factory.cli, factory.train.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
