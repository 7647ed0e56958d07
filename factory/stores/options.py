"""The recipe's `store`: where a run is kept next to this machine's disk."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

PROTOCOLS = ("s3", "gs", "hf", "file", "memory")
"""Stores that are named in messages. Any other that fsspec knows also works."""

_NAME = re.compile(r"[a-z][a-z0-9+.-]*")


class Store(BaseModel):
    """An object store that has a copy of the run, from which any machine can go on.

    `store: s3://bucket/prefix` is short for `store: {url: s3://bucket/prefix}`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        description="Bucket and prefix of this run alone, such as `s3://bucket/runs/my-corpus`; "
        "also gs://, hf://, file:// and memory://. Credentials come from the environment, as the "
        "store's own tools read them, and never stand here."
    )
    seal_seconds: float = Field(
        300,
        ge=1,
        description="Longest time in seconds until finished samples are sealed and written to the "
        "store: what the loss of this machine can cost.",
    )
    lock: bool = Field(
        True,
        description="Refuse to write to a store that another build writes to. False for a store "
        "that ignores conditional writes: then see to it yourself that only one build uses it.",
    )

    @field_validator("url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        return parse_url(url)


def parse_url(url: str) -> str:
    """Return the address of a store, without a slash at its end. Raises ValueError."""
    parts = urlsplit(url)
    if "@" in parts.netloc:  # checked first: other messages would show it
        raise ValueError("the URL has a user or a key; give credentials in the environment")
    if parts.query or parts.fragment:
        raise ValueError("the URL has a query or a fragment; name bucket and prefix only")
    known = ", ".join(f"{name}://" for name in PROTOCOLS)
    if not _NAME.fullmatch(parts.scheme) or "://" not in url:
        raise ValueError(f"{url!r} is no address of a store; begin with one of {known}")
    from fsspec import available_protocols

    if parts.scheme not in available_protocols() or parts.scheme in ("http", "https"):
        raise ValueError(f"{parts.scheme}:// cannot be written; use one of {known}")
    is_plain = parts.scheme in ("file", "local", "memory")
    if parts.scheme in ("file", "local") and (parts.netloc or not parts.path.strip("/")):
        raise ValueError(f"{url!r} is no absolute path; write file:///folder/of/the/run")
    if not url.partition("://")[2].strip("/") or (not is_plain and not parts.netloc):
        raise ValueError(f"{url!r} names no bucket")
    if not is_plain and not parts.path.strip("/"):
        raise ValueError(f"{url!r} is a whole bucket; add a prefix, such as /runs/mine")
    return url.rstrip("/")
