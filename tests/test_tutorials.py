"""Tutorials are carried out as printed: files saved, commands run, and their output compared."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

from tests.fake_server import FakeServer

ROOT = Path(__file__).parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def carry_out(page: Path, folder: Path, only: str = "") -> None:
    """Save every titled block, run every block of commands, look for the block of text after it.

    `only` is a pattern of the commands that are run. Raises AssertionError where a command fails,
    or a line that the page shows is not printed. "…" on the page stands for anything.
    """
    environment = {**os.environ, **surroundings(folder)}
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
                timeout=900,
                check=False,
            )
            assert done.returncode == 0, f"{text}{done.stdout}{done.stderr}"
            printed = done.stdout
        elif language == "text":
            assert_shown(text, printed)


def surroundings(folder: Path) -> dict[str, str]:
    """Variables of a reader's shell: the environment's commands, and a cache of their own."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    cache = str(folder / "cache")
    return {"FACTORY_CACHE": cache, "PATH": path, "PYTEST_ADDOPTS": "-p no:cacheprovider"}


def assert_shown(text: str, printed: str) -> None:
    """Every line of a page's block was printed; "…" stands for anything."""
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


spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "notebooks.py")
assert spec is not None
assert spec.loader is not None
notebooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(notebooks)


@pytest.mark.parametrize("name", notebooks.PAGES)
def test_a_notebook_equals_its_page(name: str) -> None:
    written = (TUTORIALS / f"{name}.ipynb").read_text(encoding="utf-8")
    assert written == notebooks.write_notebook(TUTORIALS / f"{name}.md"), "run `make docs`"


def run_notebook(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, at_end: tuple[str, str] = ("", "")
) -> None:
    """Every cell of a notebook, in a kernel whose folder is `folder`.

    `at_end` is a pattern of whole lines and what is added to them. Raises AssertionError if a line
    that the page shows is not printed, and CellExecutionError if a cell fails.
    """
    monkeypatch.setenv("PATH", surroundings(folder)["PATH"])
    notebook = nbformat.read(TUTORIALS / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code" and at_end[0]:
            lines = re.compile(f"^({at_end[0]})$", re.MULTILINE)
            cell.source = lines.sub(lambda line: line[0] + at_end[1], cell.source)
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()
    printed = ""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            printed = "".join(out.text for out in cell.outputs if out.get("name") == "stdout")
        for language, _, text in BLOCK.findall(cell.source + "\n"):
            if language == "text" and not text.startswith("error:"):  # a mistake nobody makes here
                assert_shown(text, printed)


def test_the_first_corpus_as_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Next to a finished quickstart: what `make quickstart` leaves."""
    shutil.copytree(ROOT / "tests" / "data" / "run_0.1.0", tmp_path / "runs" / "quickstart")
    run_notebook("first-corpus", tmp_path, monkeypatch)
    reasons = (tmp_path / "runs" / "quickstart" / "funnel.json").read_text(encoding="utf-8")
    assert "too_long" in reasons


def test_own_data_as_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the file to the corpus. A server stands in for the model and answers one question."""
    model = "Qwen/Qwen2.5-7B-Instruct"
    text = "<think>\nHalf of 48 is left.\n</think>\n\n\\boxed{24}"
    with FakeServer(model=model, context=None, answer=lambda body: text) as server:
        engine = f"engine={{kind: server, server: {{urls: ['{server.url}'], api: chat}}}}"
        asks = r"factory (validate|build) own\.yaml( --pilot 64)?"
        run_notebook("your-own-data", tmp_path, monkeypatch, (asks, f' --set "{engine}"'))
    assert list((tmp_path / "runs" / "own" / "corpus").glob("*.parquet"))


SMALL = {
    "factory eval eval/small_sums --run runs/after-sft": (
        "engine={kind: transformers}",
        "k=1",
        "sampling.max_tokens=4",
        "sources=[{kind: gym, task: chain_sum, size: 3, seed: 100000, verifier: math}]",
    ),
    "factory train sft_quickstart": (
        "from_config={num_hidden_layers: 1, hidden_size: 64, intermediate_size: 64, "
        "num_attention_heads: 2, num_key_value_heads: 1}",
        "steps=2",
    ),
    "factory train grpo_quickstart": (
        "rollouts={kind: none, max_tokens: 4}",
        "optimizer.warmup=0",
        "samples=2",
        "batch=2",
        "micro_batch=2",
        "steps=1",
    ),
}
"""Settings that make the commands of the first training short; nothing else is changed."""


@pytest.mark.real(group="torch")
@pytest.mark.timeout(1800)
def test_the_first_training_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both trainings and an evaluation: a model of one layer, two steps of SFT, one of GRPO.

    The other evaluations of the page differ only in the model and the directory.
    """
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    shutil.copytree(ROOT / "tests" / "data" / "run_0.1.0", tmp_path / "runs" / "quickstart")
    page = (TUTORIALS / "first-training.md").read_text(encoding="utf-8")
    for command, settings in SMALL.items():
        assert command in page
        options = "".join(f" --set {shlex.quote(setting)}" for setting in settings)
        page = page.replace(command, command + options)
    (tmp_path / "page.md").write_text(page, encoding="utf-8")
    carry_out(tmp_path / "page.md", tmp_path, only="|".join(SMALL))
    assert (tmp_path / "runs" / "grpo-quickstart" / "model" / "model.safetensors").is_file()
    assert (tmp_path / "runs" / "after-sft" / "eval.md").is_file()


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
