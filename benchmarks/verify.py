"""How often the verifiers are wrong, on answers labelled by construction or by hand, and how fast.

    python benchmarks/verify.py
    python benchmarks/verify.py --seed 7 -n 1500 --references refs.jsonl --cases a.json b.jsonl

The generated answers (benchmarks/answers) come from a fresh seed each run, which is printed. No
rule of the verifiers may be written on them, nor on a file of cases that is called held out.
`--references` are JSON lines {"set", "reference"}: one character of each draw is changed, and a
numeric oracle says which are still equal. math-verify judges the same mathematics in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from answers.cases import Case, read_cases, read_groups, read_table
from answers.generate import HARD, RARE, Made, generate
from answers.hostile import PATHOLOGICAL
from answers.judged import cpu_seconds, judge, judge_math
from answers.mutations import KINDS, Mutation, mutate, read_references
from answers.ordinary import ordinary
from answers.peer import LIMIT_S, MathVerify
from answers.public import Pair, read_hard, read_tests

from filters.verify.verifiers import Item, Verifiers

BLIND_FIRST = "written blind; kinds that failed have been fixed since"
ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "tests" / "filters" / "verify" / "math_cases.tsv"
OTHER_HAND = ROOT / "tests" / "data" / "cases" / "by_another_hand.jsonl"
BLIND = {
    ROOT / "benchmarks" / "answers" / "blind" / name: BLIND_FIRST
    for name in (
        "first.txt", "second.txt", "third.txt", "fourth.txt", "fifth.txt", "sixth.txt",
        "seventh.txt", "eighth.txt", "ninth.jsonl", "tenth.txt", "eleventh.jsonl",
    )
}  # fmt: skip
WORST_S = 2.5
ORDINARY = 4_000
HARD_ANSWERS = 600
PEER_ANSWERS = 200
SHOWN = 12
WRITTEN_ON = "rules were written on it"
ORIGIN = "by another hand; kinds that failed in earlier runs have been fixed since"
READ = "its cases were known to those who wrote the rules"


class Claim(NamedTuple):
    name: str
    value: float
    target: float
    holds: bool


def at_most(name: str, value: float, target: float) -> Claim:
    return Claim(name, round(value, 5), target, value <= target)


def at_least(name: str, value: float, target: float) -> Claim:
    return Claim(name, round(value, 1), target, value >= target)


def share(count: int, of: int) -> float:
    return count / of if of else 0.0


def report_generated(
    items: Sequence[Made], verifiers: Verifiers, peer: MathVerify | None, show: int
) -> list[Claim]:
    """Wrong answers called correct and right ones refused, by form, here and by math-verify."""
    pairs = [(item.reference, item.response) for item in items]
    states = judge_math(pairs, verifiers)
    theirs = peer.judge(pairs) if peer else ["-"] * len(items)
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for item, state, other in zip(items, states, theirs, strict=True):
        row, label = rows[item.form], "right" if item.equal else "wrong"
        row[label] += 1
        row["failed"] += item.equal != (state == "correct") and item.equal
        row["false"] += not item.equal and state == "correct"
        row["timeout"] += state == "timeout"
        row["their failed"] += item.equal and other != "correct"
        row["their false"] += not item.equal and other == "correct"
    total = sum(rows.values(), Counter())
    print(f"\nGenerated answers ({ORIGIN})")
    print(f"{'form':22}{'wrong':>6}{'called':>8}{'right':>7}{'refused':>8}{'timeout':>8}", end="")
    print(f"   math-verify: {'called':>6}{'refused':>8}" if peer else "")
    for form, row in [*rows.items(), ("all", total)]:
        print(f"{form:22}{row['wrong']:>6}{row['false']:>8}{row['right']:>7}{row['failed']:>8}"
              f"{row['timeout']:>8}", end="")  # fmt: skip
        print(f"{row['their false']:>22}{row['their failed']:>8}" if peer else "")
    common = sum((row for form, row in rows.items() if form not in RARE), Counter())
    print(f"without the {len(RARE)} forms of rare notation: right refused "
          f"{share(common['failed'], common['right']):.2%}")  # fmt: skip
    false, refused = share(total["false"], total["wrong"]), share(total["failed"], total["right"])
    print(f"wrong called correct {false:.2%}, right refused {refused:.2%}", end="")
    if peer:
        print(f"; math-verify {share(total['their false'], total['wrong']):.2%}, "
              f"{share(total['their failed'], total['right']):.2%}", end="")  # fmt: skip
    print()
    failed = [
        f"  {'called correct' if state == 'correct' else 'refused as ' + state}: {item.form}: "
        f"{item.reference!r} | {item.answer!r}" + f" | {item.response[-90:]!r}" * (show > SHOWN)
        for item, state in zip(items, states, strict=True)
        if item.equal != (state == "correct")
    ]
    print_some(sorted(failed), show)
    return [
        at_most("verify.generated.wrong_called_correct", false, 0.001),
        at_most("verify.generated.right_refused", refused, 0.03),
        at_most("verify.generated.timeouts", share(total["timeout"], len(items)), 0.01),
    ]


def print_some(lines: Sequence[str], show: int) -> None:
    for line in lines[:show]:
        print(line)
    if len(lines) > show:
        print(f"  … {len(lines) - show} more (--show {len(lines)})")


def report_mutations(
    mutations: Sequence[Mutation], verifiers: Verifiers, peer: MathVerify | None, show: int
) -> list[Claim]:
    """What one changed character leaves correct, against the oracle's numbers."""
    pairs = [(one.reference, f"The answer is $\\boxed{{{one.answer}}}$.") for one in mutations]
    states = judge_math(pairs, verifiers)
    theirs = peer.judge(pairs) if peer else []
    print(f"\nOne-character mutations of given references ({ORIGIN}; the references were)")
    print(f"{'by the oracle':16}{'cases':>6}{'correct':>9}{'timeout':>9}{'other':>7}", end="")
    print(f"{'math-verify':>13}" if peer else "")
    for kind, meaning in KINDS.items():
        at = [n for n, one in enumerate(mutations) if one.kind == kind]
        count = Counter(states[n] for n in at)
        print(f"{kind:16}{len(at):>6}{count['correct']:>9}{count['timeout']:>9}"
              f"{len(at) - count['correct'] - count['timeout']:>7}", end="")  # fmt: skip
        print(f"{sum(theirs[n] == 'correct' for n in at):>13}" if peer else "", end="")
        print(f"   {meaning}")
    called = [one for one, state in zip(mutations, states, strict=True) if state == "correct"]
    false = [one for one in called if one.kind == "different"]
    for kind in ("different", "broken", "not read"):
        print_some(
            [
                f"  called correct, {kind}: {one.reference!r} | {one.answer!r}"
                for one in called
                if one.kind == kind
            ],
            show,
        )
    return [
        at_most("verify.mutations.different_called_correct", len(false), 0),
        at_most("verify.mutations.timeouts", share(states.count("timeout"), len(states)), 0.01),
    ]


