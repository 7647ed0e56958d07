"""Labelled texts, generated from a seed: in one language, or mixed with another.

The sentences are in `sentences/`, written for this purpose. A text is clean (plain, with much
mathematics, with much code, with terms and names, with words quoted from its question) or holds
foreign letters, clauses or sentences that make up about 0.1%, 1%, 5% or 20% of it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "zh", "ja", "ko", "ru", "ar", "es", "fr", "de", "pt", "it", "hi")
LATIN = ("en", "es", "fr", "de", "pt", "it")
RARE = ("nl", "pl", "tr", "sw")  # only mixed in, never the language of a text
NEAR = {"ru": ("uk",), "ar": ("fa",), "hi": ("mr",), "ja": ("zh",)}
"""Languages that share most or all of their letters with the text's."""

LEVELS = (0.001, 0.01, 0.05, 0.2)
CLEAN = ("plain", "mathematics", "code", "terms", "quoted")
PER_CLEAN_CATEGORY = 12
PER_LEVEL = 8
UNSPACED = ("zh", "ja")


@dataclass(frozen=True)
class Labelled:
    """A text and what is true of it."""

    text: str
    language: str
    question: str
    mixed: bool
    category: str  # one of CLEAN, or "script" or "language": what was mixed in
    level: float  # the share that is foreign, about
    foreign: tuple[str, ...] = ()  # what was mixed in


