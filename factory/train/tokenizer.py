"""Load the tokenizer of a training, with an EOS and a padding token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from factory.core.errors import ModelError
from factory.core.models import load_tokenizer

if TYPE_CHECKING:
    from factory.recipe.training import Training


def training_tokenizer(recipe: Training) -> Any:
    """Load the recipe's tokenizer. Raises ModelError if it can't be loaded or has no EOS token."""
    model = recipe.model
    name = model.tokenizer or model.id
    tokenizer = load_tokenizer(
        name,
        needed_for="training",
        revision=model.revision,
        trust_remote_code=model.trust_remote_code,
    )
    if tokenizer.eos_token_id is None:
        raise ModelError(f"the tokenizer of {name!r} has no EOS token, so no answer could end")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
