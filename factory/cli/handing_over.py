"""Commands that hand a corpus over: export, push."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from factory.cli.common import (
    run_argument,
)

if TYPE_CHECKING:
    pass


@click.command()
@run_argument
@click.option(
    "--format",
    "format",
    type=click.Choice(["trl", "verl", "llama-factory", "axolotl", "openai"]),
    required=True,
    help="The trainer.",
)
@click.option("--tokenizer", required=True, help="The target's: a folder, a Hub id or `demo`.")
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Where to."
)
@click.option("--model", help="The model the config names, where it is not the tokenizer's.")
@click.option("--layout", type=click.Choice(["messages", "prompt-completion", "text"]))
@click.option("--template", help="Another chat template: chatml, plain or a Jinja file.")
@click.option("--eos", help="The token that ends a turn, where the tokenizer's EOS does not.")
@click.option("--overlong", type=click.Choice(["drop", "fail"]), default="fail", show_default=True)
@click.option("--max-length", type=click.IntRange(1), help="Tokens; the model's context otherwise.")
@click.option("--sample-rows", default=1000, show_default=True, help="Rows checked token by token.")
@click.option("--seed", default=0, show_default=True, help="Of that sample.")
def export(run: Path, **options: Any) -> None:
    """Write a corpus as a trainer wants it, with a config that runs.

    A gate renders rows with the target's own tokenizer first and refuses what would train wrongly:
    reasoning stripped by a chat template, no EOS, an empty loss mask, rows beyond the context.
    """
    from factory.export.export import export_run

    report = export_run(run, **options)
    click.echo(
        f"{report.rows:,} rows in layout {report.layout}, longest {report.longest:,} tokens, "
        f"{report.overlong:,} beyond the context; written to {options['out']}"
    )


@click.command()
@run_argument
@click.option("--repo", required=True, help="OWNER/NAME on the Hub.")
@click.option("--private", is_flag=True, help="Create it private.")
@click.option(
    "--dry-run",
    type=click.Path(file_okay=False, path_type=Path),
    help="Only write the folder, here.",
)
@click.option("--accept-licenses", is_flag=True, help="Publish in spite of unknown licences.")
@click.option("--with-prompts", is_flag=True, help="Publish prompts.parquet too.")
@click.option("--message", help="The commit's message.")
def push(run: Path, repo: str, **options: Any) -> None:
    """Push a corpus with its dataset card to the Hugging Face Hub, in one commit."""
    from factory.push import push_run

    report = push_run(run, repo, **options, note=lambda line: click.echo(line, err=True))
    click.echo(f"{report.rows:,} rows in {len(report.files)} files: {report.url or report.folder}")
