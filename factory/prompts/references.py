"""Reference answers are not taken on trust: bad ones before sampling, suspect ones after it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from factory.core.files import write_atomic
from factory.core.nouns import Prompt
from factory.prompts.written_answers import says_nothing
from filters.verify.verifiers import Verifiers

BAD = "bad_references.jsonl"
SUSPECT = "suspect_references.jsonl"


class References(BaseModel):
    """What becomes of prompts whose reference answer is bad or suspect."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bad: Literal["skip", "sample"] = Field(
        "skip",
        description="Prompts whose reference does not pass its own verifier: left out and listed "
        f"in {BAD}, or sampled all the same (their samples stay undecided).",
    )
    suspect: Literal["leave", "drop", "majority"] = Field(
        "leave",
        description="Prompts nobody solved though most samples agree on another answer, listed in "
        f"{SUSPECT}: left alone, undecided (`drop`), or judged by the majority's answer.",
    )
    min_samples: int = Field(
        8, ge=2, description="Judged samples a prompt needs before its reference can be suspect."
    )


def sound_prompts(prompts: Sequence[Prompt], run: Path) -> list[Prompt]:
    """The prompts whose reference passes its own verifier; the others are listed in BAD."""
    with Verifiers() as verifiers:
        bad = check_references(prompts, verifiers)
    write_listing(run / BAD, [asdict(reference) for reference in bad])
    refused = {reference.prompt_id for reference in bad}
    return [prompt for prompt in prompts if prompt.id not in refused]


def write_listing(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines; with no rows, remove the listing of an earlier build."""
    if rows:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_atomic(path, text)
    else:
        path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class BadReference:
    """A prompt whose own reference or tests cannot be used, and why."""

    prompt_id: str
    source: str
    kind: str
    why: str


def check_references(
    prompts: Iterable[Prompt], verifiers: Verifiers, *, batch: int = 512
) -> list[BadReference]:
    """The prompts whose reference does not pass its own verifier. Prompts without one are fine."""
    bad = []
    for some in _batches(prompts, batch):
        problems = verifiers.check([prompt.verifier for prompt in some])
        for prompt, problem in zip(some, problems, strict=True):
            why = _says_nothing(prompt) or problem
            if why is not None:
                kind = str((prompt.verifier or {}).get("kind"))
                bad.append(BadReference(prompt.id, prompt.source, kind, why))
    return bad


def _says_nothing(prompt: Prompt) -> str | None:
    answer = (prompt.verifier or {}).get("answer")
    kind = (prompt.verifier or {}).get("kind")
    if kind in ("math", "text") and isinstance(answer, str) and says_nothing(answer):
        return f"{answer[:80]!r} is no answer: it points elsewhere"
    return None


def _batches(prompts: Iterable[Prompt], size: int) -> Iterator[list[Prompt]]:
    left = iter(prompts)
    while some := list(islice(left, size)):
        yield some
