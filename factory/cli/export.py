"""Commands that hand over: a corpus to a trainer or the Hub, a recipe to another trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from factory.cli.common import run_argument

TRAINERS = ("trl", "verl", "llama-factory", "axolotl", "openai")


@click.command()
@click.argument("source", metavar="RUN|RECIPE", type=click.Path(exists=True, path_type=Path))
@click.option("--format", "format", type=click.Choice(TRAINERS), help="Of a run: the trainer.")
@click.option("--launch", type=click.Choice(TRAINERS[:4]), help="Of a recipe: the trainer.")
@click.option("--tokenizer", help="The target's: a folder, a Hub id or `demo`.")
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
def export(
    source: Path,
    format: Any,
    launch: str | None,
    tokenizer: str | None,
    out: Path,
    **options: Any,
) -> None:
    """Write a corpus as a trainer wants it, with a config that runs.

    `factory export RUN --format axolotl --tokenizer PATH --out DIR`, or a training recipe with its
    settings: `factory export RECIPE --launch verl --out DIR` (an sft recipe for any of these
    trainers, a grpo recipe for verl).

    A gate renders rows with the target's own tokenizer first and refuses what would train wrongly:
    reasoning stripped by a chat template, no EOS, an empty loss mask, rows beyond the context.
    """
    if source.is_file() != (launch is not None):
        raise click.UsageError("name a run with --format, or a training recipe with --launch")
    if launch is not None:
        click.echo(_launch(source, launch, out))
        return
    if format is None or tokenizer is None:
        raise click.UsageError("a run needs --format and --tokenizer")
    from factory.export.export import export_run

    click.echo(export_run(source, format, tokenizer, out, **options).told(out))


def _launch(recipe: Path, trainer: Any, out: Path) -> str:
    from factory.export.sft_launch import export_sft
    from factory.recipe.grpo import Grpo
    from factory.recipe.sft import Sft
    from factory.train.train import load_training
    from factory.train.verl import export_rl

    loaded = load_training(recipe)
    if isinstance(loaded, Sft):
        return export_sft(loaded, trainer, out).told(out)
    if isinstance(loaded, Grpo) and trainer == "verl":
        return f"written to {export_rl(loaded, out)}"
    raise click.UsageError(f"a recipe of kind {loaded.kind} has no launch for {trainer}")


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
    from factory.export.hub.push import push_run

    click.echo(push_run(run, repo, **options, note=lambda line: click.echo(line, err=True)).told())