def report_cases(
    name: str, cases: Sequence[Case], known: str, verifiers: Verifiers,
    peer: MathVerify | None, show: int,
) -> list[Claim]:  # fmt: skip
    """Expected against got, by kind. An answer not to be accepted may fail in any state."""
    states = judge([case.record for case in cases], verifiers)
    maths = [n for n, case in enumerate(cases) if case.record["kind"] == "math" and peer]
    said = peer.judge([(str(cases[n].record["reference"]), cases[n].record["text"]) for n in maths]
                      ) if peer else []  # fmt: skip
    theirs = dict(zip(maths, said, strict=True))
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    failed = []
    for n, (case, state) in enumerate(zip(cases, states, strict=True)):
        row, right = rows[case.label], case.expected == "correct"
        row["right" if right else "wrong"] += 1
        row["refused"] += right and state != "correct"
        row["false"] += not right and state == "correct"
        row["other"] += not right and state not in ("correct", case.expected)
        row["theirs"] += n in theirs and right != (theirs[n] == "correct")
        if right != (state == "correct"):
            failed.append(
                f"  {state}, not {case.expected}: {case.label}: "
                f"{case.record.get('reference')!r:.90} | {case.record['text'][-110:]!r}"
            )
    total = sum(rows.values(), Counter())
    print(f"\nCases of {name} ({known})")
    print(
        f"{'kind':58}{'right':>6}{'refused':>8}{'wrong':>6}{'called':>7}{'other state':>12}", end=""
    )
    print(f"{'math-verify failed':>20}" if peer else "")
    for label, row in [*sorted(rows.items()), ("all", total)]:
        print(f"{label:58.57}{row['right']:>6}{row['refused']:>8}{row['wrong']:>6}{row['false']:>7}"
              f"{row['other']:>12}", end="")  # fmt: skip
        print(f"{row['theirs']:>20}" if peer else "")
    print_some(failed, show)
    return [
        at_most(f"verify.cases.{name}.wrong_called_correct", total["false"], 0),
        at_most(f"verify.cases.{name}.right_refused", total["refused"], 0),
    ]


