"""The documentation says what the code says: generated pages, links, recipes, commands, Python."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click
import jsonschema
import pytest
import yaml

import factory
from factory.cli import cli, reference, reference_recipes
from factory.cli.export import FormatName
from factory.core.errors import FactoryError, RecipeError, Stopped
from factory.prompts.load import preview
from factory.recipe import kinds
from factory.recipe.build import load_recipe
from factory.recipe.document import find_recipe, load_document
from factory.recipe.pipeline import load_pipeline
from filters.verify.verifiers import Item, Verifiers

ROOT = reference_recipes.ROOT
PAGES = sorted([*ROOT.glob("*.md"), ROOT / "llms.txt", *(ROOT / "docs").rglob("*.md")])
RECIPES = sorted(
    path
    for path in (ROOT / "recipes").rglob("*.yaml")
    if not {"launch", "cluster"} & set(path.parts)
)


class Snippet(NamedTuple):
    """A fenced block of a page."""

    place: str  # "docs/index.md:12"
    language: str
    text: str


FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets(*languages: str) -> list[Snippet]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in FENCE.finditer(text):
            place = f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, block.start()) + 1}"
            found.append(Snippet(place, block[1], block[2]))
    return [snippet for snippet in found if snippet.language in languages]


def by_place(snippet: Snippet) -> str:
    return snippet.place


@cache
def schema() -> jsonschema.Draft202012Validator:
    """The recipe schema, read once."""
    text = reference.SCHEMA.read_text(encoding="utf-8")
    return jsonschema.Draft202012Validator(json.loads(text))


def read(path: Path) -> None:
    """Read a recipe of any kind as its command would."""
    kind = load_document(path).data.get("kind", kinds.SAMPLES)
    if kind == "pipeline":
        load_pipeline(path)
    else:
        kinds.load(kind, path)


# Generated files


@pytest.mark.parametrize("path", reference.generated(), ids=lambda path: path.name)
def test_generated_files_equal_the_code(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == reference.generated()[path](), "run `make docs`"


def test_every_key_at_every_depth_is_documented() -> None:
    silent = [
        f"{section.key}: {name}"
        for page in reference_recipes.pages()
        for section in page.sections
        for name, field in section.part.model_fields.items()
        if not reference_recipes.meaning(field) and name != "kind"
    ]
    assert not silent


def test_the_server_section_has_what_a_server_recipe_needs() -> None:
    page = (reference_recipes.REFERENCE / "recipes" / "index.md").read_text(encoding="utf-8")
    section = page.partition("## `engine.server`")[2].partition("\n## ")[0]
    for key in ("urls", "api", "model", "api_key_env", "extra_body", "stream", "timeout_s"):
        assert f"| `{key}` |" in section
    kind = page.partition("## `engine`")[2].partition("| `kind` |")[2].partition("\n")[0]
    assert "`server`" in kind


def test_the_run_directory_page_lists_the_files_of_a_run() -> None:
    page = (reference_recipes.REFERENCE / "run-directory.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    named = [re.sub("[A-Z]+", "*", name) for cell in cells for name in re.findall("`(.*?)`", cell)]
    run = ROOT / "tests" / "data" / "run_0.1.0"
    found = [str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()]
    assert len(found) > 10
    assert not [name for name in found if not any(fnmatch(name, known) for known in named)]


# Links

LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return {reference_recipes.slug(heading) for heading in HEADING.findall(text)}


def broken(page: Path) -> Iterator[str]:
    prose = CODE.sub(lambda code: " " * len(code[0]), page.read_text(encoding="utf-8"))
    for target in LINK.findall(prose):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        other = (page.parent / file).resolve() if file else page
        if not other.is_file():
            yield f"{target}: no such file"
        elif anchor and anchor not in anchors(other):
            yield f"{target}: no such heading; {sorted(anchors(other))}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_internal_link_resolves(page: Path) -> None:
    assert not list(broken(page))


def test_every_page_is_in_the_navigation() -> None:
    written = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w/-]+\.md", written.partition("\nnav:")[2]))
    assert named == {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}


def test_every_page_is_in_llms_txt() -> None:
    listed = set(re.findall(r"\((docs/[^)]+)\)", (ROOT / "llms.txt").read_text(encoding="utf-8")))
    assert listed == {str(page.relative_to(ROOT)) for page in PAGES if page.suffix == ".md"} - {
        str(page.relative_to(ROOT)) for page in [*ROOT.glob("*.md"), ROOT / "docs" / "index.md"]
    }


def test_no_page_has_a_heading_twice() -> None:
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        headings = re.findall(r"^## .+$", text, re.MULTILINE)
        assert len(headings) == len(set(headings)), page


# Recipes


@pytest.mark.parametrize("path", [*RECIPES, ROOT / "data" / "starter.yaml"], ids=str)
def test_shipped_recipes_fit_schema_and_code(path: Path) -> None:
    schema().validate(load_document(path).data)
    read(path)


@pytest.mark.usefixtures("trusted_code")
@pytest.mark.parametrize("snippet", snippets("yaml"), ids=by_place)
def test_every_recipe_snippet_is_valid(snippet: Snippet, tmp_path: Path) -> None:
    """Whole recipes as they are; fragments of a sampling recipe over the quickstart."""
    file = tmp_path / "recipe.yaml"
    file.write_text(snippet.text, encoding="utf-8")
    keys = load_document(file).data
    schema().validate(keys)
    own = re.findall(r"(?:class: \"?|\bpath: )([\w/]+\.py)\b", snippet.text)
    for name in own:
        (tmp_path / name).write_text(OWN_CODE[name], encoding="utf-8")
    if keys.get("kind") == "pipeline":
        return  # its steps are other files
    if not {"kind", "name", "extends"} & set(keys):
        base = ROOT / "recipes" / "quickstart.yaml"
        file.write_text(f"extends: {base}\n{snippet.text}", encoding="utf-8")
    try:
        read(file)
    except RecipeError as error:
        pytest.fail(f"{snippet.place}: {error}")


PLUGINS = ROOT / "recipes" / "plugin_example" / "plugin_example"
OWN_CODE = {
    path.name: path.read_text(encoding="utf-8")
    for path in [*(ROOT / "recipes").glob("own_*/*.py"), *PLUGINS.glob("*.py")]
}
OWN_CODE["rewards.py"] = "def shortness(rows):\n    return [0.0 for _ in rows]\n"
OWN_CODE["item_list.py"] = OWN_CODE["verifier.py"].replace("SameItems", "ItemList")  # by `init`
OWN_CODE["number_game.py"] = OWN_CODE["environment.py"].replace("GuessNumber", "NumberGame")
for page in PAGES:
    titled = re.findall(r'^```python title="(.*?)"\n(.*?)^```$', page.read_text(), re.M | re.S)
    OWN_CODE.update(titled)
"""The reader's own files, by name: shipped examples, a reward, and what a page says to save."""


