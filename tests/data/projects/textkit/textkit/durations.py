"""Durations such as `1h 30m`, in seconds."""

import re

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_PART = re.compile(r"(\d+)\s*([dhms])")


def parse_duration(text, default_unit="s"):
    """Seconds of a duration. A bare number has the default unit."""
    text = text.strip().lower()
    if not text:
        raise ValueError("empty duration")
    if text.isdigit():
        return int(text) * _UNITS[default_unit]
    rest = _PART.sub("", text)
    if rest.strip(" ,"):
        raise ValueError(f"cannot read {rest.strip()!r}")
    return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def format_duration(seconds, parts=2):
    """The largest parts of a duration, as text."""
    if seconds < 0:
        return "-" + format_duration(-seconds, parts)
    found = []
    for unit, size in _UNITS.items():
        count = seconds // size
        seconds %= size
        if count and len(found) < parts:
            found.append(f"{count}{unit}")
    return " ".join(found) or "0s"
