"""A verifier of the user's own: the shipped example, mistakes in a class, and who may name one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from factory.build.build import build
from factory.build.validate import validate
from factory.core.errors import FactoryError, RecipeError
from factory.core.nouns import Prompt, Sample
from factory.core.plugins import PluginError
from factory.core.run_dir import RunDir, save_prompts
from factory.core.think import join_think
from factory.prompts.files import Files
from factory.recipe.build import load_recipe
from filters.verify.own import OwnVerifiers, name_verifier
from filters.verify.verifiers import Item, Verifiers, versions

pytestmark = pytest.mark.usefixtures("trusted_code")

EXAMPLE = Path(__file__).parents[3] / "recipes" / "own_verifier"
FENCE = "```"


def prompts() -> list[Prompt]:
    source = Files(
        path=str(EXAMPLE / "prompts.jsonl"),
        keep=("schema",),
        verifier={"class": f"{EXAMPLE}/checks.py:ValidSql"},
    )
    return [row for row in source.rows() if isinstance(row, Prompt)]


def sql(query: str) -> str:
    return f"So:\n\n{FENCE}sql\n{query}\n{FENCE}"


COUNTED = "SELECT name, COUNT(*) FROM author JOIN book ON book.author = author.id GROUP BY name"
RESPONSES = [
    (0, sql(f"{COUNTED} ORDER BY 2 DESC"), "correct"),
    (0, sql(f"{COUNTED} ORDER BY 2 ASC"), "wrong"),
    (1, sql("select title from book where not year >= 1930"), "correct"),
    (1, sql("select title from book where not year >= 1930 order by title desc"), "correct"),
    (1, sql("select title from book"), "wrong"),
    (1, sql("select titel from book"), "wrong"),
    (1, sql("drop table book"), "wrong"),
    (1, sql("attach '/tmp/x.db' as x"), "wrong"),
    (1, sql("select load_extension('x')"), "wrong"),
    (1, sql("with recursive n(i) as (select 1 union all select i+1 from n) select sum(i) from n"),
     "wrong"),
    (1, "It is the second.", "no_answer"),
    (2, sql("SELECT (2.0 + 6.0) / 2"), "correct"),
]  # fmt: skip


@pytest.fixture(scope="module")
def verifiers() -> Iterator[Verifiers]:
    with Verifiers(workers=1, deadline_s=30) as shared:
        yield shared


def test_the_example(verifiers: Verifiers) -> None:
    asked = [prompt.verifier for prompt in prompts()]
    assert verifiers.check(asked) == [None] * len(asked)
    verdicts = verifiers.verify([Item(asked[at], text) for at, text, _ in RESPONSES])
    assert [v.state for v in verdicts] == [state for _, _, state in RESPONSES]
    assert {verdict.method for verdict in verdicts} == {"ValidSql"}


def test_a_bad_reference_is_found(verifiers: Verifiers) -> None:
    (first, *_) = prompts()
    assert first.verifier is not None
    broken = {**first.verifier, "answer": "SELECT nothing FROM nowhere"}
    bare = {**first.verifier, "meta": {}}
    problems = verifiers.check([broken, bare])
    assert "the reference query fails" in str(problems[0])
    assert "keep: [schema]" in str(problems[1])


CLASS = """
from filters.verify.own import Asked, OwnVerifier
from filters.verify.verification import Verification

class Odd(OwnVerifier):
    limit: int = 1

    def verify(self, asked, response):
        {body}
"""
MISTAKES = [
    ("return asked.meta['schema']", "KeyError: 'schema'", "checks.py:9"),
    ("return True", "returned bool; it must return a Verification", "Odd"),
    ("return self.verdict('perfect')", "may say correct", "perfect"),
    ("return self.verdict('correct', 5)", "gave extracted as int", "a text or None"),
    ("return self.verdict('wrong', 'x', {})", "gave detail as dict", "a text or None"),
    ("import json; json.loads('{')", "JSONDecodeError", "checks.py:9"),
    ("raise SystemExit(0)", "SystemExit: 0", "checks.py:9"),
    ("while True: pass", "killed at the deadline", "verifier"),
    ("import os; os._exit(1)", "died", "verifier"),
]


def write_recipe(tmp_path: Path, body: str, options: str = "") -> Path:
    (tmp_path / "checks.py").write_text(CLASS.format(body=body))
    (tmp_path / "rows.jsonl").write_text(json.dumps({"question": "Odd?", "answer": "1"}) + "\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"""
name: own
model: demo
sources:
  - kind: files
    path: rows.jsonl
    domain: logic
    verifier: {{class: "checks.py:Odd"{options}}}
