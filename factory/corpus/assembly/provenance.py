"""Where a row of an assembly was sampled: in a run it was made of, under the id it has there."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from factory.core.errors import RunError
from factory.core.run_dir import read_manifest
from factory.corpus.assembly.inputs import open_run
from factory.recipe.assembly import load_assembly
from factory.recipe.kinds import ASSEMBLY


def origin(run: Path, row_id: str) -> tuple[Path, str]:
    """The run that drew a row and the row's id there; a run that is no assembly drew its own.

    Raises RunError where none of an assembly's runs holds the row.
    """
    while read_manifest(run).get("kind") == ASSEMBLY:
        run, row_id = _giver(run, row_id)
    return run, row_id


def _giver(assembly: Path, row_id: str) -> tuple[Path, str]:
    name, at, label = row_id.rpartition("@")  # how `scan` tells two runs' equal ids apart
    for source in load_assembly(assembly / "recipe.yaml").runs:
        wanted = name if at and label == source.label else row_id
        shards = open_run(source).shards
        if shards and pl.scan_parquet(shards).filter(id=wanted).select("id").collect().height:
            return source.path, wanted
    raise RunError(f"no run that {assembly} was made of holds {row_id}")