def report_public(
    name: str, pairs: Sequence[Pair], least: int, verifiers: Verifiers, show: int
) -> list[Claim]:
    """Right answers accepted and wrong ones accepted, or agreement, by other people's labels."""
    states = judge_math([(pair.reference, pair.response) for pair in pairs], verifiers)
    accepted = [state == "correct" for state in states]
    right = sum(one for one, pair in zip(accepted, pairs, strict=True) if pair.equal)
    false = sum(one for one, pair in zip(accepted, pairs, strict=True) if not pair.equal)
    agreed = sum(one == pair.equal for one, pair in zip(accepted, pairs, strict=True))
    print(f"\n{name}: {len(pairs)} pairs, {right} right accepted, {false} wrong accepted, "
          f"{agreed} agreed with")  # fmt: skip
    if name == "hardverify":  # its rows are not to be looked at: no rule may be written on them
        return [
            at_least("verify.hardverify.right_accepted", right, least),
            at_most("verify.hardverify.wrong_accepted", false, 1),
        ]
    print_some(
        [
            f"  {state}: {pair.reference!r:.90} | {pair.response[-110:]!r}"
            for state, pair in zip(states, pairs, strict=True)
            if (state == "correct") != pair.equal
        ],
        show,
    )
    return [at_least(f"verify.{name}.agreed", agreed, least)]


def report_speed(seed: int, peer: MathVerify | None) -> list[Claim]:
    """Verdicts per second of CPU time, of all processes together, on answers never seen before."""
    filler = "We look at the next case and simplify once more. " * 400  # 20 kB of reasoning
    plain = [
        (
            reference,
            f"<think>\n{filler}</think>\n\nAltogether, the answer is $\\boxed{{{answer}}}$.",
        )
        for reference, answer in ordinary(ORDINARY, seed)
    ]
    hard = [(item.reference, item.response) for item in generate(seed + 1, HARD_ANSWERS, HARD)]
    print("\nSpeed, verdicts/s/core: CPU time of this process and its workers")
    claims = []
    for name, pairs, target in (("ordinary", plain, 6000), ("hard", hard, 100)):
        with Verifiers(workers=1) as verifiers:
            judge_math([(r"\frac12", r"\boxed{\sin(\pi/6)}"), ("x+1", "$1 + x$")], verifiers)
            started = cpu_seconds()
            states = Counter(judge_math(pairs, verifiers))
            rate = len(pairs) / (cpu_seconds() - started)
        print(f"{name:10}{rate:>10,.0f}   {len(pairs)} answers: {dict(states)}", end="")
        if peer:
            peer.judge(pairs[:1])
            started = cpu_seconds()
            peer.judge(pairs[:PEER_ANSWERS])
            print(f"; math-verify {PEER_ANSWERS / (cpu_seconds() - started):,.0f}", end="")
        print()
        claims.append(at_least(f"verify.verdicts_per_second_per_core.{name}", rate, target))
    return claims


def report_hostile(verifiers: Verifiers, peer: MathVerify | None) -> list[Claim]:
    """CPU seconds of the slowest hostile answer."""
    print(f"\nHostile answers ({WRITTEN_ON}); CPU seconds here, wall seconds of math-verify")
    slowest = 0.0
    for label, response in PATHOLOGICAL.items():
        started = cpu_seconds()
        (state,) = judge_math([("7", response)], verifiers)
        seconds = cpu_seconds() - started
        slowest = max(slowest, seconds)
        print(f"{label:24}{seconds:>8.2f}  {state:14}", end="")
        if peer:
            wall = time.perf_counter()
            (other,) = peer.judge([("7", response)])
            print(f"{time.perf_counter() - wall:>8.2f}  {other}", end="")
        print()
    print(f"peers are killed at {LIMIT_S:g} s" if peer else "")
    return [at_most("verify.worst_case_cpu_seconds", slowest, WORST_S)]