engine: {{kind: replay, replay: {tmp_path}}}
prompting: {{template: few_shot}}
filters: {{correctness: {{}}}}
"""
    )
    return recipe


@pytest.mark.parametrize(("body", "said", "where"), MISTAKES)
def test_validate_names_the_mistake(tmp_path: Path, body: str, said: str, where: str) -> None:
    recipe = load_recipe(write_recipe(tmp_path, body))
    with pytest.raises(FactoryError) as raised:
        list(validate(recipe))
    message = str(raised.value)
    for part in (said, where, "checks.py:Odd"):
        assert part in message
    assert "correct the class" in message


def test_validate_says_that_it_ran(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path, "return self.verdict('wrong')"))
    assert any("ran on the first prompt" in line for line in validate(recipe))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class Odd: pass", "is no filters.verify.own.OwnVerifier"),
        ("1 / 0", "ZeroDivisionError"),
        ("class Odd(", "SyntaxError"),
    ],
)
def test_a_class_that_cannot_be_loaded(tmp_path: Path, text: str, said: str) -> None:
    recipe = write_recipe(tmp_path, "pass")
    (tmp_path / "checks.py").write_text(text)
    with pytest.raises(RecipeError, match="verifier") as raised:
        load_recipe(recipe)
    assert said in str(raised.value)
    assert "checks.py" in str(raised.value)


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="its options are limit"):
        load_recipe(write_recipe(tmp_path, "pass", ", limits: 3"))


def test_data_cannot_name_a_class(tmp_path: Path, verifiers: Verifiers) -> None:
    proof = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(proof)!r}, 'w')\n")
    place = f"{tmp_path}/evil.py:Evil"
    spec: dict[str, Any] = {"kind": "own", "class": place, "options": {}, "answer": "1"}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "?", "verifier": spec}) + "\n")
    assert not any(isinstance(row, Prompt) for row in Files(path=str(path)).rows())
    assert verifiers.verify([Item(spec, "1")])[0].state == "unverifiable"
    assert "no recipe here names" in str(verifiers.check([spec])[0])
    assert not proof.exists()


def test_an_unknown_entry_point_is_named() -> None:
    with pytest.raises(PluginError, match="is unknown"):
        name_verifier(None, "sqlcheck", {})


def test_an_installed_package_can_bring_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "brought.py").write_text(CLASS.format(body="return self.verdict('correct')"))
    info = tmp_path / "brought-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[factory.verifiers]\nodd = brought:Odd\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "Odd?", "answer": "1"}) + "\n")
    (prompt,) = Files(path=str(path), verifier={"kind": "odd", "limit": 2}).rows()
    assert isinstance(prompt, Prompt)
    assert prompt.verifier is not None
    with contextlib.closing(OwnVerifiers(workers=1, deadline_s=30)) as own:
        assert [v.state for v in own.verify([(prompt.verifier, "x")])] == ["correct"]


def test_a_changed_file_is_another_version(tmp_path: Path) -> None:
    file = tmp_path / "checks.py"
    file.write_text(CLASS.format(body="return self.verdict('wrong')"))
    name = name_verifier(f"{file}:Odd", None, {})["class"]
    before = versions([name])[name]
    file.write_text(CLASS.format(body="return self.verdict('correct')"))
    assert versions([name])[name] != before


def test_what_other_recipes_name_is_not_in_the_key_of_metrics(tmp_path: Path) -> None:
    """A process that has loaded another recipe finds the metrics of this one."""
    document = "name: mine\nmodel: demo\nfilters: {correctness: {}}\nsources:\n"
    document += "  - {kind: files, path: rows.jsonl, verifier: %s}\n"
    for name, verifier in (("plain", "{kind: math}"), ("own", "{class: checks.py:Odd}")):
        (tmp_path / f"{name}.yaml").write_text(document % verifier)
    (tmp_path / "rows.jsonl").write_text('{"question": "1?", "answer": "1"}\n')
    (tmp_path / "checks.py").write_text(CLASS.format(body="return self.verdict('wrong')"))

    def key(name: str) -> str:
        return load_recipe(tmp_path / f"{name}.yaml").filters["correctness"].cache_key()

    plain = key("plain")
    own = key("own")
    assert key("plain") == plain != own
    (tmp_path / "checks.py").write_text(CLASS.format(body="return self.verdict('correct')"))
    assert key("own") != own
    assert key("plain") == plain


def test_a_corpus_is_built_with_it(tmp_path: Path) -> None:
    """The shipped recipe, with recorded samples in place of the model's."""
    recorded = tmp_path / "recorded"
    recorded.mkdir()
    settings = ("engine.kind=replay", f"engine.replay={recorded}", "sampling.n=2")
    recipe = load_recipe(EXAMPLE / "recipe.yaml", settings)
    asked = [row for row in recipe.sources[0].rows() if isinstance(row, Prompt)]
    save_prompts(recorded, asked)
    with RunDir(recorded) as run:
        for prompt in asked:
            assert prompt.verifier is not None
            for index, query in enumerate([prompt.verifier["answer"], "SELECT 1"]):
                run.append(_sample(prompt, index, sql(query)))
    build(recipe, tmp_path / "run", Console(quiet=True))
    rows = pl.read_parquet(tmp_path / "run" / "corpus" / "*.parquet")
    assert sorted(rows["prompt_id"]) == sorted(prompt.id for prompt in asked)


def _sample(prompt: Prompt, index: int, response: str) -> Sample:
    return Sample(
        prompt_id=prompt.id,
        index=index,
        text=join_think("I look at the tables.", response),
        prompt_text=prompt.question,
        finish_reason="stop",
        n_tokens=20,
        n_prompt_tokens=20,
        model="recorded",
        params_fp="recorded",
        created_at=1_700_000_000_000 + index,
    )
