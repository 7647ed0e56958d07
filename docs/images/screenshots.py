"""The pictures of the docs, from a real run, in headless Chromium.

    python docs/images/screenshots.py RUN [FOLDER]

Of a build: report.png, report-phone.png, view.png (thresholds), samples-phone.png, sample.png and
review.png. Of a build of episodes: episode.png. Of a pipeline: pipeline.png.
A build is copied first: its reviews are written into the copy alone.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from playwright.sync_api import Browser, Page, expect, sync_playwright

from factory.report.snapshot import take_snapshot
from factory.report.write import write_report
from factory.view.app import serve_in_background
from factory.view.import_reviews import Recorder

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def shoot(
    page: Page, address: str, picture: Path, act: Callable[[Page], None] | None = None
) -> None:
    """A page as it is once every figure is there and `act` has been done on it."""
    page.goto(address)
    page.wait_for_load_state()
    if act is not None:
        act(page)
    expect(page.locator(".chart:not(:has(svg))")).to_have_count(0)
    page.wait_for_timeout(500)  # bars move
    page.screenshot(path=picture)


def move_a_slider(page: Page) -> None:
    """To where it takes a part of what the quickstart keeps."""
    page.wait_for_selector("#outcome:not(:empty)")
    slider = page.locator("[data-field=max_tokens] [type=range]")
    slider.evaluate("e => { e.value = 54; e.dispatchEvent(new Event('input')); }")
    page.wait_for_selector(".changed")


def break_an_answer(page: Page) -> None:
    """An edit that the verifier rejects: what the reviewer then sees."""
    page.fill("[name=name]", "ada")
    page.click("#reviewer button")
    page.wait_for_selector("#sample-id")
    page.wait_for_selector("body[data-ready]")
    page.keyboard.press("e")
    page.fill("[name=response]", "The answer is \\boxed{42}.")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#message:has-text('reject')")


def review(run: Path) -> None:
    """Some decisions of two people, who agree for the most part."""
    recorder = Recorder(run)
    kept = take_snapshot(run).samples.filter(pl.col("decision") == "keep")["sample_id"]
    for number, name in enumerate(kept[-24:]):
        recorder.record(name, "grace", "reject" if number % 8 == 3 else "accept", reason="other")
        if number % 2:
            recorder.record(name, "alan", "reject" if number % 8 > 5 else "accept", reason="wrong")


@contextmanager
def chromium() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


def take_pipeline(run: Path, folder: Path) -> None:
    """The page of a pipeline, down to its first steps."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        shoot(page, (run / "pipeline.html").as_uri(), folder / "pipeline.png")


def take_build(run: Path, folder: Path) -> None:
    """Every picture of a build."""
    samples = take_snapshot(run).samples
    mixed = samples.filter(
        (pl.col("decision") == "keep").mean().over("prompt_id").is_between(0.3, 0.8)
    )
    kept = mixed.filter(pl.col("decision") == "keep").sort("n_tokens", "sample_id")["sample_id"]
    report = write_report(run).as_uri()
    review(run)
    with chromium() as browser, serve_in_background(run, port=0) as address:
        desktop = browser.new_page(viewport={"width": 1200, "height": 800}, device_scale_factor=1.5)
        shoot(desktop, report, folder / "report.png")
        shoot(desktop, f"{address}/samples/{kept[len(kept) // 2]}", folder / "sample.png")
        shoot(desktop, f"{address}/thresholds", folder / "view.png", move_a_slider)
        shoot(desktop, f"{address}/review", folder / "review.png", break_an_answer)
        phone = browser.new_page(
            viewport={"width": 390, "height": 780}, color_scheme="dark", device_scale_factor=2
        )
        shoot(phone, report, folder / "report-phone.png")
        shoot(phone, f"{address}/samples", folder / "samples-phone.png")


def take_episodes(run: Path, folder: Path) -> None:
    """The longest episode that was kept, turn by turn."""
    samples = take_snapshot(run).samples.filter(pl.col("decision") == "keep")
    longest = samples.sort("n_tokens", "sample_id")["sample_id"][-1]
    with chromium() as browser, serve_in_background(run, port=0) as address:
        page = browser.new_page(viewport={"width": 1200, "height": 1000}, color_scheme="dark")
        shoot(page, f"{address}/samples/{longest}", folder / "episode.png")


def has_episodes(run: Path) -> bool:
    prompts = pl.read_parquet(run / "prompts.parquet")
    return "environment" in prompts.columns and bool(prompts["environment"].is_not_null().any())


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python docs/images/screenshots.py RUN [FOLDER]")
    folder = Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parent
    run = Path(sys.argv[1]).resolve()
    if (run / "pipeline.html").exists():
        take_pipeline(run, folder)
        return
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / run.name
        shutil.copytree(run, copy)
        (take_episodes if has_episodes(copy) else take_build)(copy, folder)


if __name__ == "__main__":
    main()
