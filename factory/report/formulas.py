"""LaTeX as MathML, which browsers render by themselves: no script, no font, no network.

The library's own `convert` unescapes what it wrote, so that `\\text{<script>}` becomes a script;
and `\\href` and `\\style` pass attributes through. So the tree is taken, and only known elements
and attributes leave here.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html import unescape
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_LATEX = 2000
"""Characters; the converter recurses, and a formula longer than this is not one."""

_ELEMENTS = frozenset(
    """
    math mrow mi mn mo mtext mspace mfrac msqrt mroot mstyle merror mpadded mphantom msub msup
    msubsup munder mover munderover mmultiscripts mtable mtr mtd menclose
    """.split()  # noqa: SIM905 (a list of words reads as words)
)
_ATTRIBUTES = frozenset(
    """
    display displaystyle scriptlevel mathvariant notation stretchy fence form separator lspace
    rspace width height depth minsize maxsize linethickness accent accentunder movablelimits
    columnalign rowspacing columnspacing columnlines rowlines largeop symmetric
    """.split()  # noqa: SIM905
)
_VALUE = re.compile(r"[\w.+\-% ]*", re.ASCII)
_ENTITY = re.compile(r"&#x[0-9A-Fa-f]{1,6};")
_ENVIRONMENT = re.compile(r"(\\(?:begin|end))\{([a-z]+)\*?\}")
_KNOWN_AS = {
    **dict.fromkeys(("align", "aligned", "split", "eqnarray"), "align*"),
    **dict.fromkeys(("gather", "gathered", "multline"), "matrix"),
    "equation": "equation*",
    "dcases": "cases",
}
"""Environments by a name of the same shape: those the converter does not know it runs together."""


@lru_cache(maxsize=8192)
def mathml(latex: str, display: bool = False) -> Markup | None:
    """A formula as safe MathML; None where it cannot be converted."""
    if len(latex) > MAX_LATEX:
        return None
    from xml.etree.ElementTree import tostring

    from latex2mathml.converter import convert_to_element

    try:
        known = _ENVIRONMENT.sub(_known, latex)
        tree = convert_to_element(known, display="block" if display else "inline")
    except Exception:  # its errors share no base, and malformed LaTeX raises others besides
        return None
    _clean(tree)
    return Markup(tostring(tree, encoding="unicode"))


def _known(found: re.Match[str]) -> str:
    name = _KNOWN_AS.get(found[2])
    return found[0] if name is None else f"{found[1]}{{{name}}}"


def _clean(tree: Element) -> None:
    for node in tree.iter():
        if node.tag not in _ELEMENTS:
            node.tag = "mrow"
        for name, value in list(node.attrib.items()):
            # xmlns is the converter's own; anything else must be known and plain.
            if name != "xmlns" and not (name in _ATTRIBUTES and _VALUE.fullmatch(value)):
                del node.attrib[name]
        # The converter writes its operators as entities; text that only looks so stays text.
        if node.text:
            node.text = _ENTITY.sub(lambda found: unescape(found[0]), node.text)
