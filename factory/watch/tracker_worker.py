"""`python tracker_worker.py NAME`: passes a run's numbers to one tracker, in a process of its own.

Only the standard library and the tracker are imported, so that any interpreter that has the tracker
can run it. It reads JSON lines: first `{"name", "id", "config", "folder"}`, then `{"step",
"metrics"}`, at last `{"summary", "state"}`. It answers each on its first output with `{"done": …}`,
after the first with what it needs to continue the same run later. A tracker prints to the log.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

PROJECT = "r1-factory"


class Tracker(Protocol):
    """One run at a tracker. `remembered` is what continues it later; the constructor takes the
    first line, and what an earlier process remembered."""

    remembered: str

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...
    def finish(self, summary: Mapping[str, float], state: str) -> None: ...


class TensorBoard:
    """Event files in the run's folder watch/tensorboard."""

    def __init__(self, begin: Mapping[str, Any], known: str) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.remembered = str(Path(begin["folder"]) / "tensorboard")
        self._writer = EventFileWriter(self.remembered)
        self._step = 0

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        import time

        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=key, simple_value=value) for key, value in metrics.items()]
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=values))
        self._writer.add_event(event)
        self._writer.flush()
        self._step = step

    def finish(self, summary: Mapping[str, float], state: str) -> None:
        if summary:
            self.log(self._step, summary)
        self._writer.close()


class Wandb:
    """Weights & Biases. WANDB_API_KEY, WANDB_PROJECT, WANDB_ENTITY and WANDB_MODE are its own."""

    def __init__(self, begin: Mapping[str, Any], known: str) -> None:
        import wandb

        self.remembered = known or begin["id"]
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=begin["name"],
            id=self.remembered,
            resume="allow",
            dir=begin["folder"],
            config=begin["config"],
            save_code=False,
            settings={"console": "off", "x_disable_meta": True, "x_disable_stats": True},
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def finish(self, summary: Mapping[str, float], state: str) -> None:
        self._run.summary.update({**summary, "state": state})
        self._run.finish(exit_code=0 if state in ("done", "running") else 1)


class Trackio:
    """Trackio. TRACKIO_PROJECT is ours; TRACKIO_SPACE_ID and TRACKIO_DIR are its own."""

    def __init__(self, begin: Mapping[str, Any], known: str) -> None:
        import trackio

        self._trackio = trackio
        self.remembered = known or begin["name"]
        trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=self.remembered,
            config=begin["config"],
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._trackio.log(dict(metrics), step=step)

    def finish(self, summary: Mapping[str, float], state: str) -> None:
        if summary:
            self._trackio.log(dict(summary))
        self._trackio.finish()


class Mlflow:
    """MLflow. MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME are its own."""

    def __init__(self, begin: Mapping[str, Any], known: str) -> None:
        import mlflow

        self._mlflow = mlflow
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
        run = mlflow.start_run(run_id=known or None, run_name=None if known else begin["name"])
        self.remembered = run.info.run_id
        if not known:
            mlflow.log_params({key: str(value)[:500] for key, value in begin["config"].items()})

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        # MLflow allows no @ and the like in names.
        named = {re.sub(r"[^\w./ -]", "_", key): value for key, value in metrics.items()}
        self._mlflow.log_metrics(named, step=step)

    def finish(self, summary: Mapping[str, float], state: str) -> None:
        if summary:
            self.log(0, summary)
        states = {"done": "FINISHED", "running": "FINISHED", "stopped": "KILLED"}
        self._mlflow.end_run(states.get(state, "FAILED"))


KINDS: dict[str, Callable[[Mapping[str, Any], str], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "trackio": Trackio,
    "mlflow": Mlflow,
}


def main(name: str) -> None:
    """Serve one tracker until its input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the tracker prints goes to the log
    lines = (json.loads(line) for line in sys.stdin)
    begin = next(lines)
    tracker = KINDS[name](begin, begin["known"])
    answers.write(json.dumps({"done": "begin", "known": tracker.remembered}) + "\n")
    for line in lines:
        if "summary" in line:
            tracker.finish(line["summary"], line["state"])
            answers.write(json.dumps({"done": "end"}) + "\n")
            return
        tracker.log(line["step"], line["metrics"])
        answers.write(json.dumps({"done": line["step"]}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
