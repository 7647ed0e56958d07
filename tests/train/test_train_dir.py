"""A training's directory: what it resumes from, what it refuses, and who may write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factory.core.errors import ModelError, RunError, RunLocked, StorageError
from factory.core.files import read_lines
from factory.core.models import model_path
from factory.recipe.sft import Sft
from factory.train.directory import TrainDir, is_finished


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "train.parquet").write_bytes(b"rows")
    return folder


def recipe(corpus: Path, **keys: object) -> Sft:
    return Sft.model_validate(
        {"kind": "sft", "name": "x", "model": "demo", "data": corpus, "steps": 10} | keys
    )


def checkpoint(run: TrainDir, step: int, state: str | None = None) -> Path:
    folder = run.checkpoints / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    if state is None:
        state = json.dumps({"global_step": step})
    (folder / "trainer_state.json").write_text(state)
    return folder


def write_model(run: TrainDir) -> None:
    with run.result() as folder:
        (folder / "config.json").write_text("{}")


def finished(path: Path, done: Sft) -> Path:
    with TrainDir(path) as run:
        run.begin(done)
        checkpoint(run, 10)
        write_model(run)
        run.finish({"loss": 1.0}, done)
    return path


@pytest.mark.parametrize("torn", ["", '{"global_step": 1', "null", '{"global_step": 8}', "{}"])
def test_it_resumes_from_the_newest_complete_checkpoint(tmp_path: Path, torn: str) -> None:
    with TrainDir(tmp_path / "run") as run:
        assert run.newest_checkpoint() is None
        checkpoint(run, 4)
        whole = checkpoint(run, 10)
        half = checkpoint(run, 12, torn)
        unwritten = run.checkpoints / "checkpoint-14"
        unwritten.mkdir()
        assert run.resume() == whole
        assert not half.exists()
        assert not unwritten.exists()


def test_log_lines_after_the_checkpoint_are_deleted(tmp_path: Path) -> None:
    with TrainDir(tmp_path / "run") as run:
        for step in range(1, 6):
            run.log(step, loss=1 / step)
            run.sample(step, text=f"täxt {step}")
        checkpoint(run, 3)
        run.resume()
        run.log(4, loss=0.0)
    logged = read_lines(tmp_path / "run" / "log.jsonl")
    assert [row["step"] for row in logged] == [1, 2, 3, 4]
    texts = [row["text"] for row in read_lines(tmp_path / "run" / "samples.jsonl")]
    assert texts == ["täxt 1", "täxt 2", "täxt 3"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"batch": 4}, "batch: 128 there, 4 in the recipe"),
        ({"optimizer": {"learning_rate": 1e-3}}, "optimizer.learning_rate: 5e-05 there, 0.001"),
        ({"steps": 9}, "steps: 10 there, 9 in the recipe"),
        ({"steps": None, "epochs": 50}, "epochs: None there, 50.0 in the recipe"),
        ({"seed": 1}, "seed: 0 there, 1"),
    ],
)
def test_another_training_is_refused(
    tmp_path: Path, corpus: Path, keys: dict[str, object], message: str
) -> None:
    with TrainDir(tmp_path / "run") as run:
        run.begin(recipe(corpus))
        checkpoint(run, 1)
        with pytest.raises(RunError) as caught:
            run.begin(recipe(corpus, **keys))
    assert message in str(caught.value)


def test_a_recipe_may_change_before_anything_is_trained(tmp_path: Path, corpus: Path) -> None:
    with TrainDir(tmp_path / "run") as run:
        run.begin(recipe(corpus))
        (run.scratch).mkdir()
        run.begin(recipe(corpus, micro_batch=2))
        assert run.scratch.exists()
        run.begin(recipe(corpus, max_length=7))
        assert not run.scratch.exists()
        assert run.manifest["settings"]["max_length"] == 7


@pytest.mark.parametrize(
    "keys", [{"steps": 11}, {"micro_batch": 2}, {"checkpoint": {"every": 1}}, {"log_every": 2}]
)
def test_the_same_training_continues(tmp_path: Path, corpus: Path, keys: dict[str, object]) -> None:
    with TrainDir(tmp_path / "run") as run:
        run.begin(recipe(corpus))
        checkpoint(run, 1)
        run.begin(recipe(corpus, **keys))


def test_changed_data_are_another_training(tmp_path: Path, corpus: Path) -> None:
    with TrainDir(tmp_path / "run") as run:
        run.begin(recipe(corpus))
        checkpoint(run, 1)
        (corpus / "train.parquet").write_bytes(b"other rows")
        with pytest.raises(RunError, match="  data: "):
            run.begin(recipe(corpus))


def test_done_means_done_with_this_recipe(tmp_path: Path, corpus: Path) -> None:
    done = recipe(corpus)
    path = finished(tmp_path / "run", done)
    assert is_finished(done, path)
    assert is_finished(recipe(corpus, log_every=7), path)
    assert not is_finished(recipe(corpus, steps=11), path)
    assert not (path / "checkpoints").exists()
    with TrainDir(path) as run, pytest.raises(RunError, match="checkpoints are gone"):
        run.begin(recipe(corpus, steps=11))


def test_retained_checkpoints_let_it_go_on(tmp_path: Path, corpus: Path) -> None:
    keys = {"checkpoint": {"retain": True}}
    path = finished(tmp_path / "run", recipe(corpus, **keys))
    with TrainDir(path) as run:
        run.begin(recipe(corpus, steps=11, **keys))
        assert run.newest_checkpoint() == path / "checkpoints" / "checkpoint-10"


def test_a_result_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    with TrainDir(tmp_path / "run") as run:
        write_model(run)
        with pytest.raises(StorageError), run.result() as folder:
            (folder / "nowhere" / "half").write_text("…")
        assert [file.name for file in run.model.iterdir()] == ["config.json"]


def test_a_finished_directory_can_be_used_as_a_model(tmp_path: Path, corpus: Path) -> None:
    done = recipe(corpus)
    path = finished(tmp_path / "run", done)
    assert model_path(str(path)) == str(path / "model")
    with TrainDir(tmp_path / "other") as run:
        run.begin(done)
    with pytest.raises(ModelError, match="is not finished"):
        model_path(str(tmp_path / "other"))


def test_the_fingerprint_of_a_trained_model_depends_on_its_weights(
    tmp_path: Path, corpus: Path
) -> None:
    first = finished(tmp_path / "first", recipe(corpus))
    other = finished(tmp_path / "other", recipe(corpus, seed=3))
    before = recipe(corpus, model=str(first)).fingerprint()
    assert recipe(corpus, model=str(other)).fingerprint() == before
    (other / "model" / "model.safetensors").write_bytes(b"others")
    assert recipe(corpus, model=str(other)).fingerprint() != before


def test_a_model_of_unknown_origin_is_not_overwritten(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "run.lock").touch()
    with TrainDir(tmp_path / "run") as run, pytest.raises(RunError, match=r"without a train\.json"):
        run.begin(recipe(corpus))


def test_a_build_s_directory_is_not_trained_in(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(RunError, match="directory of a build"):
        TrainDir(tmp_path)


@pytest.mark.parametrize("content", ["{", '{"format": 99}'])
def test_a_manifest_that_cannot_be_read_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "train.json").write_text(content)
    with pytest.raises(RunError, match=r"train\.json"):
        TrainDir(tmp_path)


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with TrainDir(tmp_path / "run"), pytest.raises(RunLocked):
        TrainDir(tmp_path / "run")


def test_only_the_first_process_of_a_launch_writes(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TrainDir(tmp_path / "run") as first:
        first.begin(recipe(corpus))
        monkeypatch.setenv("RANK", "1")
        with TrainDir(tmp_path / "run") as second:
            second.begin(recipe(corpus, seed=5))
            second.log(1, loss=0.0)
            second.save_manifest(state="done")
            second.finish({}, recipe(corpus))
    assert not (tmp_path / "run" / "log.jsonl").exists()
    assert json.loads((tmp_path / "run" / "train.json").read_text())["state"] == "running"
