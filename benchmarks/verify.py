"""Verifying maths: accuracy, speed and the worst case, against math-verify alone and mathruler.

Needs `pip install mathruler pylatexenc` beside the project (the PRM800K grader, much used as a
reward function). The accuracy table is tests/filters/verify/math_cases.tsv; the rest is generated
from a seed. Peers run in the same killable workers, or the hostile answers would hang them.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from filters.verify.pool import Pool
from filters.verify.verifiers import Item, Verifiers

CASES = Path(__file__).resolve().parents[1] / "tests" / "filters" / "verify" / "math_cases.tsv"
PEER_LIMIT_S = 6.0
WORST_S = 2.5
ORDINARY = 4_000

PATHOLOGICAL = {
    "tower": r"\boxed{9^{9^{9^9}}}",
    "plain tower": r"\boxed{9^9^9^9}",
    "factorial": r"\boxed{(10^9)!}",
    "long factorial": r"\boxed{10000000!}",
    "double factorial": r"\boxed{((99)!)!}",
    "binomial": r"\boxed{\binom{10^7}{5\cdot 10^6}}",
    "long sum": r"\boxed{\sum_{k=1}^{10^9} \frac{1}{k}}",
    "long product": r"\boxed{\prod_{k=1}^{1000000} k}",
    "trinomials": r"\boxed{(a+b+c)^{90}(a+b+d)^{90}}",
    "power of a sum": r"\boxed{(x+y+z)^{99}}",
    "nested roots": r"\boxed{" + r"\sqrt{1+" * 18 + "x" + "}" * 18 + "}",
    "nested fractions": r"\boxed{" + r"\frac{1}{1+" * 18 + "x" + "}" * 18 + "}",
    "trigonometric": r"\boxed{"
    + "+".join(rf"\sin^{{{k}}}({k}x)\cos({k}y)" for k in range(2, 14))
    + "}",
    "integral": r"\boxed{\int \frac{e^{x^2}\sin(\ln x)}{1+x^7} dx}",
    "open braces": r"\boxed{" + "{" * 20_000,
    "closed braces": r"\boxed{" + "{" * 20_000 + "}" * 20_000 + "}",
    "open boxes": r"\boxed{" * 20_000,
    "open formulas": r"\( x = 1, " * 5_000,
    "megabytes": r"\( x = 1, " * 200_000 + r"\boxed{7}",
    "digits": r"\boxed{" + "7" * 100_000 + "}",
    "long list": r"\boxed{" + ",".join(map(str, range(900))) + "}",
    "big determinant": r"\boxed{\det\begin{pmatrix}"
    + r"\\".join("&".join(f"x_{{{i}{j}}}" for j in range(9)) for i in range(9))
    + r"\end{pmatrix}}",
    "solve": r"\boxed{x^{9}+y^{9}x+\sin(xy)=e^{x+y}}",
    "decimal power": r"\boxed{1.0000001^{99999999999}}",
}


class Case(NamedTuple):
    category: str
    right: bool
    reference: str
    response: str


def by_math_verify(case: Sequence[str]) -> bool:
    """math-verify as its documentation uses it, its own timeouts on."""
    from math_verify import parse, verify

    reference, response = case
    return bool(verify(parse(f"${reference}$"), parse(response)))


def by_mathruler(case: Sequence[str]) -> bool:
    grader = import_module("mathruler.grader")
    reference, response = case
    return bool(grader.grade_answer(grader.extract_boxed_content(response), reference))


def read_cases() -> list[Case]:
    cases = []
    for line in CASES.read_text("utf-8").splitlines():
        if line.startswith("#"):
            continue
        category, right, reference, answer = line.split("\t")
        raw = category == "extraction"
        response = (
            answer.replace("\\n", "\n") if raw else f"So the answer is $\\boxed{{{answer}}}$."
        )
        cases.append(Case(category, right == "yes", reference, response))
    return cases


def ordinary(n: int, seed: int = 0) -> list[tuple[str, str]]:
    """(reference, answer) pairs in the mix of competition answers, half of them wrong."""
    draw = random.Random(seed)

    def integer() -> tuple[str, str, str]:
        value = draw.choice(
            (draw.randint(-20, 200), draw.randint(0, 10_000), draw.randint(0, 10**7))
        )
        return str(value), draw.choice((f"{value}", f"{value:,}", f"{value}.0")), str(value + 1)

    def fraction() -> tuple[str, str, str]:
        value = Fraction(draw.randint(1, 99), draw.randint(2, 60))
        top, bottom = value.numerator, value.denominator
        spelled = draw.choice(
            (f"{top}/{bottom}", rf"\dfrac{{{top}}}{{{bottom}}}", rf"\tfrac{{{top}}}{{{bottom}}}")
        )
        return rf"\frac{{{top}}}{{{bottom}}}", spelled, f"{top + 1}/{bottom}"

    def decimal() -> tuple[str, str, str]:
        value = draw.randint(1, 99_999)
        return f"{value / 100:.2f}", f"{value / 100:.2f}", f"{(value + 2) / 100:.2f}"

    def closed() -> tuple[str, str, str]:
        a, b, root = draw.randint(2, 30), draw.randint(1, 30), draw.choice((2, 3, 5, 7, 11, 13))
        return (
            rf"{b}+{a}\sqrt{{{root}}}",
            rf"{a}\sqrt{root}+{b}" if root < 10 else rf"{a}\sqrt{{{root}}}+{b}",
            rf"{b}-{a}\sqrt{{{root}}}",
        )

    def circle() -> tuple[str, str, str]:
        a, b = draw.randint(1, 60), draw.randint(2, 12)
        return (
            rf"\frac{{{a}\pi}}{{{b}}}",
            rf"\frac{{{a}}}{{{b}}}\pi",
            rf"\frac{{{a + 1}\pi}}{{{b}}}",
        )

    def polynomial() -> tuple[str, str, str]:
        a, b = draw.randint(1, 30), draw.randint(1, 30)
        return f"x^2+{a + b}x+{a * b}", f"(x+{a})(x+{b})", f"(x-{a})(x-{b})"

    def pair() -> tuple[str, str, str]:
        a, b = draw.randint(-30, 30), draw.randint(31, 60)
        return f"({a},{b})", rf"\left({a}, {b}\right)", f"({b},{a})"

    def roots() -> tuple[str, str, str]:
        a, b = draw.randint(-30, 30), draw.randint(31, 60)
        return f"{a}, {b}", rf"\{{{b}, {a}\}}", f"{a}, {b + 1}"

    def interval() -> tuple[str, str, str]:
        a, b = draw.randint(-30, 30), draw.randint(31, 60)
        return f"[{a},{b})", rf"{a} \le x < {b}", f"({a},{b})"

    def word() -> tuple[str, str, str]:
        name = draw.choice(("Monday", "Alice", "even", "Yes", "isosceles", "Carla"))
        return name, rf"\text{{{name}}}", r"\text{neither}"

    def measured() -> tuple[str, str, str]:
        value = draw.randint(1, 900)
        return str(value), rf"{value} \text{{ cm}}", rf"{value + 3} \text{{ cm}}"

    def function() -> tuple[str, str, str]:
        a, b = draw.randint(2, 9), draw.randint(2, 9)
        return rf"\log_{{{a}}} {b}", rf"\frac{{\ln {b}}}{{\ln {a}}}", rf"\log_{{{b}}} {a + 1}"

    makers: list[tuple[int, Callable[[], tuple[str, str, str]]]] = [
        (550, integer), (130, fraction), (50, decimal), (70, closed), (50, circle), (5, function),
        (40, polynomial), (30, pair), (20, roots), (20, interval), (20, word), (15, measured),
    ]  # fmt: skip
    pairs = []
    for _ in range(n):
        (make,) = draw.choices([make for _, make in makers], [weight for weight, _ in makers])
        reference, right, wrong = make()
        pairs.append((reference, right if draw.random() < 0.5 else wrong))
    return pairs


def accuracy(verifiers: Verifiers, cases: Sequence[Case]) -> tuple[int, int]:
    """Print the table; our false positives and false negatives."""
    items = [Item({"kind": "math", "answer": case.reference}, case.response) for case in cases]
    said: dict[str, list[bool | None]] = {
        "here": [verdict.state == "correct" for verdict in verifiers.verify(items)]
    }
    for name, task in (("math-verify", "by_math_verify"), ("mathruler", "by_mathruler")):
        pool = Pool(f"verify:{task}", workers=1, attempts=(PEER_LIMIT_S,))
        outcomes = pool.run([[case.reference, case.response] for case in cases])
        said[name] = [outcome.value if outcome.failure is None else False for outcome in outcomes]
        failed = [outcome.detail for outcome in outcomes if outcome.failure]
        if failed:
            print(f"{name}: {len(failed)} cases failed, such as: {failed[0]}", file=sys.stderr)
        pool.close()
    right = sum(case.right for case in cases)
    print(f"\nAccuracy on {len(cases)} cases, {len(cases) - right} of them negatives")
    print(f"{'category':14}{'cases':>6}" + "".join(f"{name:>14}" for name in said))
    by_category = defaultdict(list)
    for position, case in enumerate(cases):
        by_category[case.category].append(position)
    for category, positions in by_category.items():
        shares = [
            sum(answers[at] == cases[at].right for at in positions) / len(positions)
            for answers in said.values()
        ]
        print(f"{category:14}{len(positions):>6}" + "".join(f"{share:>14.0%}" for share in shares))
    for label, wanted in (("false positives", False), ("false negatives", True)):
        counts = [
            sum(answers[at] != wanted and case.right == wanted for at, case in enumerate(cases))
            for answers in said.values()
        ]
        print(f"{label:20}" + "".join(f"{count:>14}" for count in counts))
    accurate = [
        sum(answers[at] == case.right for at, case in enumerate(cases)) / len(cases)
        for answers in said.values()
    ]
    print(f"{'accuracy':20}" + "".join(f"{share:>14.1%}" for share in accurate))
    here = said["here"]
    return (
        sum(bool(here[at]) and not case.right for at, case in enumerate(cases)),
        sum(not here[at] and case.right for at, case in enumerate(cases)),
    )


def speed(verifiers: Verifiers) -> tuple[float, float]:
    """The share of ordinary answers the fast path decides, and verdicts a second on one core."""
    filler = "We look at the next case and simplify once more. " * 400  # 20 kB of reasoning
    pairs = ordinary(ORDINARY)
    texts = [
        f"<think>\n{filler}</think>\n\nAltogether, the answer is $\\boxed{{{answer}}}$."
        for _, answer in pairs
    ]
    started = time.perf_counter()
    items = [
        Item.of({"kind": "math", "answer": reference}, text)
        for (reference, _), text in zip(pairs, texts, strict=True)
    ]
    verdicts = verifiers.verify(items)
    both = time.perf_counter() - started
    methods = Counter(verdict.method for verdict in verdicts)
    share = 1 - methods["symbolic"] / len(verdicts)
    fast = [
        (item.verifier, text)
        for item, text, verdict in zip(items, texts, verdicts, strict=True)
        if verdict.method != "symbolic"
    ]
    with Verifiers(workers=1) as fresh:
        _forget()
        started = time.process_time()
        fresh.verify([Item.of(verifier, text) for verifier, text in fast])
        rate = len(fast) / (time.process_time() - started)
    print(f"\nOrdinary answers: {len(pairs)} completions of 20 kB, {dict(methods)}")
    print(
        f"fast path: {share:.1%} of them, {rate:,.0f} verdicts/s/core; with the rest {both:.1f} s"
    )
    return share, rate


def worst(verifiers: Verifiers) -> float:
    """Seconds of the slowest pathological answer here, beside the peers'."""
    print(f"\nPathological answers (peers are killed at {PEER_LIMIT_S:g} s)")
    print(f"{'':18}{'here, s':>9}  {'state':12}{'math-verify':>12}{'mathruler':>12}")
    peers = {
        name: Pool(f"verify:{task}", workers=1, attempts=(PEER_LIMIT_S,))
        for name, task in (("math-verify", "by_math_verify"), ("mathruler", "by_mathruler"))
    }
    slowest, slow = 0.0, Counter({"here": 0, "math-verify": 0, "mathruler": 0})
    for label, response in PATHOLOGICAL.items():
        started = time.perf_counter()
        (verdict,) = verifiers.verify([Item({"kind": "math", "answer": "7"}, response)])
        seconds = time.perf_counter() - started
        slowest = max(slowest, seconds)
        slow["here"] += seconds > WORST_S
        cells = []
        for name, pool in peers.items():
            (outcome,) = pool.run([["7", response]])
            slow[name] += outcome.ms > WORST_S * 1000
            cells.append(outcome.failure or f"{outcome.ms / 1000:.2f} s")
        print(f"{label:18}{seconds:>9.2f}  {verdict.state:12}" + "".join(f"{c:>12}" for c in cells))
    for pool in peers.values():
        pool.close()
    print(f"over {WORST_S} s: " + ", ".join(f"{name} {count}" for name, count in slow.items()))
    return slowest


