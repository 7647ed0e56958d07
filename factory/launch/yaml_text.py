"""YAML that people read: comments first, texts of several lines as they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    pass


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def write_yaml(comments: Iterable[str], documents: Iterable[Any]) -> str:
    """Return the documents after the comments, one line each."""
    texts = (
        yaml.dump(one, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
        for one in documents
    )
    return "".join(f"# {line}\n" for line in comments) + "---\n".join(texts)
