"""Commands that consume a corpus: train, eval, and run, which does all nine steps of R1."""

from __future__ import annotations

from pathlib import Path

import click

from factory.cli.common import (
    RUNS,
    recipe_argument,
    run_option,
    set_option,
    stderr,
    stdout,
)


@click.command()
@recipe_argument
@set_option
@run_option
def train(recipe: Path, assignments: tuple[str, ...], run: Path | None) -> None:
    """Train by a recipe of kind sft, grpo or reward_model; the same command goes on.

    The model is then in RUN/model, and RUN itself can stand as `model:` in any other recipe.
    """
    from factory.train.load import load_training, train

    loaded = load_training(recipe, assignments)
    click.echo(train(loaded, run or RUNS / loaded.name, stderr()))


@click.command(name="eval")
@recipe_argument
@set_option
@run_option
def eval_command(recipe: Path, assignments: tuple[str, ...], run: Path | None) -> None:
    """Evaluate a model by a recipe of kind eval: pass@1, pass@k, cons@k, with intervals."""
    from factory.eval_recipe import load_eval
    from factory.eval_table import print_evaluation
    from factory.evaluate import evaluate

    loaded = load_eval(recipe, assignments)
    print_evaluation(evaluate(loaded, run or RUNS / loaded.name, stderr()), stdout())


@click.command()
@recipe_argument
@set_option
@run_option
@click.option("--until", metavar="STEP", help="Stop when this step is done.")
@click.option("--redo", multiple=True, metavar="STEP", help="Make it, and what follows, anew.")
@click.option("--dry-run", "dry", is_flag=True, help="Only say what would be done.")
def run(
    recipe: Path,
    assignments: tuple[str, ...],
    run: Path | None,
    until: str | None,
    redo: tuple[str, ...],
    dry: bool,
) -> None:
    """Carry out a pipeline: recipes as steps, each taking what others made.

    Every step goes on where it stopped; a step that is done is not done again.
    """
    from factory.pipeline import run_pipeline
    from factory.pipeline_recipe import load_pipeline

    loaded = load_pipeline(recipe, assignments)
    run_pipeline(loaded, run or RUNS / loaded.name, stderr(), until=until, redo=redo, dry=dry)
