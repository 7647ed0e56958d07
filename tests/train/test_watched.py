"""A real training that is watched: every logged step reaches the tracker, a NaN the webhook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from factory.core.errors import TrainError
from factory.recipe.sft import Sft
from factory.train.train import train
from tests.train.tiny import losses, sums, write_corpus, write_model
from tests.watch.hooks import running_hook

pytestmark = pytest.mark.real(group="torch")


def test_a_training_is_watched_to_its_end_and_in_trouble(tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs the extra `track`"
    )
    base = write_model(tmp_path / "base")
    corpus = write_corpus(tmp_path / "corpus", sums(16), validation=2)

    def run(name: str, rate: float, url: str) -> Path:
        keys: dict[str, Any] = {"kind": "sft", "name": name, "model": str(base)}
        keys |= {"data": str(corpus), "steps": 4, "batch": 2, "micro_batch": 2}
        keys |= {"optimizer": {"learning_rate": rate, "max_grad_norm": 1e30}}
        keys |= {"track": ["tensorboard"], "notify": url}
        train(Sft.model_validate(keys), tmp_path / name, Console(quiet=True))
        return tmp_path / name

    with running_hook() as hook:
        done = run("done", 1e-2, hook.url)
        with pytest.raises(TrainError):
            run("broken", 1e30, hook.url)
    events = accumulator.EventAccumulator(str(done / "watch" / "tensorboard"))
    events.Reload()
    found = {one.step: one.value for one in events.Scalars("loss")}
    assert found == pytest.approx(losses(done))
    assert "eval_loss" in events.Tags()["scalars"]
    first, second = hook.got
    assert first["text"] == "done (sft) is done"
    assert first["metrics"]["result/eval_loss"] > 0
    assert second["state"] == "failed"
    assert second["exit_code"] == TrainError.exit_code
    assert "is nan" in second["message"]
