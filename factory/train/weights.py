"""Weights in and out: loaded in fp32 to be trained, written in the precision that is wanted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.core.errors import ModelError
from factory.core.models import model_path

if TYPE_CHECKING:
    from factory.recipe.training import Lora, Precision, Training
    from factory.train.directory import TrainDir


def load_causal_lm(
    recipe: Training, *, layers: int | None = None, context: int | None = None
) -> Any:
    """The model a recipe starts from, in fp32; with `layers`, a shallower one cut from it.

    Updates at R1's learning rates are smaller than bf16 can hold: the weights stay fp32 and only
    the computing is bf16. Raises ModelError where it cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = dict(recipe.args.get("model_init_kwargs") or {})
    if context is not None:
        options["max_position_embeddings"] = context
    try:
        model = AutoModelForCausalLM.from_pretrained(
            model_path(recipe.model.id),
            revision=recipe.model.revision,
            trust_remote_code=recipe.model.trust_remote_code,
            dtype=torch.float32,
            **options,
        )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model {recipe.model.id!r} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error
    model.config.use_cache = False
    if layers is not None:
        keep_layers(model, layers)
    return model


def keep_layers(model: Any, wanted: int) -> None:
    """Cut a model down to `wanted` of its layers, evenly spread, the first and the last among them.

    Raises ModelError where it does not have so many.
    """
    from torch.nn import ModuleList

    decoder = model.get_decoder()
    have = len(decoder.layers)
    if not 2 <= wanted <= have:
        raise ModelError(f"layers: {wanted} is not possible; the model has {have} (at least 2)")
    kept = [round(place * (have - 1) / (wanted - 1)) for place in range(wanted)]
    decoder.layers = ModuleList(decoder.layers[place] for place in kept)
    for place, layer in enumerate(decoder.layers):
        layer.self_attn.layer_idx = place  # the key-value cache goes by it
    config = model.config
    config.num_hidden_layers = wanted
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[place] for place in kept]


def lora_config(lora: Lora | None) -> Any:
    """What TRL is given as `peft_config`; None trains all weights."""
    if lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        task_type="CAUSAL_LM",
    )


def save_causal_lm(
    trainer: Any, recipe: Training, run: TrainDir, tokenizer: Any, stop_ids: Sequence[int] = ()
) -> None:
    """Write the trained model into `run.model`, adapters merged, ready for vLLM.

    `tokenizer` goes with it, and with that the chat template it was trained in; so do the tokens
    that end a turn, where the trainer names them.
    """
    import torch

    accelerator = trainer.accelerator
    model = accelerator.unwrap_model(trainer.model)
    if recipe.lora is not None:
        model = model.merge_and_unload()
        state = model.state_dict()
    else:
        state = accelerator.get_state_dict(trainer.model)  # gathers what FSDP or ZeRO-3 sharded
    with run.result() as folder:
        if run.is_main:
            precision = torch.bfloat16 if recipe.output_precision == "bf16" else torch.float32
            model.config.use_cache = True
            if stop_ids:
                model.generation_config.eos_token_id = list(stop_ids)
            state = {name: tensor.to(precision) for name, tensor in state.items()}
            model.save_pretrained(folder, state_dict=state)
            _state_precision(folder / "config.json", recipe.output_precision)
            tokenizer.save_pretrained(folder)
    accelerator.wait_for_everyone()


def _state_precision(config: Path, precision: Precision) -> None:
    """save_pretrained writes the precision the model was trained in, and loading goes by it."""
    stated = json.loads(config.read_text(encoding="utf-8"))
    stated["dtype"] = {"bf16": "bfloat16", "fp32": "float32"}[precision]
    config.write_text(json.dumps(stated, indent=2) + "\n", encoding="utf-8")
