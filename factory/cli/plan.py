"""The command that plans a recipe of any kind: plan."""

from __future__ import annotations

from pathlib import Path

import click

from factory.cli.common import (
    echo,
    json_option,
    print_json,
    recipe_argument,
    set_option,
    trust_option,
)


@click.command()
@recipe_argument
@set_option
@trust_option
@click.option("--gpus", type=click.IntRange(1), default=8, show_default=True, help="GPUs in all.")
@click.option(
    "--gpu",
    default="h100",
    show_default=True,
    help="Kind of GPU, for its speed: h100, h800, h200, h20, a100, b200 or l40s.",
)
@click.option(
    "--gpu-memory",
    type=click.FloatRange(min=1),
    metavar="GB",
    help="Memory of a GPU in GB; that of its kind unless given.",
)
@click.option(
    "--mfu",
    type=click.FloatRange(min=0.01, max=1),
    default=0.4,
    show_default=True,
    help="Share of a GPU's peak FLOPs that training and prefill reach.",
)
@click.option(
    "--mean-tokens",
    type=click.FloatRange(min=1),
    help="Mean tokens of a completion or a row. Default: a quarter of max_tokens; SFT: 5,355.",
)
@click.option(
    "--rows", type=click.IntRange(1), help="Number of prompts, or of training rows, if unknown."
)
@click.option(
    "--acceptance",
    type=click.FloatRange(min=0.001, max=1),
    default=0.5,
    show_default=True,
    help="Probability that a sample is accepted, for recipes that draw until enough are.",
)
@click.option("--like", metavar="MODEL", help="Model whose config stands for an unknown one.")
@click.option(
    "--trainer",
    type=click.Choice(["here", "verl"]),
    default="here",
    show_default=True,
    help="verl: a GRPO recipe handed over to verl with Megatron, for models like DeepSeek-V3.",
)
@json_option
def plan(
    recipe: Path,
    assignments: tuple[str, ...],
    gpus: int,
    gpu: str,
    gpu_memory: float | None,
    mfu: float,
    mean_tokens: float | None,
    rows: int | None,
    acceptance: float,
    like: str | None,
    trainer: str,
    as_json: bool,
) -> None:
    """Plan a recipe of any kind: memory per GPU, what fits, tokens/s and GPU-hours.

    Nothing is loaded or started, and no network is needed. Every number comes with its formula. A
    recipe that can't fit is refused with exit code 12 and the smallest change that makes it fit.
    """
    from factory.core.errors import CapacityError
    from factory.planning.machine import make_machine
    from factory.planning.plan import plan_file
    from factory.planning.sampling_plan import Assumptions
    from factory.planning.show import format_plan

    found = plan_file(
        recipe,
        assignments,
        make_machine(gpus, gpu, gpu_memory, mfu),
        Assumptions(mean_tokens, rows, acceptance),
        like,
        "verl" if trainer == "verl" else "here",
    )
    print_json(found.to_json()) if as_json else echo(format_plan(found))
    if not found.fits:
        raise CapacityError(found.refusal())
