"""Small real run directories with handwritten texts: right, wrong, mixed, cut off, hostile."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from factory.core.nouns import FinishReason, Message, Prompt, Sample
from factory.core.run_dir import RunDir, save_prompts
from factory.core.think import join_think
from factory.judging.funnel import measure_funnel
from factory.judging.verdicts import judge_run
from factory.prompts.references import References
from factory.report.snapshot import take_snapshot

FILTERS: dict[str, dict[str, Any]] = {
    "format": {},
    "length": {"max_tokens": 100},
    "language": {"max_foreign_words": 1.0, "max_wrong_language": 1.0},
}
HOSTILE = (
    "</script><script>document.title='hacked'</script>"
    "<img src=x onerror=\"document.title='hacked'\">"
    "<svg onload=alert(1)> \\(\\text{<script>document.title='hacked'</script>}\\) "
    "\\(\\href{javascript:document.title='hacked'}{x}\\) \\(\\style{background:red}{x}\\) "
    "```html\n<script>document.title='hacked'</script>\n``` {{ 7 * 7 }} \u202egnp.exe"
)
STARTED = 1_700_000_000_000


def prompts(count: int = 6) -> list[Prompt]:
    """Sums in two sources and two domains, in English."""
    made = []
    for number in range(count):
        question = f"What is {number} + {number + 1}? Show \\(a+b\\)."
        made.append(
            Prompt(
                source=("sums", "<b>odd</b>")[number % 2],
                domain=("math", "logic")[number % 2],
                messages=(Message(role="user", content=question),),
                verifier={"kind": "math", "answer": str(2 * number + 1)},
                language="en",
            )
        )
    return made


def text_of(prompt: Prompt, index: int) -> str:
    """Return in turn a text that is kept, unclosed, in two languages, hostile but well-formed."""
    assert prompt.verifier is not None
    answer = prompt.verifier["answer"]
    thinking = (
        f"First I add the two numbers, which gives \\[\\frac{{{answer}}}{{1}} = {answer}\\]\n"
        "and then I check that the result is right."
    )
    return [
        join_think(thinking, f"The answer is \\boxed{{{answer}}}."),
        f"<think>\n{thinking}",
        join_think(f"{thinking} 所以我们把两个数字加起来。 So it is done.", f"It is {answer}."),
        join_think(f"{thinking} {HOSTILE}", f"The answer is \\boxed{{{answer}}}. {HOSTILE}"),
    ][index % 4]


def sample(prompt: Prompt, index: int, finish: FinishReason = "stop") -> Sample:
    return Sample(
        prompt_id=prompt.id,
        index=index,
        text=text_of(prompt, index),
        prompt_text=f"User: {prompt.question}",
        finish_reason=finish,
        n_tokens=20 + 10 * index,
        n_prompt_tokens=12,
        model="written-by-hand",
        params_fp="here",
        created_at=STARTED + 1000 * index,
    )


def sampled_run(
    folder: Path, n: int = 4, filters: Mapping[str, Any] = FILTERS, parts: int = 2
) -> Path:
    """Return a run with `parts` parts that was sampled and not yet judged."""
    asked = prompts()
    save_prompts(folder, asked)
    recipe = {"name": "by-hand", "filters": dict(filters), "sampling": {"n": n}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    with RunDir(folder) as run:
        run.save_manifest(state="running", name="by-hand", params={"here": {"model.id": "none"}})
        run.event("engine_started", start=0)
        for part in range(parts):
            for prompt in asked[part::parts]:
                for index in range(n):
                    # Every fifth sample was cut short by the engine.
                    run.append(sample(prompt, index, "abort" if index % 5 == 4 else "stop"))
            run.seal()
            done = {"samples": part + 1, "tokens": 1000 * (part + 1), "accepted": part}
            run.event("throughput", **done, seconds=float(part + 1))
    return folder


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Hold the run's lock, as a build in this process would."""
    with open(run / "run.lock", "w", encoding="utf-8") as lock:
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def judged_run(folder: Path, n: int = 4, filters: Mapping[str, Any] = FILTERS) -> Path:
    """Return a run that was sampled and judged, with its funnel."""
    run = sampled_run(folder, n, filters)
    snapshot = take_snapshot(run)
    judge_run(run, snapshot.filters, References())
    measure_funnel(run, snapshot.stages, {}).save(run)
    manifest = json.loads((run / "run.json").read_text())
    manifest |= {"state": "done", "started_at": 1_700_000_000, "finished_at": 1_700_000_090}
    (run / "run.json").write_text(json.dumps(manifest), encoding="utf-8")
    return run
