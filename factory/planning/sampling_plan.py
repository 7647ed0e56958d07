"""The plan of a recipe that generates: engines, KV cache, tokens per second, GPU-hours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from factory.planning.amounts import count_prompts, expected_draws
from factory.planning.architecture import BYTES, QUANTIZED, Architecture
from factory.planning.decoding import EngineLayout
from factory.planning.lineage import Lineage
from factory.planning.machine import GPUS_PER_NODE, Machine
from factory.planning.quantities import Quantity, add_up
from factory.planning.result import Option, StepPlan, count_parameters, summarize_work
from factory.recipe.build import Recipe
from factory.recipe.evaluation import Eval
from filters.base import LocalJudge

ROUND = 1024


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What no recipe says, and a plan has to take from somewhere."""

    mean_tokens: float | None = None  # per completion; a quarter of the limit unless given
    rows: int | None = None  # prompts, or training rows; from the recipe unless given
    acceptance: float = 0.5  # OpenR1-Math: 55% of problems with a right answer in two samples

    def completion_tokens(self, limit: int) -> float:
        """Return the mean length of a completion of at most `limit` tokens.

        R1's accepted mathematics has 6,094 of 32,768 (v2, Table 5); wrong answers are longer.
        """
        return min(limit, self.mean_tokens) if self.mean_tokens is not None else limit / 4


def plan_sampling(
    recipe: Recipe | Eval, lineage: Lineage, machine: Machine, given: Assumptions
) -> list[StepPlan]:
    """Return the plan of a recipe that samples, and one of each judge that is started after it."""
    inner = recipe.recipe if isinstance(recipe, Eval) else recipe
    kind = "eval" if isinstance(recipe, Eval) else "build"
    engine = inner.engine
    steps = []
    if engine.kind in ("vllm", "ray") and not engine.is_own:
        layout = make_layout(lineage.find(inner.model.id), engine.args, engine.replicas)
        if engine.kind == "ray":  # as many as fit, unless the recipe says how many
            fitting = machine.gpus // layout.gpus_per_engine
            asked = engine.ray.replicas if engine.ray is not None else None
            layout = replace(layout, replicas=asked or max(1, fitting))
        steps.append(_plan_engine(recipe, inner, kind, layout, machine, given))
    else:
        steps.append(_plan_elsewhere(recipe, inner, kind, machine, given))
    for name, filter_ in inner.filters.items():
        judge = filter_.local_judge
        if isinstance(judge, LocalJudge):
            steps.append(_plan_judge(inner.name, name, judge, lineage, machine))
    return steps


def make_layout(arch: Architecture, args: dict[str, Any], replicas: int) -> EngineLayout:
    """Return the layout that vLLM's engine arguments ask for."""
    dtype = str(args.get("dtype", "auto"))
    method = args.get("quantization") or arch.quantization
    kv = str(args.get("kv_cache_dtype", "auto"))
    ranks = int(args.get("data_parallel_size", 1))
    shared = bool(args.get("enable_expert_parallel")) and arch.experts > 0
    return EngineLayout(
        arch,
        tensor=int(args.get("tensor_parallel_size", 1)),
        pipeline=int(args.get("pipeline_parallel_size", 1)),
        data=ranks if shared else 1,
        replicas=replicas if shared else replicas * ranks,
        share=float(args.get("gpu_memory_utilization", 0.9)),
        context=int(args.get("max_model_len") or arch.context),
        weight_bytes=QUANTIZED.get(str(method), BYTES.get(dtype, 2)),
        kv_bytes=1 if kv.startswith("fp8") else 2,
        max_seqs=int(args.get("max_num_seqs", 256)),
    )


def describe_layout(layout: EngineLayout) -> str:
    """
    >>> from factory.planning.architecture import find_architecture
    >>> describe_layout(EngineLayout(find_architecture("demo"), tensor=2, replicas=4))
    '4 engines of 2 GPUs (tensor parallel 2)'
    """
    shape = f"tensor parallel {layout.tensor}"
    if layout.pipeline > 1:
        shape += f", pipeline parallel {layout.pipeline}"
    if layout.data > 1:
        shape += f", data and expert parallel {layout.data}"
    engines = f"{layout.replicas} engine{'s' * (layout.replicas > 1)}"
    return (
        f"{engines} of {layout.gpus_per_engine} GPU{'s' * (layout.gpus_per_engine > 1)} ({shape})"
    )


