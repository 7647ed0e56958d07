"""Judging what anyone sampled: `verify` and `filter_texts`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from factory.core.errors import Problem, RecipeError
from factory.core.trust import trusting
from filters.verify.verification import Verification


def verify(
    records: Iterable[Mapping[str, Any]], *, workers: int | None = None
) -> list[Verification]:
    """Judge responses by rules: one Verification a record, in their order.

    A record holds `kind` (math, choice, text, json, code, gym, arithmetic, tool_call, json_schema,
    instructions, rubric, or one that an installed package adds), what that kind is verified by
    (`reference`; `tests`, `choices`, …), and `text`, the whole completion, think section and all. A
    record that cannot be read gets the state `error`, whose `detail` says why; the others go on.
    `workers` processes share the work, one a core unless given; few records are judged by verifiers
    that stay alive between calls.

    Raises TypeError for a record that is no mapping or holds what JSON cannot.

    >>> [one.state for one in verify([{"kind": "math", "reference": "1/2", "text": "0.5"}])]
    ['correct']
    """
    from factory.judging.standalone import CHUNK, judge_chunk, verify_lines

    if isinstance(records, Mapping | str):
        raise TypeError("verify takes a list of records; put the record into a list")
    lines = [_line(number, record) for number, record in enumerate(records, 1)]
    if len(lines) <= CHUNK and workers is None:
        rows: Iterable[dict[str, Any]] = judge_chunk(list(enumerate(lines, 1)))
    else:
        rows = verify_lines(lines, workers)
    return [Verification(**{key: row[key] for key in row if key != "id"}) for row in rows]


def _line(number: int, record: Any) -> str:
    if not isinstance(record, Mapping):
        raise TypeError(f"record {number} is {type(record).__name__}, not a mapping")
    try:
        return json.dumps(dict(record))
    except (TypeError, ValueError) as error:
        raise TypeError(f"record {number} does not fit into JSON: {error}") from None


def filter_texts(
    texts: Iterable[str],
    *,
    filters: Mapping[str, Any] | Sequence[str],
    language: str | Sequence[str | None] | None = None,
    questions: Sequence[str] | None = None,
    trust_code: bool = False,
) -> pl.DataFrame:
    """Measure and judge texts by filters; one row a text, in their order.

    `filters` is a recipe's section: names and their keys (`{"language": {}}`), or a list of names.
    `language` (ISO 639-1) is that of every text, or one each; where it is None it is detected.
    `questions` are the prompts the texts answer, one each. `trust_code` is as in `load_recipe`.

    Columns: row (from 0), decision (keep, drop, undecided), reason and filter (of the first filter
    that did not keep it, else null), and every filter's metrics, named NAME_….

    Raises RecipeError for a filter or key that there is none of, TypeError for texts that are no
    strings, ValueError for an unknown language or another number of languages or questions than
    texts.

    >>> filter_texts(["All of it is English."], filters=["language"], language="en")["decision"][0]
    'keep'
    """
    from factory.build.refilter import Columns, filter_frame

    with trusting(trust_code):
        judges = _filters(filters)
    rows = {"text": _texts(texts)}
    if language is not None:
        rows["language"] = _languages(language, len(rows["text"]))
    if questions is not None:
        rows["question"] = _texts(questions, "questions")
        _require_length("questions", rows["question"], len(rows["text"]))
    frame = pl.DataFrame(rows, schema=dict.fromkeys(rows, pl.String))
    columns = Columns(
        prompt="question" if questions is not None else None,
        language="language" if language is not None else None,
    )
    if frame.is_empty():
        schema = {"row": pl.UInt32} | dict.fromkeys(("decision", "reason", "filter"), pl.String)
        return pl.DataFrame(schema=schema)
    judged = filter_frame(frame, judges, columns)
    return judged.rename({"id": "row", "verdict": "decision"}).cast({"row": pl.UInt32})


def _filters(given: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    from factory.recipe.document import read_mapping
    from factory.recipe.parsing import parse_filters

    if isinstance(given, str):
        raise TypeError("filters is a mapping of names to keys, or a list of names")
    written = dict(given) if isinstance(given, Mapping) else {name: {} for name in given}
    document = read_mapping({"filters": written})
    problems: list[Problem] = []
    found: dict[str, Any] = parse_filters(document.data["filters"], document, problems)
    problems += [
        Problem(
            f"filters.{name}",
            "asks a model that is started on this machine, which needs a run; name an endpoint",
        )
        for name, judge in found.items()
        if judge.local_judge is not None
    ]
    if problems:
        raise RecipeError(problems)
    return found


def _texts(texts: Iterable[str], what: str = "texts") -> list[str | None]:
    if isinstance(texts, str):
        raise TypeError(f"{what} is one string; put it into a list")
    found: list[str | None] = []
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"{what}[{number}] is {type(text).__name__}, not a string")
        # A lone surrogate has no UTF-8 form: "?", as in sampled text.
        found.append(text.encode("utf-8", "replace").decode())
    return found


def _languages(language: str | Sequence[str | None], count: int) -> list[str | None]:
    from filters.language_id.scripts import normalized_language

    named: list[str | None] = []
    named += [language] * count if isinstance(language, str) else language
    _require_length("language", named, count)
    for name in dict.fromkeys(named):
        if name is not None and normalized_language(name) is None:
            raise ValueError(f"language {name!r} is not known here; write ISO 639-1: en, zh, …")
    return named


def _require_length(what: str, given: Sequence[Any], count: int) -> None:
    if len(given) != count:
        raise ValueError(f"{what} has {len(given)} items for {count} texts; give one each")
