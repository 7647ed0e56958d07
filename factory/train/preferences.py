"""Preference pairs made by a judge from a run's samples, to train a helpfulness model on.

As R1 made its 66,000 (v2): every pair is compared four times with the order of the two drawn at
random, kept only if the mean difference is more than one point, and of similar length, so that the
model learns no taste for length. What was compared is on disk at once: a killed run goes on.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import polars as pl
from pydantic import Field

from factory.core.errors import RunError
from factory.core.files import append_line, read_lines, write_atomic
from factory.core.nouns import Message, fingerprint
from factory.core.run_dir import sample_parts
from factory.judging.metrics import input_frame, prompt_frame
from factory.judging.verdicts import load_verdicts
from factory.recipe.parsing import Strict
from filters.base import Ask
from filters.judges.equivalence import as_data, filled_in, said_last

MAX_TEXT = 20_000
_TOGETHER = 32
"""Pairs compared before what is known of them is written down."""

Outcome = Literal["kept", "close", "unread"]


class Pairing(Strict):
    """How pairs are drawn and which are kept. The defaults are R1's where it published them."""

    per_prompt: int = Field(1, ge=1, description="Pairs of one prompt's samples, at most.")
    comparisons: int = Field(4, ge=2, multiple_of=2, description="Of each pair; half each way.")
    margin: float = Field(1.0, ge=0, description="The mean difference must be more than this.")
    length_ratio: float = Field(
        1.5, ge=1, description="The longer response has at most so many times the tokens."
    )
    seed: int = Field(0, ge=0, description="Of which samples are paired, and in which order.")


class Candidate(NamedTuple):
    """Two samples of one prompt, by id."""

    prompt_id: str
    first: str
    second: str


def make_pairs(run: Path, ask: Ask, out: Path, pairing: Pairing | None = None) -> dict[str, int]:
    """Write OUT (JSON lines: prompt, chosen, rejected, …) and return what became of the pairs.

    `ask` should sample (temperature above 0): the comparisons of a pair are else two, said twice.
    Samples that a filter other than correctness drops are not paired. OUT.compared.jsonl holds
    every comparison; what stands there is not asked again.
    """
    pairing = pairing or Pairing()
    samples = _samples(run)
    compared = out.with_name(f"{out.name}.compared.jsonl")
    settings = fingerprint(pairing.model_dump(mode="json"))
    known = {
        Candidate(row["prompt_id"], row["first"], row["second"]): row
        for row in read_lines(compared)
        if row["settings"] == settings
    }
    candidates = list(draw_pairs(samples, pairing))
    if not candidates:
        raise RunError(
            f"{run} has no two samples of one prompt that could be paired; it needs samples "
            "without defects, of lengths that differ by at most "
            f"{pairing.length_ratio:g} times"
        )
    texts = {row["sample_id"]: row for row in samples.iter_rows(named=True)}
    missing = [pair for pair in candidates if pair not in known]
    for chunk in _chunks(missing, _TOGETHER):
        for pair, grades in zip(chunk, _compare(chunk, texts, ask, pairing), strict=True):
            row = {**pair._asdict(), "grades": grades, "settings": settings}
            append_line(compared, row)
            known[pair] = row
    messages = dict(pl.read_parquet(run / "prompts.parquet").select("id", "messages").iter_rows())
    outcomes: Counter[str] = Counter()
    lines = []
    for pair in candidates:
        outcome, difference = settle(known[pair]["grades"], pairing)
        outcomes[outcome] += 1
        if outcome == "kept":
            ids = (pair.first, pair.second) if difference > 0 else (pair.second, pair.first)
            chosen, rejected = (texts[name]["text"] for name in ids)
            line = {"prompt": messages[pair.prompt_id], "chosen": chosen, "rejected": rejected}
            line |= {"chosen_id": ids[0], "rejected_id": ids[1], "margin": abs(difference)}
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    write_atomic(out, "".join(lines))
    return dict(outcomes)