@pytest.mark.parametrize(
    "text",
    [
        "filters: {fromat: {}}",
        "sampling: {n: zero}",
        "sources: [{kind: gmy}]",
        "nam: x",
        "kind: stf",
    ],
)
def test_the_schema_refuses_what_the_code_refuses(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        schema().validate(yaml.safe_load(text))


# Commands


def commands() -> Iterator[tuple[str, str]]:
    """Every line of a shell block that calls `factory`, and every such code span of the prose."""
    for place, _, text in snippets("sh", "console"):
        for line in text.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s*[|>]\s+|&&", line.removeprefix("$ ")):
                if part.startswith("factory "):
                    yield place, part
    for page in PAGES:
        prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for span in re.findall(r"`(factory [a-z-]+[^`…]*)`", prose):
            yield str(page.relative_to(ROOT)), span


def wrong(line: str) -> str | None:
    """What is wrong with a command line: an unknown command, option, choice; a missing value."""
    _, name, *arguments = shlex.split(line, comments=True)
    if name.startswith("-"):
        return None if name in ("--help", "--version", "-h") else f"no option {name}"
    command = cli.commands.get(name)
    if command is None:
        return f"no command {name}"
    context = click.Context(command, info_name=name, **cli.context_settings)
    try:
        values, _, _ = command.make_parser(context).parse_args(list(arguments))
        for option in command.params:
            given = values.get(option.name or "")
            if (
                given
                and isinstance(option.type, click.Choice | FormatName)
                and isinstance(given, str)
            ):
                option.type.convert(given, option, context)
    except click.ClickException as error:
        return error.format_message()
    return None


@pytest.mark.parametrize(("place", "line"), sorted(set(commands())))
def test_every_command_line_parses(place: str, line: str) -> None:
    assert wrong(line) is None, place


RECIPE_COMMANDS = ("build", "validate", "train", "eval", "run", "serve")
OWN_FILE = re.compile(r"[\w-]+\.yaml|\w+\.py:\w+|[A-Z]+|guess_number")
"""What stands for the reader's own: a file in the folder they are in, a class, or RECIPE."""


def named_recipes() -> Iterator[tuple[str, str]]:
    """The recipe of every command line that takes one, if it is not the reader's own."""
    for place, line in sorted(set(commands())):
        _, name, *arguments = shlex.split(line, comments=True)
        if wrong(line) is None and ("--launch" in arguments or name in RECIPE_COMMANDS):
            context = click.Context(cli.commands[name], info_name=name, **cli.context_settings)
            values, _, _ = cli.commands[name].make_parser(context).parse_args(arguments)
            recipe = values.get("recipe") or values.get("source") or values.get("pipeline")
            if isinstance(recipe, str) and not OWN_FILE.fullmatch(recipe):
                yield place, recipe


@pytest.mark.parametrize(("place", "recipe"), named_recipes())
def test_every_recipe_of_a_command_is_shipped(place: str, recipe: str) -> None:
    """By its name, which also works outside a checkout, or by its path in one."""
    assert (ROOT / recipe).is_file() or find_recipe(Path(recipe)).is_file(), place


@pytest.mark.parametrize(
    "line",
    [
        "factory biuld x.yaml",
        "factory build x.yaml --sett a=b",
        "factory samples r --decision kept",
        "factory samples r --show",
    ],
)
def test_a_wrong_command_line_is_found(line: str) -> None:
    assert wrong(line) is not None


# Python


@pytest.mark.parametrize("snippet", snippets("python"), ids=by_place)
def test_every_python_snippet_compiles(snippet: Snippet) -> None:
    compile(snippet.text, snippet.place, "exec")


@pytest.mark.parametrize("page", ["README.md", "docs/reference/python.md"])
def test_the_python_examples_run(page: str, tmp_path: Path) -> None:
    """As printed, in one folder that holds a finished quickstart; only no engine is started."""
    shutil.copytree(ROOT / "tests" / "data" / "run_0.1.0", tmp_path / "runs" / "quickstart")
    texts = [text for place, _, text in snippets("python") if place.startswith(page)]
    code = re.sub(r"factory\.build\(.*?\)", 'factory.Run("runs/quickstart")', "\n".join(texts))
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)


