"""Generates run directories as after sampling, from a seed: long chains of thought or short ones.

The texts are composed of sections generated once (`reasoning.py`, `texts.py`), so that gigabytes
take a minute. One in twelve mixes languages; some loop, have no paragraphs, or are cut off. One
prompt in eight is not English.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from reasoning import DOMAINS, prose
from texts import LANGUAGES, sentence

from factory.core.files import write_parquet
from factory.core.journal import SEAL_BYTES, SEAL_ROWS
from factory.core.nouns import Message, Prompt, sample_schema
from factory.core.run_dir import save_prompts
from factory.core.think import join_think

SECTIONS = 4000  # in the bank
LONG = (4_000, 30_000)  # characters
FOREIGN_PROMPTS, MIXED, SPOILT = 1 / 8, 1 / 12, 1 / 12  # shares
FLAWS = ("loop", "noise", "open_fence", "cut_off", "wall")
PART_ROWS, PART_BYTES = SEAL_ROWS, SEAL_BYTES  # the size of a part in a real run


class Completion(NamedTuple):
    """A completion with its length and finish reason."""

    text: str
    finish_reason: str = "stop"


Write = Callable[[random.Random, Prompt], Completion]


def make_run(
    run: Path,
    prompts: int,
    per_prompt: int,
    write: Write,
    params_fp: str = "generated",
    seed: int = 0,
) -> int:
    """Write prompts and sealed samples, with one part in memory. Returns the bytes of text."""
    rng = random.Random(seed)
    asked = [_prompt(rng, number) for number in range(prompts)]
    save_prompts(run, asked)
    total, number, rows = 0, 0, _Rows(params_fp)
    for index in range(per_prompt):
        for prompt in asked:
            rows.add(prompt, index, write(rng, prompt))
            if len(rows.texts) == PART_ROWS or rows.size >= PART_BYTES:
                total, number = total + rows.save(run, number), number + 1
                rows = _Rows(params_fp)
    return total + (rows.save(run, number) if rows.texts else 0)


def _prompt(rng: random.Random, number: int) -> Prompt:
    language = rng.choice(LANGUAGES[1:]) if rng.random() < FOREIGN_PROMPTS else "en"
    return Prompt(
        source=f"source-{number % 6}",
        domain=("math", "math", "math", "code", "logic", "general")[number % 6],  # type: ignore[arg-type]
        messages=(Message(role="user", content=f"{sentence(rng, language)} ({number})"),),
        verifier={"kind": "math", "answer": str(number % 10)},
        language=language,
    )


class _Rows:
    """The samples of the current part."""

    def __init__(self, params_fp: str) -> None:
        self.params_fp = params_fp
        self.prompts: list[str] = []
        self.indices: list[int] = []
        self.texts: list[str] = []
        self.ends: list[str] = []
        self.size = 0

    def add(self, prompt: Prompt, index: int, completion: Completion) -> None:
        self.prompts.append(prompt.id)
        self.indices.append(index)
        self.texts.append(completion.text)
        self.ends.append(completion.finish_reason)
        self.size += len(completion.text.encode())

    def save(self, run: Path, number: int) -> int:
        count = len(self.texts)
        columns = {
            "prompt_id": self.prompts,
            "index": self.indices,
            "text": self.texts,
            "prompt_text": ["Question"] * count,
            "finish_reason": self.ends,
            "n_tokens": [len(text) // 4 for text in self.texts],
            "n_prompt_tokens": [20] * count,
            "model": ["generated"] * count,
            "params_fp": [self.params_fp] * count,
            "created_at": [1_700_000_000_000 + number] * count,
        }
        schema = pa.schema([field for field in sample_schema() if field.name in columns])
        arrays = [pa.array(columns[field.name], field.type) for field in schema]
        write_parquet(run / "samples" / f"part-{number:05d}.parquet", pa.table(arrays, schema))
        return self.size


def long_chains(seed: int = 0) -> Write:
    """Generate long chains of thought of every domain and language, some with defects."""
    rng = random.Random(seed)
    bank = {
        domain: [_section(rng, domain) for _ in range(SECTIONS // len(DOMAINS))]
        for domain in DOMAINS
    }
    paragraphs = {
        language: [" ".join(sentence(rng, language) for _ in range(8)) for _ in range(200)]
        for language in LANGUAGES
    }

    def write(rng: random.Random, prompt: Prompt) -> Completion:
        size = rng.randint(*LONG)
        english = prompt.language == "en"
        sections = bank.get(prompt.domain, bank["math"]) if english else paragraphs[prompt.language]
        chosen = list(_until(rng, sections, size))
        if rng.random() < MIXED:
            other = rng.choice([name for name in LANGUAGES if name != prompt.language])
            chosen.insert(rng.randrange(len(chosen)), sentence(rng, other))
        flaw = rng.choice(FLAWS) if rng.random() < SPOILT else None
        if flaw == "loop":
            chosen.append("Wait, let me check that again. " * rng.randint(150, 600))
        elif flaw == "noise":
            chosen.append("".join(rng.choices("#$%&*@!^~|<>{}[]=+", k=1000)))
        elif flaw == "open_fence":
            chosen.append("```python\nprint(answer)")
        elif flaw == "cut_off":
            return Completion("<think>\n" + "\n\n".join(chosen), "length")
        thinking = (" " if flaw == "wall" else "\n\n").join(chosen)
        answer = rng.randrange(10)
        return Completion(
            join_think(
                f"{thinking}\n\nSo the answer is $\\boxed{{{answer}}}$.",
                f"Putting it together:\n\n**Answer:** $\\boxed{{{answer}}}$",
            )
        )

    return write


def _section(rng: random.Random, domain: str) -> str:
    return (prose if rng.random() < 0.6 else rng.choice(DOMAINS[domain]))(rng)


def _until(rng: random.Random, sections: list[str], size: int) -> Iterator[str]:
    while size > 0:
        section = rng.choice(sections)
        size -= len(section)
        yield section


def short_chains(seed: int = 0) -> Write:
    """Generate one to three paragraphs (300 to 900 characters) and an answer, right or wrong."""
    rng = random.Random(seed)
    bank = ["\n\n".join(prose(rng) for _ in range(3)) for _ in range(SECTIONS)]
    bank = [text[: rng.randint(300, 900)] for text in bank]

    def write(rng: random.Random, prompt: Prompt) -> Completion:
        assert prompt.verifier is not None
        answer = prompt.verifier["answer"] if rng.random() < 0.5 else "12"
        return Completion(
            join_think(rng.choice(bank), f"It is {rng.random():.6f} or \\boxed{{{answer}}}.")
        )

    return write
