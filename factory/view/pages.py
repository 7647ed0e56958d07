"""The read-only pages of a run: overview, samples, one sample with its siblings, thresholds."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import polars as pl
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from factory.core.errors import Problem, RecipeError
from factory.judging.no_rows import describe_vote
from factory.judging.recorded import Recorded
from factory.report.browse import format_value
from factory.report.chart import Figure
from factory.report.conversation import ShownTurn, is_episode, list_turns
from factory.report.examples import build_examples
from factory.report.figures import all_figures, funnel
from factory.report.numbers import funnel_rows
from factory.report.page import environment as report_environment
from factory.report.page import json_for_page
from factory.report.rejudge import find_row
from factory.report.snapshot import Snapshot
from factory.report.vega import load_script, page_spec
from factory.view.live import LiveStatus
from factory.view.search import PAGE, Query, search
from factory.view.session import RunSession
from filters.judges.equivalence import format_reference

MAX_SIBLINGS = 64


class Pages:
    """Handlers that only read. They are not coroutines: the server runs them in threads."""

    def __init__(self, session: RunSession) -> None:
        self.session = session
        self.live_status = LiveStatus()

    def overview(self, request: Request) -> Response:
        facts = self.session.facts()
        figures = all_figures(facts)
        return page(
            "overview.html.j2",
            self.session,
            figures=figures,
            specs=collect_specs(figures),
            facts=facts,
            status=self.live_status.status(self.session.snapshot()),
        )

    def live(self, request: Request) -> Response:
        """Return the changing parts of the overview; its page polls this every two seconds."""
        facts = self.session.facts()
        figures = [f for f in all_figures(facts) if f.name in ("funnel", "throughput")]
        html = fragment("status.html.j2", status=self.live_status.status(self.session.snapshot()))
        state = self.session.snapshot().state
        return JSONResponse({"html": html, "state": state, "specs": collect_specs(figures)})

    def samples(self, request: Request) -> Response:
        query = read_query(request)
        snapshot = self.session.snapshot()
        found = search(snapshot, query)
        questions = snapshot.prompts.filter(
            pl.col("prompt_id").is_in(found.rows["prompt_id"].implode())
        )
        short = pl.col("question").str.slice(0, 160)
        return page(
            "samples.html.j2",
            self.session,
            query=query,
            found=found,
            rows=found.rows.rows(named=True),
            questions=dict(questions.select("prompt_id", short).iter_rows()),
            choices=_list_choices(snapshot),
            link=lambda **changes: "/samples?" + _encode_query(replace(query, **changes)),
            last_page=max(1, -(-found.total // PAGE)),
        )

    def sample(self, request: Request) -> Response:
        snapshot = self.session.snapshot()
        row = find_row(snapshot, request.path_params["sample_id"])
        prompt_id = row["prompt_id"][0]
        siblings = snapshot.samples.filter(pl.col("prompt_id") == prompt_id).sort("index")
        others = siblings.filter(pl.col("sample_id") != row["sample_id"][0])
        whole = build_examples(snapshot, row)
        prompt = snapshot.prompts.filter(pl.col("prompt_id") == prompt_id)
        texts = snapshot.texts(row)
        return page(
            "sample.html.j2",
            self.session,
            row=row.row(0, named=True),
            example=whole[0] if whole else None,
            prompt=prompt.row(0, named=True) if prompt.height else None,
            prompt_text=texts["prompt_text"][0] if texts.height else None,
            turns=_list_episode(texts),
            examined=examine(snapshot, row, prompt),
            siblings=siblings.rows(named=True),
            sibling_examples=build_examples(snapshot, others.head(MAX_SIBLINGS), excerpt=True),
        )

    def thresholds(self, request: Request) -> Response:
        thresholds = self.session.thresholds()
        rows = funnel_rows(thresholds.funnel({}))
        figures = [funnel(rows)]
        return page(
            "thresholds.html.j2",
            self.session,
            knobs=thresholds.knobs(),
            fixed=thresholds.fixed,
            figures=figures,
            specs=collect_specs(figures),
        )

    async def funnel(self, request: Request) -> Response:
        """Return the funnel with other thresholds: `{"length": {"max_tokens": 2048}}`."""
        changes = await read_object(request)
        if not all(isinstance(value, dict) for value in changes.values()):
            raise RecipeError([Problem("the request", "must map filter names to their fields")])
        counted = await run_in_threadpool(lambda: self.session.thresholds().funnel(changes))
        rows = funnel_rows(counted)
        figure = funnel(rows)
        html = fragment("numbers.html.j2", figure=figure)
        return JSONResponse({"rows": rows, "table": html, "specs": collect_specs([figure])})

    def vega(self, request: Request) -> Response:
        code = load_script()
        if code is None:
            return PlainTextResponse("vl-convert-python is not installed", 404)
        return Response(code, media_type="text/javascript")


@cache
def environment() -> Environment:
    """Return the Jinja environment with the templates of the report and of the app."""
    made = report_environment().overlay()
    here = Path(__file__).parent / "templates"
    shared = Path(__file__).parent.parent / "report" / "templates"
    made.loader = FileSystemLoader([here, shared])
    made.filters = {**made.filters, "rows": _count_rows, "breakable": _allow_breaks}
    return made


def _allow_breaks(name: str) -> Markup:
    """Allow line breaks after the underscores of a name."""
    return Markup("_<wbr>").join(name.split("_"))  # escapes the parts


def _list_episode(texts: pl.DataFrame) -> list[ShownTurn]:
    """Return the turns of a sample that is an episode, or none."""
    turns: Any = texts["turns"].to_list()[0] if texts.height else None
    return list_turns(turns) if is_episode(turns) else []


def _count_rows(text: str) -> int:
    """Return the number of rows a text area needs to show a text, at most 24."""
    return min(24, 2 + text.count("\n") + len(text) // 60)


def fragment(template: str, **content: Any) -> str:
    return environment().get_template(template).render(**content)


def page(template: str, session: RunSession, status_code: int = 200, **content: Any) -> Response:
    snapshot = session.snapshot()
    content.setdefault("specs", {})
    content["specs"] = json_for_page(content["specs"])
    return HTMLResponse(
        fragment(
            template, run=snapshot.name, state=snapshot.state, missing=snapshot.missing, **content
        ),
        status_code,
    )


def collect_specs(figures: list[Figure]) -> dict[str, Any]:
    """Return the Vega-Lite specs of figures by the ids of their charts."""
    return {
        f"{figure.name}-{number}": page_spec(spec)
        for figure in figures
        for number, spec in enumerate(figure.specs)
    }


async def read_object(request: Request) -> dict[str, Any]:
    """Return the JSON object in a request's body. Raises RecipeError for anything else."""
    try:
        found = await request.json()
    except ValueError as error:
        raise RecipeError([Problem("the request", f"is not JSON ({error})")]) from error
    if not isinstance(found, dict):
        raise RecipeError([Problem("the request", "is not a JSON object")])
    return found


