"""Views of a damaged run show what can be read and list what is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import polars as pl
import pytest
from starlette.testclient import TestClient

from factory.report.compare import compare
from factory.report.snapshot import take_snapshot
from factory.report.write import write_report
from factory.view.app import create_app
from tests.report.runs import held, judged_run, prompts, sample, sampled_run

LOCAL = "http://127.0.0.1"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judged_run(tmp_path_factory.mktemp("damaged") / "run")


def journal(run: Path) -> None:
    """Write samples that are not sealed, the last one truncated by a kill."""
    lines = [json.dumps(asdict(sample(prompts()[0], index))) for index in (10, 11, 12)]
    text = "\n".join(lines)[:-30]
    (run / "samples" / "journal-00002.jsonl").write_text(text, encoding="utf-8")


def being_written(run: Path) -> None:
    journal(run)
    manifest = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**manifest, "state": "running"}))
    shutil.rmtree(run / "verdicts")


def half_sealed(run: Path) -> None:
    journal(run)
    (run / "samples" / "part-00001.parquet.tmp").write_bytes(b"PAR1 half a file")
    (run / "run.lock").write_text("999999999")


def older_layout(run: Path) -> None:
    (run / "run.json").write_text(json.dumps({"format": 0, "state": "done"}))


def older_samples(run: Path) -> None:
    part = run / "samples" / "part-00000.parquet"
    pl.read_parquet(part).drop("created_at", "prompt_text").write_parquet(part)


def older_metrics(run: Path) -> None:
    """Make the metrics those of another version, under another key."""
    for folder in (run / "metrics").iterdir():
        folder.rename(folder.with_name(f"{folder.name}0"))


def older_recipe(run: Path) -> None:
    recipe = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(recipe.replace("length:", "brevity: {}\n  length:"))


def corrupt(name: str) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        for file in run.glob(name):
            content = file.read_bytes()
            file.write_bytes(content[: len(content) // 2])  # cut off, as by a full disk

    return damage


STATES: list[tuple[Callable[[Path], None], str | None]] = [
    (being_written, None),  # nothing is missing
    (half_sealed, "journal-00002.jsonl: 2 samples not sealed"),
    (older_layout, "has layout 0"),
    (older_samples, "has no column created_at"),
    (older_metrics, "none by this version"),
    (older_recipe, "no filter brevity"),
    (corrupt("samples/part-00000.parquet"), "samples/part-00000.parquet: cannot be read"),
    (corrupt("samples/*.parquet"), "samples/part-00001.parquet: cannot be read"),
    (corrupt("verdicts/part-00000.parquet"), "verdicts/part-00000.parquet: cannot be read"),
    (corrupt("metrics/*/part-00000.parquet"), None),
    (corrupt("prompts.parquet"), "prompts.parquet: cannot be read"),
    (corrupt("pass_rates.parquet"), "pass_rates.parquet: cannot be read"),
    (corrupt("funnel.json"), None),  # recomputed from the verdicts
    (corrupt("run.json"), "run.json: "),
    (corrupt("recipe.yaml"), None),
]
NAMES = [
    *("being written", "half sealed", "older layout", "older samples", "older metrics"),
    *("older recipe", "a part", "every part", "verdicts", "metrics", "prompts", "pass rates"),
    *("funnel", "run.json", "recipe.yaml"),
]


@pytest.fixture(params=STATES, ids=NAMES)
def damaged(
    request: pytest.FixtureRequest, whole: Path, tmp_path: Path
) -> Iterator[tuple[Path, str | None]]:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    damage, named = request.param
    damage(run)
    with held(run) if damage is being_written else nullcontext():
        yield run, named


def test_report_pages_review_and_comparison_show_what_is_readable(
    damaged: tuple[Path, str | None], whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory.report.write.load_script", lambda: None)  # pictures take seconds
    run, named = damaged
    reported = write_report(run).read_text(encoding="utf-8")
    compared = compare(whole, run).text()
    with TestClient(create_app(run), base_url=LOCAL) as client:
        client.cookies.set("factory_reviewer", "ann")
        pages = {path: client.get(path) for path in ("/", "/live", "/samples", "/thresholds")}
        names = take_snapshot(run).samples["sample_id"].to_list()
        for name in names[:1]:
            pages[f"/samples/{name}"] = client.get(f"/samples/{name}")
            pages[f"/review/{name}"] = client.get(f"/review/{name}")
            body = {"choice": "accept", "base": 0}
            assert client.post(f"/api/review/{name}/decide", json=body).json()["saved"]
        pages["/review"] = client.get("/review")
    assert {path: page.status_code for path, page in pages.items()} == dict.fromkeys(pages, 200)
    if named is not None:
        for shown in (reported, compared, pages["/"].text, pages["/review"].text):
            assert named in shown


def test_an_empty_run_directory_is_shown(tmp_path: Path) -> None:
    """The directory exists and is empty."""
    (tmp_path / "run").mkdir()
    with TestClient(create_app(tmp_path / "run"), base_url=LOCAL) as client:
        client.cookies.set("factory_reviewer", "ann")
        pages = [client.get(path) for path in ("/", "/samples", "/thresholds", "/review")]
    assert {page.status_code for page in pages} == {200}
    assert "none yet" in pages[0].text


def test_an_unjudged_run_can_be_reviewed(tmp_path: Path) -> None:
    run = sampled_run(tmp_path / "run")
    with TestClient(create_app(run), base_url=LOCAL) as client:
        client.cookies.set("factory_reviewer", "ann")
        page = client.get("/review?decision=unjudged")
    assert page.status_code == 200
    assert 'id="desk"' in page.text
