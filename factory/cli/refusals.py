"""What the machine refuses a command, and files that it damaged: one line says so."""

from __future__ import annotations

import errno
import os
import re

from factory.core.files import REMEDIES

_CODE = re.compile(r"\(os error (\d+)\)|\bcode: (\d+), kind:")
"""How libraries written in Rust give the number of an error."""

_UNSAID = re.compile(r"without (?:setting an exception|exception set)")
"""What Python says of a C function that failed and set no error."""


def explain_refusal(error: BaseException) -> str | None:
    """Return what the machine refused, with a remedy, or None for any other error."""
    if isinstance(error, MemoryError):
        return _describe("the machine gives no more memory", errno.ENOMEM)
    text = str(error)
    if isinstance(error, SystemError) and _UNSAID.search(text):
        said = f"a library failed without a reason, as most do when memory runs out ({text})"
        return _describe(said, errno.ENOMEM)
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return _describe("the machine starts no more threads", errno.EAGAIN)
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := _CODE.search(text)):
        number = int(found[1] or found[2])
    if number not in REMEDIES:
        return None
    path = getattr(error, "filename", None)
    said = f"{path}: {os.strerror(number)}" if path is not None else " ".join(text.split())
    return _describe(said, number)


def explain_damage(error: BaseException) -> str | None:
    """Return what to do about a Parquet file that a library cannot read, or None."""
    library = type(error).__module__.partition(".")[0]
    text = " ".join(str(error).split())
    if library not in ("polars", "pyarrow") or "parquet" not in text.lower():
        return None
    return (
        f"a Parquet file cannot be read ({text}). If a run made it, `factory repair RUN` names it, "
        "keeps what can be read and says what is lost; otherwise copy or download it again."
    )


def _describe(said: str, number: int) -> str:
    return (
        f"{said}. {REMEDIES[number]}, then run the same command again; everything written before "
        "is safe."
    )