def draw_pairs(samples: pl.DataFrame, pairing: Pairing) -> Iterator[Candidate]:
    """Pairs of each prompt's samples (columns prompt_id, sample_id, text, n_tokens), seeded by the
    prompt, so that more samples of one change nothing for another."""
    for (prompt_id,), group in samples.group_by("prompt_id", maintain_order=True):
        rows = group.sort("sample_id").select("sample_id", "text", "n_tokens").rows()
        fitting = [
            Candidate(str(prompt_id), one, other)
            for (one, text, n), (other, its_text, m) in itertools.combinations(rows, 2)
            if text != its_text and max(n, m) <= pairing.length_ratio * min(n, m)
        ]
        random.Random(f"{pairing.seed}:{prompt_id}").shuffle(fitting)
        yield from fitting[: pairing.per_prompt]


def settle(grades: Sequence[Sequence[int] | None], pairing: Pairing) -> tuple[Outcome, float]:
    """What becomes of a pair, and the mean of the first's grade less the second's."""
    read = [grade for grade in grades if grade is not None]
    if len(read) < len(grades):
        return "unread", 0.0
    difference = sum(first - second for first, second in read) / len(read)
    return ("kept" if abs(difference) > pairing.margin else "close"), difference


def read_grades(reply: str) -> tuple[int, int] | None:
    """The grades on a reply's last line; None unless it is exactly the JSON asked for.

    >>> read_grades('The second rambles.\\n{"grades": [8, 5]}')
    (8, 5)
    """
    grades = said_last(reply, "grades")
    if not isinstance(grades, list) or len(grades) != 2:
        return None
    first, second = grades
    sound = all(type(grade) is int and 1 <= grade <= 10 for grade in grades)
    return (first, second) if sound else None


def _compare(
    pairs: Sequence[Candidate], texts: dict[str, dict[str, Any]], ask: Ask, pairing: Pairing
) -> list[list[tuple[int, int] | None]]:
    """The grades of every comparison, always as (first, second) of the pair."""
    asked: list[list[Message]] = []
    swaps: list[bool] = []
    for pair in pairs:
        orders = [False, True] * (pairing.comparisons // 2)
        random.Random(f"{pairing.seed}:{pair.first}:{pair.second}").shuffle(orders)
        for swap in orders:
            names = (pair.second, pair.first) if swap else (pair.first, pair.second)
            asked.append(_conversation(*(texts[name] for name in names)))
            swaps.append(swap)
    grades = [
        grade[::-1] if grade and swap else grade
        for grade, swap in zip(map(read_grades, ask(asked)), swaps, strict=True)
    ]
    n = pairing.comparisons
    return [grades[at : at + n] for at in range(0, len(grades), n)]


def _conversation(first: dict[str, Any], second: dict[str, Any]) -> list[Message]:
    """The summary alone is compared, not the reasoning: R1's helpfulness sees no more."""
    return filled_in(
        "judge/preference.txt",
        question=as_data(first["question"], MAX_TEXT),
        first=as_data(first["response"].strip(), MAX_TEXT),
        second=as_data(second["response"].strip(), MAX_TEXT),
    )


def _samples(run: Path) -> pl.DataFrame:
    """A run's samples without defects: kept, or dropped for nothing but being wrong."""
    verdicts = load_verdicts(run)
    sound = (pl.col("decision") == "keep") | (pl.col("filter") == "correctness")
    names = verdicts.filter(sound).select("sample_id").collect()
    prompts = prompt_frame(run)
    frames = [input_frame(pl.read_parquet(part), prompts) for part in sample_parts(run)]
    return pl.concat(frames).join(names, on="sample_id", how="semi").drop_nulls("response")


def _chunks(pairs: Sequence[Candidate], size: int) -> Iterable[Sequence[Candidate]]:
    return (pairs[at : at + size] for at in range(0, len(pairs), size))
