"""The wheel in a clean environment: the command, shipped recipes by name, and the import."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the built wheel; dependencies are those of here."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--wheel", "--no-isolation", "--outdir", folder)
    done = run(Path(sys.executable), "-m", "build", *options, ROOT, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "clean", symlinks=True)
    (site,) = (folder / "clean" / "lib").glob("python*/site-packages")
    install = ("install", "--no-deps", "--no-index", "--quiet", "--target", site, wheel)
    done = run(Path(sys.executable), "-m", "pip", *install, cwd=folder)
    assert done.returncode == 0, done.stderr
    # A plain path: the packages there, but not the editable install of this checkout.
    dependencies = sysconfig.get_path("purelib")
    (site / "dependencies.pth").write_text(f"{dependencies}\n", encoding="utf-8")
    assert "factory/py.typed" in zipfile.ZipFile(wheel).namelist()
    assert "filters/py.typed" in zipfile.ZipFile(wheel).namelist()
    return folder / "clean" / "bin" / "python"


def run(python: Path, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(python), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=cwd,
        env=environment,
    )


def test_the_import_from_an_empty_folder(python: Path, tmp_path: Path) -> None:
    code = (
        "import factory\n"
        "print(factory.__file__)\n"
        "print(factory.__version__)\n"
        "print(factory.load_recipe('quickstart').name)\n"
        "print([one.state for one in factory.verify("
        "[{'kind': 'math', 'reference': '1/2', 'text': '0.5'}])])\n"
    )
    done = run(python, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    file, version, name, states = done.stdout.splitlines()
    assert file.startswith(str(python.parents[1]))
    assert (version, name, states) == ("0.1.0", "quickstart", "['correct']")


def test_shipped_recipes_by_name(python: Path, tmp_path: Path) -> None:
    done = run(python, "-m", "factory.cli", "build", "quickstart", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("recipe quickstart in runs/quickstart:")
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine.yaml").write_text("extends: factory:quickstart.yaml\nname: mine\n")
    done = run(python, "-m", "factory.cli", "build", "mine.yaml", "--dry-run", cwd=tmp_path)
    assert done.stdout.startswith("recipe mine in runs/mine:")
    done = run(python, "-m", "factory.cli", "build", "quickstrat", "--dry-run", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean quickstart?" in done.stderr
    done = run(python, "-m", "factory.cli", "validate", "sft_quickstart", cwd=tmp_path)
    assert f"data: {tmp_path}/runs/quickstart\n" in done.stdout  # where the build above goes
    done = run(python, "-m", "factory.cli", "init", "--filter", "mine.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "test_mine.py").is_file()


def test_what_the_readme_prints(python: Path, tmp_path: Path) -> None:
    """Its recipe, commands and Python in an empty folder. Only the model is the demo model's, which
    needs no download, and no engine is started: a finished run is there instead."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert (
        recipe.count("Qwen/Qwen2.5-7B-Instruct") == code.count('factory.build("quickstart")') == 1
    )
    (tmp_path / "my.yaml").write_text(recipe.replace("Qwen/Qwen2.5-7B-Instruct", "demo"))
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "sums.jsonl").write_text('{"problem": "1 + 2?", "final": "3"}\n')
    for line in re.findall(
        r"^factory ((?:validate|plan|build) my\.yaml[^#\n]*)", readme, re.MULTILINE
    ):
        also = ["--dry-run"] if line.startswith("build") else []
        done = run(python, "-m", "factory.cli", *line.split(), *also, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    shutil.copytree(ROOT / "tests" / "data" / "run_0.1.0", tmp_path / "runs" / "quickstart")
    code = code.replace('factory.build("quickstart")', 'factory.Run("runs/quickstart")')
    done = run(python, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "correct" in done.stdout


@pytest.mark.parametrize("name", ["r1/mini/zero", "r1/mini/general", "r1/mini/rewrite"])
def test_shipped_recipes_find_the_shipped_data(python: Path, tmp_path: Path, name: str) -> None:
    """Recipes name data by `../data`: the wheel keeps the two folders next to each other."""
    code = (
        "from pathlib import Path\n"
        "from factory.recipe.document import load_document\n"
        f"found = load_document(Path({name!r})).data\n"
        "def paths(value):\n"
        "    if isinstance(value, dict):\n"
        "        value = list(value.values())\n"
        "    if isinstance(value, list):\n"
        "        return [path for item in value for path in paths(item)]\n"
        "    return [value] if isinstance(value, str) and '/data/' in value else []\n"
        "print([path for path in paths(found) if not Path(path).exists()], bool(paths(found)))\n"
    )
    done = run(python, "-c", code, cwd=tmp_path)
    assert done.stdout.strip() == "[] True", done.stderr
