"""Eval recipe → samples → verdicts → metrics. May be killed at any time and run again.

The directory is an ordinary run directory; its recipe.yaml is the recipe that sampled it. It also
contains:

    eval.yaml  eval.json  eval.md     the eval recipe; the result as JSON and as Markdown
    scores.parquet                    one row per prompt, one column per metric
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from factory.build.build import record_start, refuse_mixing
from factory.build.local_judges import run_local_judges
from factory.core.errors import RunError
from factory.core.files import read_lines, write_atomic, write_parquet
from factory.core.models import model_path
from factory.core.nouns import fingerprint
from factory.core.run_dir import RunDir
from factory.evaluation.compare import compare_scores
from factory.evaluation.estimators import Resampling
from factory.evaluation.held_out import load_held_out
from factory.evaluation.result import Evaluation, load_evaluation
from factory.evaluation.scores import FILE, INTERNAL, group_scores, score_prompts
from factory.evaluation.selection import compare_choices, measure_margins
from factory.evaluation.table import format_markdown
from factory.evaluation.variants import measure_spread
from factory.judging.background import LiveJudge
from factory.judging.funnel import measure_funnel
from factory.judging.verdicts import ENGINE_STAGE, all_filters, judge_run
from factory.recipe.evaluation import KIND
from factory.sampling.loop import drive
from factory.sampling.progress import Progress
from factory.watch.attach import Watching, watch

if TYPE_CHECKING:
    from rich.console import Console

    from factory.recipe.evaluation import Eval


def evaluate(recipe: Eval, directory: Path, console: Console) -> Evaluation:
    """Run an evaluation. Draws only missing samples; everything else is recomputed in seconds.

    Raises what `factory.build.build.build` raises, and RunError where the directory contains
    another kind of run or samples of other weights, or where `against` names no evaluation.
    """
    with watch(recipe, KIND, directory, console) as watching:
        return _evaluate(recipe, directory, console, watching)


def _evaluate(recipe: Eval, directory: Path, console: Console, watching: Watching) -> Evaluation:
    others = {against: load_evaluation(against.path) for against in recipe.against}
    weights = _weights(recipe)
    with RunDir(directory) as run:
        _refuse_another(recipe, run, weights)
        record_start(recipe.recipe, run)
        write_atomic(run.path / "eval.yaml", recipe.to_yaml())
        run.save_manifest(kind=KIND, weights=weights)
        watching.begin()
        prompts = load_held_out(recipe, run, console)
        _sample(recipe, run, prompts, console)
        _judge(recipe, run)
        k_of = {source.label: recipe.k_of(source.label) for source in recipe.sources}
        scores = score_prompts(run.path, all_filters(recipe.recipe), k_of, recipe.columns)
        write_parquet(run.path / FILE, scores.drop(INTERNAL).to_arrow())
        draws = recipe.bootstrap
        resampling = Resampling(draws.resamples, draws.seed, draws.confidence)
        found = Evaluation(
            name=recipe.name,
            model=recipe.model.id,
            step=recipe.step,
            series=recipe.series,
            k=k_of,
            settings=recipe.recipe.engine_spec.identity(),
            bootstrap=recipe.bootstrap.model_dump(),
            left_out=run.manifest["left_out"],
            bad_references=len(read_lines(run.path / "bad_references.jsonl")),
            groups=group_scores(scores, recipe.columns, resampling),
            versions=run.manifest["versions"],
            fingerprint=recipe.fingerprint(),
            variants=measure_spread(run.path, scores, resampling),
            choices=compare_choices(scores, recipe.columns, resampling),
            margins=measure_margins(scores),
        )
        for against, other in others.items():
            found.against.append(compare_scores(found, scores, other, against, resampling))
        found.save(run.path)
        write_atomic(run.path / "eval.md", format_markdown(found))
        run.save_manifest(
            state="done", recipe=recipe.recipe.fingerprint(), finished_at=int(time.time())
        )
    return found


def _sample(recipe: Eval, run: RunDir, prompts: pa.Table, console: Console) -> None:
    """Draw the missing samples, k per prompt of each source. Starts an engine only if needed."""
    from factory.sampling.scheduling.scheduler import Scheduler, Ticket

    asked = prompts.select(["id", "source"]).to_pylist()
    numbers = {prompt["id"]: number for number, prompt in enumerate(asked)}
    sampling = recipe.recipe.sampling
    failed = ((failure.prompt_id, failure.index, 0) for failure in run.failures())
    existing = (
        (Ticket(numbers[name], index), None, tokens)
        for name, index, tokens in chain(run.read_drawn(), failed)
        if name in numbers
    )
    # The scheduler uses the largest k for every prompt. For a source with a smaller k, the surplus
    # indices count as drawn.
    surplus = (
        (Ticket(number, index), None, 0)
        for number, prompt in enumerate(asked)
        for index in range(recipe.k_of(prompt["source"]), sampling.n)
    )
    scheduler = Scheduler(sampling, len(numbers))
    scheduler.restore(chain(existing, surplus))
    missing = sampling.n * len(numbers) - scheduler.ended
    first = scheduler.next()
    if first is not None:
        progress, judge = Progress(console, missing), LiveJudge(run.path, prompts)
        drive(recipe.recipe.engine_spec, run, prompts, scheduler, first, progress, judge)


def _judge(recipe: Eval, run: RunDir) -> None:
    """Judge the samples and count the funnel, as `build` does, but without writing a corpus."""
    failed = run.failures()
    failures = Counter[str](failure.kind for failure in failed)
    if not run.parts():
        first = f" The first failure: {failed[0].detail}" if failed else ""
        raise RunError(f"{run.path}: no sample was drawn {dict(failures)}.{first}")
    filters = all_filters(recipe.recipe)
    run_local_judges(recipe.recipe, run.path)
    judge_run(run.path, filters, recipe.recipe.references)
    measure_funnel(run.path, [ENGINE_STAGE, *filters], dict(failures)).save(run.path)


def _weights(recipe: Eval) -> Mapping[str, str] | None:
    """Return a fingerprint of the weights at a local path; None if the model isn't a local folder.

    A model that was trained again in the same folder has the same name, but its samples must not be
    mixed with those of the old weights.
    """
    if not recipe.engine.is_embedded:
        return None
    folder = Path(model_path(recipe.model.id))  # raises for a missing model before any loading
    if not folder.is_dir():
        return None
    files = [(file.name, file.stat()) for file in sorted(folder.glob("*.safetensors"))]
    return {
        "path": str(folder),
        "files": fingerprint([[name, stat.st_size, stat.st_mtime_ns] for name, stat in files]),
    }


def _refuse_another(recipe: Eval, run: RunDir, weights: Mapping[str, str] | None) -> None:
    if run.manifest and run.manifest.get("kind") != KIND:
        raise RunError(f"{run.path} contains a run that is no evaluation; choose another --run")
    refuse_mixing(recipe.recipe, run)
    known = run.manifest.get("weights")
    if known is not None and weights is not None and known != weights and run.parts():
        raise RunError(
            f"{run.path} contains samples of other weights: those at {weights['path']} have since "
            "changed. Delete the directory, or choose another one with --run DIR."
        )
