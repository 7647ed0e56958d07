"""Units as \\mathrm holds them, powers and quotients included: \\mathrm{J/(mol\\,K)}."""

from __future__ import annotations

import re

from filters.verify.maths.units import is_unit_name

_PART = re.compile(
    r"(?P<space>[\s~]+|\\[ ,;:!])"
    r"|(?P<name>\\(?:mu|Omega)(?![A-Za-z])\s*[A-Za-z]*|[A-Za-z]\\Omega|[A-Za-zµμΩÅ]+)"
    r"|\^(?:\{(?P<braced>-?\d)\}|(?P<power>-?\d))"
    r"|(?P<sign>[*/()])"
)
_GREEK = {"\\mu": "µ", "\\Omega": "Ω"}


def read_unit_text(text: str) -> list[tuple[str, int]] | None:
    """Units and their powers; None for anything else.

    >>> read_unit_text("J/(mol K^2)")
    [('J', 1), ('mol', -1), ('K', -2)]
    """
    made: list[tuple[str, int]] = []
    at, sign, divided = 0, 1, False
    while at < len(text):
        found = _PART.match(text, at)
        if found is None:
            return None
        at = found.end()
        power = found["braced"] or found["power"]
        mark = found["sign"]
        if found["name"]:
            name = found["name"]
            for command, letter in _GREEK.items():
                name = re.sub(rf"{re.escape(command)}\s*", letter, name)
            if not is_unit_name(name):
                return None
            made.append((name, sign))
            sign = sign if divided else 1
        elif power:
            if not made or abs(made[-1][1]) != 1 or int(power) == 0:
                return None
            made[-1] = made[-1][0], made[-1][1] * int(power)
        elif mark == "/":
            if sign < 0 or not made:
                return None
            sign = -1
        elif mark in ("(", ")"):
            if divided == (mark == "(") or sign > 0:
                return None
            divided = not divided
            sign = -1 if divided else 1
    return made if made and sign > 0 else None
