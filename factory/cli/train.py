"""Commands that use a corpus: train, pairs, eval, curves, and run for whole pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from factory.cli.common import (
    RUNS,
    RunFolder,
    json_option,
    print_json,
    recipe_argument,
    run_argument,
    run_option,
    set_option,
    stderr,
    stdout,
    trust_option,
)


@click.command()
@recipe_argument
@set_option
@trust_option
@run_option
@json_option
def train(recipe: Path, assignments: tuple[str, ...], run: Path | None, as_json: bool) -> None:
    """Train a model by a recipe of kind sft, grpo or reward_model; the same command resumes.

    The model is written to RUN/model. Any other recipe can name RUN as its `model:`.
    """
    from factory.train.train import load_training, train

    loaded = load_training(recipe, assignments)
    model = train(loaded, run or RUNS / loaded.name, stderr())
    print_json({"model": model}) if as_json else click.echo(model)


@click.command(name="eval")
@recipe_argument
@set_option
@trust_option
@run_option
@json_option
def eval_command(
    recipe: Path, assignments: tuple[str, ...], run: Path | None, as_json: bool
) -> None:
    """Evaluate a model by a recipe of kind eval: pass@1, pass@k and cons@k with intervals."""
    from factory.evaluation.evaluate import evaluate
    from factory.evaluation.table import print_evaluation
    from factory.recipe.evaluation import load_eval

    loaded = load_eval(recipe, assignments)
    found = evaluate(loaded, run or RUNS / loaded.name, stderr())
    print_json(found) if as_json else print_evaluation(found, stdout())


@click.command()
@run_argument
@click.option("--judge", required=True, metavar="URL", help="URL of an OpenAI-compatible endpoint.")
@click.option("--judge-model", required=True, help="Name of the judge model at the endpoint.")
@click.option(
    "--judge-key-env",
    default="JUDGE_API_KEY",
    show_default=True,
    help="Environment variable with the endpoint's API key.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write (JSON lines).",
)
@click.option(
    "--per-prompt", default=1, show_default=True, help="Maximum number of pairs per prompt."
)
@click.option(
    "--margin",
    default=1.0,
    show_default=True,
    help="Keep pairs whose mean grade difference is larger.",
)
@click.option("--seed", default=0, show_default=True, help="Random seed for the choice of pairs.")
@json_option
def pairs(
    run: Path,
    judge: str,
    judge_model: str,
    judge_key_env: str,
    out: Path,
    as_json: bool,
    **pairing: Any,
) -> None:
    """Make preference pairs of a run's samples, for a recipe of kind reward_model.

    A judge model compares each pair four times, twice in each order. Comparisons are stored next to
    OUT and never repeated.
    """
    from factory.train.preferences import Pairing, make_pairs
    from filters.judges.client import Endpoint, JudgeClient

    endpoint = Endpoint(base_url=judge, model=judge_model, api_key_env=judge_key_env)
    with JudgeClient(endpoint, temperature=1.0) as ask:
        outcomes = make_pairs(run, ask, out, Pairing(**pairing))
    if as_json:
        print_json({"outcomes": dict(outcomes), "out": out})
        return
    summary = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.items())
    click.echo(f"{summary}; written to {out}")


@click.command()
@click.argument(
    "evaluations",
    nargs=-1,
    required=True,
    type=RunFolder(),
)
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write.",
)
@json_option
def curves(evaluations: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Plot EVALUATIONS of a model's checkpoints (with `step`) over its training steps."""
    from factory.evaluation.figure import write_figure

    page = write_figure(evaluations, out)
    print_json({"page": page}) if as_json else click.echo(page)


@click.command()
@recipe_argument
@set_option
@trust_option
@run_option
@click.option("--until", metavar="STEP", help="Run only this step and the steps it needs.")
@click.option(
    "--redo", multiple=True, metavar="STEP", help="Run this step and its dependents from scratch."
)
@click.option("--dry-run", "dry", is_flag=True, help="Only print what would run.")
@json_option
def run(
    recipe: Path,
    assignments: tuple[str, ...],
    run: Path | None,
    until: str | None,
    redo: tuple[str, ...],
    dry: bool,
    as_json: bool,
) -> None:
    """Run a pipeline: recipes as steps that use each other's outputs.

    The same command resumes: an interrupted step continues, and a finished step is skipped.
    """
    from factory.pipelines.page import print_pipeline
    from factory.pipelines.run import run_pipeline
    from factory.recipe.pipeline import load_pipeline

    loaded = load_pipeline(recipe, assignments)
    directory = run or RUNS / loaded.name
    result = run_pipeline(loaded, directory, stderr(), until=until, redo=redo, dry=dry)
    if result is not None and as_json:
        print_json(result)
    elif result is not None:
        print_pipeline(result.manifest, result.steps, stdout())
        click.echo(f"page: {result.page}")
