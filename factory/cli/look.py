"""Commands to inspect a run and to review its samples."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import click

from factory.cli.common import (
    STORE,
    StoredRun,
    echo,
    json_option,
    print_json,
    run_argument,
    stdout,
    stored_filters,
    stored_run_argument,
)


@click.command()
@stored_run_argument
@json_option
def show(run: Path, as_json: bool) -> None:
    """Print a run's funnel, acceptance by source and tokens per accepted sample.

    Of an unfinished run, the samples judged so far count. For an assembly, also print what every
    step left out, and its version of the paper's Table 5.
    """
    from factory.corpus.assembly.statistics import FILE, load_report, print_assembly
    from factory.report.numbers import current_funnel
    from factory.report.tables import print_corpus, print_funnel

    funnel, note = current_funnel(run)
    if note is not None:
        click.echo(note, err=True)
    if as_json:
        click.echo(funnel.to_json(), nl=False)
        return
    print_funnel(run.name, funnel, stdout())
    if (run / FILE).exists():
        print_assembly(load_report(run), stdout())
    print_corpus(run, funnel, stdout())


@click.command()
@run_argument
@json_option
def report(run: Path, as_json: bool) -> None:
    """Write RUN/report.html and its figures, for a run in any state."""
    from factory.core.run_dir import require_run
    from factory.report.write import write_report

    require_run(run)
    page = write_report(run)
    print_json({"page": page}) if as_json else click.echo(page)


@click.command()
@click.argument("run_a", type=StoredRun())
@click.argument("run_b", type=StoredRun())
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), help="Also write an HTML page."
)
@json_option
def compare(run_a: Path, run_b: Path, html: Path | None, as_json: bool) -> None:
    """Compare two runs: funnels, distributions, and the samples and rows that differ."""
    from factory.core.files import write_atomic
    from factory.report.compare import compare

    found = compare(run_a, run_b)
    print_json(found) if as_json else click.echo(found.text())
    if html is not None:
        write_atomic(html, found.html())
        click.echo(f"written to {html}", err=True)


def _server_options(function: Callable[..., None]) -> Callable[..., None]:
    options = [
        click.option(
            "--host", default="127.0.0.1", show_default=True, help="Address to listen on."
        ),
        click.option(
            "--port",
            type=click.IntRange(0, 65535),
            default=8765,
            show_default=True,
            help="Port to listen on; 0 chooses a free one.",
        ),
        click.option(
            "--token",
            envvar="FACTORY_VIEW_TOKEN",
            help="Token that visitors must present; a new one is made and printed unless given.",
        ),
        click.option(
            "--no-token",
            is_flag=True,
            help="Ask for no token: every user and program of this machine gets in.",
        ),
        click.option(
            "--allow-host",
            "allow_hosts",
            multiple=True,
            metavar="NAME",
            help="Another host name that visitors use, such as that of a proxy.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.command()
@stored_run_argument
@_server_options
def view(run: Path, **options: Any) -> None:
    """Browse a run in a web app: search its samples, move thresholds, see the funnel change.

    Prints a link with a token. Can be reached from this machine only, unless --host is given. RUN
    may be the address of a store (s3://bucket/prefix); the page follows what is written there.
    """
    from factory.stores.fetch import follow_copy

    url = click.get_current_context().meta.get(STORE)
    following = follow_copy(url, partial(click.echo, err=True)) if url else nullcontext()
    with following:
        _serve(run, "/", **options)


@click.command()
@run_argument
@_server_options
def review(run: Path, **options: Any) -> None:
    """Review samples in a web app: accept, reject or edit by keyboard; edits are verified."""
    _serve(run, "/review", **options)


def _serve(
    run: Path,
    path: str,
    host: str,
    port: int,
    token: str | None,
    no_token: bool,
    allow_hosts: tuple[str, ...],
) -> None:
    from factory.core.run_dir import require_run
    from factory.view.app import serve
    from factory.view.auth import new_token

    require_run(run)
    if no_token and token:
        raise click.UsageError("give --no-token or a token (--token, FACTORY_VIEW_TOKEN), not both")
    query = "?token=… with your token" if token else ""
    if not token and not no_token:
        token = new_token()
        query = f"?token={token}"
    serve(
        run,
        host,
        port,
        token,
        announce=lambda at: click.echo(f"{at}{path}{query} (stop it with Ctrl-C)", err=True),
        allow_hosts=allow_hosts,
    )


@click.command()
@stored_run_argument
@click.argument("sample_id")
@json_option
def explain(run: Path, sample_id: str, as_json: bool) -> None:
    """Explain the verdict on one sample: its metrics, the deciding rule, prompt and text."""
    from factory.corpus.assembly.provenance import find_origin
    from factory.report.explain import describe_sample, explain

    drawn_in, own_id = find_origin(run, sample_id)
    if as_json:
        print_json(describe_sample(stored_filters(drawn_in), drawn_in, own_id))
        return
    if drawn_in != run:
        click.echo(f"run       {drawn_in}")
    echo(explain(stored_filters(drawn_in), drawn_in, own_id))


@click.command()
@stored_run_argument
@click.option("--reason", help="Only samples with this reason, such as mixed_script.")
@click.option(
    "--decision",
    type=click.Choice(["keep", "drop", "undecided"]),
    help="Only samples with this decision.",
)
@click.option("--source", help="Only samples of this source.")
@click.option("--show", "limit", default=5, show_default=True, help="Number of samples to show.")
@click.option("--seed", default=0, show_default=True, help="Random seed for the draw.")
@click.option("--full", is_flag=True, help="Print whole texts; otherwise long ones are shortened.")
@json_option
def samples(run: Path, full: bool, as_json: bool, **which: Any) -> None:
    """Print samples of a run by verdict, with the spans that filters flagged marked."""
    from factory.report.browse import find_samples, format_sample

    filters = stored_filters(run)
    if as_json:
        print_json([found.row(0, named=True) for found in find_samples(run, filters, **which)])
        return
    for found in find_samples(run, filters, **which):
        echo(format_sample(found, filters, full=full))


@click.command(name="export-tasks")
@run_argument
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the tasks (JSON); the labelling interface is written next to it (XML).",
)
@click.option(
    "--decision",
    type=click.Choice(["keep", "drop", "undecided"]),
    default="keep",
    show_default=True,
    help="Only samples with this decision.",
)
@click.option("--reason", help="Only samples with this reason.")
@click.option("--source", help="Only samples of this source.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Maximum number of samples, drawn at random.",
)
@click.option("--seed", default=0, show_default=True, help="Random seed for the draw.")
def export_tasks(run: Path, out: Path, **which: Any) -> None:
    """Export samples as Label Studio tasks, to be accepted, rejected or edited there."""
    from factory.view.label_studio import export_tasks

    click.echo(f"{export_tasks(run, out, **which):,} tasks in {out}")


@click.command(name="import-annotations")
@run_argument
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_annotations(run: Path, file: Path) -> None:
    """Import Label Studio's annotations as reviews; the next build applies them.

    Edits are verified by the run's filters.
    """
    from factory.view.label_studio import import_annotations

    echo(import_annotations(run, file).format_lines())
