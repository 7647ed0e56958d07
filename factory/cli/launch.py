"""The command that writes files for a cluster: launch."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from factory.cli.common import RUNS, json_option, print_json, set_option, trust_option


@click.command()
@click.argument("system", type=click.Choice(("slurm", "kubernetes", "skypilot")))
@click.argument(
    "recipes",
    metavar="RECIPE...",
    nargs=-1,
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
)
@set_option
@trust_option
@click.option(
    "--gpus",
    type=click.IntRange(0),
    help="GPUs in all; more than 8 are machines of 8. Default: those of the recipe's engines; for "
    "a training, a pipeline and a Ray cluster of any size, 8.",
)
@click.option(
    "--gpu", default="h100", show_default=True, help="Kind of GPU, as `factory plan` knows it."
)
@click.option("--image", help="Kubernetes: the container image, with the factory in it.")
@click.option(
    "--storage",
    help="What outlives the job. Slurm: the folder of the runs, runs unless given. Kubernetes: a "
    "PersistentVolumeClaim. SkyPilot: a bucket, such as s3://mine/runs.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write. Default: the recipe's name with .slurm, .k8s.yaml or .sky.yaml.",
)
@json_option
def launch(
    system: str,
    recipes: tuple[Path, ...],
    assignments: tuple[str, ...],
    gpus: int | None,
    gpu: str,
    image: str | None,
    storage: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Write the file that runs a recipe on a cluster: slurm, kubernetes or skypilot.

    The recipe's own needs and `factory plan` decide about GPUs, machines, memory and hours. A
    recipe that can't fit is refused with exit code 12. For slurm, several recipes become an array
    of jobs. Nothing is started.
    """
    from factory.core.files import write_atomic
    from factory.launch.files import SYSTEMS, Launch, write_file

    if system != "slurm" and len(recipes) > 1:
        raise click.UsageError("several recipes need slurm; launch them one by one")
    if system == "kubernetes" and not image:
        raise click.UsageError("kubernetes needs --image")
    if system != "slurm" and not storage:
        raise click.UsageError(f"{system} needs --storage, where the run outlives its job")
    if out is not None and any(out.resolve() == recipe.resolve() for recipe in recipes):
        raise click.UsageError(f"--out {out} is the recipe itself; name another file")
    if system == "slurm":
        storage = str(Path(storage or RUNS).absolute())
    programs = Path(sys.executable).parent
    found = write_file(
        Launch(system, recipes, assignments, gpus, gpu, image or "", storage or "", programs)
    )
    target = out or Path(found.name)
    write_atomic(target, found.text)
    start = f"{SYSTEMS[system].start} {target}"
    if as_json:
        print_json({"file": target, "start": start, "notes": found.notes})
        return
    for line in found.notes:
        click.echo(line, err=True)
    click.echo(f"wrote {target}; next: {start}")
