"""The documented lines in a plain script, without a guard, and in a notebook's kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

from tests.recorded import recipe_file, record

SCRIPT = """
with open({counter!r}, "a") as stream:
    stream.write("x")

import factory

run = factory.build({recipe!r}, run={run!r})
print(run.samples(reason="wrong").head(2).height)
print([one.state for one in factory.verify(
    [{{"kind": "math", "reference": "1/2", "text": "\\\\boxed{{0.5}}"}}] * 40, workers=2
)].count("correct"))
texts = ["All of this is written in plain English."] * 3
print(factory.filter_texts(texts, filters={{"language": {{}}}}, language="en").height)
rewards = [factory.reward("accuracy", reference="answer", think="optional"),
           factory.reward("language")]
print(rewards[0](["1/4+1/4?"], ["\\\\boxed{{0.5}}"], answer=["1/2"]))
"""

PRINTED = ["2", "40", "3", "[1.0]"]


@pytest.fixture
def script(tmp_path: Path) -> tuple[str, Path]:
    """The lines, and the file that counts how often they ran."""
    recorded = record(tmp_path / "recorded", 4)
    counter = tmp_path / "ran"
    text = SCRIPT.format(
        counter=str(counter),
        recipe=str(recipe_file(tmp_path, recorded, 4)),
        run=str(tmp_path / "run"),
    )
    return text, counter


def test_a_plain_script_runs_once(script: tuple[str, Path], tmp_path: Path) -> None:
    """The judge's process, the verifiers' and the pool's start without running it again."""
    text, counter = script
    file = tmp_path / "script.py"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == PRINTED
    assert done.stderr == ""
    assert counter.read_text() == "x"


SPREAD = """
with open({counter!r}, "a") as stream:
    stream.write("x")

from factory.core.parallel import spread
from math import factorial
import __main__

before = (__main__.__file__, __main__.__spec__)
print(list(spread(factorial, range(5), print, "begun")))
assert before == (__main__.__file__, __main__.__spec__)
"""


@pytest.mark.parametrize("module", [False, True])
def test_processes_that_share_work_leave_the_script_alone(tmp_path: Path, module: bool) -> None:
    """Also where it was started as a module, which goes by another name."""
    counter = tmp_path / "ran"
    file = tmp_path / "shared.py"
    file.write_text(SPREAD.format(counter=str(counter)), encoding="utf-8")
    command = ["-m", "shared"] if module else [str(file)]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env={"PYTHONPATH": f"{root}:{tmp_path}", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert "[1, 1, 2, 6, 24]" in done.stdout
    assert counter.read_text() == "x"


def test_a_notebook(script: tuple[str, Path], tmp_path: Path) -> None:
    """The same lines in cells of a real kernel, and a progress display in its output."""
    text, counter = script
    setup, work = text.split("import factory\n")
    shown = work.replace("factory.build(", "factory.build(progress=True, recipe=")
    shown = shown.replace(f"run={str(tmp_path / 'run')!r}", f"run={str(tmp_path / 'again')!r}")
    cells = [
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})",
        setup,
        "import factory\n" + work,
        shown,
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    outputs = json.dumps([cell["outputs"] for cell in notebook["cells"]])
    assert counter.read_text() == "x"
    printed = "".join(
        output["text"]
        for output in notebook["cells"][2]["outputs"]
        if output.get("name") == "stdout"
    )
    assert printed.splitlines() == PRINTED
    assert "Traceback" not in outputs
    shown = [
        output["data"]["text/plain"]
        for output in notebook["cells"][3]["outputs"]
        if output["output_type"] == "display_data" and "text/plain" in output["data"]
    ]
    assert any("sampling" in text and "accepted" in text for text in shown)
