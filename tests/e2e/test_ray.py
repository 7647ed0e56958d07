"""Episodes over Ray on this machine: two replicas of the demo model, one of them killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.core.errors import EngineError
from factory.recipe.build import load_recipe
from factory.sampling.engine import open_engine
from tests.e2e.test_main_job import recipe
from tests.e2e.test_replicas import survives_a_killed_replica
from tests.episodes import read_samples, roles

pytestmark = pytest.mark.real


def over_ray(folder: Path, **changes: object) -> Path:
    path = recipe(folder, **changes)
    engine = "engine: {kind: ray, ray: {replicas: 2, cpus: 1}, args: {max_num_seqs: 32, "
    path.write_text(path.read_text().replace("engine: {args: {max_num_seqs: 64, ", engine))
    return path


ENVIRONMENT = """
from factory.core.environment import Action, Observation
from factory.core.nouns import Message, Prompt

class Asks:
    replayable = True

    def reset(self, prompt: Prompt, seed: int) -> Observation:
        return Observation(())

    def step(self, action: Action) -> Observation:
        return Observation((Message(role="user", content="And then?"),))
"""


def test_a_killed_replica_is_replaced_and_no_episode_is_lost(
    tmp_path: Path, trusted_code: None
) -> None:
    """The environments run here, the model's turns on the actors: each on any of them."""
    (tmp_path / "asks.py").write_text(ENVIRONMENT)
    path, run = over_ray(tmp_path, size=10, n=4, template="chat"), tmp_path / "run"
    text = path.read_text().replace(', prefill: "<think>\\n"', "")
    text = text.replace("language: en", "language: en\n    environment: {class: asks.py:Asks}")
    text = text.replace("max_tokens: 120", "max_tokens: 120, stop: ['.'], episode: {max_turns: 3}")
    text = text.replace("temperature: 0.5", "temperature: 1.0")  # else last turns are alike
    path.write_text(text.partition("filters:")[0] + "filters: {}\n")
    survives_a_killed_replica(path, run, n=4)
    played = [sample for sample in read_samples(run).values() if sample.turns]
    assert len(played) == 40
    assert "max_turns" in {sample.finish_reason for sample in played}
    for sample in played:
        said = roles(sample)
        assert said == (["assistant", "user"] * 3)[: len(said)]  # a turn without a stop is the last


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = over_ray(tmp_path)
    path.write_text(path.read_text().replace("cpus: 1", "cpus: 1, address: '127.0.0.1:1'"))
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:1 cannot be reached"):
        open_engine(load_recipe(path).engine_spec, tmp_path, 0)