def test_the_python_page_names_everything_public() -> None:
    page = (reference_recipes.REFERENCE / "python.md").read_text(encoding="utf-8")
    shown = {name.rpartition(".")[2] for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE)}
    errors = {name for name in factory.__all__ if isinstance(getattr(factory, name), type)} - shown
    assert shown == set(factory.__all__) - errors - {"__version__"}
    for name in errors:
        assert issubclass(getattr(factory, name), FactoryError | Stopped)


def test_the_tutorial_on_own_data_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the form of GSM8K becomes prompts whose references are read."""
    page = "docs/tutorials/your-own-data.md"
    monkeypatch.chdir(tmp_path)
    solution = "She sold 48/2 = <<48/2=24>>24 in May, so 1,000 + 24 = 1,024.\n#### 1,024"
    row = {"question": "How many clips did she sell?", "answer": solution}
    Path("train.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    recipe = next(text for place, _, text in snippets("yaml") if place.startswith(page))
    Path("own.yaml").write_text(recipe, encoding="utf-8")
    (source,) = load_recipe(Path("own.yaml")).sources
    (prompt,) = preview(source, 3)
    with Verifiers(workers=1) as verifiers:
        assert verifiers.check([prompt.verifier]) == [None]
        right, wrong = (Item(prompt.verifier, f"\\boxed{{{number}}}") for number in (1024, 24))
        assert [one.state for one in verifiers.verify([right, wrong])] == ["correct", "wrong"]

    Path("own.yaml").write_text(recipe.replace("answer: answer", "anwser: answer"), "utf-8")
    with pytest.raises(RecipeError) as error:
        load_recipe(Path("own.yaml"))
    shown = next(
        text for place, _, text in snippets("text") if place.startswith(page) and "error:" in text
    )
    assert str(error.value).startswith(shown.removeprefix("error: ").rpartition("…")[0])


@pytest.mark.parametrize(
    ("page", "file"),
    [
        ("add-a-loader.md", PLUGINS / "loader.py"),
        ("add-a-reward.md", PLUGINS / "reward.py"),
        ("add-an-engine.md", PLUGINS / "engine.py"),
        ("add-an-environment.md", PLUGINS / "environment.py"),
        ("add-an-exporter.md", PLUGINS / "exporter.py"),
        ("simulate-services.md", ROOT / "recipes" / "tools" / "services.py"),
    ],
)
def test_the_example_of_an_extension_is_the_shipped_file(page: str, file: Path) -> None:
    shown = [text for place, _, text in snippets("python") if f"how-to/{page}" in place]
    assert file.read_text(encoding="utf-8") in shown


# English


def test_no_page_uses_the_old_dialect() -> None:
    word = re.compile(r"\b(dear|mend|anew|told|beside)\b", re.IGNORECASE)
    pages = [page for page in PAGES if page.name == "README.md" or "docs" in page.parts]
    found = [
        f"{page.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for page in pages
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
        if word.search(line)
    ]
    assert not found
