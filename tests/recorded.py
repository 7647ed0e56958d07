"""Recorded runs for tests: real run directories whose samples were written here, not generated.

They stand where a model's samples would; everything that reads them is the real code.
"""

from __future__ import annotations

from pathlib import Path

from factory.core.nouns import Prompt, Sample
from factory.core.resources import data_path
from factory.core.run_dir import RunDir, save_prompts
from factory.core.think import join_think
from factory.prompts.files import Files

PROMPTS = data_path("prompts/arithmetic.jsonl")

RECIPE = """
name: recorded
model: demo
sources:
  - kind: files
    path: {prompts}
    language: en
prompting: {{template: few_shot, prefill: "<think>\\n"}}
engine: {{kind: replay, replay: {recorded}}}
sampling: {{n: {n}, temperature: 0.7, top_k: 50, max_tokens: 256}}
filters:
  format: {{}}
  length: {{}}
  correctness: {{}}
corpus: {{shard_rows: 40, validation: 0.1}}
"""


def prompts() -> list[Prompt]:
    """The shipped arithmetic prompts that have a mathematical answer."""
    rows = Files(kind="files", path=str(PROMPTS), language="en").rows()
    return [row for row in rows if isinstance(row, Prompt) and row.verifier is not None]


def completion(prompt: Prompt, index: int) -> str:
    """Right, wrong, unclosed and boxless completions, in turn."""
    assert prompt.verifier is not None
    answer = prompt.verifier["answer"]
    thinking = (
        f"I need to work this out for case {index}.\nIt comes to {answer}. Let me check. Yes."
    )
    return [
        join_think(thinking, f"The answer is \\boxed{{{answer}}}."),
        join_think(thinking, "The answer is \\boxed{987654321}."),
        f"<think>\n{thinking}",
        join_think(thinking, "I would rather not say.\n\nPlease ask me something else."),
    ][index % 4]


def sample(prompt: Prompt, index: int) -> Sample:
    text = completion(prompt, index)
    return Sample(
        prompt_id=prompt.id,
        index=index,
        text=text,
        prompt_text=f"Question: {prompt.question}\nAnswer:\n",
        finish_reason="stop",
        n_tokens=10 + int(prompt.id[:2], 16) % 32,
        n_prompt_tokens=20,
        model="recorded",
        params_fp="recorded",
        created_at=1_700_000_000_000 + index,
    )


def record(folder: Path, n: int) -> Path:
    """A run directory with `n` samples of every prompt, to be replayed."""
    save_prompts(folder, prompts())
    with RunDir(folder) as run:
        for prompt in prompts():
            for index in range(n):
                run.append(sample(prompt, index))
    return folder


def recipe_file(folder: Path, recorded: Path, n: int, extra: str = "") -> Path:
    """A recipe that replays `recorded`."""
    file = folder / "recipe.yaml"
    text = RECIPE.format(prompts=PROMPTS, recorded=recorded, n=n)
    file.write_text(text + extra, encoding="utf-8")
    return file
