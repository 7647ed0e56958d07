"""Finds what looks like a key or a token in everything that is about to be published.

A finding names the file, row, column and characters, and the rule; never the secret itself. Rules
look for the fixed prefixes that providers document for this purpose, for key files, and for random
values that are assigned to a name such as API_KEY. Hashes, UUIDs and encoded data are no findings.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

RULES: dict[str, str] = {
    "huggingface": r"\bhf_[A-Za-z0-9]{34,}\b",
    "openai": r"\bsk-(?:[a-z0-9]+-)*[A-Za-z0-9_]{20,}",  # and Anthropic, OpenRouter, DeepSeek
    "github": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})",
    "gitlab": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "aws": r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b",
    "google": r"\bAIza[A-Za-z0-9_-]{35}",
    "slack": r"\bxox[abeoprs]-[0-9]+-[A-Za-z0-9-]{10,}",
    "private_key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\s+"
    r"(?:[A-Za-z-]+: [^\n]*\s+)*[A-Za-z0-9+/=]{40,}",
    "jwt": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}",
    "assignment": r"\b(?:[A-Z][A-Z0-9_]*_)?(?:KEY|TOKEN|SECRET|PASSWORD|api_?key|secret_key|"
    r"access_token|auth_token|password)[\"']?\s*[:=]\s*[\"']?[A-Za-z0-9+/_=.-]{20,}",
}
"""Rule → its pattern, without groups that capture and without look-around."""

ENVIRONMENT = "environment"
"""The rule that finds the values of this process's own secret variables."""

SHOWN = 10

_ANY = "|".join(f"(?:{pattern})" for pattern in RULES.values())
_COMPILED = {name: re.compile(pattern) for name, pattern in RULES.items()}
_RANDOM = frozenset({"openai", "assignment"})
"""Rules whose prefix is also that of ordinary words: the value must look random too."""
_VALUE = re.compile(r"[A-Za-z0-9+/_=.-]{20,}$")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SECRET_NAME = re.compile(r"(?:TOKEN|SECRET|PASSWORD|_KEY)$")
_BATCH_ROWS = 4096


@dataclass(frozen=True)
class Finding:
    """Where something looks like a key: characters `start` to `end` of one text."""

    file: str
    row: str  # id; "" outside of rows
    column: str
    start: int
    end: int
    rule: str

    def __str__(self) -> str:
        row = f", row {self.row}, column {self.column}" if self.row else ""
        return f"{self.file}{row}, characters {self.start}-{self.end}: rule {self.rule}"


def find_keys(text: str, known: Mapping[str, str] | None = None) -> Iterator[tuple[str, int, int]]:
    """Yield rule, start and end of what looks like a key in a text.

    `known` are secrets that must not appear, by name; default: this process's environment.
    """
    for rule, pattern in _COMPILED.items():
        for found in pattern.finditer(text):
            if rule not in _RANDOM or _is_random(found[0]):
                yield rule, found.start(), found.end()
    for value in (environment_secrets() if known is None else known).values():
        start = text.find(value)
        if start >= 0:
            yield ENVIRONMENT, start, start + len(value)


def scan_text(file: str, text: str) -> Iterator[Finding]:
    """Yield the findings of a text file."""
    for rule, start, end in find_keys(text):
        yield Finding(file, "", "", start, end, rule)


def scan_rows(path: Path, name: str) -> Iterator[Finding]:
    """Yield the findings of every text of a Parquet file, batch by batch."""
    import pyarrow.parquet as pq

    known = environment_secrets()
    pattern = "|".join([_ANY, *(re.escape(value) for value in known.values())])
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH_ROWS):
            frame = pl.DataFrame(pl.from_arrow(batch))
            ids = frame["id"] if "id" in frame.columns else None
            for column in frame.columns:
                rows = pl.Series("row", range(frame.height), dtype=pl.UInt32)
                for place, texts in _texts(column, frame[column], rows):
                    hits = texts.filter(pl.col("text").str.contains(pattern))
                    for row, text in hits.select("row", "text").iter_rows():
                        row_id = str(ids[row]) if ids is not None else f"#{row}"
                        for rule, start, end in find_keys(text, known):
                            yield Finding(name, row_id, place, start, end, rule)


def describe_findings(findings: Iterable[Finding], allowed: Collection[str]) -> str:
    """Return why what is scanned can't be published, with the remedy; "" where it can."""
    counts, shown = Counter[str](), list[Finding]()
    for found in findings:
        if found.rule not in allowed:
            counts[found.rule] += 1
            shown += [found] if len(shown) < SHOWN else []
    if not counts:
        return ""
    more = counts.total() - len(shown)
    lines = [f"  {found}" for found in shown] + ([f"  and {more:,} more"] if more else [])
    flags = " ".join(f"--allow-key {rule}" for rule in sorted(counts))
    return (
        "it holds what looks like keys or tokens, which would be published:\n"
        + "\n".join(lines)
        + f"\nRemove them, and revoke any that are real. If none is: {flags}"
    )


def environment_secrets() -> dict[str, str]:
    """Return the variables of this process whose names and values look like secrets."""
    return {
        name: value
        for name, value in os.environ.items()
        if _SECRET_NAME.search(name) and len(value) >= 16 and re.search(r"\d|[_-]", value)
    }


def _texts(place: str, values: pl.Series, rows: pl.Series) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield every string inside a column, however nested, as `row` and `text`."""
    if values.dtype == pl.String:
        yield place, pl.DataFrame({"row": rows, "text": values}).drop_nulls()
    elif isinstance(values.dtype, pl.List | pl.Array):
        inner = pl.DataFrame({"row": rows, "text": values}).explode("text")
        yield from _texts(place, inner["text"], inner["row"])
    elif isinstance(values.dtype, pl.Struct):
        for field in values.dtype.fields:
            yield from _texts(f"{place}.{field.name}", values.struct.field(field.name), rows)


def _is_random(text: str) -> bool:
    """Whether the end of a text is a value that nobody would write by hand.

    It mixes cases and digits, or is a long hexadecimal number; and its characters vary.
    """
    found = _VALUE.search(text)
    value = found[0] if found else text
    if _UUID.fullmatch(value):
        return False
    runs = re.findall(r"[A-Za-z0-9+/]{16,}", value)
    return any(_varies(run) for run in runs)


def _varies(run: str) -> bool:
    mixed = all(re.search(kind, run) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    hexadecimal = len(run) >= 32 and re.fullmatch(r"(?:[0-9a-f]+|[0-9A-F]+)", run)
    if not mixed and not hexadecimal:
        return False
    counts = Counter(run)
    bits = -sum(n / len(run) * math.log2(n / len(run)) for n in counts.values())
    return bits >= 3.2