def report_reference_checks(
    references: Sequence[tuple[str, str]], times: int, verifiers: Verifiers
) -> list[Claim]:
    """How many references are called bad, each time the same ones or not."""
    specs = [{"kind": "math", "answer": reference} for _, reference in references]
    runs = [[bool(why) for why in verifiers.check(specs)] for _ in range(times)]
    counts = [sum(run) for run in runs]
    changed = sum(len({run[n] for run in runs}) > 1 for n in range(len(specs)))
    kept = f"{changed} of them not each time" if changed else "the same ones each time"
    print(f"\nReferences called bad of {len(specs)}, {times} times: {counts}; {kept}")
    by_set = Counter(source for (source, _), bad in zip(references, runs[-1], strict=True) if bad)
    print("  " + ", ".join(f"{source} {count}" for source, count in by_set.most_common()))
    return [at_most("verify.reference_checks.changed", changed, 0)]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the verifiers.")
    parser.add_argument("--seed", type=int, help="Seed of everything drawn. Default: a fresh one.")
    parser.add_argument("-n", type=int, default=1500, help="Generated answers, and mutations.")
    parser.add_argument("--references", type=Path, help='JSON lines {"set", "reference"}.')
    parser.add_argument("--cases", type=Path, nargs="*", default=[], help="Files of cases.")
    parser.add_argument("--hardverify", type=Path, help="HardVerify-Math.json of TinyV.")
    parser.add_argument("--their-tests", type=Path, help="The folder of math-verify's tests.")
    parser.add_argument("--repeat", type=int, default=0, help="Check the references so many times.")
    parser.add_argument("--show", type=int, default=SHOWN, help="Failures shown of each set.")
    parser.add_argument("--workers", type=int, help="Worker processes. Default: one a core.")
    parser.add_argument("--no-peer", action="store_true", help="Leave math-verify out.")
    parser.add_argument(
        "--only", nargs="*", default=["generated", "mutations", "cases", "speed", "hostile"],
        help="Parts to run: generated, mutations, cases, speed, hostile.",
    )  # fmt: skip
    return parser.parse_args()


def main() -> None:
    asked = parse_arguments()
    seed = asked.seed if asked.seed is not None else int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    claims: list[Claim] = []
    references = read_references(asked.references) if asked.references else []
    with Verifiers(workers=asked.workers) as verifiers, MathVerify() as started:
        peer = None if asked.no_peer else started
        # starts the workers, so that no item pays for it
        verifiers.verify([Item({"kind": "math", "answer": r"\frac12"}, r"\boxed{\sin(\pi/6)}")])
        if "generated" in asked.only:
            claims += report_generated(generate(seed, asked.n), verifiers, peer, asked.show)
        if references and "mutations" in asked.only:
            mutations = mutate(references, seed, asked.n)
            claims += report_mutations(mutations, verifiers, peer, asked.show)
        if references and asked.repeat:
            claims += report_reference_checks(references, asked.repeat, verifiers)
        if "cases" in asked.only:
            sets = [("math_cases", read_table(TABLE), WRITTEN_ON)]
            if OTHER_HAND.exists():
                sets.append((OTHER_HAND.stem, read_cases(OTHER_HAND), ORIGIN))
            for path, known in BLIND.items():
                cases = read_groups(path) if path.suffix == ".txt" else read_cases(path)
                sets.append((f"blind.{path.stem}", cases, known))
            sets += [(path.stem, read_cases(path), READ) for path in asked.cases]
            for name, cases, known in sets:
                claims += report_cases(name, cases, known, verifiers, peer, asked.show)
        if asked.hardverify:
            pairs = read_hard(asked.hardverify)
            claims += report_public("hardverify", pairs, 190, verifiers, asked.show)
        if asked.their_tests:
            pairs = read_tests(asked.their_tests)
            claims += report_public("their_tests", pairs, 250, verifiers, asked.show)
        if "hostile" in asked.only:
            claims += report_hostile(verifiers, peer)
        if "speed" in asked.only:
            claims += report_speed(seed, peer)
    print()
    for claim in claims:
        print(json.dumps(claim._asdict()))


if __name__ == "__main__":
    main()
