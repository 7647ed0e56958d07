"""Whether what a recipe asks for fits into the model's context, before an engine is started."""

from __future__ import annotations

import json
from pathlib import Path

from factory.core.errors import Problem, RecipeError
from factory.core.models import model_path
from factory.recipe.engine import EngineSpec


def refuse_beyond_context(spec: EngineSpec) -> None:
    """Raise RecipeError if `sampling.max_tokens` is not smaller than the model's context.

    Only a value that the recipe gives counts, and a model in a local folder. Raises ModelError for
    a model that is missing.
    """
    context = _read_context(Path(model_path(spec.model.id)))
    asked = spec.sampling.max_tokens
    if context is None or "max_model_len" in spec.engine.args:
        return
    if "max_tokens" in spec.sampling.model_fields_set and asked >= context:
        what = (
            f"is {asked:,}, but the context of {spec.model.id} is {context:,} tokens, which prompt "
            "and answer share; lower it"
        )
        raise RecipeError([Problem("sampling.max_tokens", what)])


def _read_context(folder: Path) -> int | None:
    """Return the context in tokens of a model in `folder`; None where it does not show."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    text = config.get("text_config") or config
    known = text.get("max_position_embeddings")
    return known if isinstance(known, int) and not text.get("rope_scaling") else None
