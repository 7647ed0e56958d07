"""The command that judges what a build left pending."""

from __future__ import annotations

from pathlib import Path

import click

from factory.cli.common import json_option, print_json, run_argument


@click.command()
@run_argument
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes that judge; at most one per core works at a time.",
)
@click.option(
    "--watch", is_flag=True, help="Go on until the build has ended and nothing is pending."
)
@json_option
def judge(run: Path, workers: int, watch: bool, as_json: bool) -> None:
    """Judge the samples whose verdicts come later (`correctness.later`).

    May run during a build and after it, several times at once, also from other machines that see
    the run directory. A killed one costs only what it was at work on. A running build draws more
    by the verdicts as they come; the next `factory build` takes up those that come after it.
    """
    from factory.judging.late import drain

    done = drain(run, workers, watch=watch, say=lambda line: click.echo(line, err=True))
    if as_json:
        print_json(done)
        return
    click.echo(f"{done.judged:,} judged, {done.waiting:,} pending")
    if done.judged and not watch:
        click.echo(
            f"run `factory build` of its recipe again to use the verdicts of {run}", err=True
        )
