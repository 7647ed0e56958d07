"""Exclude the prompts that a model was trained on from its evaluation.

Two prompts are the same if their questions are. Ids can't be compared: the id of a prompt also
depends on its verifier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from factory.build.build import load
from factory.core.errors import SourceError
from factory.core.files import write_parquet
from factory.core.nouns import fingerprint
from factory.core.run_dir import RunDir
from factory.recipe.exclusion import extract_questions, read_questions

if TYPE_CHECKING:
    from rich.console import Console

    from factory.recipe.evaluation import Eval


def load_held_out(recipe: Eval, run: RunDir, console: Console) -> pa.Table:
    """Load the run's prompts without those of `exclude`, and write them to prompts.parquet.

    Raises SourceError where no prompt is left, or where a source has no verifiers.
    """
    file = run.path / "prompts.parquet"
    seen = {question for item in recipe.exclude for question in read_questions(item.path)}
    key = fingerprint(sorted(seen))
    before = run.manifest.get("excluded"), run.manifest.get("sources")
    if before[0] != key:
        file.unlink(missing_ok=True)
    prompts = load(recipe.recipe, run, console)
    kept = [question not in seen for question in extract_questions(prompts)]
    left_out = kept.count(False)
    # A resumed run loads prompts that were filtered before: keep the count of the first time.
    if left_out or before != (key, run.manifest["sources"]):
        run.save_manifest(left_out=left_out)
    if left_out:
        console.print(f"{left_out:,} prompts excluded (`exclude`)", highlight=False)
        prompts = prompts.filter(pa.array(kept))
        write_parquet(file, prompts)
    run.save_manifest(excluded=key)
    if not prompts.num_rows:
        paths = ", ".join(str(item.path) for item in recipe.exclude)
        raise SourceError(
            f"exclude leaves no prompt: all {left_out:,} are in {paths} too. Draw more prompts, "
            "with another seed or other settings"
        )
    _require_verifiers(prompts)
    return prompts


def _require_verifiers(prompts: pa.Table) -> None:
    """Raise SourceError for a source without any verifier: none of its answers could be scored."""
    rows = prompts.select(["source", "verifier"]).to_pylist()
    verified = {row["source"] for row in rows if row["verifier"] is not None}
    unverified = sorted({row["source"] for row in rows} - verified)
    if unverified:
        raise SourceError(
            f"no prompt of {', '.join(unverified)} has a verifier, so no answer can be scored; "
            "give the source `verifier: {kind: math}` and name its answer column"
        )
