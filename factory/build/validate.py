"""Checks a recipe on real rows, without an engine, and estimates its size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from factory.build.context import refuse_beyond_context
from factory.build.local_judges import list_started_judges
from factory.build.stored import open_store
from factory.build.survey import show_reference
from factory.core.errors import ModelError, RecipeError, SourceError
from factory.core.models import DEMO, load_tokenizer, model_path
from factory.core.nouns import Prompt
from factory.core.trial import TrialError
from factory.judging.no_rows import shorten
from factory.prompts.conversation import Tools
from factory.prompts.load import preview
from factory.recipe.kinds import find_missing_inputs
from factory.recipe.parsing import problem_at

if TYPE_CHECKING:
    from factory.prompts.source import Source
    from factory.prompts.templates import Prompting
    from factory.recipe.build import Recipe
    from factory.recipe.document import Document
    from factory.recipe.engine import EngineSpec
    from factory.recipe.kinds import AnyRecipe

PROMPTS_SHOWN = 3
TRIAL = "I tried.\n\n```\n1\n```\n\nThe answer is \\boxed{1}."
"""The response on which a verifier of the user's own is tried."""


def validate(recipe: Recipe) -> Iterator[str]:
    """Check a recipe and yield a summary in lines. Raises the first FactoryError it meets."""
    filters = ", ".join(recipe.filters)
    yield f"recipe {recipe.name}: {len(recipe.sources)} source(s), filters {filters}"
    if not recipe.filters:
        yield "warning: there are no filters, so every whole sample becomes a row, right or wrong"
    first: Prompt | None = None
    offered: Tools = ()
    for source in recipe.sources:
        prompts = _first_prompts(source)
        first = first or prompts[0]
        yield from _show_prompts(source, prompts)
        yield from _own_verifier(source.label, prompts[0])
        if prompts[0].environment is not None:
            from factory.build.trials import try_episode

            line, tools = try_episode(source.label, prompts[0], recipe.sampling)
            offered = tools if prompts[0] is first else offered
            yield line
    assert first is not None  # the schema requires a source
    yield from _own_classes(recipe, first)
    yield from _render_first(recipe, first, offered or first.tools)
    yield from _estimate(recipe)
    yield from _engines(recipe)
    yield from _judges(recipe)
    yield from _figures(recipe)
    if recipe.store is not None:
        open_store(recipe.store)
        locked = ", and is locked by a build" if recipe.store.lock else "; it is not locked"
        yield f"store: {recipe.store.url} can be written and read{locked}"


def refuse_missing_inputs(recipe: AnyRecipe, document: Document) -> None:
    """Raise SourceError that lists all local files and folders of a recipe that are not there."""
    missing = [problem_at(document, *fault) for fault in find_missing_inputs(recipe)]
    if missing:
        raise SourceError("\n".join(map(str, missing)))


def show_sources(sources: Sequence[Source]) -> Iterator[str]:
    """Yield the first prompts of sources in lines. Raises as `validate` does."""
    for source in sources:
        yield from _show_prompts(source, _first_prompts(source))


def _show_prompts(source: Source, prompts: Sequence[Prompt]) -> Iterator[str]:
    yield f"source {source.label}:"
    for prompt in prompts:
        kind = prompt.verifier["kind"] if prompt.verifier else "no verifier"
        yield f"  {prompt.id}  {prompt.domain}, {kind}"
        yield f"    question   {shorten(prompt.question)}"
        yield f"    reference  {shorten(show_reference(prompt))}"


def _figures(recipe: Recipe) -> Iterator[str]:
    """What `factory plan` says of this recipe, in a line per engine. The demo model needs none."""
    from factory.planning.lineage import Lineage
    from factory.planning.machine import Machine
    from factory.planning.sampling_plan import Assumptions, plan_sampling
    from factory.planning.show import format_figures

    if recipe.model.id == DEMO or recipe.engine.kind not in ("vllm", "ray"):
        return
    try:
        steps = plan_sampling(recipe, Lineage(None, None), Machine(), Assumptions())
    except ModelError as error:
        yield f"not planned: {error}"
        return
    for step in steps:
        yield f"planned: {format_figures(step)}"
        if step.problem is not None:
            change = f" {step.remedies[0]}" if step.remedies else ""
            yield f"warning: it does not fit there: {step.problem}.{change}"
    yield "factory plan has every formula, and plans other machines (--gpus, --gpu-memory)"


def _first_prompts(source: Source) -> list[Prompt]:
    """The first prompts; a loader that is not shipped may fail in any way, which names it."""
    if not source.REFERENCE:
        return preview(source, PROMPTS_SHOWN)
    from factory.build.trials import try_source

    return try_source(source, source.REFERENCE, PROMPTS_SHOWN)


def _own_classes(recipe: Recipe, prompt: Prompt) -> Iterator[str]:
    """Filters and an engine that are not shipped, each tried on one synthetic item."""
    from factory.build.trials import try_engine, try_filter

    for name, judge in recipe.filters.items():
        if judge.REFERENCE:
            yield f"filter {name}: {try_filter(judge, judge.REFERENCE)}"
    if recipe.engine.is_own:
        yield try_engine(recipe.engine_spec, prompt)


