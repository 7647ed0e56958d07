"""The command that passes a run's numbers on: watch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from factory.cli.common import run_argument

if TYPE_CHECKING:
    from factory.recipe.watching import TrackerName


@click.command()
@run_argument
@click.option(
    "--track",
    multiple=True,
    type=click.Choice(("trackio", "wandb", "mlflow", "tensorboard")),
    help="Tracker that gets the run's numbers; may be repeated.",
)
@click.option(
    "--metrics-port",
    metavar="PORT",
    help="Serve the numbers for Prometheus at 127.0.0.1:PORT, or at HOST:PORT.",
)
@click.option("--notify", metavar="URL", help="POST a JSON document when the run ends.")
@click.option("--notify-env", metavar="NAME", help="Environment variable with that address.")
def watch(
    run: Path,
    track: tuple[TrackerName, ...],
    metrics_port: str | None,
    notify: str | None,
    notify_env: str | None,
) -> None:
    """Send a run's numbers to trackers, Prometheus or a webhook, while it runs or afterwards.

    It reads the logs in RUN and changes nothing in the run. A recipe does the same with its keys
    track, metrics_port, notify and notify_env.
    """
    from factory.core.errors import RunError
    from factory.core.files import read_json
    from factory.core.run_dir import is_locked
    from factory.recipe.watching import check_watching
    from factory.watch.watcher import Order, follow

    address = check_watching(metrics_port, notify, notify_env)
    if not (track or metrics_port or address):
        raise click.UsageError("give --track, --metrics-port, --notify or --notify-env")
    manifest = read_json(run / "run.json") or read_json(run / "train.json")
    if manifest is None:
        raise RunError(f"{run} has no run.json and no train.json; build, evaluate or train first")
    order = Order(
        run=str(run.absolute()),
        name=str(manifest.get("name", run.name)),
        kind=str(manifest.get("kind", "build")),
        track=track,
        metrics_port=metrics_port,
        notify=address,
    )
    follow(order, lambda: is_locked(run), lambda line: click.echo(line, err=True))
