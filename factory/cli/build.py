"""Commands that make a corpus: init, validate, build, filter, serve."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from factory.cli.common import (
    RUNS,
    RunFolder,
    echo,
    json_option,
    print_json,
    read_recipe,
    recipe_argument,
    run_option,
    set_option,
    stderr,
    stdout,
    trust_option,
)

if TYPE_CHECKING:
    from factory.recipe.kinds import AnyRecipe
    from factory.recipe.pipeline import Pipeline
    from filters.base import Filter


@click.command()
@recipe_argument
@set_option
@trust_option
@run_option
@click.option("--watch", is_flag=True, help="Serve a page that shows the run while it is built.")
@click.option("--dry-run", "dry", is_flag=True, help="Only say what would be done.")
@json_option
def build(
    recipe: Path,
    assignments: tuple[str, ...],
    run: Path | None,
    watch: bool,
    dry: bool,
    as_json: bool,
) -> None:
    """Build the corpus of a recipe; run the same command again to resume.

    RECIPE is a file, or the name of a shipped recipe, such as quickstart. A recipe of
    `kind: assembly` mixes the corpora of finished runs into one.
    """
    from factory.build.build import build
    from factory.build.earlier_runs import describe_new_run, remember_run
    from factory.core.errors import QuotaError
    from factory.corpus.assembly.assemble import build_assembly
    from factory.corpus.assembly.statistics import print_assembly
    from factory.judging.funnel import load_funnel
    from factory.recipe.assembly import Assembly, load_build
    from factory.recipe.document import find_recipe
    from factory.report.tables import print_corpus, print_funnel

    loaded = load_build(recipe, assignments)
    directory = run or RUNS / loaded.name
    news = list(describe_new_run(find_recipe(recipe), directory)) if run is None else []
    if dry:
        from factory.build.plan import plan

        lines = [*news, *plan(loaded, directory)]
        print_json({"plan": lines}) if as_json else echo(lines)
        return
    if isinstance(loaded, Assembly):
        report = build_assembly(loaded, directory, stderr())
        print_json(report) if as_json else print_assembly(report, stdout())
        return
    for line in news:
        click.echo(line, err=True)
    if run is None:
        remember_run(find_recipe(recipe), directory)
    with _serve_page(directory) if watch else nullcontext():
        try:
            funnel = build(loaded, directory, stderr())
        except QuotaError:
            funnel = load_funnel(directory)
            print_json(funnel) if as_json else print_funnel(loaded.name, funnel, stdout())
            raise
    if as_json:
        print_json(funnel)
        return
    print_funnel(loaded.name, funnel, stdout())
    print_corpus(directory, funnel, stdout())


@contextmanager
def _serve_page(run: Path) -> Iterator[None]:
    from factory.view.app import serve_in_background
    from factory.view.auth import new_token

    token = new_token()
    with serve_in_background(run, port=None, token=token) as address:
        click.echo(f"watch at {address}/?token={token}", err=True)
        yield


@click.command()
@recipe_argument
@set_option
@trust_option
@run_option
@click.option(
    "--pilot",
    type=click.IntRange(1),
    metavar="PROMPTS",
    help="Also sample this many prompts, and forecast yield, tokens, hours and money.",
)
@click.option(
    "--stress",
    type=click.IntRange(1),
    metavar="REFERENCES",
    help="Also try this many references per source in other spellings and as near misses.",
)
@click.option(
    "--all-rows",
    is_flag=True,
    help="Also read every row: counts, rejects, bad references, languages, lengths, duplicates.",
)
@json_option
def validate(
    recipe: Path,
    assignments: tuple[str, ...],
    run: Path | None,
    pilot: int | None,
    stress: int | None,
    all_rows: bool,
    as_json: bool,
) -> None:
    """Check a recipe, load three prompts per source, render one, estimate the work.

    RECIPE may also be a class of your own, path/to/file.py:Class, which is tried on made-up data.
    Starts no engine, except with --pilot and for an engine of your own. A recipe of another `kind`
    is checked and printed with everything it extends. Local files that it reads must exist. For an
    assembly, the rows that its runs offer are listed; for a pipeline, every step is checked.
    """
    from factory.build.survey import survey
    from factory.build.validate import refuse_missing_inputs, show_sources, validate
    from factory.core.errors import ModelError
    from factory.corpus.assembly.preview import preview_assembly
    from factory.recipe.assembly import Assembly
    from factory.recipe.document import load_document
    from factory.recipe.kinds import KINDS, PIPELINE, SAMPLES, explain_missing_model, load
    from factory.recipe.pipeline import load_pipeline

    if ".py:" in str(recipe) or recipe.suffix == ".py":
        from factory.cli.try_class import try_reference

        lines = list(try_reference(str(recipe)))
        print_json({"valid": True, "lines": lines}) if as_json else echo(lines)
        return
    document = load_document(recipe, assignments)
    kind = document.data.get("kind", SAMPLES)
    if kind == PIPELINE:
        lines = list(_check_steps(load_pipeline(recipe, assignments)))
        print_json({"valid": True, "kind": kind, "lines": lines}) if as_json else echo(lines)
        click.echo(f"valid; run it with `factory run {recipe}`", err=as_json)
        return
    if kind in KINDS and kind != SAMPLES:
        other = load(kind, recipe, assignments)
        if not as_json:
            click.echo(other.to_yaml())
        if missing := explain_missing_model(other):
            raise ModelError(missing)
        if isinstance(other, Assembly):
            tried = list(preview_assembly(other))
        else:
            refuse_missing_inputs(other, document)
            sources = getattr(other, "sources", ())
            tried = [*_count_rows(other), *show_sources(sources), *_try_rewards(other)]
        if as_json:
            print_json({"valid": True, "kind": kind, "lines": tried})
            return
        echo(tried)
        click.echo(f"valid; run it with `factory {KINDS[kind].command} {recipe}`")
        return
    loaded = read_recipe(recipe, assignments)
    refuse_missing_inputs(loaded, document)
    if as_json:
        found = {"valid": True, "lines": list(validate(loaded))}
        print_json(found | ({"sources": survey(loaded)} if all_rows else {}))
        return
    echo(validate(loaded))
    if all_rows:
        for source in survey(loaded):
            echo(source.lines())
    if stress is not None:
        from factory.build.stress import stress as try_references

        echo(try_references(loaded, stress))
    if pilot is not None:
        from factory.build.pilot import run_pilot

        echo(run_pilot(loaded, run or RUNS / loaded.name, pilot, stderr()))


def _check_steps(pipeline: Pipeline) -> Iterator[str]:
    """Yield a line per step of a pipeline. Raises RecipeError for inputs that nothing writes."""
    from factory.core.errors import RecipeError

    steps = pipeline.plan(RUNS / pipeline.name)
    missing = list(pipeline.find_missing(steps))
    if missing:
        raise RecipeError(missing)
    for step in steps:
        yield f"{step.name} ({step.kind}{' of ' + ', '.join(step.inputs) if step.inputs else ''})"


def _count_rows(recipe: AnyRecipe) -> Iterator[str]:
    """The rows of a corpus to train on. Raises SourceError where there are none."""
    from factory.recipe.sft import Sft

    if isinstance(recipe, Sft):
        from factory.train.data import count_rows, find_shards

        for split, files in find_shards(recipe.data).items():
            yield f"data: {count_rows(files):,} rows in split {split} of {recipe.data}"


def _try_rewards(recipe: AnyRecipe) -> Iterator[str]:
    """Rewards that are not shipped, of a recipe that has any."""
    from factory.build.trials import try_reward
    from factory.recipe.grpo import Grpo

    if isinstance(recipe, Grpo):
        for name, reward in recipe.rewards.items():
            if reward.REFERENCE or reward.kind == "own":
                yield try_reward(reward, reward.REFERENCE or name)


def _extension_flags(function: Callable[..., None]) -> Callable[..., None]:
    for kind in reversed(EXTENSIONS):
        text = f"Write {'an' if kind[0] in 'aeiou' else 'a'} {kind} class and its test."
        function = click.option(f"--{kind}", "extension", flag_value=kind, help=text)(function)
    return function


EXTENSIONS = ("loader", "verifier", "filter", "reward", "environment", "exporter", "engine")


@click.command()
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@_extension_flags
def init(path: Path, extension: str | None) -> None:
    """Write a commented recipe to PATH, or, with a flag, a class of your own and its test.

    `factory init my.yaml` writes a recipe. `factory init --filter my_filter.py` writes the class to
    my_filter.py and its test to test_my_filter.py.
    """
    from factory.build.skeletons import write_recipe, write_skeleton

    if extension is None:
        write_recipe(path)
        click.echo(f"wrote {path}; next: factory validate {path}")
        return
    test, use = write_skeleton(extension, path)
    click.echo(f"wrote {path} and {test}; next: pytest {test}")
    click.echo(f"then: {use}")


@click.command(name="filter")
@click.argument("run", required=False, type=RunFolder())
@click.option(
    "--recipe",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Recipe with the new limits; the run's own unless given.",
)
@set_option
@trust_option
@click.option("--diff", is_flag=True, help="List the samples whose verdict changed.")
@click.option(
    "--preview", is_flag=True, help="List what would change, with --diff's lines; write nothing."
)
@json_option
@click.option(
    "--on",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Filter a Parquet or JSONL file instead of a run.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --on: output file, .parquet or .jsonl.",
)
@click.option("--filters", "names", help="With --on: names of filters to run with their defaults.")
@click.option("--text", default="text", show_default=True, help="With --on: text column.")
@click.option("--prompt", help="With --on: prompt column.")
@click.option("--language", help="With --on: column of the prompt's language (ISO 639-1).")
@click.option("--id", "id_column", help="With --on: id column; row numbers unless given.")
def filter_command(
    run: Path | None,
    recipe: Path | None,
    assignments: tuple[str, ...],
    diff: bool,
    preview: bool,
    as_json: bool,
    file: Path | None,
    out: Path | None,
    names: str | None,
    text: str,
    prompt: str | None,
    language: str | None,
    id_column: str | None,
) -> None:
    """Filter a run again with other limits, or filter any data set; starts no engine.

    `factory filter RUN --set filters.length.max_tokens=4096 --diff` rewrites the run's corpus.
    `factory filter --on FILE --filters language,repetition --out OUT` writes id, metrics, verdict
    and reason of every row.
    """
    from factory.build.refilter import Columns, filter_file, filter_run, preview_run
    from factory.recipe.build import refuse_assembly
    from factory.report.tables import print_funnel

    if (run is None) == (file is None):
        raise click.UsageError("name either a run directory or --on FILE")
    if file is not None:
        if out is None:
            raise click.UsageError("--on needs --out")
        if out.exists() and out.samefile(file):
            raise click.UsageError(f"--out {out} is the file that --on reads; name another")
        if out.suffix not in ("", ".parquet", ".jsonl"):
            raise click.UsageError(f"--out {out} must end in .parquet or .jsonl")
        if (recipe is None) == (names is None):
            raise click.UsageError("--on needs either --filters or --recipe")
        filters = (
            _parse_filters(names) if recipe is None else read_recipe(recipe, assignments).filters
        )
        judged = filter_file(file, out, filters, Columns(text, prompt, language, id_column))
        for named, count in judged.unknown_languages.most_common(5):
            click.echo(
                f"{language}: {named!r} in {count:,} rows is no known language code (ISO 639-1: "
                "en, zh, …); the language of these rows was detected instead",
                err=True,
            )
        if as_json:
            print_json({"verdicts": dict(judged.verdicts), "out": out})
            return
        counts = sorted(judged.verdicts.items())
        summary = ", ".join(f"{count:,} {verdict}" for verdict, count in counts)
        click.echo(f"{summary}; written to {out}")
        return
    assert run is not None
    refuse_assembly(run)
    loaded = read_recipe(recipe or run / "recipe.yaml", assignments)
    change = (preview_run if preview else filter_run)(loaded, run, stderr())
    if as_json:
        print_json(change.facts())
    elif diff or preview:
        echo(change.lines())
    else:
        print_funnel(run.name, change.after, stdout())


def _parse_filters(names: str | None) -> dict[str, Filter]:
    from factory.recipe.parsing import filters_by_name

    return filters_by_name((names or "").split(","))


@click.command()
@recipe_argument
@set_option
@trust_option
@click.option(
    "--replicas", type=click.IntRange(1), default=1, show_default=True, help="Number of servers."
)
@click.option(
    "--port", default=8000, show_default=True, help="Port of the first server; the others follow."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
def serve(recipe: Path, assignments: tuple[str, ...], replicas: int, port: int, host: str) -> None:
    """Start vLLM servers of a recipe's model on this machine, and restart those that die."""
    from factory.sampling.engines.local_servers import serve

    serve(read_recipe(recipe, assignments).engine_spec, replicas, port, host)
