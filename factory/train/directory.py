"""A training's directory: its state, from which an interrupted training resumes.

    runs/<name>/
      recipe.yaml  train.json     resolved recipe; settings, versions, state, metrics (atomic, last)
      checkpoints/checkpoint-N/   a killed training resumes from the newest complete one
      log.jsonl                   one line per logged step: loss, learning rate, tokens, seconds, …
      samples.jsonl               texts sampled during training, by trainers that sample
      scratch/                    tokens of the data, deleted when the training is done
      model/                      the result: safetensors, tokenizer, chat template (by a rename)

In a training of several processes, only the first one writes.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from factory.core.errors import RunError
from factory.core.files import append_line, read_lines, read_versioned, storage_error, write_atomic
from factory.core.machine import list_versions
from factory.core.models import TRAINING
from factory.core.run_dir import lock_directory
from factory.recipe.training import Training

FORMAT = 1
_RECORDED = ("r1-factory", "torch", "transformers", "trl", "accelerate", "peft")


def rank() -> int:
    """Return the rank of this process (torchrun and accelerate set RANK); 0 for a single one."""
    return int(os.environ.get("RANK", "0"))


class TrainDir:
    """A training's directory, opened for writing by only one process of one launch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_main = rank() == 0
        self.started = time.monotonic()
        self._lock: IO[str] | None = lock_directory(path) if self.is_main else None
        try:
            self.manifest = read_train_manifest(path)
        except BaseException:
            self.close()
            raise

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def scratch(self) -> Path:
        """Tokenized data, deleted when the training is done."""
        return self.path / "scratch"

    def begin(self, recipe: Training) -> None:
        """Record the start of a training. Raises RunError if another one was started here."""
        if not self.is_main:
            return
        settings = recipe.identity()
        if self.newest_checkpoint() is not None or self.model.exists():
            self._refuse_another(settings, recipe.amount())
        elif self.manifest.get("settings") != settings:
            # Nothing has been trained yet, so the recipe may change.
            shutil.rmtree(self.scratch, ignore_errors=True)
        write_atomic(self.path / "recipe.yaml", recipe.to_yaml())
        self.save_manifest(
            state="running",
            kind=recipe.kind,
            name=recipe.name,
            base=recipe.model.id,
            settings=settings,
            amount=recipe.amount(),
            versions=list_versions(*_RECORDED),
            started_at=self.manifest.get("started_at", int(time.time())),
        )

    def save_manifest(self, **changes: Any) -> None:
        """Update train.json in one atomic step."""
        self.manifest = {**self.manifest, **changes, "format": FORMAT}
        if self.is_main:
            write_atomic(self.path / TRAINING, json.dumps(self.manifest, indent=2) + "\n")

    def log(self, step: int, **metrics: Any) -> None:
        """Append a line to log.jsonl; `seconds` count from the start of this process."""
        if self.is_main:
            seconds = round(time.monotonic() - self.started, 2)
            append_line(self.path / "log.jsonl", {"step": step, "seconds": seconds, **metrics})

    def sample(self, step: int, **fields: Any) -> None:
        """Append a sampled text to samples.jsonl."""
        if self.is_main:
            append_line(self.path / "samples.jsonl", {"step": step, **fields})

    def newest_checkpoint(self) -> Path | None:
        """Return the newest complete checkpoint; None where there is none."""
        found = sorted(self.checkpoints.glob("checkpoint-*"), key=checkpoint_step, reverse=True)
        return next((folder for folder in found if _is_whole(folder)), None)

    def resume(self) -> Path | None:
        """Return the checkpoint to resume from. Deletes later checkpoints and log lines."""
        newest = self.newest_checkpoint()
        if self.is_main:
            step = checkpoint_step(newest) if newest else 0
            for folder in self.checkpoints.glob("checkpoint-*"):
                if checkpoint_step(folder) > step:
                    shutil.rmtree(folder)
            for name in ("log.jsonl", "samples.jsonl"):
                _truncate_log(self.path / name, step)
        return newest

    @contextmanager
    def result(self) -> Iterator[Path]:
        """Yield a folder for the resulting model; it becomes model/ complete or not at all."""
        partial = self.path / "model.partial"
        try:
            if self.is_main:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            yield partial
            if self.is_main:
                shutil.rmtree(self.model, ignore_errors=True)
                partial.rename(self.model)
        except OSError as error:
            raise storage_error(self.model, error) from error

    def finish(self, metrics: Mapping[str, Any], recipe: Training) -> None:
        """Record the end of a training; deletes the checkpoints unless the recipe retains them."""
        if not self.is_main:
            return
        if not (self.model / "config.json").is_file():
            raise RunError(f"{self.model} holds no model: the trainer returned without writing one")
        self.save_manifest(
            state="done",
            recipe=recipe.fingerprint(),
            metrics=dict(metrics),
            finished_at=int(time.time()),
        )
        shutil.rmtree(self.scratch, ignore_errors=True)
        if not recipe.checkpoint.retain:
            shutil.rmtree(self.checkpoints, ignore_errors=True)

    def close(self) -> None:
        """Release the lock on the directory."""
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> TrainDir:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refuse_another(self, settings: Mapping[str, Any], amount: Mapping[str, float]) -> None:
        """Raise RunError that lists the differing settings: other settings give another model."""
        if not self.manifest:
            raise RunError(
                f"{self.path} holds a model without a train.json; choose another directory (--run)"
            )
        was = self.manifest["settings"]
        differing = [
            f"  {key}: {was.get(key)!r} there, {settings.get(key)!r} in the recipe"
            for key in sorted(was.keys() | settings.keys())
            if was.get(key) != settings.get(key)
        ]
        known = self.manifest["amount"]
        differing += [
            f"  {key}: {known.get(key)} there, {amount.get(key)} in the recipe"
            for key in sorted(known.keys() | amount.keys())
            if not known.get(key, math.inf) <= amount.get(key, 0)
        ]
        if differing:
            listing = "\n".join(differing)
            raise RunError(
                f"{self.path} holds a training with other settings:\n{listing}\n"
                "Restore them, or train in another directory with --run DIR. (steps and epochs may "
                "grow.)"
            )
        if self.manifest["state"] == "done" and self.newest_checkpoint() is None:
            raise RunError(
                f"{self.path} is done and its checkpoints are gone, so it cannot continue to "
                f"{dict(amount)}. Train in another directory with --run DIR; checkpoint.retain: "
                "true keeps the checkpoints."
            )


def read_train_manifest(path: Path) -> dict[str, Any]:
    """Read train.json; an empty mapping for a new directory. Raises RunError if it is unusable."""
    if (path / "run.json").exists():
        raise RunError(f"{path} is the directory of a build; choose another with --run")
    return read_versioned(path / TRAINING, FORMAT, "Train in another directory (--run DIR).")


def is_finished(recipe: Training, path: Path) -> bool:
    """Return True if a training with this recipe has finished here."""
    manifest = read_train_manifest(path)
    return manifest.get("state") == "done" and manifest.get("recipe") == recipe.fingerprint()


def checkpoint_step(folder: Path) -> int:
    """Return the step of a checkpoint's folder: 7 for checkpoint-7; -1 for another name."""
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def _is_whole(checkpoint: Path) -> bool:
    """Return True if its trainer_state.json is complete; trainers write that file last."""
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(state, dict) and state.get("global_step") == checkpoint_step(checkpoint)


def _truncate_log(log: Path, step: int) -> None:
    rows = read_lines(log)
    if not log.exists() or (rows and rows[-1]["step"] <= step):
        return
    kept = [row for row in rows if row["step"] <= step]
    write_atomic(log, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
