"""Vega, the plotting library: its script for offline pages, and figures as PNG.

The wheel of `vl-convert` contains Vega, Vega-Lite and vega-embed. The pages run Vega's expressions
in its interpreter (`ast: true`), since their Content-Security-Policy forbids `new Function`.
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

# Okabe and Ito's colours are distinguishable with every common kind of colour blindness.
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
def load_script() -> str | None:
    """Return the JavaScript that defines `drawVega`; None where vl-convert is not installed.

    Bundling takes over a second, so the result is cached in the user's cache folder, by version.
    """
    try:
        cached = cache_dir() / f"vega-{version(PACKAGE)}.js"
    except PackageNotFoundError:
        return None
    with suppress(OSError):
        found = cached.read_text(encoding="utf-8")
        if found.endswith(_SNIPPET_END):
            return found
    import vl_convert

    # Pages embed the script inline, where `</script` would end it.
    bundle = vl_convert.javascript_bundle(_SNIPPET).replace("</script", r"<\/script") + _SNIPPET_END
    with suppress(OSError):
        from factory.core.files import write_atomic

        write_atomic(cached, bundle)
    return bundle


_SNIPPET_END = "\n//# end of the bundle\n"


def render_png(spec: Mapping[str, Any]) -> bytes:
    """Render a figure as PNG, at twice the resolution of the page."""
    import vl_convert

    sized = {**spec, "width": 640, "background": "white", "config": _CONFIG}
    return vl_convert.vegalite_to_png(json.dumps(sized), scale=2)


def page_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec of a figure that fills the width of the page."""
    return {**spec, "width": "container", "background": None, "config": _CONFIG}