def list_engine_layouts(layout: EngineLayout, machine: Machine) -> Iterator[EngineLayout]:
    """Yield the ways to use all GPUs with engines of one size, small engines first."""
    tensor = 1
    while tensor <= machine.gpus:
        inside = tensor <= GPUS_PER_NODE
        if machine.gpus % tensor == 0 and layout.arch.heads % tensor == 0 and inside:
            yield replace(
                layout, tensor=tensor, pipeline=1, data=1, replicas=machine.gpus // tensor
            )
        if tensor == GPUS_PER_NODE:  # between nodes, layers are divided
            for nodes in range(2, machine.gpus // GPUS_PER_NODE + 1):
                if machine.gpus % (nodes * tensor) == 0:
                    engines = machine.gpus // (nodes * tensor)
                    yield replace(layout, tensor=tensor, pipeline=nodes, data=1, replicas=engines)
        tensor *= 2


def _plan_engine(
    recipe: Recipe | Eval,
    inner: Recipe,
    kind: str,
    layout: EngineLayout,
    machine: Machine,
    given: Assumptions,
) -> StepPlan:
    mean = given.completion_tokens(inner.sampling.max_tokens)
    problem = layout.problem(machine)
    work: list[Quantity] = []
    notes: list[str] = []
    if problem is None:
        work += _engine_work(layout, machine, mean)
        each = given.completion_tokens(inner.sampling.most_tokens)  # of a search: all its draws
        amount, notes = _amount(recipe, inner, given, each)
        work += amount
        tokens = next((one.value for one in amount if one.name == "generated tokens"), None)
        speed = layout.tokens_per_second(machine, mean)
        if tokens is not None:
            work += summarize_work(tokens / speed.value, layout.gpus, "generated tokens / speed")
        notes += _find_faster(layout, machine, mean, speed.value)
    return StepPlan(
        name=inner.name,
        kind=kind,
        model=layout.arch.name,
        machine=machine.describe(),
        parameters=count_parameters(
            layout.arch.name, layout.arch.params, layout.arch.active_params
        ),
        option=Option(describe_layout(layout), tuple(layout.needed()), problem),
        options=tuple(
            Option(describe_layout(one), tuple(one.needed()), one.problem(machine))
            for one in list_engine_layouts(layout, machine)
            if one != layout
        ),
        work=tuple(work),
        problem=problem,
        remedies=() if problem is None else tuple(_engine_remedies(layout, machine, inner)),
        notes=tuple(notes),
    )


def _engine_work(layout: EngineLayout, machine: Machine, mean: float) -> Iterator[Quantity]:
    room = layout.kv_room(machine)
    yield room
    per_token = layout.kv_per_token()
    formula = f"room for the KV cache / {per_token:,.0f} bytes per token and GPU"
    yield Quantity("KV cache of an engine", room.value / per_token, "tokens", formula)
    yield layout.tokens_per_second(machine, mean)


def _amount(
    recipe: Recipe | Eval, inner: Recipe, given: Assumptions, mean: float
) -> tuple[list[Quantity], list[str]]:
    """Return the samples and tokens of a recipe, and what could not be counted."""
    prompts, unknown = count_prompts(inner.sources)
    notes = []
    if given.rows is not None:
        prompts, unknown = given.rows, []
    if unknown:
        notes.append(f"without the prompts of {', '.join(unknown)}: give their number with --rows")
    if not prompts:
        return [], notes
    if isinstance(recipe, Eval) and isinstance(recipe.k, dict) and given.rows is None:
        samples = 0
        for source in inner.sources:
            samples += count_prompts([source])[0] * recipe.k_of(source.label)
        formula = f"{prompts:,} prompts x their k"
    else:
        draws, accepted, how = expected_draws(inner.sampling, given.acceptance)
        samples = round(prompts * draws)
        formula = f"{prompts:,} prompts x {draws:.2f} ({how})"
    found = [
        Quantity("samples", samples, "samples", formula),
        Quantity("generated tokens", samples * mean, "tokens", f"samples x {mean:,.0f} tokens"),
    ]
    if isinstance(recipe, Recipe) and "correctness" in recipe.filters:
        kept = recipe.select.per_prompt
        each = accepted if kept is None else min(accepted, kept)
        rows = round(prompts * each)
        limit = "all" if kept is None else f"at most {kept}"
        how = f"{prompts:,} prompts x {each:.2f}: {accepted:.2f} accepted, {limit} kept"
        found.append(Quantity("accepted rows", rows, "samples", how))
    return found, notes


def _find_faster(
    layout: EngineLayout, machine: Machine, mean: float, speed: float
) -> Iterator[str]:
    """Yield a layout of the same GPUs that is expected to be much faster."""
    best, fastest = None, 1.2 * speed
    for one in list_engine_layouts(layout, machine):
        if one.problem(machine) is None:
            found = one.tokens_per_second(machine, mean).value
            if found > fastest:
                best, fastest = one, found
    if best is not None:
        yield (
            f"{describe_layout(best)} would give {fastest / speed:.1f} times the tokens/s: "
            f"engine.args.tensor_parallel_size: {best.tensor}, engine.replicas: {best.replicas}"
        )


def _plan_elsewhere(
    recipe: Recipe | Eval, inner: Recipe, kind: str, machine: Machine, given: Assumptions
) -> StepPlan:
    """Return the plan of an engine on other machines: the amount, without memory or time."""
    each = given.completion_tokens(inner.sampling.most_tokens)
    amount, notes = _amount(recipe, inner, given, each)
    notes.append(f"engine.kind: {inner.engine.kind} runs elsewhere; nothing is planned here")
    return StepPlan(
        name=inner.name,
        kind=kind,
        model=inner.model.id,
        machine=machine.describe(),
        parameters=None,
        option=Option(f"engine {inner.engine.kind}", ()),
        work=tuple(amount),
        notes=tuple(notes),
    )


def _plan_judge(
    recipe: str, name: str, judge: LocalJudge, lineage: Lineage, machine: Machine
) -> StepPlan:
    layout = make_layout(lineage.find(judge.start), judge.args, judge.replicas)
    problem = layout.problem(machine)
    arch = layout.arch
    return StepPlan(
        name=f"{recipe}, judge of {name}",
        kind="judge",
        model=arch.name,
        machine=machine.describe(),
        parameters=count_parameters(arch.name, arch.params, arch.active_params),
        option=Option(describe_layout(layout), tuple(layout.needed()), problem),
        problem=problem,
        remedies=() if problem is None else tuple(_engine_remedies(layout, machine, None)),
        notes=("it is started when sampling has ended, and asked about what the rule rejects",),
    )


def _engine_remedies(
    layout: EngineLayout, machine: Machine, recipe: Recipe | None
) -> Iterator[str]:
    """Yield changes that make an engine fit: settings, then GPUs, then what changes samples."""
    same = [one for one in list_engine_layouts(layout, machine) if not one.problem(machine)]
    if same:
        best = same[0]
        pipeline = ""
        if best.pipeline > 1:
            pipeline = f", engine.args.pipeline_parallel_size: {best.pipeline}"
        yield (
            f"Set engine.args.tensor_parallel_size: {best.tensor}{pipeline} and engine.replicas: "
            f"{best.replicas}, which takes {add_up(best.needed()) / 1e9:,.1f} GB per GPU"
        )
    smaller = _longest_context(layout, machine)
    wanted = recipe.sampling.max_tokens if recipe is not None else 0
    if smaller > wanted:
        yield f"Set engine.args.max_model_len: {smaller}, the longest that fits"
    more = _fewest_gpus(layout, machine)
    if more is not None:
        yield (
            f"Take {more.gpus} GPUs of {machine.memory / 1e9:g} GB with "
            f"engine.args.tensor_parallel_size: {more.tensor}, "
            f"pipeline_parallel_size: {more.pipeline}"
        )
    if 0 < smaller <= wanted:
        yield (
            f"Set sampling.max_tokens below {smaller} and engine.args.max_model_len: {smaller}, "
            "which shortens the samples"
        )


def _longest_context(layout: EngineLayout, machine: Machine) -> int:
    """Return the longest max_model_len that the layout itself fits with; 0 if none does."""
    if layout.gpus > machine.gpus or layout.arch.heads % layout.tensor:
        return 0
    tokens = layout.kv_room(machine).value / layout.kv_per_token()
    return max(0, int(tokens) // ROUND * ROUND)


def _fewest_gpus(layout: EngineLayout, machine: Machine) -> EngineLayout | None:
    """Return one engine on the fewest GPUs, more than there are, that fits; None if none does."""
    gpus = machine.gpus
    while gpus < 4096:
        gpus = gpus * 2 if gpus < GPUS_PER_NODE else gpus + GPUS_PER_NODE
        larger = replace(machine, gpus=gpus)
        for one in list_engine_layouts(layout, larger):
            if one.replicas == 1 and one.problem(larger) is None:
                return one
    return None
