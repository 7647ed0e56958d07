"""Tutorials are carried out as printed: files saved, commands run, and their output compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def carry_out(page: Path, folder: Path, only: str = "") -> None:
    """Save every titled block, run every block of commands, look for the block of text after it.

    `only` is a pattern of the commands that are run. Raises AssertionError where a command fails,
    or a line that the page shows is not printed. "…" on the page stands for anything.
    """
    bin_folder = Path(sys.executable).parent
    own = {"FACTORY_CACHE": str(folder / "cache"), "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    environment = {**os.environ, **own, "PYTEST_ADDOPTS": "-p no:cacheprovider"}
    printed = ""
    for language, title, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if title:
            (folder / title).write_text(text, encoding="utf-8")
        elif language == "sh" and re.match(only, text):
            done = subprocess.run(
                ["bash", "-e", "-c", text],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, f"{text}{done.stdout}{done.stderr}"
            printed = done.stdout
        elif language == "text":
            for line in filter(str.strip, text.splitlines()):
                pattern = ".*".join(re.escape(part) for part in line.strip().split("…"))
                assert re.search(pattern, printed), f"{line!r} is not in:\n{printed}"


@pytest.mark.parametrize(
    "name", ["your-own-filter.md", "your-own-verifier.md", "your-own-environment.md"]
)
def test_the_tutorial_does_what_it_shows(name: str, tmp_path: Path) -> None:
    """In a folder of its own, next to a finished quickstart."""
    shutil.copytree(ROOT / "tests" / "data" / "run_0.1.0", tmp_path / "runs" / "quickstart")
    carry_out(ROOT / "docs" / "tutorials" / name, tmp_path)


def test_own_data_is_shown_as_the_page_says(tmp_path: Path) -> None:
    """Without a network: with the demo model. The second block of text shows a mistake."""
    page = (ROOT / "docs" / "tutorials" / "your-own-data.md").read_text(encoding="utf-8")
    (tmp_path / "page.md").write_text(page.partition("Mistakes are listed")[0], encoding="utf-8")
    carry_out(tmp_path / "page.md", tmp_path, only="factory validate own.yaml --set model=demo")


def test_the_page_on_dropped_rows_shows_what_is_printed(tmp_path: Path) -> None:
    """On a run of an older version, in which nothing is measured again."""
    shutil.copytree(ROOT / "tests" / "data" / "run_0.1.0", tmp_path / "runs" / "quickstart")
    page = ROOT / "docs" / "how-to" / "read-why-a-row-was-dropped.md"
    carry_out(page, tmp_path, only="factory (show|samples|explain) runs/quickstart")


@pytest.mark.parametrize("shown", ["nothing like it", "2 … nothing like it"])
def test_a_line_that_is_not_printed_is_found(shown: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```sh\necho 1 + 1 = 2\n```\n\n```text\n1 + … 2\n{shown}\n```\n", "utf-8")
    with pytest.raises(AssertionError, match="nothing like it"):
        carry_out(page, tmp_path)
