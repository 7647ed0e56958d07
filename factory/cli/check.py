"""Commands that check: verify, audit, doctor."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from factory.cli.common import (
    echo,
    run_argument,
)

if TYPE_CHECKING:
    pass


@click.command()
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--workers", type=click.IntRange(1), help="Processes; one a core unless given.")
def verify(file: Iterable[str], workers: int | None) -> None:
    """Judge responses made by anyone: JSON lines in (- for standard input), JSON lines out.

    A line in: {"id", "kind": math|choice|text|json|code|gym, "reference" | "tests" | "choices",
    "text"}. A line out, in the same order: {"id", "state", "extracted", "method", "ms"}.
    """
    from factory.judging.standalone import verify_lines

    for row in verify_lines(file, workers):
        click.echo(json.dumps(row, ensure_ascii=False))


@click.command()
@run_argument
@click.option("-n", "n", default=200, show_default=True, help="Rejects, and accepts, judged again.")
@click.option("--seed", default=0, show_default=True, help="Of the draw.")
@click.option("--judge-url", help="Judge with a model behind an OpenAI-compatible endpoint.")
@click.option("--judge-model", help="The name the endpoint knows the judge by.")
@click.option(
    "--judge-key-env",
    default="JUDGE_API_KEY",
    show_default=True,
    help="The environment variable that holds the endpoint's key.",
)
def audit(
    run: Path,
    n: int,
    seed: int,
    judge_url: str | None,
    judge_model: str | None,
    judge_key_env: str,
) -> None:
    """Estimate how often the verdicts are mistaken, by judging a sample of them another way.

    Without a judge, mathematics is judged by algebra alone. Writes audit.json into the run.
    """
    from factory.judging.audit import audit_lines, audit_run
    from factory.recipe.build import recipe_of_run
    from filters.judges.client import Endpoint

    if (judge_url is None) != (judge_model is None):
        raise click.UsageError("--judge-url and --judge-model go together")
    judge = None
    if judge_url is not None:
        judge = Endpoint(base_url=judge_url, model=judge_model or "", api_key_env=judge_key_env)
    echo(audit_lines(audit_run(recipe_of_run(run), run, judge, n, seed)))


@click.command()
def doctor() -> None:
    """Look at what this machine has of what the factory needs; say how to mend the rest."""
    from factory.cli.doctor import examine

    troubles = 0
    for finding in examine():
        mark = "ok" if finding.remedy is None else "!!"
        click.echo(f"{mark}  {finding.name:<12} {finding.state}")
        if finding.remedy:
            troubles += 1
            click.echo(f"    {'':<12} {finding.remedy}")
    click.echo("all is well" if not troubles else f"{troubles} thing(s) to look at")
