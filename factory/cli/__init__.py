"""The command line: parse, call, print. Heavy imports happen inside the commands."""

from __future__ import annotations

import sys

import click

from factory.cli.build import build, filter_command, init, serve, validate
from factory.cli.check import audit, doctor, repair, verify
from factory.cli.common import ask_on_terminal, output_options
from factory.cli.export import export, push
from factory.cli.judge import judge, rejudge
from factory.cli.launch import launch
from factory.cli.look import (
    compare,
    explain,
    export_tasks,
    import_annotations,
    report,
    review,
    samples,
    show,
    view,
)
from factory.cli.plan import plan
from factory.cli.refusals import explain_damage, explain_refusal
from factory.cli.train import curves, eval_command, pairs, run, train
from factory.cli.watch import watch
from factory.core.errors import FactoryError, RunError, Stopped, StorageError

SECTIONS = {
    "Make a corpus": (init, validate, build, judge, rejudge, filter_command, serve),
    "Inspect a run": (show, report, view, watch, compare, samples, explain),
    "Review by hand": (review, export_tasks, import_annotations),
    "Check": (plan, audit, verify, repair, doctor),
    "Run on a cluster": (launch,),
    "Export and publish": (export, push),
    "Train and evaluate": (train, pairs, eval_command, curves, run),
}


class Sections(click.Group):
    """A command group whose help lists the commands by section."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(command.name or "") for command in self.commands.values())
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(c.name or "", c.get_short_help_str(200)) for c in commands],
                    col_max=width,
                )


@click.group(cls=Sections, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="r1-factory", prog_name="factory")
def cli() -> None:
    """Build verified reasoning corpora from prompts, and train models on them.

    Exit codes: 0 done, 2 recipe or flag, 3 engine lost (run again to resume), 4 run directory,
    5 disk, 6 prompt source, 7 model or tokenizer, 8 missing package, 9 quota, 10 push,
    11 training, 12 plan does not fit, 13 model below its gate, 130 interrupted.
    """


for _commands in SECTIONS.values():
    for _command in _commands:
        _command.params.extend(output_options)
        cli.add_command(_command)


def main() -> None:
    """Run the `factory` command. Prints a FactoryError without a traceback, exits with its code."""
    ask_on_terminal()
    try:
        cli(standalone_mode=False)
    except FactoryError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt, Stopped) as stop:
        click.echo(str(stop) or "interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe has closed it, as in `factory samples RUN | head`.
        sys.stderr.close()
        sys.exit(0)
    except BaseException as error:  # a panic in a library written in Rust is no Exception
        refusal, damage = explain_refusal(error), explain_damage(error)
        if refusal is None and damage is None:
            raise
        click.echo(f"error: {refusal or damage}", err=True)
        sys.exit(StorageError.exit_code if refusal else RunError.exit_code)
