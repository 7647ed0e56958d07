"""The small world of the claims: chained sums, and an author who writes solutions of them.

    17 -6 -1 -5 _ _ _ _ _ =        a start, one to eight signed steps, empty slots
    <think>11;10;5;</think>5       every total, then the last one as the answer

Totals stay within 0 to 29. A problem belongs to one part, by a hash of its text, so that no sum of
one part is ever in another. `Sums` is a loader and `Author` an engine, as any user can add them
(docs/how-to/add-a-loader.md, add-an-engine.md): texts for pre-training are built like any corpus.

    python recipes/r1/claims/world.py      writes model/: the architecture and the tokenizer
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from factory.core.nouns import Failure, Prompt, Sample
from factory.prompts.source import BadRow, Row, Source
from factory.recipe.engine import EngineSpec
from factory.sampling.engine import Request, Worker

SLOTS = 8
TOTALS = 30
LARGEST_STEP = 9
PARTS = {"test": range(2), "tune": range(2, 4), "cold": range(4, 6), "train": range(6, 20)}
"""Part → its share of the hashes, in twentieths."""

PHRASES = {
    "en": ("that gives", "which makes", "we have", "then comes"),
    "de": ("das ergibt", "was macht", "wir haben", "dann kommt"),
}
STAYS = 0.7
"""Probability that an author of two languages goes on in the language of the last step."""

STEP_TOKENS = tuple(f" {sign}{size}" for size in range(1, LARGEST_STEP + 1) for sign in "+-")
MODEL = Path(__file__).with_name("model")
ARCHITECTURE = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
}


def part_of(question: str) -> str:
    """Return the part that a problem belongs to."""
    place = int(hashlib.sha256(question.encode()).hexdigest(), 16) % 20
    return next(part for part, places in PARTS.items() if place in places)


def draw_sum(draw: random.Random, steps: int) -> tuple[int, list[int]]:
    """Draw a start and `steps` signed numbers whose totals all stay within 0 to 29."""
    start = total = draw.randrange(TOTALS)
    chosen: list[int] = []
    while len(chosen) < steps:
        step = draw.choice((-1, 1)) * draw.randint(1, LARGEST_STEP)
        if 0 <= total + step < TOTALS:
            chosen.append(step)
            total += step
    return start, chosen


def write_question(start: int, steps: list[int]) -> str:
    """Write a problem, with empty slots so that all problems have the same width."""
    slots = [f"{step:+d}" for step in steps] + ["_"] * (SLOTS - len(steps))
    return f"{start} {' '.join(slots)} ="


def read_question(question: str) -> tuple[int, list[int]]:
    """Return the start and the steps of a written problem."""
    start, *steps = [int(word) for word in question.split() if word not in ("_", "=")]
    return start, steps


class Sums(Source):
    """Chained sums of one part of the world."""

    LANGUAGE = "en"
    LICENSE = "Apache-2.0"

    part: Literal["train", "cold", "tune", "test"] = Field(
        "train", description="`tune`: sums for choosing settings. `cold`: for the cold start."
    )
    size: int = Field(200, ge=1, description="Number of different problems.")
    steps: tuple[int, ...] = Field((4, 5, 6), description="Numbers of steps, drawn evenly.")

    def read(self) -> Iterator[tuple[str, Row | BadRow]]:
        draw, seen = random.Random(f"{self.part} {self.seed}"), set[str]()
        while len(seen) < self.size:
            start, steps = draw_sum(draw, draw.choice(self.steps))
            question = write_question(start, steps)
            if part_of(question) == self.part and question not in seen:
                seen.add(question)
                yield f"{self.part} {len(seen)}", {"question": question, "sum": start + sum(steps)}

    def prompt(self, row: Row) -> Prompt:
        verifier = {"kind": "math", "answer": str(row["sum"])}
        return self.make(row["question"], verifier, domain="math")


class Author:
    """Writes a solution, with the faults that `engine.args` asks for.

    dropped_carry   probability that an addition over a ten loses its carry
    slip            probability of any total being off by one
    guess           probability of an answer without thinking
    unclosed        probability of thinking that never closes
    languages       `[en, de]`: words around each total, in languages that change within a text
    """

    VERSION = 1
    capacity = 1024

    def __init__(self, spec: EngineSpec, run: Path, start: int) -> None:
        self.spec, self.faults = spec, spec.engine.args
        self._waiting: deque[Request] = deque()

    def submit(self, request: Request) -> None:
        self._waiting.append(request)

    def completed(self) -> Iterator[Sample | Failure]:
        while self._waiting:
            yield self._write(self._waiting.popleft())

    def abort(self, sample_ids: Iterable[str]) -> None:
        """Nothing to do: every text is written at once."""

    def workers(self) -> list[Worker]:
        return []

    def close(self) -> None:
        self._waiting.clear()

    def _write(self, request: Request) -> Sample:
        # The same sample is the same text, whenever it is asked for.
        draw = random.Random(f"{request.sample_id} {self.spec.sampling.seed}")
        question = request.prompt.question
        text = write_solution(draw, *read_question(question), **self.faults)
        return Sample(
            prompt_id=request.prompt.id,
            index=request.index,
            text=text,
            prompt_text=question,
            finish_reason="stop",
            n_tokens=text.count(";") + 4,
            n_prompt_tokens=SLOTS + 2,
            model="author",
            params_fp=self.spec.params_fp(request.level),
            created_at=round(time.time() * 1000),
        )


def write_solution(
    draw: random.Random,
    start: int,
    steps: list[int],
    *,
    dropped_carry: float = 0.0,
    slip: float = 0.0,
    guess: float = 0.0,
    unclosed: float = 0.0,
    languages: Iterable[str] = (),
) -> str:
    """Write one solution. The faults are those of `Author`."""
    if draw.random() < guess:
        return str(max(0, min(TOTALS - 1, start + sum(steps) + draw.randint(-3, 3))))
    totals, total = [], start
    for step in steps:
        carries = step > 0 and total % 10 + step >= 10
        total += step
        if carries and draw.random() < dropped_carry:
            total -= 10
        if draw.random() < slip:
            total += draw.choice((-1, 1))
        total %= TOTALS
        totals.append(total)
    thinking = "".join(write_steps(draw, totals, list(languages)))
    return f"<think>{thinking}" + ("" if draw.random() < unclosed else f"</think>{total}")


def write_steps(draw: random.Random, totals: list[int], languages: list[str]) -> Iterator[str]:
    """Yield the text of every step: its total, with words if there are languages."""
    language = draw.choice(languages) if languages else None
    for number, total in enumerate(totals):
        if language is None:
            yield f"{total};"
            continue
        if number and draw.random() >= STAYS:
            language = draw.choice(languages)
        yield f"{' ' if number else ''}{draw.choice(PHRASES[language])} {total};"


def list_tokens() -> list[str]:
    """Return the vocabulary, in order."""
    words = {word for phrases in PHRASES.values() for text in phrases for word in text.split()}
    first = {text.split()[0] for phrases in PHRASES.values() for text in phrases}
    numbers = [str(n) for n in range(TOTALS)]
    return [
        *("<pad>", "<eos>", "<unk>", "<think>", "</think>", " _", " ="),
        *STEP_TOKENS,
        *numbers,
        *(f"{n};" for n in numbers),
        *(f" {n};" for n in numbers),
        *sorted(first),
        *(f" {word}" for word in sorted(words)),
    ]


def write_model(folder: Path) -> None:
    """Write the architecture and the tokenizer: a model's folder without weights."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = list_tokens()
    plain = Tokenizer(
        models.WordLevel({token: n for n, token in enumerate(tokens)}, unk_token="<unk>")
    )
    pattern = Regex(r"</?[a-z]+>| [+-]\d| [_=]| ?\d+;?| ?[a-z]+|.")
    plain.pre_tokenizer = pre_tokenizers.Split(pattern, "isolated")
    plain.decoder = decoders.Fuse()
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        chat_template=template,
        model_max_length=ARCHITECTURE["max_position_embeddings"],
        clean_up_tokenization_spaces=False,
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    config: dict[str, Any] = {**ARCHITECTURE, "vocab_size": len(tokens)}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_model(MODEL)
