"""The pages to look at a run: overview, samples, one sample with its siblings, thresholds."""

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
from factory.report.browse import in_short
from factory.report.chart import Figure
from factory.report.examples import shown
from factory.report.figures import all_figures, funnel
from factory.report.numbers import funnel_rows
from factory.report.page import environment as report_environment
from factory.report.page import json_for_page
from factory.report.rejudge import find_row
from factory.report.snapshot import Snapshot
from factory.report.vega import for_page, script
from factory.view.live import Watch
from factory.view.search import PAGE, Query, search
from factory.view.session import Desk
from filters.judges.equivalence import reference_of

MAX_SIBLINGS = 64


class Pages:
    """Handlers that only read. They are plain functions: the server runs them in threads."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.watch = Watch()

    def overview(self, request: Request) -> Response:
        facts = self.desk.facts()
        figures = all_figures(facts)
        return page(
            "overview.html.j2",
            self.desk,
            figures=figures,
            specs=specs(figures),
            facts=facts,
            status=self.watch.status(self.desk.snapshot()),
        )

    def live(self, request: Request) -> Response:
        """What changes on the overview while a run goes on; asked for every two seconds."""
        facts = self.desk.facts()
        figures = [f for f in all_figures(facts) if f.name in ("funnel", "throughput")]
        html = fragment("status.html.j2", status=self.watch.status(self.desk.snapshot()))
        state = self.desk.snapshot().state
        return JSONResponse({"html": html, "state": state, "specs": specs(figures)})

    def samples(self, request: Request) -> Response:
        query = read_query(request)
        snapshot = self.desk.snapshot()
        found = search(snapshot, query)
        questions = snapshot.prompts.filter(
            pl.col("prompt_id").is_in(found.rows["prompt_id"].implode())
        )
        short = pl.col("question").str.slice(0, 160)
        return page(
            "samples.html.j2",
            self.desk,
            query=query,
            found=found,
            rows=found.rows.rows(named=True),
            questions=dict(questions.select("prompt_id", short).iter_rows()),
            choices=_choices(snapshot),
            link=lambda **changes: "/samples?" + _as_url(replace(query, **changes)),
            last_page=max(1, -(-found.total // PAGE)),
        )

    def sample(self, request: Request) -> Response:
        snapshot = self.desk.snapshot()
        row = find_row(snapshot, request.path_params["sample_id"])
        prompt_id = row["prompt_id"][0]
        siblings = snapshot.samples.filter(pl.col("prompt_id") == prompt_id).sort("index")
        others = siblings.filter(pl.col("sample_id") != row["sample_id"][0])
        whole = shown(snapshot, row)
        prompt = snapshot.prompts.filter(pl.col("prompt_id") == prompt_id)
        texts = snapshot.texts(row)
        return page(
            "sample.html.j2",
            self.desk,
            row=row.row(0, named=True),
            example=whole[0] if whole else None,
            prompt=prompt.row(0, named=True) if prompt.height else None,
            prompt_text=texts["prompt_text"][0] if texts.height else None,
            examined=examine(snapshot, row, prompt),
            siblings=siblings.rows(named=True),
            beside=shown(snapshot, others.head(MAX_SIBLINGS), excerpt=True),
        )

    def thresholds(self, request: Request) -> Response:
        thresholds = self.desk.thresholds()
        rows = funnel_rows(thresholds.funnel({}))
        figures = [funnel(rows)]
        return page(
            "thresholds.html.j2",
            self.desk,
            knobs=thresholds.knobs(),
            fixed=thresholds.fixed,
            figures=figures,
            specs=specs(figures),
        )

    async def funnel(self, request: Request) -> Response:
        """The funnel under other thresholds: `{"length": {"max_tokens": 2048}}`."""
        changes = await read_object(request)
        if not all(isinstance(value, dict) for value in changes.values()):
            raise RecipeError([Problem("the request", "must map filters to their fields")])
        counted = await run_in_threadpool(lambda: self.desk.thresholds().funnel(changes))
        rows = funnel_rows(counted)
        figure = funnel(rows)
        html = fragment("numbers.html.j2", figure=figure)
        return JSONResponse({"rows": rows, "table": html, "specs": specs([figure])})

    def vega(self, request: Request) -> Response:
        code = script()
        if code is None:
            return PlainTextResponse("vl-convert-python is not installed", 404)
        return Response(code, media_type="text/javascript")


@cache
def environment() -> Environment:
    """The report's templates and the app's own."""
    made = report_environment().overlay()
    here = Path(__file__).parent / "templates"
    shared = Path(__file__).parent.parent / "report" / "templates"
    made.loader = FileSystemLoader([here, shared])
    made.filters = {**made.filters, "rows": _rows, "breakable": _breakable}
    return made


def _breakable(name: str) -> Markup:
    """A name that may be broken after its underscores."""
    return Markup("_<wbr>").join(name.split("_"))  # escapes the parts


def _rows(text: str) -> int:
    """How high a box must be to show a text whole, within reason."""
    return min(24, 2 + text.count("\n") + len(text) // 60)


def fragment(template: str, **content: Any) -> str:
    return environment().get_template(template).render(**content)


def page(template: str, desk: Desk, status_code: int = 200, **content: Any) -> Response:
    snapshot = desk.snapshot()
    content.setdefault("specs", {})
    content["specs"] = json_for_page(content["specs"])
    return HTMLResponse(
        fragment(
            template, run=snapshot.name, state=snapshot.state, missing=snapshot.missing, **content
        ),
        status_code,
    )


def specs(figures: list[Figure]) -> dict[str, Any]:
    return {
        f"{figure.name}-{number}": for_page(spec)
        for figure in figures
        for number, spec in enumerate(figure.specs)
    }


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object a request brings. Raises RecipeError for anything else."""
    try:
        found = await request.json()
    except ValueError as error:
        raise RecipeError([Problem("the request", f"is not JSON ({error})")]) from error
    if not isinstance(found, dict):
        raise RecipeError([Problem("the request", "is not a JSON object")])
    return found