def _own_verifier(source: str, prompt: Prompt) -> Iterator[str]:
    """A verifier of the user's own is tried on one prompt and a made-up response."""
    if prompt.verifier is None or prompt.verifier["kind"] != "own":
        return
    from filters.verify.own import OwnVerifiers

    verifiers = OwnVerifiers(workers=1)
    try:
        failure = verifiers.failure(prompt.verifier, TRIAL)
    finally:
        verifiers.close()
    name = prompt.verifier["class"]
    if failure is not None:
        raise TrialError(
            f"source {source}: the verifier {name} fails on the first prompt: {failure}; correct "
            "the class, or the columns that it is given (`answer`, and those the source keeps)"
        )
    yield f"  verifier {name} ran on the first prompt and a made-up response"


def _render_first(recipe: Recipe, prompt: Prompt, tools: Tools) -> Iterator[str]:
    server = recipe.engine.server
    if server is not None and server.api == "chat":
        for name, prompting in _list_wordings(recipe):
            yield f"the first prompt's messages{name}, which the server renders:"
            for message in prompting.messages_for(prompt):
                first, *others = message["content"].splitlines() or [""]
                yield f"  {message['role']}: {first}"
                yield from (f"    {line}" for line in others)
        return
    tokenizer = None
    if recipe.prompting.is_chat:
        model = recipe.model
        tokenizer = load_tokenizer(
            model.tokenizer or model.id,
            needed_for="a chat template",
            revision=model.revision,
            trust_remote_code=model.trust_remote_code,
        )
    for name, prompting in _list_wordings(recipe):
        text, prefill, _ = prompting.render(prompt, tokenizer, tools=tools)
        yield f"the first prompt as the model gets it{name}:"
        yield from (f"  | {line}" for line in (text + prefill).splitlines())


def _list_wordings(recipe: Recipe) -> list[tuple[str, Prompting]]:
    """Return the prompting, or each of its variants with its name for a message."""
    prompting = recipe.prompting
    named = [(f", variant {name}", prompting.with_variant(name)) for name in prompting.variants]
    return named or [("", prompting)]


def _estimate(recipe: Recipe) -> Iterator[str]:
    sampling = recipe.sampling
    limits = [getattr(source, "size", None) or source.limit for source in recipe.sources]
    if all(limit is not None for limit in limits):
        prompts = sum(limit for limit in limits if limit is not None)
        samples = prompts * sampling.n
        episodes = any(source.environment is not None for source in recipe.sources)
        tokens = samples * (sampling.episode.max_tokens if episodes else sampling.most_tokens)
        yield (
            f"at most {prompts:,} prompts, {samples:,} samples, {tokens:,} generated tokens "
            f"({sampling.policy} policy, n {sampling.n}, max_tokens {sampling.max_tokens:,})"
        )
    else:
        tokens = sampling.n * sampling.most_tokens
        yield (
            f"at most {sampling.n} samples per prompt, {tokens:,} tokens "
            "per prompt; the number of prompts is known once the sources are read"
        )


def _engines(recipe: Recipe) -> Iterator[str]:
    teachers = recipe.sampling.teachers
    if not teachers:
        yield from _engine(recipe.engine_spec)
        return
    for teacher, spec in zip(teachers, recipe.engine_spec.list_teachers(), strict=True):
        for line in _engine(spec):
            yield f"teacher {teacher.name}: {line}"


def _engine(spec: EngineSpec) -> Iterator[str]:
    kind, server = spec.engine.kind, spec.engine.server
    if server is not None:
        from factory.sampling.engines.openai_api import check_api_options

        check_api_options(spec.prompting, spec.sampling, server)
    if kind == "batch":
        from factory.sampling.engines.batches.engine import check_settings

        _, served = check_settings(spec)
        urls = server.urls if server else ()
        yield f"engine batch, model {served.own}, {urls[0] if urls else 'files only'}"
        return
    if not spec.engine.is_embedded:
        yield f"engine {kind}"
        return
    from factory.core.machine import has_gpu

    refuse_beyond_context(spec)
    if kind == "transformers":
        from factory.sampling.engines.plain import check_args

        check_args(spec)
        yield f"engine {kind}, batch after batch"
        return
    _check_engine_args(spec.engine.args)
    if not has_gpu() and spec.sampling.top_p < 1:
        yield (
            "warning: sampling.top_p halves vLLM's speed on a CPU (measured: 1,260 to 530 tokens/s "
            "with SmolLM2-135M on two cores); top_k has no cost"
        )
    yield f"engine {kind}, {'on a GPU' if has_gpu() else 'on the CPU'}"


def _judges(recipe: Recipe) -> Iterator[str]:
    for judge in list_started_judges(recipe):
        model_path(judge.start)
        _check_engine_args(judge.args)
        yield f"judge {judge.start}, starts after sampling"


def _check_engine_args(args: dict[str, Any]) -> None:
    from factory.sampling.engines.vllm import check_engine_args

    problems = check_engine_args(args)
    if problems:
        raise RecipeError(problems)
