"""Convert LaTeX to MathML, which browsers render without a script, a font or the network.

The library's `convert` is not safe for model text: it unescapes its output, so `\\text{<script>}`
becomes a script, and `\\href` and `\\style` pass attributes through. So this module uses the
element tree and keeps only known elements and attributes.
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
"""Most characters of a formula; the converter recurses, and longer text is no formula."""

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
_SUBSTITUTES = {
    **dict.fromkeys(("align", "aligned", "split", "eqnarray"), "align*"),
    **dict.fromkeys(("gather", "gathered", "multline"), "matrix"),
    "equation": "equation*",
    "dcases": "cases",
}
"""Unknown environments and a known one of the same layout to convert them as.

The converter joins the lines of an environment that it does not know.
"""


@lru_cache(maxsize=8192)
def mathml(latex: str, display: bool = False) -> Markup | None:
    """Convert a formula to safe MathML; None where it can't be converted."""
    if len(latex) > MAX_LATEX:
        return None
    from xml.etree.ElementTree import tostring

    from latex2mathml.converter import convert_to_element

    try:
        known = _ENVIRONMENT.sub(_substitute, latex)
        tree = convert_to_element(known, display="block" if display else "inline")
    except Exception:  # its errors share no base class, and malformed LaTeX raises others too
        return None
    _clean(tree)
    return Markup(tostring(tree, encoding="unicode"))


def _substitute(found: re.Match[str]) -> str:
    name = _SUBSTITUTES.get(found[2])
    return found[0] if name is None else f"{found[1]}{{{name}}}"


def _clean(tree: Element) -> None:
    for node in tree.iter():
        if node.tag not in _ELEMENTS:
            node.tag = "mrow"
        for name, value in list(node.attrib.items()):
            # The converter sets xmlns; any other attribute must be known, with a plain value.
            if name != "xmlns" and not (name in _ATTRIBUTES and _VALUE.fullmatch(value)):
                del node.attrib[name]
        # The converter writes operators as hexadecimal entities; other entities are left alone.
        if node.text:
            node.text = _ENTITY.sub(lambda found: unescape(found[0]), node.text)