def read_query(request: Request) -> Query:
    """Parse a query from an address. A field whose number can't be parsed is ignored."""
    given: dict[str, Any] = {}
    for item in fields(Query):
        value = request.query_params.get(item.name, "").strip()
        if not value:
            continue
        if isinstance(item.default, str):
            given[item.name] = value
            continue
        try:
            given[item.name] = float(value) if "pass" in item.name else int(value)
        except ValueError:
            continue
    return Query(**given)


def _encode_query(query: Query) -> str:
    defaults = asdict(Query())
    return urlencode({k: v for k, v in asdict(query).items() if v != defaults[k]})


def _list_choices(snapshot: Snapshot) -> dict[str, list[str]]:
    return {
        column: sorted(snapshot.samples[column].drop_nulls().unique().cast(pl.String))
        for column in ("source", "domain", "decision", "reason")
    }


def examine(snapshot: Snapshot, sample: pl.DataFrame, prompt: pl.DataFrame) -> dict[str, Any]:
    """Return what a sample's verdict can be checked against.

    That is its metrics with their bounds, the reference answer, and the extracted answer.
    """
    measured = snapshot.measured(sample).with_columns(
        pl.col("domain", "source", "language", "finish_reason").cast(pl.String)
    )
    verifier = prompt["verifier"][0] if prompt.height else None
    reference = format_reference(json.loads(verifier) if verifier else None)
    extracted = "correctness_extracted"
    return {
        "metrics": _list_metrics(snapshot, measured),
        "reference": reference and f"{reference}{describe_vote(verifier)}",
        "extracted": measured[extracted][0] if extracted in measured.columns else None,
    }


def _list_metrics(snapshot: Snapshot, measured: pl.DataFrame) -> dict[str, Any]:
    """Return every metric of a sample, formatted.

    `bounded` maps each filter to its metrics with a bound, and lists under `broken` the reasons of
    the rules that matched. `unbounded` lists the metrics that no rule reads.
    """
    bounded: dict[str, list[dict[str, Any]]] = {}
    unbounded: list[dict[str, Any]] = []
    for name, filter_ in snapshot.filters.items():
        if not filter_.rules() and not isinstance(filter_, Recorded):
            continue
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        before = ""
        for rule in filter_.rules():
            if not set(rule.when.meta.root_names()) <= set(measured.columns):
                continue
            cells = {"metric": "", "value": ""}
            if rule.metric != before:  # several rules may read one metric
                value = measured[rule.metric][0] if rule.metric in measured.columns else None
                metric = rule.metric.removeprefix(f"{name}_")
                cells = {"metric": metric, "value": format_value(value)}
            before = rule.metric
            new: dict[str, Any] = {**cells, "bound": rule.bound, "reasons": [], "broken": []}
            row = rows.setdefault((rule.metric, rule.bound), new)
            row["reasons"].append(rule.reason)
            if measured.select(rule.when.fill_null(False)).item():
                row["broken"].append(rule.reason)
        known = {metric for metric, _ in rows}
        bounded |= {name: list(rows.values())} if rows else {}
        unbounded += [
            {"metric": metric, "value": format_value(measured[metric][0])}
            for metric in measured.columns
            if metric.startswith(f"{name}_") and metric not in known
            if not metric.endswith("_spans")
        ]
    return {"bounded": bounded, "unbounded": unbounded}
