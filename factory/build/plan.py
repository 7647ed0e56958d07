"""`factory build --dry-run`: what a build would do, from what is on disk. Starts and writes
nothing, and loads no prompts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from factory.build.build import is_finished
from factory.build.losses import find_loss
from factory.core.run_dir import read_manifest, sample_parts
from factory.recipe.assembly import Assembly
from factory.recipe.build import Recipe


def plan(recipe: Recipe | Assembly, run: Path) -> Iterator[str]:
    """The work of a build, line by line. Raises RunError where the directory cannot be used."""
    if isinstance(recipe, Assembly):
        yield f"assembly {recipe.name} in {run}: mix the corpora of {len(recipe.runs)} run(s)"
        for source in recipe.runs:
            state = read_manifest(source.path).get("state", "not built")
            yield f"  {source.path}: {state}"
        return
    if is_finished(recipe, run):
        loss = find_loss(run)
        if loss is None:
            yield f"recipe {recipe.name} is finished in {run}; nothing would be done"
            return
        yield f"{run} was finished, but {loss}; what is lost would be made again"
    yield f"recipe {recipe.name} in {run}:"
    manifest = read_manifest(run)
    if manifest.get("sources") == recipe.sources_fp() and (run / "prompts.parquet").exists():
        yield "  prompts: loaded already"
    else:
        labels = ", ".join(f"{source.label} ({source.kind})" for source in recipe.sources)
        yield f"  prompts: load {labels}"
    drawn = len(sample_parts(run))
    known = manifest.get("params", {})
    if drawn and not known.keys() <= recipe.params().keys():
        yield "  samples: refuse; the directory holds samples drawn with other settings"
        return
    sampling = recipe.sampling
    yield (
        f"  samples: {sampling.policy} policy, {sampling.n} per prompt, at most "
        f"{sampling.most_tokens:,} tokens each, model {recipe.model.id}, "
        f"engine {recipe.engine.kind}"
    )
    if drawn:
        yield f"  samples: {drawn} sealed part(s) are kept and never drawn again"
    yield f"  judge: {', '.join(recipe.filters) or 'no filter'}"
    rows = recipe.select.per_prompt
    most = "every kept sample" if rows is None else f"at most {rows} row(s) per prompt"
    yield f"  corpus: {most}, in {run / 'corpus'}"
    if recipe.store is not None:
        yield f"  store: go on from what {recipe.store.url} has, and keep it equal to {run}"
