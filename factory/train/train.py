"""Load a training recipe and run its trainer: the table of the kinds of training."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from factory.core.errors import Problem, RecipeError
from factory.core.machine import has_gpu, wait_passively
from factory.core.plugins import look_up
from factory.recipe.document import Document, load_document
from factory.recipe.training import Training
from factory.train.directory import TrainDir, is_finished, rank
from factory.train.versions import check_versions
from factory.watch.attach import Watching, watch

if TYPE_CHECKING:
    from rich.console import Console


class TrainingKind(NamedTuple):
    """References to a kind's recipe class and to its training function.

    The function is called with (recipe, TrainDir, Console), writes the model to `run.result()` and
    returns the final metrics.
    """

    recipe: str
    train: str


KINDS = {
    "sft": TrainingKind("factory.recipe.sft:Sft", "factory.train.sft:train_sft"),
    "grpo": TrainingKind("factory.recipe.grpo:Grpo", "factory.train.policy.grpo:train_grpo"),
    "reward_model": TrainingKind(
        "factory.recipe.reward_model:RewardModel",
        "factory.train.reward_models.outcome:train_reward_model",
    ),
}


def load_training(path: Path, assignments: Iterable[str] = ()) -> Training:
    """Load a training recipe. Raises RecipeError that lists all problems at once."""
    return parse_training(load_document(path, assignments))


def parse_training(document: Document) -> Training:
    """Check a document against its kind's schema. Raises RecipeError."""
    kind = document.data.get("kind")
    if kind not in KINDS:
        place = document.place(("kind",)) or "recipe"
        what = f"is {kind!r}; a training's kind is one of {', '.join(KINDS)}"
        raise RecipeError([Problem(f"{place}: kind", what)])
    recipe_class: type[Training] = look_up(KINDS[kind].recipe)
    return recipe_class.parse(document)


def train(recipe: Training, directory: Path, console: Console) -> Path:
    """Train a model, resuming from the newest checkpoint. Returns the resulting model's folder.

    Returns at once if a training with this recipe has finished here. Raises TrainError where the
    training fails, Stopped on Ctrl-C (after a checkpoint), RunError where the directory holds
    another training. Before it starts, it raises ModelError, SourceError or RecipeError for what
    can't be used.
    """
    if is_finished(recipe, directory):
        return directory / "model"
    check_versions()
    passive = wait_passively()
    _silence_libraries()
    if not has_gpu():
        console.print(_describe_threads(passive), highlight=False, markup=False)
    train_kind: Callable[[Training, TrainDir, Console], dict[str, Any]]
    train_kind = look_up(KINDS[recipe.kind].train)
    with _watch_training(recipe, directory, console) as watching, TrainDir(directory) as run:
        run.begin(recipe)
        watching.begin()
        run.finish(train_kind(recipe, run, console), recipe)
    return run.model


def _watch_training(
    recipe: Training, directory: Path, console: Console
) -> AbstractContextManager[Watching]:
    """Watch a training; of several processes, only the first one is watched."""
    if rank() != 0:
        return nullcontext(Watching(None, console))
    return watch(recipe, recipe.kind, directory, console)


def _describe_threads(passive: bool) -> str:
    """Return how many threads compute on a CPU, and how they wait for one another."""
    import torch

    count = torch.get_num_threads()
    waiting = os.environ.get("OMP_WAIT_POLICY", "active")
    if not passive:
        waiting = "active, since torch was imported before: on a busy machine set OMP_NUM_THREADS=1"
    return f"{count} CPU threads (OMP_NUM_THREADS), waiting: {waiting} (OMP_WAIT_POLICY)"


def _silence_libraries() -> None:
    """Disable the libraries' progress bars and hints; the factory prints and logs its own."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
