"""What this machine has: accelerators, CPU features, versions of packages. Imports none of them."""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

AVX512 = frozenset({"avx512f", "avx512bw", "avx512vl", "avx512dq"})
"""x86 features that oneDNN's bfloat16 kernels need. Without them it falls back to slow loops."""


def has_gpu() -> bool:
    """Return whether the machine has an NVIDIA or AMD device."""
    return Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists()


@cache
def cpu_computes_bf16() -> bool:
    """Return whether matrix products on this CPU are faster in bfloat16 than in float32.

    Measured: with AVX2 only, a product takes ten times as long, and vLLM is unusably slow. With
    AVX-512 it takes 0.6 times as long.
    """
    try:
        return has_bf16_kernels(Path("/proc/cpuinfo").read_text())
    except OSError:
        return False


def has_bf16_kernels(cpuinfo: str) -> bool:
    """Return the same for a given content of /proc/cpuinfo."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):  # x86 and ARM
            found = set(value.split())
            return found >= AVX512 or "bf16" in found
    return False


def wait_passively() -> bool:
    """Make OpenMP's threads sleep while they wait for one another, unless the user says otherwise.

    By default they spin, and on a busy machine keep the cores from the thread that they wait for:
    a step of a small network on two busy cores took 4 to 7 s instead of 0.8 to 1.0.
    Call it before torch is imported; returns False where that is too late.
    """
    if has_gpu() or "OMP_WAIT_POLICY" in os.environ:
        return True
    os.environ["OMP_WAIT_POLICY"] = "passive"
    return "torch" not in sys.modules


def find_version(package: str) -> str | None:
    """Return the installed version of a package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def list_versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of those packages that are installed."""
    found = {package: find_version(package) for package in packages}
    return {
        "python": platform.python_version(),
        **{package: number for package, number in found.items() if number is not None},
    }
