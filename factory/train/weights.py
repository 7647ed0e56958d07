"""Load weights in fp32 for training, and save them in the recipe's output precision."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
    """Load the model that a recipe starts from, in fp32; with `layers`, reduced to that many.

    bf16 can't represent updates at R1's learning rates, so the weights stay fp32 and only the
    computation is bf16. Raises ModelError if the model can't be loaded.
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


def create_causal_lm(recipe: Training, changes: Mapping[str, Any], vocabulary: int) -> Any:
    """Create a model with random weights from the config of the recipe's model, in fp32.

    `changes` replace keys of that config. The weights depend on the recipe's seed. Raises
    ModelError for a key that this architecture does not have, for values that do not fit together,
    and for an embedding with fewer rows than `vocabulary`, the tokenizer's number of tokens.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModelForCausalLM

    name, options = recipe.model.id, dict(recipe.args.get("model_init_kwargs") or {})
    source = {"revision": recipe.model.revision}
    trust = recipe.model.trust_remote_code
    try:
        config, unknown = AutoConfig.from_pretrained(
            model_path(name),
            trust_remote_code=trust,
            return_unused_kwargs=True,
            **source,
            **changes,
        )
        unknown = sorted(unknown.keys() - source.keys())
        if unknown:
            raise ModelError(
                f"from_config: a model of type {config.model_type} has no key {unknown[0]!r} in "
                f"its config; its keys are {', '.join(sorted(config.to_diff_dict()))}"
            )
        if config.get_text_config().vocab_size < vocabulary:
            raise ModelError(
                f"from_config: vocab_size is {config.get_text_config().vocab_size}, but the "
                f"tokenizer has {vocabulary} tokens; set from_config.vocab_size to {vocabulary} or "
                "more"
            )
        config.validate()
        torch.manual_seed(recipe.seed)
        model = AutoModelForCausalLM.from_config(
            config, trust_remote_code=trust, dtype=torch.float32, **options
        )
    except (OSError, ValueError, TypeError, RuntimeError, StrictDataclassError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ModelError(
            f"from_config: no model can be made from the config of {name!r}: {reason}"
        ) from error
    model.config.use_cache = False
    return model


def keep_layers(model: Any, wanted: int) -> None:
    """Keep `wanted` evenly spaced layers of a model, including the first and the last.

    Raises ModelError where the model has fewer layers.
    """
    from torch.nn import ModuleList

    decoder = model.get_decoder()
    have = len(decoder.layers)
    if not 2 <= wanted <= have:
        raise ModelError(f"layers: {wanted} is not possible; the model has {have} (at least 2)")
    kept = [round(place * (have - 1) / (wanted - 1)) for place in range(wanted)]
    decoder.layers = ModuleList(decoder.layers[place] for place in kept)
    for place, layer in enumerate(decoder.layers):
        layer.self_attn.layer_idx = place  # the key-value cache uses it
    config = model.config
    config.num_hidden_layers = wanted
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[place] for place in kept]


def lora_config(lora: Lora | None) -> Any:
    """Return TRL's `peft_config`; None trains all weights."""
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
    """Write the trained model to `run.model`, with adapters merged, ready for vLLM.

    The tokenizer is saved with it, including the chat template used in training. `stop_ids`, if
    given, are written as the EOS tokens of the generation config.
    """
    import torch

    accelerator = trainer.accelerator
    model = accelerator.unwrap_model(trainer.model)
    if recipe.lora is not None:
        model = model.merge_and_unload()
        state = model.state_dict()
    else:
        state = accelerator.get_state_dict(trainer.model)  # gathers FSDP or ZeRO-3 shards
    with run.result() as folder:
        if run.is_main:
            precision = torch.bfloat16 if recipe.output_precision == "bf16" else torch.float32
            model.config.use_cache = True
            if stop_ids:
                model.generation_config.eos_token_id = list(stop_ids)
            state = {name: tensor.to(precision) for name, tensor in state.items()}
            model.save_pretrained(folder, state_dict=state)
            _write_precision(folder / "config.json", recipe.output_precision)
            tokenizer.save_pretrained(folder)
    accelerator.wait_for_everyone()


def _write_precision(config: Path, precision: Precision) -> None:
    """Correct the dtype in config.json: save_pretrained writes that of the training."""
    content = json.loads(config.read_text(encoding="utf-8"))
    content["dtype"] = {"bf16": "bfloat16", "fp32": "float32"}[precision]
    config.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
