"""Export of a run's samples to Label Studio, and import of the annotations."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.errors import SourceError
from factory.judging.review_verdicts import summarize_reviews
from factory.judging.reviews import Reviews
from factory.recipe.build import load_recipe
from factory.view.label_studio import export_tasks, import_annotations, labeling_config
from tests.recorded import recipe_file, record

PROGRAM = os.environ.get("LABEL_STUDIO") or shutil.which("label-studio")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("label_studio")
    recipe = load_recipe(recipe_file(folder, record(folder / "recorded", 2), 2))
    build(recipe, folder / "run", Console(file=StringIO()))
    return folder / "run"


@pytest.fixture
def run(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "run"))


@pytest.fixture
def tasks(run: Path, tmp_path: Path) -> list[dict[str, Any]]:
    assert export_tasks(run, tmp_path / "tasks.json", limit=4) == 4
    found: list[dict[str, Any]] = json.loads((tmp_path / "tasks.json").read_text())
    return found


def area(name: str, text: str) -> dict[str, Any]:
    return {
        "from_name": name,
        "to_name": "question",
        "type": "textarea",
        "value": {"text": [text]},
    }


def choice(name: str, value: str) -> dict[str, Any]:
    return {
        "from_name": name,
        "to_name": "question",
        "type": "choices",
        "value": {"choices": [value]},
    }


def annotated(task: dict[str, Any], *results: Any, user: Any = 1, **more: Any) -> dict[str, Any]:
    """Return a task with one annotation, as Label Studio exports it."""
    annotation = {"id": 7, "completed_by": user, "was_cancelled": False, "result": list(results)}
    return {"id": 3, "data": task["data"], "annotations": [{**annotation, **more}]}


def export_of(tmp_path: Path, *tasks: dict[str, Any]) -> Path:
    file = tmp_path / "export.json"
    file.write_text(json.dumps(tasks))
    return file


def test_tasks_fill_the_text_areas(tasks: list[dict[str, Any]]) -> None:
    names = {node.attrib.get("name") for node in ElementTree.fromstring(labeling_config()).iter()}
    for task in tasks:
        data = task["data"]
        assert data["question"]
        assert data["version"] == 0
        (prediction,) = task["predictions"]
        for result in prediction["result"]:
            assert result["from_name"] in names
            assert result["to_name"] in names
            assert result["value"]["text"] == [data[result["from_name"]]]


def test_the_interface_is_written_next_to_the_tasks(tasks: object, tmp_path: Path) -> None:
    assert (tmp_path / "tasks.xml").read_text() == labeling_config()


def test_decisions_and_edits_come_back(
    run: Path, tasks: list[dict[str, Any]], tmp_path: Path
) -> None:
    kept, dropped, changed, cancelled = tasks
    better = "I add the numbers.\nThe sum is right: I checked it."
    ann = {"id": 5, "email": "ann@example.org"}
    file = export_of(
        tmp_path,
        annotated(kept, choice("decision", "accept"), user=ann),
        annotated(dropped, choice("decision", "reject"), choice("reason", "unreadable")),
        annotated(
            changed,
            area("thinking", better),
            area("response", changed["data"]["response"]),
            choice("decision", "accept"),
        ),
        annotated(cancelled, choice("decision", "accept"), was_cancelled=True),
    )
    imported = import_annotations(run, file)
    assert (imported.accepted, imported.rejected, imported.edited) == (2, 1, 1)
    assert (imported.skipped, imported.known, imported.flagged) == (1, 0, {})
    rows = {row["sample_id"]: row for row in summarize_reviews(run).rows(named=True)}
    said = Reviews(run).standing(kept["data"]["sample_id"]).decisions
    assert list(said) == ["label-studio:ann@example.org"]
    assert rows[dropped["data"]["sample_id"]]["reason"] == "unreadable"
    edit = rows[changed["data"]["sample_id"]]
    assert (edit["decision"], edit["thinking"], edit["edited"]) == ("keep", better, True)
    assert cancelled["data"]["sample_id"] not in rows


def test_the_same_file_again_changes_nothing(
    run: Path, tasks: list[dict[str, Any]], tmp_path: Path
) -> None:
    edit = area("thinking", "Shorter now.")
    file = export_of(tmp_path, annotated(tasks[0], edit, choice("decision", "accept")))
    import_annotations(run, file)
    before = summarize_reviews(run)
    again = import_annotations(run, file)
    assert (again.known, again.accepted) == (1, 0)
    assert summarize_reviews(run).equals(before)


def test_an_edit_that_breaks_the_answer_is_flagged(
    run: Path, tasks: list[dict[str, Any]], tmp_path: Path
) -> None:
    wrong = area("response", "The answer is \\boxed{987654321}.")
    imported = import_annotations(
        run, export_of(tmp_path, annotated(tasks[0], wrong, choice("decision", "accept")))
    )
    assert imported.flagged == {tasks[0]["data"]["sample_id"]: ("correctness: wrong",)}
    assert "correctness: wrong" in "\n".join(imported.format_lines())


def test_an_edit_of_an_older_text_is_refused(
    run: Path, tasks: list[dict[str, Any]], tmp_path: Path
) -> None:
    sample_id = tasks[0]["data"]["sample_id"]
    Reviews(run).edit(sample_id, "bob", 0, "Bob was first.", "So \\boxed{1}.")
    file = export_of(
        tmp_path, annotated(tasks[0], area("thinking", "Mine."), choice("decision", "accept"))
    )
    imported = import_annotations(run, file)
    assert imported.stale == [sample_id]
    assert export_tasks(run, tmp_path / "again.json", limit=1000)
    again = json.loads((tmp_path / "again.json").read_text())
    (shown,) = (task["data"] for task in again if task["data"]["sample_id"] == sample_id)
    assert shown["thinking"] == "Bob was first."
    assert shown["version"] > 0


def test_another_runs_samples_are_reported(
    run: Path, tasks: list[dict[str, Any]], tmp_path: Path
) -> None:
    data = {**tasks[0]["data"], "sample_id": "0123456789abcdef-0"}
    file = export_of(tmp_path, annotated({"data": data}, choice("decision", "accept")))
    assert import_annotations(run, file).absent == ["0123456789abcdef-0"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "cannot be read as JSON"),
        ('{"data": {}}', "no list of tasks"),
        ('[{"question": "2+2?", "decision": "accept"}]', "task 1: not a task of a run"),
        ('[{"data": {}, "annotations": [{"result": []}]}]', "task 1: not a task of a run"),
    ],
)
def test_files_that_are_no_export_are_refused(
    run: Path, tmp_path: Path, text: str, complaint: str
) -> None:
    file = tmp_path / "export.json"
    file.write_text(text)
    with pytest.raises(SourceError, match=complaint):
        import_annotations(run, file)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[httpx.Client]:
    """A real Label Studio, named in LABEL_STUDIO: its pinned packages can't be installed here."""
    if PROGRAM is None:
        pytest.skip("label-studio is not installed; name the program in LABEL_STUDIO")
    token = "0123456789abcdef0123456789abcdef01234567"
    environment = {
        **os.environ,
        "LABEL_STUDIO_BASE_DATA_DIR": str(tmp_path / "label-studio"),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LATEST_VERSION_CHECK": "false",
        "COLLECT_ANALYTICS": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }
    arguments = "start --no-browser --internal-host 127.0.0.1 --port 8917"
    user = f"--username ann@example.org --password only-for-tests --user-token {token}"
    with open(tmp_path / "program.log", "wb") as log:
        server = subprocess.Popen(
            [PROGRAM, *arguments.split(), *user.split()],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        headers = {"Authorization": f"Token {token}"}
        client = httpx.Client(base_url="http://127.0.0.1:8917", headers=headers, timeout=60)
        try:
            while True:
                try:
                    if client.get("/health").is_success:
                        break
                except httpx.TransportError:
                    assert server.poll() is None, (tmp_path / "program.log").read_text()[-2000:]
                    time.sleep(0.5)
            yield client
        finally:
            client.close()
            server.terminate()
            server.wait()


@pytest.mark.real(group="browser")
def test_a_round_trip_through_the_real_program(
    run: Path, tasks: list[dict[str, Any]], program: httpx.Client, tmp_path: Path
) -> None:
    """Label Studio imports the tasks, and its export can be imported here."""
    project = program.post(
        "/api/projects", json={"title": "run", "label_config": labeling_config()}
    ).raise_for_status()
    place = f"/api/projects/{project.json()['id']}"
    response = program.post(f"{place}/import?return_task_ids=true", json=tasks).raise_for_status()
    counts = response.json()
    assert counts["task_count"] == counts["prediction_count"] == len(tasks)
    for number, task_id in enumerate(counts["task_ids"]):
        results = program.get(f"/api/tasks/{task_id}").json()["predictions"][0]["result"]
        if number == 1:
            results[0]["value"]["text"] = ["Rewritten by a person."]
        decision = choice("decision", "reject" if number == 0 else "accept")
        answer = {"result": [*results, decision] + [choice("reason", "wrong")] * (number == 0)}
        program.post(f"/api/tasks/{task_id}/annotations/", json=answer).raise_for_status()
    file = tmp_path / "export.json"
    file.write_bytes(program.get(f"{place}/export?exportType=JSON").raise_for_status().content)
    imported = import_annotations(run, file)
    assert (imported.accepted, imported.rejected, imported.edited) == (3, 1, 1)
    rows = {row["sample_id"]: row for row in summarize_reviews(run).rows(named=True)}
    assert rows[tasks[1]["data"]["sample_id"]]["thinking"] == "Rewritten by a person."
    assert rows[tasks[0]["data"]["sample_id"]]["reason"] == "wrong"