def _forget() -> None:
    """Empty the parsers' caches, so that speed is measured on answers never seen."""
    from filters.verify import answer_forms, scalar

    answer_forms.parse.cache_clear()
    scalar.parse_scalar.cache_clear()


def main() -> None:
    cases = read_cases()
    with Verifiers(workers=1) as verifiers:
        symbolic_start = Item({"kind": "math", "answer": r"\frac12"}, r"\boxed{\sin(\pi/6)}")
        verifiers.verify([symbolic_start])  # starts the workers, so that no case pays for it
        false_positives, false_negatives = accuracy(verifiers, cases)
        share, rate = speed(verifiers)
        slowest = worst(verifiers)
    positives = sum(case.right for case in cases)
    print()
    for name, value, target, holds in (
        ("verify.false_positives", false_positives, 0, false_positives == 0),
        (
            "verify.false_negative_rate",
            false_negatives / positives,
            0.02,
            false_negatives <= 0.02 * positives,
        ),
        ("verify.fast_path_share", share, 0.98, share >= 0.98),
        ("verify.verdicts_per_second_per_core", rate, 5000, rate >= 5000),
        ("verify.worst_case_seconds", slowest, WORST_S, slowest <= WORST_S),
    ):
        print(
            json.dumps({"name": name, "value": round(value, 4), "target": target, "holds": holds})
        )


if __name__ == "__main__":
    main()
