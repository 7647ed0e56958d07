"""From a training recipe's file to its result: which kinds there are, and who carries them out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from factory.core.errors import Problem, RecipeError
from factory.core.plugins import look_up
from factory.recipe.document import load_document
from factory.recipe.training import Training
from factory.train.directory import TrainDir, is_finished
from factory.train.versions import check_versions

if TYPE_CHECKING:
    from rich.console import Console


class Kind(NamedTuple):
    """Where a kind of training is: its recipe's class and the function that carries it out.

    The function is called with (recipe, TrainDir, Console), leaves the result in `run.result()`
    and returns the final metrics.
    """

    recipe: str
    train: str


KINDS = {
    "sft": Kind("factory.recipe.sft:Sft", "factory.train.sft:train_sft"),
    "grpo": Kind("factory.recipe.grpo:Grpo", "factory.train.policy.grpo:train_grpo"),
    "reward_model": Kind(
        "factory.recipe.reward_model:RewardModel", "factory.train.reward_model:train_reward_model"
    ),
}


def load_training(path: Path, assignments: Iterable[str] = ()) -> Training:
    """Read a training recipe. Raises RecipeError that lists everything wrong with it at once."""
    document = load_document(path, assignments)
    kind = document.data.get("kind")
    if kind not in KINDS:
        place = document.place(("kind",)) or str(path)
        what = f"is {kind!r}; a training's kind is one of {', '.join(KINDS)}"
        raise RecipeError([Problem(f"{place}: kind", what)])
    recipe_class: type[Training] = look_up(KINDS[kind].recipe)
    return recipe_class.parse(document)


def train(recipe: Training, directory: Path, console: Console) -> Path:
    """Carry a training out, or on from its newest checkpoint. Returns the resulting model's folder.

    Finished with this very recipe, it returns at once. Raises TrainError where the training went
    wrong, Stopped on Ctrl-C (a checkpoint is left), RunError where the directory holds another
    training, and for what does not fit ModelError, SourceError or RecipeError, before it starts.
    """
    if is_finished(recipe, directory):
        return directory / "model"
    check_versions()
    _quieten()
    carry_out: Callable[[Training, TrainDir, Console], dict[str, Any]]
    carry_out = look_up(KINDS[recipe.kind].train)
    with TrainDir(directory) as run:
        run.begin(recipe)
        run.finish(carry_out(recipe, run, console), recipe)
    return run.model


def _quieten() -> None:
    """No progress bars and advice of the libraries; what matters is on the console and logged."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
