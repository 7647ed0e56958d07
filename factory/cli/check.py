"""Commands that check: verify, audit, repair, doctor."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import click

from factory.cli.common import echo, json_option, print_json, run_argument, stored_filters


@click.command()
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option(
    "--workers", type=click.IntRange(1), help="Number of processes; one per core unless given."
)
def verify(file: Iterable[str], workers: int | None) -> None:
    """Verify responses from any model: JSON lines in (- for standard input), JSON lines out.

    Input line: {"id", "kind", what that kind is verified by ("reference", "choices", "tests", …),
    "text"}. Kinds: math, choice, text, json, code, gym, tool_call, json_schema, instructions,
    rubric. Output line, in the same order: {"id", "state", "extracted", "method", "ms"}.
    """
    from factory.judging.standalone import verify_lines

    for row in verify_lines(file, workers):
        click.echo(json.dumps(row, ensure_ascii=False))


@click.command()
@run_argument
@click.option(
    "-n", "n", default=200, show_default=True, help="Number of rejected, and of accepted, samples."
)
@click.option("--seed", default=0, show_default=True, help="Random seed for the draw.")
@click.option("--judge-url", help="URL of an OpenAI-compatible endpoint with a judge model.")
@click.option("--judge-model", help="Name of the judge model at the endpoint.")
@click.option(
    "--judge-key-env",
    default="JUDGE_API_KEY",
    show_default=True,
    help="Environment variable with the endpoint's API key.",
)
@json_option
def audit(
    run: Path,
    n: int,
    seed: int,
    judge_url: str | None,
    judge_model: str | None,
    judge_key_env: str,
    as_json: bool,
) -> None:
    """Estimate the error rates of the verdicts by checking some with a second method.

    Without a judge model, mathematics is checked by algebra alone. Writes audit.json into the run.
    """
    from factory.judging.audit import audit_lines, audit_run
    from filters.judges.client import Endpoint

    if (judge_url is None) != (judge_model is None):
        raise click.UsageError("--judge-url and --judge-model go together")
    judge = None
    if judge_url is not None:
        judge = Endpoint(base_url=judge_url, model=judge_model or "", api_key_env=judge_key_env)
    found = audit_run(stored_filters(run), run, judge, n, seed)
    print_json(found) if as_json else echo(audit_lines(found))


@click.command()
@run_argument
@click.option("--dry-run", is_flag=True, help="Report what is damaged; change nothing.")
@json_option
def repair(run: Path, dry_run: bool, as_json: bool) -> None:
    """Find damaged files of a run, keep every sample that can be read, say what is lost.

    A damaged file is kept under its name with `.damaged` added. Samples that cannot be read are
    drawn again by the next build; everything else is made again from the samples, with no engine.
    """
    from factory.build.repair import repair

    findings = repair(run, dry_run=dry_run)
    if as_json:
        print_json(findings)
        return
    echo(str(finding) for finding in findings)
    if not findings:
        click.echo(f"{run}: nothing is damaged")
    elif not dry_run:
        click.echo("next: run `factory build` again with the same recipe", err=True)


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check whether this machine has what the factory needs; say how to fix what is missing."""
    from factory.cli.doctor import run_checks

    if as_json:
        print_json(list(run_checks()))
        return
    problems = 0
    for finding in run_checks():
        mark = "ok" if finding.remedy is None else "!!"
        click.echo(f"{mark}  {finding.name:<12} {finding.state}")
        if finding.remedy:
            problems += 1
            click.echo(f"    {'':<12} {finding.remedy}")
    click.echo("no problems found" if not problems else f"{problems} problem(s) found")
