"""Vega, the plotting library: its script for pages without a network, and figures as PNG.

`vl-convert` carries Vega, Vega-Lite and vega-embed inside its wheel. Vega's expressions are run by
its interpreter (`ast: true`), since a strict Content-Security-Policy forbids `new Function`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from factory.core.resources import cache_dir

PACKAGE = "vl-convert-python"
_SNIPPET = "window.drawVega = vegaEmbed;"

# Okabe and Ito's colours can be told apart with every common kind of colour blindness.
KEPT, REJECTED, UNDECIDED, NEUTRAL = "#009E73", "#D55E00", "#E69F00", "#0072B2"
PALETTE = [NEUTRAL, REJECTED, KEPT, "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#999999"]

_CONFIG: dict[str, Any] = {
    "font": "system-ui, sans-serif",
    "range": {"category": PALETTE, "heatmap": {"scheme": "viridis"}},
    "view": {"stroke": None},
    **{mark: {"color": NEUTRAL} for mark in ("bar", "line", "point")},
    "axis": {"grid": False, "labelLimit": 180, "titleFontWeight": "normal"},
    "legend": {"symbolOpacity": 1},
    "title": {"fontSize": 12, "fontWeight": "normal"},
}


@cache
def script() -> str | None:
    """The JavaScript that defines `drawVega`; None where vl-convert is not installed.

    Bundling takes over a second, so the result is kept in the user's cache, by version.
    """
    try:
        kept = cache_dir() / f"vega-{version(PACKAGE)}.js"
    except PackageNotFoundError:
        return None
    with suppress(OSError):
        found = kept.read_text(encoding="utf-8")
        if found.endswith(_SNIPPET_END):
            return found
    import vl_convert

    # A page embeds it between tags, where `</script` would end it.
    bundle = vl_convert.javascript_bundle(_SNIPPET).replace("</script", r"<\/script") + _SNIPPET_END
    with suppress(OSError):
        from factory.core.files import write_atomic

        write_atomic(kept, bundle)
    return bundle


_SNIPPET_END = "\n//# end of the bundle\n"


def png(spec: Mapping[str, Any]) -> bytes:
    """A figure for a paper or a card, at twice the size of the page's."""
    import vl_convert

    sized = {**spec, "width": 640, "background": "white", "config": _CONFIG}
    return vl_convert.vegalite_to_png(json.dumps(sized), scale=2)


def for_page(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A figure as wide as the page has room for."""
    return {**spec, "width": "container", "background": None, "config": _CONFIG}
