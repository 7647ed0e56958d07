"""Show a pipeline on one HTML page, and as tables on a terminal: its steps and their results.

The page is self-contained and runs no script. It is written to the pipeline's directory and links
to the files there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from factory.core.files import write_atomic
from factory.pipelines.facts import EVALUATED, format_duration, format_estimate, format_facts
from factory.recipe.pipeline import STEPS, PlannedStep
from factory.report.page import HERE, environment, policy_hash

if TYPE_CHECKING:
    from rich.console import Console

PAGE = "pipeline.html"
WIDTH, HEIGHT, GAP_X, GAP_Y = 168, 46, 16, 34
LANE = 14  # distance of the lines that pass other layers, to the left of the boxes
SPARK_WIDTH, SPARK_HEIGHT = 120, 28

Steps = Mapping[str, Mapping[str, Any]]
"""Step name → its record in pipeline.json."""


def write_page(manifest: Mapping[str, Any], plan: Sequence[PlannedStep], directory: Path) -> Path:
    """Write DIRECTORY/pipeline.html for a pipeline in any state; returns the page."""
    known: Steps = manifest["steps"]
    style = (HERE / "report.css").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; style-src {policy_hash(style)}; base-uri 'none'; form-action 'none'"
    )
    text = (
        environment()
        .get_template("pipeline.html.j2")
        .render(
            policy=policy,
            style=Markup(style),
            scripts=[],
            specs=Markup("{}"),
            title=f"{manifest['name']} · pipeline",
            name=manifest["name"],
            state=manifest["state"],
            seconds=format_duration(
                sum(known.get(step.name, {}).get("seconds", 0.0) for step in plan)
            ),
            graph=layout_graph(plan, known),
            steps=[_step_row(number, step, known) for number, step in enumerate(plan, 1)],
            evaluations=list(_evaluation_rows(plan, known)),
            metrics=EVALUATED,
            trainings=list(_training_rows(plan, known)),
            corpora=list(_corpus_rows(plan, known)),
        )
    )
    page = directory / PAGE
    write_atomic(page, text)
    return page


def print_pipeline(
    manifest: Mapping[str, Any], plan: Sequence[PlannedStep], console: Console
) -> None:
    """Print the steps with their results, then the evaluations."""
    from rich.table import Table

    known: Steps = manifest["steps"]
    table = Table(title=manifest["name"], title_justify="left", box=None, pad_edge=False)
    for column in ("step", "kind", "state", "time", "result"):
        table.add_column(column, justify="right" if column == "time" else "left", overflow="fold")
    for number, step in enumerate(plan, 1):
        row = _step_row(number, step, known)
        table.add_row(step.name, step.kind, row["state"], row["time"], row["result"])
    console.print(table)
    found = list(_evaluation_rows(plan, known))
    if found:
        table = Table(box=None, pad_edge=False)
        for column in ("evaluation", "model", "source", "prompts", *EVALUATED):
            table.add_column(column, overflow="fold")
        for row in found:
            cells = (row["step"], row["model"], row["source"], f"{row['prompts']:,}")
            table.add_row(*cells, *(row[name] for name in EVALUATED))
        console.print(table)


def _step_row(number: int, step: PlannedStep, known: Steps) -> dict[str, Any]:
    state = known.get(step.name, {})
    found = state.get("facts")
    links = [(f"{step.name}.yaml", "recipe"), (f"{step.name}.log", "log")] if state else []
    if found and found["report"]:
        links.insert(0, (f"{step.name}/{found['report']}", found["report"]))
    inputs = state.get("inputs", dict.fromkeys(step.inputs))
    return {
        "number": number,
        "name": step.name,
        "title": step.step.title,
        "kind": step.kind,
        "state": state.get("state", "waiting"),
        "time": format_duration(state.get("seconds")),
        "result": format_facts(found) if found else "",
        "version": state.get("output"),
        "inputs": [(name, version) for name, version in inputs.items()],
        "links": [(f"{STEPS}/{target}", text) for target, text in links],
    }


def _evaluation_rows(plan: Sequence[PlannedStep], known: Steps) -> Iterator[dict[str, Any]]:
    """Yield a row for every source of every evaluation."""
    for step, found in _select_facts(plan, known, "eval.json"):
        for source, group in found["groups"].items():
            yield {
                "step": step.name,
                "model": ", ".join(step.inputs) or found["model"],
                "source": source,
                "prompts": group["prompts"],
                **{name: format_estimate(group, name) for name in EVALUATED},
            }


def _training_rows(plan: Sequence[PlannedStep], known: Steps) -> Iterator[dict[str, Any]]:
    """Yield a row for every curve of every training: its first and last value, and a sparkline."""
    for step, found in _select_facts(plan, known, "model"):
        for name, points in found["curves"].items():
            yield {
                "step": step.name,
                "steps": found["steps"],
                "metric": name,
                "first": f"{points[0][1]:.4g}",
                "last": f"{points[-1][1]:.4g}",
                "line": layout_sparkline(points),
                "checkpoints": found["checkpoints"],
            }


def _corpus_rows(plan: Sequence[PlannedStep], known: Steps) -> Iterator[dict[str, Any]]:
    for step, found in _select_facts(plan, known, "corpus"):
        numbers = {name: found[name] for name in ("prompts", "samples", "kept", "rows", "tokens")}
        yield {"step": step.name, **numbers, "version": known[step.name]["output"]}


def _select_facts(
    plan: Sequence[PlannedStep], known: Steps, product: str
) -> Iterator[tuple[PlannedStep, Mapping[str, Any]]]:
    """Yield the finished steps that make `product`, with their facts."""
    for step in plan:
        found = known.get(step.name, {}).get("facts")
        if found and found["product"] == product:
            yield step, found


def layout_graph(plan: Sequence[PlannedStep], known: Steps) -> dict[str, Any]:
    """Place the steps as boxes in layers, each below all it needs, with lines between them."""
    layer: dict[str, int] = {}
    for step in plan:
        needs = [layer[name] for name in step.needs if name in layer]
        layer[step.name] = max(needs, default=-1) + 1
    for step in plan:
        users = [layer[other.name] for other in plan if step.name in other.needs]
        if not step.needs and users:  # place it just above the first step that uses it
            layer[step.name] = min(users) - 1
    used = {name for step in plan for name in step.needs}
    rows: dict[int, list[str]] = defaultdict(list)
    for step in sorted(plan, key=lambda step: step.name not in used):  # unused steps to the right
        rows[layer[step.name]].append(step.name)
    passing = [
        step.name
        for step in plan
        if any(
            step.name in other.needs and layer[other.name] > layer[step.name] + 1 for other in plan
        )
    ]
    lane = {name: number * LANE + 1 for number, name in enumerate(passing)}
    margin = len(lane) * LANE
    place = {
        name: (margin + column * (WIDTH + GAP_X), row * (HEIGHT + GAP_Y))
        for row, names in sorted(rows.items())
        for column, name in enumerate(names)
    }
    lines = []
    for step in plan:
        x, y = place[step.name][0] + WIDTH // 2, place[step.name][1]
        for name in step.needs:
            if name not in place:
                continue
            left, top = place[name][0] + WIDTH // 2, place[name][1] + HEIGHT
            line = f"M{left} {top}"
            if layer[step.name] > layer[name] + 1:
                side = lane[name]
                line += f"C{left} {top + GAP_Y} {side} {top} {side} {top + GAP_Y}V{y - GAP_Y}"
                left, top = side, y - GAP_Y
            lines.append(f"{line}C{left} {top + GAP_Y} {x} {y - GAP_Y} {x} {y}")
    return {
        "width": margin + max(map(len, rows.values())) * (WIDTH + GAP_X) - GAP_X,
        "height": len(rows) * (HEIGHT + GAP_Y) - GAP_Y,
        "lines": lines,
        "boxes": [
            {
                "name": step.name,
                "kind": step.kind,
                "state": known.get(step.name, {}).get("state", "waiting"),
                "x": place[step.name][0],
                "y": place[step.name][1],
            }
            for step in plan
        ],
        "box": (WIDTH, HEIGHT),
    }


def layout_sparkline(points: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """Scale a curve to the points of a polyline that fills its box."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    across, up = max(xs) - min(xs) or 1, max(ys) - min(ys) or 1
    places = [
        f"{2 + (x - min(xs)) / across * (SPARK_WIDTH - 4):.1f},"
        f"{2 + (max(ys) - y) / up * (SPARK_HEIGHT - 4):.1f}"
        for x, y in points
    ]
    return {"width": SPARK_WIDTH, "height": SPARK_HEIGHT, "points": " ".join(places)}
