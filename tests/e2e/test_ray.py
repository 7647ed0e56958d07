"""The main job over Ray on this machine: two replicas of the demo model, one of them killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.core.errors import EngineError
from factory.recipe.build import load_recipe
from factory.sampling.engine import open_engine
from tests.e2e.test_main_job import recipe
from tests.e2e.test_replicas import survives_a_killed_replica

pytestmark = pytest.mark.real


def over_ray(folder: Path, **changes: object) -> Path:
    path = recipe(folder, **changes)
    engine = "engine: {kind: ray, ray: {replicas: 2, cpus: 1}, args: {max_num_seqs: 32, "
    path.write_text(path.read_text().replace("engine: {args: {max_num_seqs: 64, ", engine))
    return path


def test_a_killed_replica_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    survives_a_killed_replica(over_ray(tmp_path, size=20, n=4), tmp_path / "run", n=4)


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = over_ray(tmp_path)
    path.write_text(path.read_text().replace("cpus: 1", "cpus: 1, address: '127.0.0.1:1'"))
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:1 cannot be reached"):
        open_engine(load_recipe(path).engine_spec, tmp_path, 0)
