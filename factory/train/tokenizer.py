"""The tokenizer a training works with, able to end a turn and to pad."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from factory.core.errors import ModelError
from factory.core.models import model_path

if TYPE_CHECKING:
    from factory.recipe.training import Training


def load_tokenizer(recipe: Training) -> Any:
    """The recipe's tokenizer. Raises ModelError where there is none, or it has no EOS token."""
    from transformers import AutoTokenizer

    name = recipe.model.tokenizer or model_path(recipe.model.id)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            name,
            revision=recipe.model.revision,
            trust_remote_code=recipe.model.trust_remote_code,
        )
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"the tokenizer of {name!r} cannot be loaded: {reason}") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(f"the tokenizer of {name!r} has no EOS token: no answer could end")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
