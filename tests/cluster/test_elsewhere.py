"""Filters that another machine rebuilds from text: the same metrics, or an error that names it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from rich.console import Console

from factory.build.build import build
from factory.core import trust
from factory.core.errors import RunError
from factory.core.nouns import Prompt
from factory.core.resources import recipe_path
from factory.core.run_dir import sample_parts
from factory.judging.elsewhere import describe_filters, may_leave, rebuild_filters
from factory.judging.metrics import prompt_frame, read_metrics
from factory.judging.verdicts import all_filters
from factory.recipe.build import load_recipe
from factory.recipe.document import Document
from factory.recipe.parsing import parse_filters
from filters import FILTERS
from filters.base import Filter
from tests.replayed import write_recipe

ROOT = Path(__file__).parents[2]
EXAMPLES = yaml.safe_load((ROOT / "docs/reference/examples.yaml").read_text())


def parse(filters: dict[str, Any]) -> dict[str, Filter]:
    problems: list[Any] = []
    found: dict[str, Filter] = parse_filters(filters, Document({"filters": filters}, {}), problems)
    assert not problems
    return found


def given() -> list[dict[str, Any]]:
    """The filters of all examples in the reference, and every shipped filter's defaults."""
    written = [yaml.safe_load(text) for text in EXAMPLES.values()]
    sections = [doc["filters"] for doc in written if isinstance(doc.get("filters"), dict)]
    plain: dict[str, Any] = {name: {} for name in FILTERS if name not in ("quality", "steps")}
    return [plain, *(some for some in sections if "contamination" not in some)]


@pytest.mark.parametrize("section", given(), ids=lambda section: "-".join(section))
def test_what_is_described_is_rebuilt(section: dict[str, Any]) -> None:
    filters = {name: one for name, one in parse(section).items() if may_leave(one)}
    again = rebuild_filters(describe_filters(filters))
    assert again == filters
    assert [one.cache_key() for one in again.values()] == [
        one.cache_key() for one in filters.values()
    ]


CHATTY = """
import polars as pl
from filters.base import Filter

class Chatty(Filter):
    VERSION = 1
    word: str

    def measure(self, samples):
        return samples.select(
            "sample_id", chatty_words=pl.col("text").str.count_matches(self.word, literal=True)
        )

    def rules(self):
        return []
"""
NODE = """
import sys
from pathlib import Path
import polars as pl
from factory.judging.elsewhere import _measure
described, part, prompts, to = sys.argv[1:]
measured = _measure(part, "", Path(part).read_bytes(), pl.read_parquet(prompts), described, 1)
for name, frame in measured.metrics.items():
    frame.write_parquet(f"{to}/{name}.parquet")
"""


def run_node(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Measure in a process that knows nothing but what it is given."""
    known = ("PATH", "HOME", "LANG", "XDG_CACHE_HOME")
    return subprocess.run(
        [sys.executable, "-c", NODE, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={name: os.environ[name] for name in known if name in os.environ},
        cwd=ROOT,
    )


def test_a_process_that_knows_only_the_description_measures_the_same(tmp_path: Path) -> None:
    """With a filter and a verifier of the user's own, which are trusted by content."""
    file = tmp_path / "chatty.py"
    file.write_text(CHATTY)
    trust.trust_file(file)
    checks = recipe_path("own_verifier") / "checks.py"
    source = (
        f"{{kind: files, path: {checks.parent}/prompts.jsonl, language: en, keep: [schema], "
        f"verifier: {{class: '{checks}:ValidSql'}}}}"
    )
    filters = f"{{format: {{}}, correctness: {{}}, chatty: {{class: '{file}:Chatty', word: SQL}}}}"

    def answer(prompt: Prompt, index: int) -> str:
        query = (prompt.verifier or {})["answer"] if index else "select title from book"
        return f"<think>\nSome SQL.\n</think>\n\n```sql\n{query}\n```"

    written = write_recipe(tmp_path, (), answer, source=source, filters=filters)
    recipe, run = load_recipe(written), tmp_path / "run"
    build(recipe, run, Console(quiet=True))
    (part,) = sample_parts(run)
    chosen = all_filters(recipe)
    described = describe_filters(chosen)
    assert list(json.loads(described)["verifiers"]) == ["own_verifier/checks.py:ValidSql"]
    prompts = tmp_path / "prompts.parquet"
    prompt_frame(run).write_parquet(prompts)
    done = run_node(described, part, prompts, tmp_path)
    assert done.returncode == 0, done.stderr
    for name, filter_ in chosen.items():
        folder = run / "metrics" / f"{name}-{filter_.cache_key()}"
        here = read_metrics(folder, [part], pl.all())
        there = pl.read_parquet(tmp_path / f"{name}.parquet")
        timed = [column for column in here.columns if column.endswith("_ms")]
        assert there.drop(timed).equals(here.drop(timed)), name
    states = read_metrics(
        run / "metrics" / f"correctness-{chosen['correctness'].cache_key()}", [part], pl.all()
    )["correctness_state"]
    assert set(states) == {"correct", "wrong"}

    untrusted = json.dumps(json.loads(described) | {"trusted": ""})
    refused = run_node(untrusted, part, prompts, tmp_path)
    assert "chatty.py" in refused.stderr
    assert "is code that is not trusted yet" in refused.stderr


def test_a_node_that_would_measure_otherwise_is_named(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    shipped = ROOT / "data" / "safety" / "rules.yaml"
    rules.write_text(shipped.read_text())
    described = describe_filters(parse({"safety": {"rule_file": str(rules)}}))
    rebuild_filters.cache_clear()
    assert list(rebuild_filters(described)) == ["safety"]
    rebuild_filters.cache_clear()
    rules.write_text(shipped.read_text() + "\n# another version\n")
    with pytest.raises(RunError, match="would measure safety otherwise") as error:
        rebuild_filters(described)
    assert socket.gethostname() in str(error.value)


def test_a_node_without_the_file_of_a_class_is_named(tmp_path: Path) -> None:
    file = tmp_path / "chatty.py"
    file.write_text(CHATTY)
    trust.trust_file(file)
    described = describe_filters(parse({"mine": {"class": f"{file}:Chatty", "word": "so"}}))
    file.unlink()
    with pytest.raises(RunError, match="at the same paths") as error:
        rebuild_filters(described)
    assert f"{socket.gethostname()}, a node" in str(error.value)
