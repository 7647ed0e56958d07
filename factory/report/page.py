"""Render the report as one HTML file that needs no network and runs only its own scripts.

Model text is treated as hostile. The template engine escapes it. As a second barrier, a
Content-Security-Policy allows only the page's own scripts and style, by their hashes.
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

from factory.report.browse import format_value
from factory.report.chart import Figure
from factory.report.examples import Example
from factory.report.vega import load_script, page_spec

HERE = Path(__file__).parent / "templates"


@cache
def environment() -> Environment:
    """Return the Jinja environment: everything is escaped, and undefined names are errors."""
    made = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    made.trim_blocks = made.lstrip_blocks = True
    made.filters["short"] = format_value
    made.filters["percent"] = format_percent
    return made


def format_percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def report_page(
    facts: Mapping[str, Any], figures: Sequence[Figure], examples: Mapping[str, Sequence[Example]]
) -> str:
    """Render a run's report."""
    return _page(
        "report.html.j2",
        figures,
        title=f"{facts['run']['name']} · report",
        facts=facts,
        examples=examples,
    )


def comparison_page(title: str, figures: Sequence[Figure], **content: Any) -> str:
    """Render the comparison of two runs."""
    return _page("compare.html.j2", figures, title=title, **content)


def training_page(title: str, figures: Sequence[Figure]) -> str:
    """Render figures over training steps."""
    return _page("training.html.j2", figures, title=title)


def _page(template: str, figures: Sequence[Figure], **content: Any) -> str:
    style = (HERE / "report.css").read_text(encoding="utf-8")
    vega = load_script()
    scripts = [vega, (HERE / "figures.js").read_text(encoding="utf-8")] if vega else []
    allowed = " ".join(map(policy_hash, scripts)) or "'none'"
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src {policy_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    specs = {
        f"{figure.name}-{number}": page_spec(spec)
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
    """Serialize to JSON that is safe between script tags: `<`, `>` and `&` are escaped."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return Markup(text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026"))


def policy_hash(code: str) -> str:
    """Return the hash by which a Content-Security-Policy allows an inline script or style."""
    digest = hashlib.sha256(code.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
