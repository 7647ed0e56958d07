"""`factory validate path/to/file.py:Class`: a class by itself, tried as whatever kind it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError

from factory.build.trials import (
    try_environment,
    try_filter,
    try_reward,
    try_source,
    try_verifier,
)
from factory.core.plugins import PluginError, find_class
from factory.core.trial import TrialError
from factory.core.trust import trust_file
from factory.export.formats import ExportFormat
from factory.export.trial import try_format
from factory.prompts.source import Source
from factory.recipe.rewards import Reward
from filters.base import Filter
from filters.verify.own import OwnVerifier


def try_reference(reference: str) -> Iterator[str]:
    """Try a class that stands by itself, `path/to/file.py:Class`, as whatever kind it is.

    Raises TrialError, PluginError's message in it where the class cannot be loaded.
    """
    trust_file(Path(reference.rpartition(":")[0]))  # named by the user, not by a recipe
    try:
        found: type = find_class({}, reference, object, "")
    except PluginError as error:
        raise TrialError(str(error)) from error
    if issubclass(found, BaseModel):
        try:
            made = found.model_validate({"kind": "trial"} if "kind" in found.model_fields else {})
        except ValidationError as error:
            keys = ", ".join(str(item["loc"][0]) for item in error.errors() if item["loc"])
            raise TrialError(
                f"{reference}: it needs {keys or 'options'}; name it in a recipe with these keys, "
                "and validate the recipe"
            ) from error
    yield from _try_kind(reference, found, made if issubclass(found, BaseModel) else None)


def _try_kind(reference: str, found: type, made: BaseModel | None) -> Iterator[str]:
    if isinstance(made, Filter):
        yield f"filter {try_filter(made, reference)}"
    elif isinstance(made, Reward):
        yield try_reward(made, reference)
    elif isinstance(made, Source):
        for prompt in try_source(made, reference, 3):
            yield f"  {prompt.id}  {prompt.domain}: {' '.join(prompt.question.split())[:80]}"
        yield f"loader {reference} gave these prompts"
    elif issubclass(found, ExportFormat):
        yield try_format(found, reference)
    elif hasattr(found, "reset") and hasattr(found, "step"):
        yield try_environment(reference)
    elif hasattr(found, "submit") and hasattr(found, "completed"):
        yield f"{reference} looks like an engine; name it in a recipe, and validate the recipe"
    elif isinstance(made, OwnVerifier):
        yield try_verifier(made, reference)
    else:
        raise TrialError(
            f"{reference} is neither a filter, loader, verifier, reward, environment, exporter nor "
            "engine; derive it from the base class of what it is to be (docs/how-to/add-a-….md)"
        )
