"""Many sources as one set: duplicates, counts, limits, and when a source is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from factory.core.errors import SourceError
from factory.prompts import LOADERS, loader_class
from factory.prompts.files import Files
from factory.prompts.load import MAX_FIRST_REJECTS, load_prompts, preview
from factory.prompts.source import Reject


def source(path: Path, rows: list[Any], **keys: Any) -> Files:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Files(path=str(path), **keys)


def ask(*questions: object) -> list[dict[str, Any]]:
    return [{"question": str(question)} for question in questions]


def test_a_prompt_of_three_sources_is_one(tmp_path: Path) -> None:
    sources = [
        source(tmp_path / "one.jsonl", ask("a", "b", "a")),
        source(tmp_path / "two.jsonl", ask("b", "c", "b")),
        source(tmp_path / "three.jsonl", ask("b")),
    ]
    loaded = load_prompts(sources)
    assert [(p.question, p.source, p.also_in) for p in loaded.prompts] == [
        ("a", "one", ()),
        ("b", "one", ("two", "three")),
        ("c", "two", ()),
    ]
    assert [(c.rows, c.prompts, c.repeated, c.shared) for c in loaded.counts] == [
        (3, 2, 1, 0),
        (3, 2, 1, 1),
        (1, 1, 0, 1),
    ]


def test_the_same_question_with_another_answer_is_another_prompt(tmp_path: Path) -> None:
    rows = [{"question": "q", "answer": answer} for answer in ("1", "2")]
    assert (
        len(load_prompts([source(tmp_path / "a.jsonl", rows, verifier={"kind": "math"})]).prompts)
        == 2
    )


def test_limit_counts_distinct_prompts(tmp_path: Path) -> None:
    loaded = load_prompts([source(tmp_path / "a.jsonl", ask(*"aabbccdd"), limit=3)])
    assert [prompt.question for prompt in loaded.prompts] == ["a", "b", "c"]
    assert loaded.counts[0].rows == 5


def test_bad_rows_are_set_aside_up_to_the_rate(tmp_path: Path) -> None:
    rows = [*ask(*range(9)), {"question": ""}]
    aside: list[Reject] = []
    path = tmp_path / "a.jsonl"
    loaded = load_prompts([source(path, rows, max_reject_rate=0.1)], rejects=aside.append)
    assert loaded.counts[0].rejected == Counter(no_question=1)
    assert [(reject.place, reject.reason) for reject in aside] == [(f"{path}:10", "no_question")]
    with pytest.raises(
        SourceError, match=r"a\.jsonl:10: no_question .*1 of the 10 rows .* max_reject_rate 0.09"
    ):
        load_prompts([source(path, rows, max_reject_rate=0.09)])


def test_a_limit_does_not_hide_the_rate(tmp_path: Path) -> None:
    rows = [*[{"question": ""}] * 9, *ask("a", "b")]
    with pytest.raises(SourceError, match="9 of the 10 rows"):
        load_prompts([source(tmp_path / "a.jsonl", rows, limit=1)])


def test_a_wrong_mapping_is_noticed_early(tmp_path: Path) -> None:
    rows = [{"problem": "q"}] * (MAX_FIRST_REJECTS * 3)
    with pytest.raises(
        SourceError,
        match=rf"{MAX_FIRST_REJECTS} of the {MAX_FIRST_REJECTS} rows.*no question in problem"
        "|no_question",
    ):
        load_prompts([source(tmp_path / "a.jsonl", rows, max_reject_rate=1)])


@pytest.mark.parametrize(
    ("rows", "rate", "said"),
    [
        ([], 0.05, "is empty"),
        ([{"question": ""}], 1.0, "none of its 1 rows is a prompt: no_question 1"),
    ],
)
def test_a_source_without_prompts_fails(
    tmp_path: Path, rows: list[Any], rate: float, said: str
) -> None:
    with pytest.raises(SourceError, match=said):
        load_prompts([source(tmp_path / "a.jsonl", rows, max_reject_rate=rate)])


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    one = source(tmp_path / "a.jsonl", ask("a"))
    with pytest.raises(SourceError, match="set another `name:` for one of them"):
        load_prompts([one, one])
    assert len(load_prompts([one, one.model_copy(update={"name": "b"})]).prompts) == 1


def test_preview_reads_no_further_than_it_must(tmp_path: Path) -> None:
    rows = [*ask("a", "b", "c"), {"question": ""}]
    files = source(tmp_path / "a.jsonl", rows, max_reject_rate=0)
    assert [prompt.question for prompt in preview(files, 2)] == ["a", "b"]
    with pytest.raises(SourceError):
        preview(files, 9)


@pytest.mark.parametrize("kind", LOADERS)
def test_every_kind_names_its_class_and_documents_its_keys(kind: str) -> None:
    loader = loader_class(kind)
    assert loader.model_fields["kind"].default == kind
    assert loader.__doc__
    keys = {name: field for name, field in loader.model_fields.items() if name != "kind"}
    assert not [name for name, field in keys.items() if not field.description]
    loader.model_json_schema()
