"""R1 Factory: from prompts to a verified reasoning corpus, and to the models it teaches.

    import factory

    run = factory.build("quickstart")                # or factory.Run("runs/quickstart")
    run.samples(reason="wrong").head()               # Polars frames
    factory.verify([{"kind": "math", "reference": "1/2", "text": "\\boxed{0.5}"}])
    factory.filter_texts(texts, filters={"language": {}}, language="en")
    trainer = GRPOTrainer(..., reward_funcs=[factory.reward("accuracy")])

What is in `__all__` is the public interface; everything else may change from version to version.
Nothing here prints: what happens is logged to `logging.getLogger("factory")`, and errors are
subclasses of `FactoryError` whose messages name place, value and remedy.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from factory.api.building import build as build
    from factory.api.building import load_recipe as load_recipe
    from factory.api.judging import filter_texts as filter_texts
    from factory.api.judging import verify as verify
    from factory.api.models import evaluate as evaluate
    from factory.api.models import train as train
    from factory.api.publishing import export as export
    from factory.api.publishing import push as push
    from factory.api.rewards import compute_score as compute_score
    from factory.api.rewards import reward as reward
    from factory.api.runs import Run as Run
    from factory.core.errors import EngineError as EngineError
    from factory.core.errors import FactoryError as FactoryError
    from factory.core.errors import MissingDependency as MissingDependency
    from factory.core.errors import ModelError as ModelError
    from factory.core.errors import PushError as PushError
    from factory.core.errors import QuotaError as QuotaError
    from factory.core.errors import RecipeError as RecipeError
    from factory.core.errors import RunError as RunError
    from factory.core.errors import SourceError as SourceError
    from factory.core.errors import Stopped as Stopped
    from factory.core.errors import StorageError as StorageError
    from factory.core.errors import TrainError as TrainError
    from filters.verify.verification import Verification as Verification

    __version__: str

__all__ = [
    "EngineError",
    "FactoryError",
    "MissingDependency",
    "ModelError",
    "PushError",
    "QuotaError",
    "RecipeError",
    "Run",
    "RunError",
    "SourceError",
    "Stopped",
    "StorageError",
    "TrainError",
    "Verification",
    "__version__",
    "build",
    "compute_score",
    "evaluate",
    "export",
    "filter_texts",
    "load_recipe",
    "push",
    "reward",
    "train",
    "verify",
]

_HOMES = {
    "build": "factory.api.building",
    "load_recipe": "factory.api.building",
    "filter_texts": "factory.api.judging",
    "verify": "factory.api.judging",
    "evaluate": "factory.api.models",
    "train": "factory.api.models",
    "export": "factory.api.publishing",
    "push": "factory.api.publishing",
    "compute_score": "factory.api.rewards",
    "reward": "factory.api.rewards",
    "Run": "factory.api.runs",
    "Verification": "filters.verify.verification",
}
"""Where a public name is defined; errors are in `factory.core.errors`."""

logging.getLogger("factory").addHandler(logging.NullHandler())


class _Face(ModuleType):
    """This module: `build`, `train` and `export` are functions here, whatever is imported.

    Python binds a package's subpackages as its attributes when they are imported; three of them
    have the name of a public function.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used: `import factory` stays light."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("r1-factory")
    else:
        value = getattr(import_module(_HOMES.get(name, "factory.core.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
