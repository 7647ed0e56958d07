"""Commands that export: a corpus to a trainer or to the Hub, a training recipe to a trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from factory.cli.common import StoredRun, json_option, print_json, run_argument, trust_option

LAUNCHED = ("trl", "verl", "llama-factory", "axolotl")
"""Trainers that a training recipe's settings can be written for."""


class FormatName(click.ParamType):  # type: ignore[type-arg]
    """A format's name, or a class in a user's own file; names are looked up, nothing is run."""

    name = "format"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from factory.core.plugins import is_known, known_names, suggest
        from factory.export.formats import FORMATS, GROUP

        if ":" not in value and not is_known(FORMATS, value, GROUP):
            known = known_names(FORMATS, GROUP)
            listing = f"{', '.join(known)}, or path/to/file.py:Class{suggest(value, known)}"
            self.fail(f"{value!r} is no format; it must be one of {listing}", param, ctx)
        return value


class KeyRule(click.ParamType):  # type: ignore[type-arg]
    """A rule of the scan for keys."""

    name = "rule"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from factory.export.key_scan import ENVIRONMENT, RULES

        known = (*RULES, ENVIRONMENT)
        if value not in known:
            self.fail(f"{value!r} is no rule; the rules are {', '.join(known)}", param, ctx)
        return value


allow_key_option = click.option(
    "--allow-key",
    "allow_keys",
    multiple=True,
    type=KeyRule(),
    metavar="RULE",
    help="Publish although this rule finds what looks like a key; the refusal names the rule.",
)


@click.command()
@click.argument("source", metavar="RUN|RECIPE", type=StoredRun(exists=False, or_file=True))
@click.option(
    "--format",
    "format",
    type=FormatName(),
    help="For a run: trl, verl, llama-factory, axolotl, openai, nemo-gym, an installed exporter's "
    "name, or path/to/file.py:Class.",
)
@trust_option
@allow_key_option
@click.option("--launch", type=click.Choice(LAUNCHED), help="For a recipe: the trainer.")
@click.option(
    "--gpus",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="For a recipe: GPUs in all; more than 8 are machines of 8.",
)
@click.option("--tokenizer", help="Tokenizer of the model to train: a folder, a Hub id or `demo`.")
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write.",
)
@click.option("--model", help="Model named in the config, if not that of the tokenizer.")
@click.option(
    "--layout",
    type=click.Choice(["messages", "prompt-completion", "text"]),
    help="Columns of the rows; the trainer's default unless given.",
)
@click.option(
    "--template", help="Chat template to use instead: chatml, chatml_tools, plain or a Jinja file."
)
@click.option(
    "--turns",
    type=click.Choice(["trajectory", "single"]),
    default="trajectory",
    show_default=True,
    help="How an episode is written: one row, or a row for each turn of the model's own.",
)
@click.option("--eos", help="Token that ends a turn, if not the tokenizer's EOS.")
@click.option(
    "--overlong",
    type=click.Choice(["drop", "fail"]),
    default="fail",
    show_default=True,
    help="What to do with rows over the maximum length.",
)
@click.option(
    "--max-length", type=click.IntRange(1), help="In tokens; the model's context unless given."
)
@click.option(
    "--sample-rows", default=1000, show_default=True, help="Number of rows checked token by token."
)
@json_option
def export(
    source: Path,
    format: str | None,
    launch: str | None,
    gpus: int,
    tokenizer: str | None,
    out: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Write a corpus in a trainer's format, with a config that is ready to run.

    For a run: `factory export RUN --format axolotl --tokenizer PATH --out DIR`. For a training
    recipe, with its settings: `factory export RECIPE --launch verl --out DIR` (an sft recipe for
    any of these trainers, a grpo recipe for verl). verl trains models with routed experts or fp8
    weights with Megatron, on as many `--gpus` as that takes.

    First, rows are rendered with the model's own tokenizer. The export is refused if training on
    them would go wrong: reasoning stripped by the chat template, no EOS, an empty loss mask, rows
    longer than the context.
    """
    if source.is_dir() if launch else source.is_file():
        raise click.UsageError("name a run with --format, or a training recipe with --launch")
    if launch is not None:
        line = _export_recipe(source, launch, out, gpus)
        print_json({"out": out}) if as_json else click.echo(line)
        return
    if not source.is_dir():
        raise click.BadParameter(f"there is no run {str(source)!r}", param_hint="'RUN|RECIPE'")
    if format is None or tokenizer is None:
        raise click.UsageError("a run needs --format and --tokenizer")
    from factory.core.trust import trust_file
    from factory.export.export import export_run

    trust_file(Path(format.rpartition(":")[0]))  # a class of one's own is named on purpose
    written = export_run(source, format, tokenizer, out, **options)
    print_json(written) if as_json else click.echo(written.format_line(out))


def _export_recipe(recipe: Path, trainer: Any, out: Path, gpus: int) -> str:
    from factory.export.sft_launch import export_sft
    from factory.recipe.grpo import Grpo
    from factory.recipe.sft import Sft
    from factory.train.train import load_training
    from factory.train.verl import export_grpo

    loaded = load_training(recipe)
    if isinstance(loaded, Sft):
        return export_sft(loaded, trainer, out, gpus).format_line(out)
    if isinstance(loaded, Grpo) and trainer == "verl":
        return f"written to {export_grpo(loaded, out, gpus)}"
    raise click.UsageError(f"a recipe of kind {loaded.kind} can't be exported to {trainer}")


@click.command()
@run_argument
@click.option("--repo", required=True, help="Repository on the Hub: OWNER/NAME.")
@click.option("--private", is_flag=True, help="Create a private repository.")
@click.option(
    "--dry-run",
    type=click.Path(file_okay=False, path_type=Path),
    help="Push nothing; write the repository's files to this folder.",
)
@click.option("--accept-licenses", is_flag=True, help="Publish despite unknown licences.")
@click.option("--with-prompts", is_flag=True, help="Also publish prompts.parquet.")
@click.option("--message", help="Commit message.")
@allow_key_option
@click.option(
    "--follow",
    is_flag=True,
    help="Push while the run is built: a commit whenever --every rows were added, the finished "
    "corpus at the end.",
)
@click.option(
    "--every",
    type=click.IntRange(1),
    metavar="ROWS",
    help="With --follow: new rows per commit; 5000 unless given.",
)
@json_option
def push(
    run: Path, repo: str, as_json: bool, follow: bool, every: int | None, **options: Any
) -> None:
    """Push a corpus with its dataset card to the Hugging Face Hub, in one commit."""
    from factory.export.hub.push import push_run

    def note(line: str) -> None:
        click.echo(line, err=True)

    if every is not None and not follow:
        raise click.UsageError("--every needs --follow")
    if follow:
        from factory.build.growing import GrowingCorpus
        from factory.export.hub.follow import EVERY, follow_run, growing_folder

        if options.pop("dry_run") is not None:
            raise click.UsageError("--dry-run writes a finished corpus; leave out --follow")
        growing = GrowingCorpus(run, growing_folder(run, repo))
        for line in growing.find_obstacles():
            note(line)
        pushed = follow_run(run, repo, growing, every=every or EVERY, note=note, **options)
    else:
        pushed = push_run(run, repo, **options, note=note)
    print_json(pushed) if as_json else click.echo(pushed.format_line())
