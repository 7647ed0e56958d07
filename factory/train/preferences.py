"""Make preference pairs of a run's samples by a judge model, to train a reward model on.

This follows R1's 66,000 pairs (v2): a judge compares every pair four times, in random order. A pair
is kept only if the mean difference exceeds one point, and if the lengths are similar, so that the
reward model does not learn to prefer long texts. Every comparison is written at once, so a killed
run resumes.
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
from filters.judges.equivalence import as_data, fill_template, read_last_line

MAX_TEXT = 20_000
_CHUNK = 32
"""Pairs compared before the results are written."""

PairOutcome = Literal["kept", "close", "unread"]


class Pairing(Strict):
    """How pairs are drawn and which are kept. The defaults are R1's where it published them."""

    per_prompt: int = Field(1, ge=1, description="Maximum number of pairs per prompt.")
    comparisons: int = Field(
        4, ge=2, multiple_of=2, description="Comparisons per pair, half of them in each order."
    )
    margin: float = Field(1.0, ge=0, description="The mean grade difference must be larger.")
    length_ratio: float = Field(
        1.5, ge=1, description="Maximum ratio of the two responses' token counts."
    )
    seed: int = Field(0, ge=0, description="Random seed for the choice and the order of pairs.")


class Candidate(NamedTuple):
    """Two samples of one prompt, by id."""

    prompt_id: str
    first: str
    second: str


def make_pairs(run: Path, ask: Ask, out: Path, pairing: Pairing | None = None) -> dict[str, int]:
    """Write OUT (JSON lines: prompt, chosen, rejected, …); returns the pairs counted by outcome.

    `ask` should sample with a temperature above 0, or repeated comparisons give equal grades.
    Samples dropped by a filter other than correctness are not paired. OUT.compared.jsonl stores
    every comparison; stored ones are not repeated. Raises RunError where no pair can be drawn.
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
            f"{run} has no two samples of one prompt that can be paired; they must not be dropped "
            "by filters other than correctness, and the longer one may have at most "
            f"{pairing.length_ratio:g} times the tokens of the shorter"
        )
    texts = {row["sample_id"]: row for row in samples.iter_rows(named=True)}
    missing = [pair for pair in candidates if pair not in known]
    for chunk in _chunks(missing, _CHUNK):
        for pair, grades in zip(chunk, _compare(chunk, texts, ask, pairing), strict=True):
            row = {**pair._asdict(), "grades": grades, "settings": settings}
            append_line(compared, row)
            known[pair] = row
    messages = dict(pl.read_parquet(run / "prompts.parquet").select("id", "messages").iter_rows())
    outcomes: Counter[str] = Counter()
    lines = []
    for pair in candidates:
        outcome, difference = decide_pair(known[pair]["grades"], pairing)
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
    """Draw pairs of each prompt's samples (columns prompt_id, sample_id, text, n_tokens).

    Each prompt has its own random state, so that more samples of one prompt don't affect another.
    """
    for (prompt_id,), group in samples.group_by("prompt_id", maintain_order=True):
        rows = group.sort("sample_id").select("sample_id", "text", "n_tokens").rows()
        fitting = [
            Candidate(str(prompt_id), one, other)
            for (one, text, n), (other, its_text, m) in itertools.combinations(rows, 2)
            if text != its_text and max(n, m) <= pairing.length_ratio * min(n, m)
        ]
        random.Random(f"{pairing.seed}:{prompt_id}").shuffle(fitting)
        yield from fitting[: pairing.per_prompt]


def decide_pair(
    grades: Sequence[Sequence[int] | None], pairing: Pairing
) -> tuple[PairOutcome, float]:
    """Return the outcome of a pair, and the mean of the first grade minus the second.

    The outcome is "unread" if any reply had no readable grades.
    """
    read = [grade for grade in grades if grade is not None]
    if len(read) < len(grades):
        return "unread", 0.0
    difference = sum(first - second for first, second in read) / len(read)
    return ("kept" if abs(difference) > pairing.margin else "close"), difference


def read_grades(reply: str) -> tuple[int, int] | None:
    """Read the grades on a reply's last line; None unless it is exactly the requested JSON.

    >>> read_grades('The second rambles.\\n{"grades": [8, 5]}')
    (8, 5)
    """
    grades = read_last_line(reply, "grades")
    if not isinstance(grades, list) or len(grades) != 2:
        return None
    first, second = grades
    sound = all(type(grade) is int and 1 <= grade <= 10 for grade in grades)
    return (first, second) if sound else None


def _compare(
    pairs: Sequence[Candidate], texts: dict[str, dict[str, Any]], ask: Ask, pairing: Pairing
) -> list[list[tuple[int, int] | None]]:
    """Return the grades of every comparison, always in the order (first, second) of the pair."""
    conversations: list[list[Message]] = []
    swaps: list[bool] = []
    for pair in pairs:
        orders = [False, True] * (pairing.comparisons // 2)
        random.Random(f"{pairing.seed}:{pair.first}:{pair.second}").shuffle(orders)
        for swap in orders:
            names = (pair.second, pair.first) if swap else (pair.first, pair.second)
            conversations.append(_conversation(*(texts[name] for name in names)))
            swaps.append(swap)
    grades = [
        grade[::-1] if grade and swap else grade
        for grade, swap in zip(map(read_grades, ask(conversations)), swaps, strict=True)
    ]
    n = pairing.comparisons
    return [grades[at : at + n] for at in range(0, len(grades), n)]


def _conversation(first: dict[str, Any], second: dict[str, Any]) -> list[Message]:
    """Build the judge's prompt. As in R1, only the responses are compared, not the reasoning."""
    return fill_template(
        "judge/preference.txt",
        question=as_data(first["question"], MAX_TEXT),
        first=as_data(first["response"].strip(), MAX_TEXT),
        second=as_data(second["response"].strip(), MAX_TEXT),
    )


def _samples(run: Path) -> pl.DataFrame:
    """Return a run's samples that were kept or dropped only by the correctness filter."""
    verdicts = load_verdicts(run)
    sound = (pl.col("decision") == "keep") | (pl.col("filter") == "correctness")
    names = verdicts.filter(sound).select("sample_id").collect()
    prompts = prompt_frame(run)
    frames = [input_frame(pl.read_parquet(part), prompts) for part in sample_parts(run)]
    return pl.concat(frames).join(names, on="sample_id", how="semi").drop_nulls("response")


def _chunks(pairs: Sequence[Candidate], size: int) -> Iterable[Sequence[Candidate]]:
    return (pairs[at : at + size] for at in range(0, len(pairs), size))