@cache
def bank(language: str) -> dict[str, list[str]]:
    """The sections of a language's file of sentences."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    path = Path(__file__).parent / "sentences" / f"{language}.txt"
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            lines = sections.setdefault(line.strip("[]"), [])
        elif line:
            lines.append(line)
    return sections


def labelled_texts(seed: int = 0) -> list[Labelled]:
    """About 1,100 texts, half of them mixed, in an order that tells nothing."""
    rng = random.Random(seed)
    texts = [text for language in LANGUAGES for text in _of_language(rng, language)]
    rng.shuffle(texts)
    return texts


def _of_language(rng: random.Random, language: str) -> Iterator[Labelled]:
    for category in CLEAN:
        for _ in range(PER_CLEAN_CATEGORY):
            yield clean(rng, language, category)
    for level in LEVELS:
        for number in range(PER_LEVEL):
            yield mixed(rng, language, level, same_script=number % 2 == 1)


def clean(rng: random.Random, language: str, category: str) -> Labelled:
    """A text in one language."""
    question = sentence(rng, language, "questions")
    parts = sentences(rng, language, rng.randint(400, 5000))
    if category == "mathematics":
        parts = [with_formula(rng, part) for part in parts]
    elif category == "code":
        for _ in range(rng.randint(2, 6)):
            parts.insert(rng.randrange(len(parts)), rng.choice(_CODE))
    elif category == "terms":
        for _ in range(rng.randint(1, 5)):
            parts.insert(rng.randrange(len(parts)), sentence(rng, language, "terms"))
    elif category == "quoted":
        donor = rng.choice([other for other in LANGUAGES if other != language])
        quotation = sentence(rng, donor)
        question = f"{question}\n{quotation}"
        parts.insert(rng.randrange(len(parts)), quotation)
    return Labelled(joined(rng, language, parts), language, question, False, category, 0.0)


def mixed(rng: random.Random, language: str, level: float, same_script: bool) -> Labelled:
    """A text with foreign letters or clauses that make up about `level` of it."""
    question = sentence(rng, language, "questions")
    unit = _clause_unit(rng, language) if same_script else _script_unit(rng, language)
    units = [unit(rng) for _ in range(rng.randint(2, 4) if level >= 0.05 else 1)]
    size = int(sum(map(len, units)) / level)
    parts = sentences(rng, language, max(200, size))
    for foreign in sorted(units, key=_is_sentence):  # words first, into the text's own sentences
        place = rng.randrange(len(parts))
        if _is_sentence(foreign):
            parts.insert(place, foreign)
        else:
            parts[place] = _inserted(rng, language, parts[place], foreign)
    if rng.random() < 0.5:
        parts = [with_formula(rng, part) if rng.random() < 0.3 else part for part in parts]
    category = "language" if same_script else "script"
    text = joined(rng, language, parts)
    return Labelled(text, language, question, True, category, level, tuple(units))


def _script_unit(rng: random.Random, language: str):  # type: ignore[no-untyped-def]
    """Makes words or sentences in another script."""
    if language in LATIN:
        donor = rng.choice([other for other in LANGUAGES if other not in LATIN])
    else:
        others = [o for o in LANGUAGES if o not in LATIN and o != language]
        # Every kanji is a Chinese letter too, so Han says nothing in Japanese.
        donor = rng.choice([o for o in others if (language, o) != ("ja", "zh")] + ["en", "en"])
    if donor == "en":
        return lambda rng: sentence(rng, donor)
    return lambda rng: rng.choice([rng.choice(bank(donor)["words"]), sentence(rng, donor)])


def _clause_unit(rng: random.Random, language: str):  # type: ignore[no-untyped-def]
    """Makes clauses or sentences in another language with the same letters, where there is one."""
    if language in LATIN:
        donor = rng.choice([o for o in LATIN if o != language] * 2 + list(RARE))
    else:
        donor = rng.choice([*NEAR.get(language, ()), rng.choice(LATIN)])
    if donor in LATIN and rng.random() < 0.3:
        return lambda rng: _clause(rng, donor)
    return lambda rng: sentence(rng, donor)


def _clause(rng: random.Random, language: str) -> str:
    """The beginning of a sentence: six to nine words, no full stop."""
    words = sentence(rng, language).split()
    start = words[0][0].lower() + words[0][1:]
    return " ".join([start, *words[1 : rng.randint(6, 9)]]).rstrip(".,:;")


def _is_sentence(text: str) -> bool:
    return text[-1] in ".。।"


def _inserted(rng: random.Random, language: str, host: str, foreign: str) -> str:
    """`foreign` somewhere inside a sentence."""
    if language in UNSPACED:
        place = rng.randrange(1, len(host) - 1)
        return host[:place] + foreign + host[place:]
    words = host.split(" ")
    place = rng.randrange(1, len(words))
    return " ".join([*words[:place], foreign, *words[place:]])


def sentence(rng: random.Random, language: str, section: str = "sentences") -> str:
    """One sentence with numbers filled in."""
    numbers = {name: rng.randint(2, 999) for name in "abc"}
    return rng.choice(bank(language)[section]).format(**numbers)


def sentences(rng: random.Random, language: str, size: int) -> list[str]:
    """Sentences of at least `size` characters."""
    parts: list[str] = []
    while size > 0:
        parts.append(sentence(rng, language))
        size -= len(parts[-1])
    return parts


def joined(rng: random.Random, language: str, parts: list[str]) -> str:
    """Sentences as lines and paragraphs."""
    gap = "" if language in UNSPACED else " "
    text = ""
    for part in parts:
        alone = part.startswith(("`", "\\[", "https:"))
        text += "\n" if alone and text else ""
        text += part
        text += "\n" if alone else rng.choice((gap, gap, gap, "\n", "\n\n"))
    return text


def with_formula(rng: random.Random, part: str) -> str:
    """A sentence with a formula after it."""
    a, b = rng.randint(2, 99), rng.randint(2, 99)
    formula = rng.choice(_FORMULAS).replace("A", str(a)).replace("B", str(b))
    return f"{part} {formula}"


_FORMULAS = (
    r"$x^2 + A x = B$",
    r"\(\sin \theta + \cos \theta \le \sqrt{A}\)",
    "\\[\n\\sum_{k=1}^{A} k = \\frac{A(A+1)}{2}\n\\]",
    "x = A, y = B",
    "f(x) = A x + B",
    r"$$\int_0^A e^{-x}\,dx < B$$",
    "A * B mod 7",
    "∠ABC = θ, Δ = β − α ≈ A π",
    r"\boxed{A}",
    r"\begin{align} a &= A \text{ if } b \\ c &= B \end{align}",
    "gcd(A, B) = d, lcm(a, b) = m",
    "sin x + tan y = log A",
)

_CODE = (
    "```python\n# count the ways that are left\ndef count(n):\n    total = 0\n"
    "    for i in range(n):\n        if i % 2 == 0 and not i == 4:\n            total += i\n"
    "    return total  # 总数\n```",
    "```cpp\n// read the numbers and sum them\nint main() {\n  int n; std::cin >> n;\n"
    '  std::cout << "the answer is " << n << "\\n";\n}\n```',
    "`for x in the_list` → `is_valid(x) or not done`",
    "https://example.org/wiki/the-sum-of-all-numbers?lang=de",
    '```json\n{"name": "Straße", "город": "Москва", "why": "because it is there"}\n```',
)
