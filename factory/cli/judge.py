"""Commands that judge what a build left pending, and judge again."""

from __future__ import annotations

from pathlib import Path

import click

from factory.cli.common import (
    STORE,
    StoredRun,
    echo,
    json_option,
    print_json,
    read_recipe,
    run_argument,
    stderr,
    trust_option,
)


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
    "--watch", is_flag=True, help="Continue until the build has ended and nothing is pending."
)
@json_option
def judge(run: Path, workers: int, watch: bool, as_json: bool) -> None:
    """Give the verdicts that a recipe leaves for later (`correctness.later`; in trainings
    `rewards.accuracy.later`).

    May run during a build or after it, several times at once, and on other machines that see the
    run directory. If one is killed, only its verdicts in progress are lost. A running build uses
    verdicts as they come; the next `factory build` uses those that come after it.
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


@click.command()
@click.argument("log", type=StoredRun(or_file=True))
@click.option(
    "--with-version",
    "version",
    default="installed",
    show_default=True,
    metavar="NEW",
    help="The verifiers as installed here, those of one kind (math-4), path/to/file.py:Class, or a "
    "recipe (.yaml) with other filters.",
)
@click.option("--diff", is_flag=True, help="Show what would change; write nothing.")
@click.option("--estimate", is_flag=True, help="Show how many verdicts, and their cost; give none.")
@click.option(
    "--references",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON lines that say how answers are verified, by id or custom_id; for logs that do not.",
)
@click.option(
    "--workers", type=click.IntRange(1), help="Number of processes; one per core unless given."
)
@trust_option
@json_option
@click.pass_context
def rejudge(
    context: click.Context,
    log: Path,
    version: str,
    diff: bool,
    estimate: bool,
    references: Path | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Judge a run, or a log made by another tool, again with another verifier or recipe.

    LOG is a run directory, or a JSONL file: NeMo Gym's rollouts, traces or results of `verifiers`,
    results of an OpenAI batch, or what `factory verify` reads. With --diff or --estimate it may be
    the address of a store, s3://bucket/prefix. Without --diff the new verdicts go
    into the ledger (RUN/later, or LOG.verdicts), and a run's corpus is written again.
    """
    from factory.build.rejudge import INSTALLED, NewVersion, rejudge_log, rejudge_run

    if (store := context.meta.get(STORE)) and not (diff or estimate):
        raise click.UsageError(
            f"{store} is a store, and the new verdicts are written into the run: name the "
            "directory where the run is built (its next `factory build` brings them to the "
            "store), or see what would change with --diff or --estimate"
        )
    is_recipe = version.endswith((".yaml", ".yml"))
    if log.is_dir():
        if references is not None:
            raise click.UsageError("--references is for logs; a run's prompts have their own")
        recipe = read_recipe(Path(version) if is_recipe else log / "recipe.yaml", ())
        new = NewVersion.read(INSTALLED if is_recipe else version)
        found = rejudge_run(
            recipe, log, new, stderr(), diff=diff, estimate=estimate, workers=workers
        )
    else:
        if is_recipe:
            raise click.UsageError(f"--with-version {version}: a recipe is for runs only")
        new = NewVersion.read(version)
        found = rejudge_log(
            log, new, references=references, diff=diff, estimate=estimate, workers=workers
        )
    print_json(found) if as_json else echo(found.lines())
