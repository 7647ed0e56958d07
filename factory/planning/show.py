"""A plan as lines of text, every number with its formula."""

from __future__ import annotations

from collections.abc import Iterator

from factory.planning.quantities import Quantity, show_bytes
from factory.planning.result import Option, Plan, StepPlan


def format_plan(plan: Plan) -> Iterator[str]:
    """Yield the lines of a plan: each step, and the sum of a pipeline."""
    for step in plan.steps:
        yield from _format_step(step)
        yield ""
    for name in plan.unplanned:
        yield f"{name}: no GPU"
    if len(plan.steps) > 1:
        unknown = [step.name for step in plan.steps if step.fits and step.gpu_hours is None]
        missing = f", without {', '.join(unknown)}" if unknown else ""
        yield f"all steps: {plan.gpu_hours:,.0f} GPU-hours{missing}"


def format_figures(step: StepPlan) -> str:
    """Return the figures of a step in one line."""
    parts = ", ".join(f"{one.name} {show_bytes(one.value)}" for one in step.option.memory)
    found = f"{step.model} on {step.machine}: {show_bytes(step.option.bytes)} per GPU ({parts})"
    speed = next((one for one in step.work if one.unit == "tokens/s"), None)
    if speed is not None:
        found += f"; {speed.show()}"
    hours = step.gpu_hours
    return found if hours is None else f"{found}; about {hours:,.0f} GPU-hours"


def _format_step(step: StepPlan) -> Iterator[str]:
    state = "fits" if step.fits else "does not fit"
    yield f"{step.name} ({step.kind}): {step.model} on {step.machine} {state}"
    if step.parameters is not None:
        yield _format_quantity(step.parameters)
    if step.option.memory:
        yield f"  per GPU, {step.option.name}:"
        yield from (f"  {_format_quantity(one)}" for one in step.option.memory)
        yield f"    {'together':<26}{show_bytes(step.option.bytes):>12}"
    yield from (_format_quantity(one) for one in step.work)
    yield from (f"  {line}" for line in map(_format_option, step.options) if line)
    if step.problem is not None:
        yield f"  problem: {step.problem}"
    for number, remedy in enumerate(step.remedies):
        yield f"  {'smallest change' if number == 0 else 'or'}: {remedy}"
    yield from (f"  note: {note}" for note in step.notes)


def _format_quantity(one: Quantity) -> str:
    return f"  {one.name:<26}{one.show():>14}  = {one.formula}"


def _format_option(option: Option) -> str:
    state = "fits" if option.problem is None else "does not fit"
    return f"also {option.name}: {show_bytes(option.bytes)} per GPU, {state}"
