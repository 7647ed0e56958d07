"""YAML that is data: read safely, and bounded in size, depth and what its aliases expand to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

MAX_BYTES = 16 << 20
MAX_VALUES = 200_000
MAX_DEPTH = 100


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file. Raises OSError, or ValueError that says what is wrong."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES >> 20} MiB")
    return parse_yaml(path.read_text(encoding="utf-8"))


def parse_yaml(text: str) -> Any:
    """Return the content of a YAML text. Raises ValueError that says what is wrong."""
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {str(error).splitlines()[0]}") from error
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check(found)
    return found


def _check(root: Any) -> None:
    """Aliases share one object, so a small text can stand for billions of values, or for itself."""
    left = [(root, 0)]
    count = 0
    while left:
        value, depth = left.pop()
        count += 1
        if count > MAX_VALUES or depth > MAX_DEPTH:
            raise ValueError(
                f"expands to more than {MAX_VALUES:,} values or {MAX_DEPTH} levels; its aliases "
                "repeat too much"
            )
        if isinstance(value, dict):
            left += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            left += [(item, depth + 1) for item in value]
