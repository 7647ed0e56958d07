"""The card states measured facts, without markup from prompts, names or recipes."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from factory.corpus.assembly.assemble import build_assembly
from factory.corpus.assembly.statistics import PAPER_TABLE_5
from factory.export.hub.card import escape, fenced, size_category, write_card
from factory.export.hub.corpus_summary import SourceUse, measure_corpus
from factory.recipe.assembly import load_assembly
from tests import corpora
from tests.export.runs import RECIPE, conversation, row, small_run, write_run

CONFIGS = {"default": {"train": "data/train-*", "validation": "data/validation-*"}}


def card_of(run: Path) -> str:
    return write_card(measure_corpus(run), "someone/sums", CONFIGS)


def front(card: str) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(card.split("---\n")[1])
    return found


def test_the_front_matter_is_what_the_hub_reads(tmp_path: Path) -> None:
    found = front(card_of(small_run(tmp_path / "run")))
    assert found["license"] == "mit"
    assert found["language"] == ["en"]
    assert found["size_categories"] == ["n<1K"]
    assert found["configs"] == [
        {
            "config_name": "default",
            "default": True,
            "data_files": [
                {"split": "train", "path": "data/train-*"},
                {"split": "validation", "path": "data/validation-*"},
            ],
        }
    ]


def test_the_statistics_are_next_to_the_papers(tmp_path: Path) -> None:
    card = card_of(small_run(tmp_path / "run"))
    assert "| math | 15 | 1.0 | 40.0 | 395,285 | 1.0 | 6,094.2 |" in card
    assert "| total | 15 | 1.0 | 40.0 | 804,745 | 1.0 | 5,355.3 |" in card


def test_the_papers_own_total_is_the_sum_of_its_domains() -> None:
    domains = [samples for name, (samples, _, _) in PAPER_TABLE_5.items() if name != "total"]
    assert sum(domains) == PAPER_TABLE_5["total"][0]


def test_several_turns_are_several_rounds(tmp_path: Path) -> None:
    twice = [*conversation(1), *conversation(2)]
    rows = [row(1, twice), row(2, conversation(3))]
    run = write_run(tmp_path / "run", {"train-00000-of-00001.parquet": rows})
    assert "| math | 2 | 1.5 | 40.0 |" in card_of(run)


def test_licences_are_never_invented(tmp_path: Path) -> None:
    rows = [
        row(1, conversation(1)),
        row(2, conversation(2), source="scraped", license=None, language=None),
    ]
    card = card_of(write_run(tmp_path / "run", {"train-00000-of-00001.parquet": rows}))
    assert front(card)["license"] == "unknown"
    assert "| scraped | **unknown**: the source states none | 1 |" in card
    assert "The licence of the prompts of 1 rows is unknown." in card
    assert "not recorded 1" in card


@pytest.mark.parametrize(
    ("license", "hub"),
    [
        ("Apache-2.0", "apache-2.0"),
        ("ODC-By-1.0", "odc-by"),
        ("GPL-3.0-only", "gpl-3.0"),
        (None, None),
    ],
)
def test_the_hubs_names_of_licences(license: str | None, hub: str | None) -> None:
    assert SourceUse("s", license, 1).hub_license == hub


def test_what_was_not_done_is_stated(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run", verdicts=[], n_correct=0)
    card = card_of(run)
    assert "Only 0 of 15 rows have an answer that a verifier found correct" in card
    assert "## Decontamination\n\nNone was done" in card
    assert "No safety filter was run." in card
    assert "The error rate of the verdicts is unknown: not audited." in card


def test_an_audit_is_stated_with_its_intervals(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    rate = {"rate": 0.02, "low": 0.01, "high": 0.05, "hits": 2, "n": 100}
    rates = {"false_negatives": rate, "false_positives": {**rate, "n": 0}}
    audit = {"method": "judge *m*", **rates, "by_domain": {"math": rates}}
    (run / "audit.json").write_text(json.dumps(audit))
    card = card_of(run)
    assert r"Audited by judge \*m\*, with 95% intervals: all domains an unknown share" in card
    assert "math an unknown share accepted although wrong, 1.0% to 5.0% of 100 refused" in card


def judged_by(*filters: str) -> list[dict[str, str | None]]:
    return [{"filter": name, "decision": "keep", "reason": None} for name in filters]


def test_the_decontamination_report(tmp_path: Path) -> None:
    recipe = RECIPE.replace("format: {}", "contamination: {ngram: 10}")
    rows = [row(1, conversation(1), verdicts=judged_by("contamination"))]
    card = card_of(write_run(tmp_path / "run", {"train-00000-of-00001.parquet": rows}, recipe))
    assert '"ngram": 10' in card
    assert "Every row passed the contamination filter, which dropped: nothing." in card


def test_the_card_of_an_assembly_includes_what_its_runs_did(tmp_path: Path) -> None:
    asked = "one two three four five six seven eight nine ten eleven twelve"
    (tmp_path / "eval.txt").write_text(asked + "\n")
    every = judged_by("format", "safety", "contamination")
    maths = [corpora.row(f"m{n}", i, verdicts=every) for n in range(9) for i in range(2)]
    chat = [corpora.row(f"g{n}", domain="general", verdicts=every[:1]) for n in range(4)]
    runs = [
        corpora.run(tmp_path / "maths", [*maths, corpora.row("x", question=asked)], {"math": 20}),
        corpora.run(tmp_path / "chat", chat, {"general": 6}),
    ]
    file = tmp_path / "corpus.yaml"
    keys = {"contamination": {"against": ["eval.txt"]}, "quotas": {"math": 10, "general": 9}}
    given = [{"path": str(path)} for path in runs]
    file.write_text(yaml.safe_dump({"kind": "assembly", "name": "mix", "runs": given, **keys}))
    build_assembly(load_assembly(file), tmp_path / "out", Console(quiet=True))
    card = card_of(tmp_path / "out")
    assert "10 of 14 rows passed the contamination filter, which dropped: nothing. " in card
    assert "The assembly left out 1 rows that overlap with evaluation sets." in card
    assert "Only 10 of 14 rows were judged by a safety filter." in card
    assert "Mixed languages were not checked." in card
    assert "| assembly | over its quota | -8 | -" in card
    assert "path: …/maths" in card
    assert str(tmp_path) not in card


PATHS = [
    ("/elsewhere/of/mine/sums.jsonl", "…/sums.jsonl"),
    (str(Path.cwd() / "runs" / "x"), "runs/x"),
    (
        "/elsewhere/of/mine/sums.jsonl\nis what I like",
        "/elsewhere/of/mine/sums.jsonl\nis what I like",
    ),
    ("relative/sums.jsonl", "relative/sums.jsonl"),
]


@pytest.mark.parametrize(("written", "public"), PATHS)
def test_absolute_paths_are_not_published(written: str, public: str, tmp_path: Path) -> None:
    recipe = yaml.safe_load(RECIPE) | {"sources": [{"kind": "files", "path": written}]}
    rows = {"train-00000-of-00001.parquet": [row(1, conversation(1))]}
    run = write_run(tmp_path / "run", rows, yaml.safe_dump(recipe))
    assert yaml.safe_load(measure_corpus(run).recipe)["sources"][0]["path"] == public


def test_other_tags_than_think_are_not_called_think(tmp_path: Path) -> None:
    rows = [row(1, [*conversation(1)[:1], {"role": "assistant", "content": "|s|a|s|b"}])]
    card = card_of(write_run(tmp_path / "run", {"train-00000-of-00001.parquet": rows}))
    assert "1 of them with a reasoning section before the response" in card


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![](https://example.org/pixel.png)",
    "a | b",
    "two\nlines\n# of title",
    "`code` and **bold** and $x$",
    "https://example.org/x and www.example.org",
    "@someone",
    "&lt;b&gt;",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_is_escaped(text: str, tmp_path: Path) -> None:
    rows = [row(1, conversation(1), source=text, domain=text, model=text, also_in=[text])]
    recipe = RECIPE.replace("by-hand", json.dumps(text))
    card = card_of(write_run(tmp_path / "run", {"train-00000-of-00001.parquet": rows}, recipe))
    prose = re.sub(r"(?ms)^(`{3,}|---)\w*$.*?^\1$", "", card)
    assert "<" not in prose.replace("`<think>`", "").replace("`</think>`", "")
    assert not re.search(r"(?<!\\)\]\(", prose)
    assert not re.search(r"https?://", prose)
    assert "@" not in prose
    lines = [line for line in prose.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} <= {3, 4, 5, 8}
    assert front(card)["license"] == "mit"


@given(st.text())
def test_escaping_loses_no_text(text: str) -> None:
    shown = escape(text)
    assert "\n" not in shown
    assert "<" not in shown
    back = html.unescape(re.sub(r"\\([\\`*_{}\[\]()#|~$])", r"\1", shown)).replace("\u200b", "")
    assert back == " ".join(text.split()).replace("\u200b", "")


@given(st.text(alphabet="`a\n~"))
def test_a_block_cannot_close_itself(text: str) -> None:
    first, *body, last = fenced(text, "yaml").split("\n")
    assert first.removesuffix("yaml") == last
    assert all(last not in line for line in body)


@pytest.mark.parametrize(
    ("rows", "category"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (804_745, "100K<n<1M"), (10**7, "10M<n<100M")],
)
def test_size_categories(rows: int, category: str) -> None:
    assert size_category(rows) == category
