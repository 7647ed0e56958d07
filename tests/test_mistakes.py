"""Mistakes in recipes and flags: each is named with place, value and remedy, and exits with 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from factory.cli import cli, main
from filters.length import Length

RECIPE = """name: mine
model: demo
sources:
  - {kind: files, path: rows.jsonl, verifier: {kind: math}}
sampling: {max_tokens: 64}
engine: {args: {max_model_len: 512}}
filters: {format: {}, correctness: {}}
"""


def fail(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    """What a command with a mistake prints to standard error; it must exit with 2."""
    monkeypatch.setattr("sys.argv", ["factory", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr().err
    assert stopped.value.code == 2, said
    assert "Traceback" not in said
    return said


MISTAKES: list[tuple[str, str, tuple[str, ...]]] = [
    (RECIPE, "", ("recipe.yaml is empty", "factory init mine.yaml")),
    (RECIPE, "# only a comment\n", ("recipe.yaml is empty",)),
    (
        "sources:\n  - {kind: files, path: rows.jsonl, verifier: {kind: math}}\n",
        "",
        ("recipe.yaml: sources is missing or empty", "sources: [{kind: files"),
    ),
    (
        "sources:\n  - {kind: files, path: rows.jsonl, verifier: {kind: math}}\n",
        "sources: rows.jsonl\n",
        ("recipe.yaml:3: sources is 'rows.jsonl', not a list", "path: mine.jsonl"),
    ),
    ("name: mine", "name: a/b", ("recipe.yaml:1: name is 'a/b'; it names a folder", "a-z")),
    ("name: mine", "name: 数学", ("recipe.yaml:1: name is '数学'; it names a folder",)),
    ("name: mine", "name:", ("recipe.yaml:1: name is empty; write a value",)),
    ("name: mine", "name: no", ("name is false, not a text: YAML reads no", 'such as "no"')),
    (
        "kind: files,",
        "kind: files, language: no,",
        ("recipe.yaml:4: sources.0.language is false, not a text: YAML reads no", '"no"'),
    ),
    (
        "kind: files,",
        "kind: files, language: english,",
        ("sources.0.language is 'english'; write two small letters",),
    ),
    (
        "format: {}",
        "length: {min_tokens: 50, max_tokens: 20}",
        ("recipe.yaml:7: filters.length", "min_tokens is 50 and max_tokens is 20", "raise max"),
    ),
    (
        "format: {}",
        "length: {min_characters: {math: 50}, max_characters: {code: 10, default: 20}}",
        ("min_characters of math is 50 and max_characters is 20",),
    ),
    ("format: {}", "length: {min_ratio: 2, max_ratio: 1.5}", ("min_ratio is 2.0",)),
    (
        "max_tokens: 64",
        "max_tokens: 512",
        ("recipe.yaml:5: sampling.max_tokens is 512, but engine.args.max_model_len is 512",),
    ),
    (
        "sampling: {max_tokens: 64}\nengine: {args: {max_model_len: 512}}",
        "sampling: {max_tokens: 9000}",
        ("sampling.max_tokens is 9,000, but the context of demo is 8,192 tokens", "lower it"),
    ),
    (
        "filters: {format: {}, correctness: {}}",
        "",
        ("recipe.yaml: filters is missing; name filters", "or write {} to check nothing"),
    ),
    ("{format: {}, correctness: {}}", "[format]", ("filters is ['format'], not a mapping",)),
    (
        "max_model_len: 512",
        "max_modle_len: 512",
        ("engine.args.max_modle_len is not an engine argument", "did you mean max_model_len?"),
    ),
    ("name: mine", "name: mine # \0", ("recipe.yaml:1: has the character '\\x00'", "remove it")),
    ("name: mine", "name: 2024-13-45", ("recipe.yaml:1: name is '2024-13-45', which is no time",)),
    ("name: mine", "name: !!bool maybe", ("recipe.yaml:1: name is 'maybe', which is no bool",)),
    ("name: mine", "2024-13-45: 1", ("is '2024-13-45', which is no timestamp; quote a text",)),
    ("rows.jsonl", "~nosuchuser/rows.jsonl", ("sources.0.path is '~nosuchuser/rows.jsonl'",)),
    ("name: mine", f"name: {'x' * 300}", ("recipe.yaml:1: name is", "at most 100 characters")),
]


@pytest.mark.parametrize(("part", "instead", "words"), MISTAKES)
def test_a_mistake_is_named_with_place_value_and_remedy(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    instead: str,
    words: tuple[str, ...],
) -> None:
    assert part in RECIPE
    (tmp_path / "rows.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n')
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace(part, instead), encoding="utf-8")
    said = fail(capsys, monkeypatch, "validate", str(recipe))
    for each in words:
        assert each in said


@pytest.mark.parametrize("text", ["2024-13-45", "!!bool maybe", "!!timestamp x", "[", "[" * 2000])
def test_a_value_that_yaml_cannot_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    said = fail(capsys, monkeypatch, "validate", str(recipe), "--set", f"name={text}")
    assert f"--set name is '{text}', which YAML cannot read; quote a text" in said


def test_a_recipe_in_utf_16_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE, encoding="utf-16")
    assert "is not UTF-8" in fail(capsys, monkeypatch, "validate", str(recipe))


@pytest.mark.parametrize("flags", [(), ("--filter",)])
def test_init_does_not_overwrite(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
) -> None:
    path = tmp_path / "mine.py"
    path.write_text("x = 1\n")
    said = fail(capsys, monkeypatch, "init", *flags, str(path))
    assert f"{path} already exists; choose another name" in said
    assert path.read_text() == "x = 1\n"


def test_equal_floor_and_limit_are_allowed() -> None:
    Length(min_tokens=20, max_tokens=20)
    Length(min_tokens={"math": 50}, max_tokens={"code": 10})


def test_empty_filters_are_a_warning(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n')
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("{format: {}, correctness: {}}", "{}"))
    said = CliRunner().invoke(cli, ["validate", str(recipe)]).stdout
    assert "warning: there are no filters, so every whole sample becomes a row" in said
