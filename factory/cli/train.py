"""Commands that consume a corpus: train, eval, and run, which does all nine steps of R1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from factory.cli.common import (
    RUNS,
    recipe_argument,
    run_argument,
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
    from factory.train.train import load_training, train

    loaded = load_training(recipe, assignments)
    click.echo(train(loaded, run or RUNS / loaded.name, stderr()))


@click.command(name="eval")
@recipe_argument
@set_option
@run_option
def eval_command(recipe: Path, assignments: tuple[str, ...], run: Path | None) -> None:
    """Evaluate a model by a recipe of kind eval: pass@1, pass@k, cons@k, with intervals."""
    from factory.evaluation.evaluate import evaluate
    from factory.evaluation.table import print_evaluation
    from factory.recipe.evaluation import load_eval

    loaded = load_eval(recipe, assignments)
    print_evaluation(evaluate(loaded, run or RUNS / loaded.name, stderr()), stdout())


@click.command()
@run_argument
@click.option("--judge", required=True, metavar="URL", help="An OpenAI-compatible endpoint.")
@click.option("--judge-model", required=True, help="The name the endpoint knows the judge by.")
@click.option(
    "--judge-key-env",
    default="JUDGE_API_KEY",
    show_default=True,
    help="The environment variable that holds the endpoint's key.",
)
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JSON lines."
)
@click.option("--per-prompt", default=1, show_default=True, help="Pairs of a prompt's samples.")
@click.option("--margin", default=1.0, show_default=True, help="Mean difference must exceed it.")
@click.option("--seed", default=0, show_default=True, help="Of which samples are paired.")
def pairs(
    run: Path, judge: str, judge_model: str, judge_key_env: str, out: Path, **pairing: Any
) -> None:
    """Make preference pairs of a run's samples: a judge compares each four times, both ways.

    For a recipe of kind reward_model. What was compared is kept beside OUT and not asked again.
    """
    from factory.train.preferences import Pairing, make_pairs
    from filters.judges.client import Endpoint, JudgeClient

    endpoint = Endpoint(base_url=judge, model=judge_model, api_key_env=judge_key_env)
    with JudgeClient(endpoint, temperature=1.0) as ask:
        became = make_pairs(run, ask, out, Pairing(**pairing))
    words = ", ".join(f"{count:,} {what}" for what, count in became.items())
    click.echo(f"{words}; written to {out}")


@click.command()
@click.argument(
    "evaluations",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Where to."
)
def curves(evaluations: tuple[Path, ...], out: Path) -> None:
    """Draw EVALUATIONS of a model's checkpoints (with `step`) over its training steps."""
    from factory.evaluation.figure import write_figure

    click.echo(write_figure(evaluations, out))


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
    from factory.pipelines.page import print_pipeline
    from factory.pipelines.run import run_pipeline
    from factory.recipe.pipeline import load_pipeline

    loaded = load_pipeline(recipe, assignments)
    directory = run or RUNS / loaded.name
    done = run_pipeline(loaded, directory, stderr(), until=until, redo=redo, dry=dry)
    if done is not None:
        print_pipeline(done.manifest, done.steps, stdout())
        click.echo(f"page: {done.page}")