def read_query(request: Request) -> Query:
    """A query from an address. A number that is none asks nothing."""
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


def _as_url(query: Query) -> str:
    defaults = asdict(Query())
    return urlencode({k: v for k, v in asdict(query).items() if v != defaults[k]})


def _choices(snapshot: Snapshot) -> dict[str, list[str]]:
    return {
        column: sorted(snapshot.samples[column].drop_nulls().unique().cast(pl.String))
        for column in ("source", "domain", "decision", "reason")
    }


def examine(snapshot: Snapshot, sample: pl.DataFrame, prompt: pl.DataFrame) -> dict[str, Any]:
    """What a verdict on a sample can be checked by: its metrics beside their bounds, the reference
    answer, and the answer that the verifier read."""
    measured = snapshot.measured(sample).with_columns(
        pl.col("domain", "source", "language", "finish_reason").cast(pl.String)
    )
    verifier = prompt["verifier"][0] if prompt.height else None
    extracted = "correctness_extracted"
    return {
        "metrics": _metrics(snapshot, measured),
        "reference": reference_of(json.loads(verifier) if verifier else None),
        "extracted": measured[extracted][0] if extracted in measured.columns else None,
    }


def _metrics(snapshot: Snapshot, measured: pl.DataFrame) -> dict[str, Any]:
    """Every metric of a sample: those `held` to a bound, by filter, with the reasons it broke it
    for, and those that are `free`."""
    held: dict[str, list[dict[str, Any]]] = {}
    free: list[dict[str, Any]] = []
    for name, judge in snapshot.filters.items():
        if not judge.rules():
            continue
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        before = ""
        for rule in judge.rules():
            if not set(rule.when.meta.root_names()) <= set(measured.columns):
                continue
            told = {"metric": "", "value": ""}
            if rule.metric != before:  # several rules may hold one metric
                value = measured[rule.metric][0] if rule.metric in measured.columns else None
                told = {"metric": rule.metric.removeprefix(f"{name}_"), "value": in_short(value)}
            before = rule.metric
            fresh: dict[str, Any] = {**told, "bound": rule.bound, "reasons": [], "broke": []}
            row = rows.setdefault((rule.metric, rule.bound), fresh)
            row["reasons"].append(rule.reason)
            if measured.select(rule.when.fill_null(False)).item():
                row["broke"].append(rule.reason)
        known = {metric for metric, _ in rows}
        held |= {name: list(rows.values())} if rows else {}
        free += [
            {"metric": metric, "value": in_short(measured[metric][0])}
            for metric in measured.columns
            if metric.startswith(f"{name}_") and metric not in known
            if not metric.endswith("_spans")
        ]
    return {"held": held, "free": free}
