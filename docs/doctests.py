"""For mkdocstrings: the examples (`>>>`) of a docstring as a code block of their own."""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"(?:^>>> .*(?:\n(?!\n).*)*)", re.MULTILINE)


class Doctests(griffe.Extension):
    """Fences every example, and leaves out what only doctest reads."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None and ">>> " in obj.docstring.value:
            plain = re.sub(r" *# doctest: .*$", "", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = _EXAMPLE.sub(lambda one: f"```pycon\n{one[0]}\n```", plain)
