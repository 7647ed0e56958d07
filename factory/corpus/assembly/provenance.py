"""Finds the run in which a row of an assembly was sampled, and its id there."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from factory.core.errors import RunError
from factory.core.run_dir import read_manifest
from factory.corpus.assembly.inputs import open_run
from factory.recipe.assembly import load_assembly
from factory.recipe.kinds import ASSEMBLY


def find_origin(run: Path, row_id: str) -> tuple[Path, str]:
    """Return the run that sampled a row and the row's id there.

    A run that is not an assembly sampled its own rows. Raises RunError if no input has the row.
    """
    while read_manifest(run).get("kind") == ASSEMBLY:
        run, row_id = _find_source(run, row_id)
    return run, row_id


def _find_source(assembly: Path, row_id: str) -> tuple[Path, str]:
    name, at, label = row_id.rpartition("@")  # `scan_rows` makes equal ids unique this way
    for source in load_assembly(assembly / "recipe.yaml").runs:
        wanted = name if at and label == source.label else row_id
        shards = open_run(source).shards
        if shards and pl.scan_parquet(shards).filter(id=wanted).select("id").collect().height:
            return source.path, wanted
    raise RunError(f"no run of the assembly {assembly} has the row {row_id}")
