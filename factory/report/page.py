"""The report as one HTML file that needs no network and can run no script but its own.

Model text is hostile. It is escaped by the template engine, and a Content-Security-Policy that
names the two scripts and the style by their hashes stands behind that.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from factory.report.browse import in_short
from factory.report.chart import Figure
from factory.report.examples import Example
from factory.report.vega import for_page, script

HERE = Path(__file__).parent / "templates"


@cache
def environment() -> Environment:
    """Templates with escaping on for everything and no silent gaps."""
    made = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    made.trim_blocks = made.lstrip_blocks = True
    made.filters["short"] = in_short
    made.filters["percent"] = percent
    return made


def percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def report_page(
    facts: Mapping[str, Any], figures: Sequence[Figure], examples: Mapping[str, Sequence[Example]]
) -> str:
    """The whole file."""
    return _page(
        "report.html.j2",
        figures,
        title=f"{facts['run']['name']} · report",
        facts=facts,
        examples=examples,
    )


def comparison_page(title: str, figures: Sequence[Figure], **content: Any) -> str:
    """Two runs beside each other, in one file of the same kind."""
    return _page("compare.html.j2", figures, title=title, **content)


def training_page(title: str, figures: Sequence[Figure]) -> str:
    """Figures over training steps."""
    return _page("training.html.j2", figures, title=title)


def _page(template: str, figures: Sequence[Figure], **content: Any) -> str:
    style = (HERE / "report.css").read_text(encoding="utf-8")
    vega = script()
    scripts = [vega, (HERE / "figures.js").read_text(encoding="utf-8")] if vega else []
    allowed = " ".join(map(policy_hash, scripts)) or "'none'"
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src {policy_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    specs = {
        f"{figure.name}-{number}": for_page(spec)
        for figure in figures
        for number, spec in enumerate(figure.specs)
    }
    return (
        environment()
        .get_template(template)
        .render(
            policy=policy,
            style=Markup(style),
            scripts=[Markup(code) for code in scripts],
            specs=json_for_page(specs),
            figures=figures,
            **content,
        )
    )


def json_for_page(value: Any) -> Markup:
    """JSON that can stand between script tags: no `<` is left to end them with."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return Markup(text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026"))


def policy_hash(code: str) -> str:
    """How a Content-Security-Policy names a script or style that stands in the page."""
    digest = hashlib.sha256(code.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
