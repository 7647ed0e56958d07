"""The report and the app in a real browser: headless Chromium, driven by Playwright."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from factory.judging.review_verdicts import summarize_reviews
from factory.report.write import write_report
from tests.e2e.test_main_job import FACTORY, recipe
from tests.ports import free_ports
from tests.report.runs import judged_run

playwright = pytest.importorskip("playwright.sync_api")
playwright.expect.set_options(timeout=60_000)  # a busy machine must not fail the tests
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)

pytestmark = [
    pytest.mark.real(group="browser"),
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium on this machine (apt install chromium)"
    ),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield found
        found.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judged_run(tmp_path_factory.mktemp("browser") / "run", n=4)


@contextmanager
def opened(browser: Any, **options: Any) -> Iterator[Any]:
    """Open a page that must log nothing to its console, throw no error and load nothing else."""
    context = browser.new_context(**options)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    yield page
    context.close()
    assert not complaints, complaints


@contextmanager
def served(run: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    (port,) = free_ports(1)
    code = (
        "import sys\nfrom pathlib import Path\nfrom factory.view.app import serve\n"
        "serve(Path(sys.argv[1]), port=int(sys.argv[2]))"  # the token has tests of its own
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(run), str(port)])
    try:
        for _ in range(3000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


def charts(page: Any) -> Any:
    playwright.expect(page.locator(".chart:not(:has(svg))")).to_have_count(0)
    return page.locator(".chart svg")


def test_the_report_draws_its_figures_and_runs_nothing_else(browser: Any, run: Path) -> None:
    report = write_report(run)
    with opened(browser, viewport={"width": 1200, "height": 900}) as page:
        page.goto(report.as_uri())
        assert charts(page).count() >= 8
        assert page.title() == "by-hand · report"
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert page.locator("mark").count() == 6
        assert page.locator("math").count() > 20
        assert page.locator("article img, article svg, article script, article a").count() == 0
        assert page.locator("text=document.title='hacked'").count() > 0  # shown, as text
        assert page.title() == "by-hand · report"


def test_the_content_security_policy_stops_injected_scripts(
    browser: Any, run: Path, tmp_path: Path
) -> None:
    page_text = write_report(run).read_text(encoding="utf-8")
    injected = tmp_path / "injected.html"
    injected.write_text(
        page_text.replace(
            '<main id="content">',
            '<main id="content"><script>document.title="hacked"</script>'
            '<img src="x" onerror="document.title=\'hacked\'">',
        ),
        encoding="utf-8",
    )
    page = browser.new_page()
    page.goto(injected.as_uri())
    page.wait_for_timeout(300)
    assert page.title() == "by-hand · report"
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_fits_a_phone_and_has_a_dark_theme(browser: Any, run: Path, scheme: str) -> None:
    with opened(browser, viewport={"width": 375, "height": 800}, color_scheme=scheme) as page:
        page.goto(write_report(run).as_uri())
        charts(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        ground, ink = (
            page.evaluate(
                f"getComputedStyle(document.body).{name}.match(/\\d+/g).slice(0, 3)"
                ".reduce((sum, part) => sum + Number(part), 0)"
            )
            for name in ("backgroundColor", "color")
        )
        assert (ground < 150 and ink > 550) if scheme == "dark" else (ground > 700 and ink < 150)


def test_the_report_can_be_used_by_keyboard(browser: Any, run: Path) -> None:
    with opened(browser) as page:
        page.goto(write_report(run).as_uri())
        charts(page)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        summary = page.locator("summary", has_text="unclosed_think")
        for _ in range(200):
            page.keyboard.press("Tab")
            if summary.evaluate("e => e === document.activeElement"):
                break
        page.keyboard.press("Enter")
        assert summary.evaluate("e => e.parentElement.open")


def test_every_page_opens_without_a_complaint(browser: Any, run: Path) -> None:
    with served(run) as (address, _), opened(browser) as page:
        page.goto(address)
        assert charts(page).count() >= 8
        page.click("text=Samples")
        page.select_option("[name=reason]", "mixed_script")
        page.click("text=Find")
        assert page.inner_text("#found") == "6 samples"
        page.click("tbody a >> nth=0")
        assert page.locator(".siblings article").count() == 3
        assert page.locator("mark").count() == 1
        assert "hacked" not in page.title()


def test_a_slider_changes_the_funnel(browser: Any, run: Path) -> None:
    with served(run) as (address, _), opened(browser) as page:
        page.goto(f"{address}/thresholds")
        outcome = page.locator("#outcome")
        playwright.expect(outcome).to_have_attribute("data-kept", "12")
        charts(page)
        slider = page.locator("[data-field=max_tokens] [type=range]")
        slider.focus()
        slider.evaluate("e => { e.value = 46; e.dispatchEvent(new Event('input')); }")
        playwright.expect(outcome).to_have_attribute("data-kept", "6")
        assert "max_tokens: 46" in page.inner_text("#recipe")
        assert re.search(r"kept\s+keep\s+6\s", page.inner_text(".numbers"))
        page.keyboard.press("Home")  # the smallest: all gone
        playwright.expect(outcome).to_have_attribute("data-kept", "6")
        page.click("text=Back to the recipe")
        playwright.expect(outcome).to_have_attribute("data-kept", "12")


def test_a_review_survives_a_reload_and_a_killed_server(
    browser: Any, run: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    with served(copy) as (address, process), opened(browser) as page:
        page.goto(f"{address}/review")
        page.fill("[name=name]", "ann")
        page.wait_for_selector("body[data-ready]")
        page.click("text=Begin")
        first = page.locator("#sample-id").inner_text()
        page.wait_for_selector("body[data-ready]")
        page.keyboard.press("a")
        page.wait_for_url(lambda url: first not in url)
        page.wait_for_selector("body[data-ready]")
        second = page.locator("#sample-id").inner_text()
        page.keyboard.press("e")
        page.fill("[name=response]", "A \\boxed{7} rewritten by hand.")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("text=edited by ann")
        page.reload()
        assert "rewritten by hand" in page.inner_text("#desk article >> nth=0")
        page.wait_for_selector("body[data-ready]")
        page.keyboard.press("2")
        page.wait_for_url(lambda url: second not in url)
        process.send_signal(signal.SIGKILL)
        process.wait()
    found = {row["sample_id"]: row for row in summarize_reviews(copy).to_dicts()}
    assert found[first]["decision"] == "keep"
    assert (found[second]["decision"], found[second]["reason"]) == ("drop", "unreadable")
    assert found[second]["response"].strip() == "A \\boxed{7} rewritten by hand."
    with served(copy) as (address, _), opened(browser) as page:
        page.goto(f"{address}/review/{second}")
        assert "rewritten by hand" in page.inner_text("#desk article >> nth=0")
        assert "ann rejects (unreadable)" in page.inner_text("#decisions")


def test_an_unsaved_edit_is_not_lost(browser: Any, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    page = browser.new_page()
    with served(copy) as (address, process):
        page.goto(f"{address}/review?decision=drop")
        page.fill("[name=name]", "ann")
        page.wait_for_selector("body[data-ready]")
        page.click("text=Begin")
        desk, message = page.locator("#desk"), page.locator("#message")
        page.wait_for_selector("#desk")
        page.wait_for_selector("body[data-ready]")
        page.keyboard.press("e")
        page.fill("[name=response]", "Half an")
        page.click("#accept")
        playwright.expect(message).to_contain_text("edit is not saved")
        page.fill("[name=response]", "A \\boxed{7} written by hand.")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("text=edited by ann")
        playwright.expect(desk).to_have_attribute("data-decision", "drop")  # the same queue
        page.wait_for_selector("body[data-ready]")
        process.send_signal(signal.SIGKILL)
        process.wait()
        page.keyboard.press("a")
        playwright.expect(message).to_contain_text("Not saved: the app does not answer")
    page.close()


@pytest.mark.real
def test_a_build_is_watched_from_start_to_end(browser: Any, tmp_path: Path) -> None:
    """The process that serves the page runs the real engine."""
    run = tmp_path / "run"
    command = [*FACTORY, "build", str(recipe(tmp_path, size=60)), "--run", str(run), "--watch"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = re.search(r"http://[0-9.:]+/\?token=\S+", process.stderr.readline())
        assert address is not None
        with opened(browser) as page:
            # The address is printed a moment before the server accepts connections.
            for _ in range(300):
                with suppress(playwright.Error):
                    page.goto(address[0])
                    break
                time.sleep(0.1)
            state, drawn = page.locator("#state"), page.locator("progress")
            playwright.expect(state).to_have_text("running")
            playwright.expect(page.locator(".side-by-side article .keep").first).to_be_visible(
                timeout=600_000
            )
            playwright.expect(page.locator(".side-by-side article .drop").first).to_be_visible()
            assert 0 < float(drawn.get_attribute("value")) <= float(drawn.get_attribute("max"))
            playwright.expect(state).to_have_text("done", timeout=600_000)
            drawn_of_wanted = page.locator(".facts dd").first.inner_text()
            assert re.fullmatch(r"(\d+) of \1", drawn_of_wanted), drawn_of_wanted
            assert charts(page).count() >= 8
        assert process.wait(timeout=300) == 0
