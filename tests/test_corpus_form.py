"""The form of the rows: tags around the reasoning, marks, conversations kept whole."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from rich.console import Console

from factory.build.build import build
from factory.core.nouns import Message, Prompt, Sample
from factory.core.run_dir import RunDir, save_prompts
from factory.core.think import join_think
from factory.corpus.assembly.assemble import build_assembly
from factory.recipe.assembly import load_assembly
from factory.recipe.build import load_recipe
from factory.recipe.corpus import Corpus
from tests.recorded import recipe_file, record

CONSOLE = Console(file=StringIO())

FORMS: list[tuple[Any, str, str]] = [
    ("think", "<think>\n", "\n</think>\n\n"),
    ("special_token", "|special_token|", "|special_token|"),
    (["<reason>", "</reason>\n"], "<reason>", "</reason>\n"),
]


def rows_of(run: Path) -> pl.DataFrame:
    return pl.read_parquet(run / "corpus" / "*.parquet")


@pytest.mark.parametrize(("think", "before", "after"), FORMS)
def test_tags_are_the_recipes(tmp_path: Path, think: Any, before: str, after: str) -> None:
    file = recipe_file(tmp_path, record(tmp_path / "recorded", 1), 1)
    recipe = load_recipe(file, [f"corpus.think={json.dumps(think)}"])
    build(recipe, tmp_path / "run", CONSOLE)
    for row in rows_of(tmp_path / "run").rows(named=True):
        said = row["messages"][-1]["content"]
        assert said == f"{before}{row['thinking'].strip()}{after}{row['response'].strip()}"


def test_reasoning_that_never_closed_stays_open(tmp_path: Path) -> None:
    """Without a filter every whole sample is a row, and none has an empty turn."""
    file = recipe_file(tmp_path, record(tmp_path / "recorded", 3), 3)
    nothing = ["filters.format=null", "filters.correctness=null", "filters.length=null"]
    build(load_recipe(file, [*nothing, "select.per_prompt=3"]), tmp_path / "run", CONSOLE)
    rows = rows_of(tmp_path / "run")
    unclosed = rows.filter(pl.col("index") == 2)
    assert 0 < unclosed.height < rows.height
    for row in unclosed.rows(named=True):
        assert row["messages"][-1]["content"] == f"<think>\n{row['thinking'].strip()}"
        assert row["response"] is None


def test_an_assembly_may_write_another_form(tmp_path: Path) -> None:
    build(load_recipe(recipe_file(tmp_path, record(tmp_path / "a", 1), 1)), tmp_path / "b", CONSOLE)
    document = {"kind": "assembly", "name": "all", "runs": [{"path": str(tmp_path / "b")}]}
    file = tmp_path / "all.yaml"
    shown = {}
    for name, corpus in {"kept": {}, "new": {"think": "special_token"}}.items():
        file.write_text(yaml.safe_dump({**document, "corpus": corpus}))
        build_assembly(load_assembly(file), tmp_path / name, CONSOLE)
        shown[name] = rows_of(tmp_path / name).sort("id")
    assert "messages" in shown["kept"].columns
    assert shown["kept"].drop("messages").equals(shown["new"].drop("messages"))
    for kept, new in zip(shown["kept"]["messages"], shown["new"]["messages"], strict=True):
        assert kept[:-1].to_list() == new[:-1].to_list()
        assert kept[-1]["content"].startswith("<think>\n")
        assert new[-1]["content"].startswith("|special_token|")


@pytest.mark.parametrize("value", ["thoughts", ["<a>"], ["<a>", "</a>", "x"]])
def test_what_is_no_form(value: Any) -> None:
    with pytest.raises(ValueError, match="think"):
        Corpus(think=value)


def talk(*turns: str) -> Prompt:
    roles = ("user", "assistant") * len(turns)
    messages = tuple(Message(role=r, content=c) for r, c in zip(roles, turns, strict=False))
    return Prompt("talk", "general", messages, language="en", license="Apache-2.0")


def test_conversations_marks_and_forms(tmp_path: Path) -> None:
    """Without a verifier and without a `correctness` filter rows are kept; a think section stands
    just where the rule asked for one."""
    asked = [talk("hello"), talk("Hi", "Hello!", "Why is the sea salty?")]
    (tmp_path / "prompts.jsonl").write_text(
        "".join(
            json.dumps({"messages": p.messages, "language": "en", "license": "Apache-2.0"}) + "\n"
            for p in asked
        )
    )
    save_prompts(tmp_path / "recorded", asked)
    with RunDir(tmp_path / "recorded") as run:
        for prompt in asked:
            for index, thinking in enumerate((None, "Let me think.")):
                text = join_think(thinking, f"Well, {index}.")
                run.append(
                    Sample(prompt.id, index, text, "", "stop", 9, 9, "recorded", "recorded", index)
                )
    recipe = {
        "name": "general",
        "model": "demo",
        "sources": [{"kind": "files", "path": "prompts.jsonl", "domain": "general"}],
        "prompting": {"template": "few_shot", "prefill": "<think>\n", "cot": {}},
        "engine": {"kind": "replay", "replay": "recorded"},
        "sampling": {"n": 2},
        "filters": {"format": {}},
    }
    file = tmp_path / "general.yaml"
    file.write_text(yaml.safe_dump(recipe))
    funnel = build(load_recipe(file), tmp_path / "run", CONSOLE)
    assert {item.reason for item in funnel.taken} == {"no_think", "unexpected_think"}
    rows = {row["prompt_id"]: row for row in rows_of(tmp_path / "run").rows(named=True)}
    greeting, question = (rows[prompt.id] for prompt in asked)
    assert [m["content"] for m in greeting["messages"]] == ["hello", "Well, 0."]
    assert json.loads(greeting["meta"])["cot"] == {"asked": False, "why": "greeting"}
    assert [m["role"] for m in question["messages"]] == ["user", "assistant", "user", "assistant"]
    assert question["messages"][-1]["content"].startswith("<think>\nLet me think.\n</think>")
    assert json.loads(question["meta"])["cot"] == {"asked": True, "why": "reasoning"}
