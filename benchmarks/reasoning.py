"""Generates long chains of thought from a seed, good ones and ones with a known defect.

Good ones derive something step by step and repeat themselves like real reasoning.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

Section = Callable[[random.Random], str]


class Labelled(NamedTuple):
    """A completion and its defect; None: it is good."""

    text: str
    domain: str
    flaw: str | None


OPENERS = (
    "Okay, so I need to work this out carefully.",
    "Let me start by writing down what is given.",
    "Hmm, let me think about how to approach this.",
    "First, let me restate the problem in my own words.",
    "Alright. There are a few ways to attack this one.",
)
TURNS = (
    "Wait, let me double-check that step before I go on.",
    "Hold on, is that right? Let me verify it another way.",
    "So far so good. Next part.",
    "Alternatively, I could have looked at it from the other side, so let me try that too.",
    "That agrees with what I found before, which is reassuring.",
    "Hmm, I am not sure this covers every case, so let me go through the rest as well.",
    "Okay, that settles this piece of the problem.",
    "Let me keep track of what is known: nothing here contradicts the earlier result.",
)


# The prose has its slots filled word by word, so that whole phrases repeat no more than they do in
# real chains of thought: with these, datatrove's repetition rules reject about what they were
# measured to reject of 4,000 real ones (37%).
STARTS = "now so then okay but actually here instead otherwise hence still clearly perhaps maybe"
WHO = "I we they you one nobody everyone he she it"
ACTS = """rewrite draw bound avoid expand keep cancel split compare sketch justify choose test see
    forget drop count shift swap mirror merge scale colour guess negate square name invert label
    bracket simplify replace remove solve round sum halve repeat"""
WHICH = """left second last smaller empty symmetric awkward common longest remaining odd even first
    shaded missing outer inner final given obvious lucky hidden doubled prime whole free narrow
    cyclic curved integer complex third linear heavy flat"""
WHAT = """side triangle term boundary instance argument ordering error guess case factor stop
    denominator invariant selection box corner discriminant unit root card graph condition function
    digit step shadow pole minimum point product remainder statement vertex edge train coin path
    tile circle list loop branch key queue bridge clock tank ladder"""
LINKS = """because although if unless while until whereas since when before after once and but so
    though provided or yet"""
HOW = """quickly twice again properly alone backwards separately later in_turn by_hand at_once first
    carefully somehow exactly roughly here there"""


def prose(random_: random.Random) -> str:
    """Return a paragraph of reasoning."""

    def word(slot: str) -> str:
        return random_.choice(slot.split()).replace("_", " ")

    def clause() -> str:
        words = [word(WHO), random_.choice(("", "can", "must", "could", "may", "will", "did"))]
        words += [word(ACTS), random_.choice(("the", "a", "this", "that", "every", "no"))]
        words += [word(WHICH) if random_.random() < 0.6 else "", word(WHAT)]
        words += [word(HOW) if random_.random() < 0.4 else ""]
        return " ".join(filter(None, words))

    sentences = []
    for _ in range(random_.randrange(2, 9)):
        sentence = clause()
        while random_.random() < 0.6:
            sentence += random_.choice((", ", " ")) + word(LINKS) + " " + clause()
        if random_.random() < 0.3:
            sentence = f"{word(STARTS)}, {sentence}"
        if random_.random() < 0.2:
            sentence += f", which makes {random_.randrange(2, 999)}"
        sentences.append(sentence[0].upper() + sentence[1:] + random_.choice("...?"))
    return " ".join(sentences)


def euclid(random_: random.Random) -> str:
    a, b = random_.randrange(10**4, 10**7), random_.randrange(10**3, 10**6)
    lines = [f"I want gcd({a}, {b}). By Euclid's algorithm:"]
    x, y = a, b
    while y:
        lines.append(f"{x} = {x // y} \\cdot {y} + {x % y}, so gcd({x}, {y}) = gcd({y}, {x % y}).")
        x, y = y, x % y
    return "\n".join([*lines, f"The last remainder that is not zero is {x}, hence the gcd is {x}."])


def residues(random_: random.Random) -> str:
    modulus, power = random_.randrange(7, 24), random_.choice((2, 3, 4))
    lines = [f"Which residues are {power}-th powers modulo {modulus}? I go through all of them."]
    lines += [
        f"- If $x \\equiv {n}$, then $x^{power} \\equiv {n**power} \\equiv "
        f"{n**power % modulus} \\pmod{{{modulus}}}$."
        for n in range(modulus)
    ]
    found = sorted({n**power % modulus for n in range(modulus)})
    return "\n".join([*lines, f"So the possible values are {', '.join(map(str, found))}."])


def linear_system(random_: random.Random) -> str:
    x, y = random_.randrange(-20, 20), random_.randrange(-20, 20)
    a, b, c, d = (random_.randrange(2, 15) for _ in range(4))
    if a * d == b * c:
        d += 1
    e, f, det = a * x + b * y, c * x + d * y, a * d - b * c
    return (
        f"We have the system\n\\[{a}x + {b}y = {e}, \\qquad {c}x + {d}y = {f}.\\]\n"
        f"Multiply the first equation by {d}: ${a * d}x + {b * d}y = {e * d}$. "
        f"Multiply the second by {b}: ${c * b}x + {d * b}y = {f * b}$. "
        f"Subtracting gives ${det}x = {e * d - f * b}$, so $x = {x}$.\n\n"
        f"Now put it back: ${b}y = {e} - {a} \\cdot ({x}) = {e - a * x}$, and so $y = {y}$. "
        f"Check with the second: ${c} \\cdot ({x}) + {d} \\cdot ({y}) = {f}$. Good."
    )


def factorisation(random_: random.Random) -> str:
    n = random_.randrange(10**4, 10**6)
    lines, rest = [f"Factor {n} by trial division."], n
    for p in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31):
        if rest % p:
            lines.append(f"{p} does not divide {rest}: {rest} = {p}*{rest // p} + {rest % p}.")
        while rest % p == 0:
            lines.append(f"{p} divides {rest}, leaving {rest // p}.")
            rest //= p
    return "\n".join([*lines, f"What is left is {rest}, with root about {math.isqrt(rest)}."])


def search(random_: random.Random) -> str:
    modulus, target = random_.randrange(11, 60), random_.randrange(11)
    lines = [f"I look for the least n with n^2 + n + {target} divisible by {modulus}."]
    for n in range(1, 41):
        value = n * n + n + target
        verdict = random_.choice(("no", "not divisible", "no luck", "that fails"))
        hit = value % modulus == 0
        lines.append(
            f"n = {n}: {value} mod {modulus} is {value % modulus}, {'yes' if hit else verdict}."
        )
        if hit:
            return "\n".join([*lines, f"So the least such n is {n}."])
    return "\n".join([*lines, "None up to 40, so there has to be an obstruction. Let me find it."])


def knights(random_: random.Random) -> str:
    names = random_.sample(("Ana", "Ben", "Chi", "Dov", "Eve", "Fay"), 3)
    lines = [f"{names[0]} says that {names[1]} lies, {names[1]} that {names[2]} lies. All cases:"]
    for case in range(8):
        honest = [bool(case >> k & 1) for k in range(3)]
        roles = ", ".join(
            f"{name} {'tells the truth' if is_honest else 'lies'}"
            for name, is_honest in zip(names, honest, strict=True)
        )
        fits = honest[0] != honest[1] and honest[1] != honest[2]
        outcome = (
            "Both statements fit, so this case survives."
            if fits
            else random_.choice(
                (
                    "That is a contradiction.",
                    "This cannot be, by the first statement or the second.",
                )
            )
        )
        lines.append(f"Case {case + 1}: {roles}. {outcome}")
    return "\n".join(lines)


def table(random_: random.Random) -> str:
    rows, columns = random_.randrange(4, 9), random_.randrange(4, 9)
    lines = [
        "Count the lattice paths row by row; each entry is the one above plus the one left.",
        "",
    ]
    lines += ["| " + " | ".join(f"c{k}" for k in range(columns)) + " |", "|---" * columns + "|"]
    for r in range(rows):
        lines.append("| " + " | ".join(str(math.comb(r + c, r)) for c in range(columns)) + " |")
    total = math.comb(rows + columns - 2, rows - 1)
    return "\n".join([*lines, "", f"The corner entry is {total}, so there are {total} paths."])


def trace(random_: random.Random) -> str:
    values = random_.sample(range(100), 8)
    lines = ["```python", "def sort(a):", "    for i in range(len(a)):"]
    lines += ["        for j in range(len(a) - 1 - i):", "            if a[j] > a[j + 1]:"]
    lines += ["                a[j], a[j + 1] = a[j + 1], a[j]", "    return a", "```", ""]
    lines.append(f"Let me trace it on {values}.")
    for i in range(len(values)):
        for j in range(len(values) - 1 - i):
            if values[j] > values[j + 1]:
                values[j], values[j + 1] = values[j + 1], values[j]
        lines.append(f"After pass {i + 1} the list is {values}.")
    return "\n".join([*lines, "Sorted, and the inner loop never runs past the end."])


DOMAINS: dict[str, tuple[Section, ...]] = {
    "math": (euclid, residues, linear_system, factorisation, search, table),
    "code": (trace, search, table),
    "logic": (knights, table, search),
    "general": (prose,),
}
PROSE_SHARE = (0.4, 1.0)  # of a text's sections: anything between
FLAWS = ("short_loop", "counting_loop", "paragraph_loop", "wall", "noise", "open_fence", "cut_off")


def good(random_: random.Random, domain: str) -> tuple[str, str]:
    """Return a chain of thought of 2 to 30 kB with its answer."""
    sections, prose_share = [random_.choice(OPENERS)], random_.uniform(*PROSE_SHARE)
    for _ in range(random_.choice((8, 13, 21, 34, 55))):
        is_prose = random_.random() < prose_share
        sections.append((prose if is_prose else random_.choice(DOMAINS[domain]))(random_))
        if random_.random() < 0.3:
            sections.append(random_.choice(TURNS))
    answer = random_.randrange(1000)
    sections.append(f"Putting it all together, the answer is $\\boxed{{{answer}}}$.")
    response = (
        f"Working through the cases gives a single value.\n\n**Answer:** $\\boxed{{{answer}}}$"
    )
    return "\n\n".join(sections), response


def _wall(random_: random.Random) -> str:
    """Return 9 kB of valid reasoning without a line break."""
    words = ""
    while len(words) < 9_000:
        words += " ".join(good(random_, "math")[0].split()) + " "
    return words[:9_000]


def spoilt(random_: random.Random, thinking: str, response: str, flaw: str) -> str:
    """Return the completion with one defect."""
    turn = random_.choice(TURNS)
    count = random_.randrange(100, 900)
    ending = {
        "short_loop": f"{turn} " * max(100, count // 4),
        "counting_loop": "".join(f"Let me try n = {k}. That fails.\n" for k in range(count + 200)),
        "paragraph_loop": (thinking[-900:-100] + "\n\n") * 25,
        "wall": _wall(random_),
        "noise": "".join(random_.choices("#$%&*@!^~|<>{}[]=+", k=3000)),
        "open_fence": "```python\nprint(answer)\n",
        "cut_off": "So the next thing to",
    }[flaw]
    spoilt_thinking = f"{thinking}\n\n{ending}"
    if flaw == "cut_off":
        return f"<think>\n{spoilt_thinking}"
    return f"<think>\n{spoilt_thinking}\n</think>\n\n{response}"


def completions(seed: int, n_good: int, n_a_flaw: int) -> Iterator[Labelled]:
    """Return good completions of every domain, then some with each defect."""
    random_ = random.Random(seed)
    domains = list(DOMAINS)
    for k in range(n_good):
        domain = domains[k % len(domains)]
        thinking, response = good(random_, domain)
        yield Labelled(f"<think>\n{thinking}\n</think>\n\n{response}", domain, None)
    for flaw in FLAWS:
        for k in range(n_a_flaw):
            domain = domains[k % len(domains)]
            yield Labelled(spoilt(random_, *good(random_, domain), flaw), domain, flaw)
