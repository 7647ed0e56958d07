"""Leave out prompts: those whose question occurs elsewhere, or overlaps with an evaluation set.

Two prompts are the same if their questions are. Ids can't be compared: the id of a prompt also
depends on its verifier.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ConfigDict, Field, model_validator

from factory.core.errors import Problem, RecipeError, RunError
from factory.core.nouns import Prompt
from factory.recipe.document import load_document
from factory.recipe.parsing import Strict, parse_sources
from filters.contamination import Contamination


def _allow_text(schema: dict[str, Any]) -> None:
    """Change the JSON schema for editors: allow a plain string too."""
    whole = dict(schema)
    schema.clear()
    schema["anyOf"] = [{"type": "string"}, whole]


class AtPath(Strict):
    model_config = ConfigDict(json_schema_extra=_allow_text)

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str | Path) else value


class Exclude(AtPath):
    """Prompts of another run, corpus or recipe. A plain string is its `path`."""

    path: Path = Field(
        description="A run directory, a folder with the Parquet files of a corpus, or a recipe "
        "whose sources are loaded."
    )


class Remaining(NamedTuple):
    """The prompts that are left, and how many were left out by `exclude` and `contamination`."""

    prompts: list[Prompt]
    excluded: int
    contaminated: int


def leave_out(
    prompts: Sequence[Prompt], exclude: Sequence[Exclude], contamination: Contamination
) -> Remaining:
    """Leave out prompts whose question is in `exclude`, or that overlap with an evaluation set.

    All user turns of a prompt are compared with the evaluation sets. Raises RunError or SourceError
    for what can't be read.
    """
    seen = {question for item in exclude for question in read_questions(item.path)}
    kept = [one for one in prompts if normalize_question(one.messages) not in seen]
    if not contamination.against or not kept:
        return Remaining(kept, len(prompts) - len(kept), 0)
    texts = ["\n".join(m["content"] for m in one.messages if m["role"] == "user") for one in kept]
    shares = contamination.index().find(pl.Series(texts))["share"]
    clean = [
        one for one, share in zip(kept, shares, strict=True) if share <= contamination.max_share
    ]
    return Remaining(clean, len(prompts) - len(kept), len(kept) - len(clean))


def read_questions(path: Path) -> Iterator[str]:
    """Yield the questions of a run, a corpus or a recipe. Raises RunError for anything else."""
    if path.suffix in (".yaml", ".yml"):
        document, problems = load_document(path), list[Problem]()
        # The recipe may be of any kind; only its sources are read.
        if not document.data.get("sources"):
            raise RunError(f"exclude: {path} has no sources; name the run whose data it uses")
        sources = parse_sources(document.data["sources"], document, problems)
        if problems:
            raise RecipeError(problems)
        from factory.prompts.load import load_prompts

        yield from (normalize_question(prompt.messages) for prompt in load_prompts(sources).prompts)
        return
    files = _find_parquet_files(path)
    if not files:
        raise RunError(
            f"exclude: {path} is no run, no corpus and no recipe; build it first, or name the "
            "recipe (a .yaml file) whose prompts should be left out"
        )
    for file in files:
        try:
            yield from extract_questions(pq.read_table(file, columns=["messages"]))
        except (OSError, KeyError, pa.ArrowException) as error:
            raise RunError(f"exclude: {file} has no readable messages: {error}") from error


def _find_parquet_files(path: Path) -> list[Path]:
    if (path / "prompts.parquet").is_file():
        return [path / "prompts.parquet"]
    return sorted(path.glob("*.parquet")) or sorted(path.glob("corpus/*.parquet"))


def extract_questions(table: pa.Table) -> list[str]:
    """Return the normalized question of every row, from its column `messages`."""
    return [normalize_question(row["messages"]) for row in table.select(["messages"]).to_pylist()]


def normalize_question(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the last user turn, with whitespace and case normalized."""
    last = next((turn["content"] for turn in reversed(messages) if turn["role"] == "user"), "")
    return " ".join(last.split()).casefold()
