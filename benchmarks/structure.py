"""Structure and repetition filters compared with datatrove and data-juicer: same texts, one core.

    pip install -e ".[bench-structure]"      in a separate environment: the peers pin many versions
    python benchmarks/structure.py

Two claims: our filters are at least 30 times as fast as either peer, and reject fewer good long
chains of thought, both for the repetition rules alone and together with the structure rules. The
texts are generated (benchmarks/reasoning.py): good ones repeat themselves like real reasoning, bad
ones have one of seven known defects. Peers run with their defaults. data-juicer installs missing
packages (ray) at run time, so the extra has them.
"""

from __future__ import annotations

import os

os.environ["POLARS_MAX_THREADS"] = "1"  # before polars: one core for everyone

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import polars as pl
from reasoning import FLAWS, Labelled, completions

from factory.core.think import split_think_exprs
from filters.base import Filter
from filters.format import Format
from filters.length import Length
from filters.readability import Readability
from filters.repetition import Repetition

SEED = 7
N_GOOD, N_A_FLAW = 600, 30
ROUNDS = 3  # the best of them counts
TARGET_SPEED = 30.0

Judge = Callable[[Sequence[Labelled]], list[bool]]
"""Texts → whether each is rejected."""

Suites = dict[str, Judge]
"""`repetition`: repetition rules only. `all`: also structure rules."""


def ours() -> Suites:
    """Return our judges: format, length, readability and repetition, from text to verdict."""
    return {
        "repetition": lambda texts: _verdicts(texts, [Repetition()]),
        "all": lambda texts: _verdicts(texts, [Format(), Length(), Readability(), Repetition()]),
    }


def _verdicts(texts: Sequence[Labelled], judges: Sequence[Filter]) -> list[bool]:
    rows = pl.DataFrame(
        {
            "sample_id": [str(n) for n in range(len(texts))],
            "text": [text.text for text in texts],
            "domain": [text.domain for text in texts],
            "finish_reason": ["length" if text.flaw == "cut_off" else "stop" for text in texts],
            "n_tokens": [len(text.text) // 4 for text in texts],
        }
    ).with_columns(**split_think_exprs())
    rejected = pl.Series([False] * len(texts))
    for judge in judges:
        metrics = judge.measure(rows)
        measured = rows.drop("text", "thinking", "response", "shape").join(metrics, on="sample_id")
        rejected |= judge.decide(measured)["decision"] == "drop"
    return rejected.to_list()


def datatrove() -> Suites:
    """Return datatrove's judges: Gopher's rules for repetition and for quality (structure)."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter

    repetition, quality = GopherRepetitionFilter(), GopherQualityFilter()

    def judge(texts: Sequence[Labelled], filters: Sequence[Any]) -> list[bool]:
        documents = [Document(text=text.text, id="x") for text in texts]
        return [any(f.filter(doc) is not True for f in filters) for doc in documents]

    return {
        "repetition": lambda texts: judge(texts, [repetition]),
        "all": lambda texts: judge(texts, [repetition, quality]),
    }


def data_juicer() -> Suites:
    """Return data-juicer's judges: repetition, line lengths, shares of letters and symbols."""
    from data_juicer.ops import filter as operators
    from data_juicer.utils.constant import Fields

    repetition = [operators.WordRepetitionFilter(), operators.CharacterRepetitionFilter()]
    structure = [
        operators.MaximumLineLengthFilter(),
        operators.AverageLineLengthFilter(),
        operators.AlphanumericFilter(),
        operators.SpecialCharactersFilter(),
    ]

    def judge(texts: Sequence[Labelled], filters: Sequence[Any]) -> list[bool]:
        kept = [True] * len(texts)
        for operator in filters:
            batch = {"text": [text.text for text in texts], Fields.stats: [{} for _ in texts]}
            verdicts = operator.process_batched(operator.compute_stats_batched(batch))
            kept = [a and b for a, b in zip(kept, verdicts, strict=True)]
        return [not keep for keep in kept]

    return {
        "repetition": lambda texts: judge(texts, repetition),
        "all": lambda texts: judge(texts, repetition + structure),
    }


def timed(judge: Judge, texts: Sequence[Labelled], rounds: int) -> tuple[list[bool], float]:
    """Return what is rejected, and megabytes per second."""
    judge(texts[:3])  # load tokenizers, compile kernels
    seconds = []
    for _ in range(rounds):
        start = time.process_time()  # one thread each, so a busy machine does not count
        rejected = judge(texts)
        seconds.append(time.process_time() - start)
    size = sum(len(text.text.encode()) for text in texts)
    return rejected, size / 1e6 / min(seconds)


class Result(NamedTuple):
    """The result of one suite of one tool."""

    tool: str
    suite: str
    rejected: list[bool]
    speed: float  # MB/s

    def share(self, texts: Sequence[Labelled], flaw: str | None) -> float:
        """Return the rejected share of the texts with a defect (None: of the good texts)."""
        verdicts = [r for text, r in zip(texts, self.rejected, strict=True) if text.flaw == flaw]
        return sum(verdicts) / len(verdicts)


def measure(texts: Sequence[Labelled]) -> list[Result]:
    results = []
    for tool, load in (("ours", ours), ("datatrove", datatrove), ("data-juicer", data_juicer)):
        try:
            suites = load()
        except ImportError as error:
            print(f"{tool}: not measured, {error}; the head of this file says how to install it\n")
            continue
        rounds = ROUNDS if tool == "ours" else 1
        for suite, judge in suites.items():
            results.append(Result(tool, suite, *timed(judge, texts, rounds)))
    return results


def main() -> None:
    texts = list(completions(SEED, N_GOOD, N_A_FLAW))
    size = sum(len(text.text) for text in texts) / 1e6
    print(f"{N_GOOD} good and {len(texts) - N_GOOD} spoilt chains of thought, {size:.1f} MB\n")
    results = measure(texts)

    print("rejected".ljust(28) + "".join(result.tool.rjust(13) for result in results))
    print(" ".ljust(28) + "".join(result.suite.rjust(13) for result in results))
    for label, flaw in [("good, long (should be 0%)", None), *((flaw, flaw) for flaw in FLAWS)]:
        print(label.ljust(28) + "".join(f"{result.share(texts, flaw):13.1%}" for result in results))
    print("MB/s".ljust(28) + "".join(f"{result.speed:13.2f}" for result in results) + "\n")

    own = {result.suite: result for result in results if result.tool == "ours"}
    for peer in results:
        if peer.tool == "ours":
            continue
        mine, name = own[peer.suite], f"{peer.suite}_{peer.tool}"
        ratio = mine.speed / peer.speed
        claim(f"structure_speed_over_{name}", ratio, TARGET_SPEED, ratio >= TARGET_SPEED)
        ours_rejects, peer_rejects = mine.share(texts, None), peer.share(texts, None)
        holds = ours_rejects < peer_rejects
        claim(f"structure_false_rejects_under_{name}", ours_rejects, peer_rejects, holds)


def claim(name: str, value: float, target: float, holds: bool) -> None:
    numbers = {"value": round(value, 4), "target": round(target, 4)}
    print(json.dumps({"name": name, **numbers, "holds": holds}))


if __name__ == "__main__":
    main()
