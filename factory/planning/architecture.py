"""A model's shape from its config.json: parameters, bytes of KV cache per token, FLOPs per token.

Read from a local folder, or for public models from a shipped table (`data/models.yaml`), so that a
plan needs no network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.core.errors import ModelError
from factory.core.models import DEMO, DEMO_NAME, model_path
from factory.core.resources import data_path
from factory.core.yaml_files import read_yaml

TABLE = "models.yaml"
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "half": 2, "float": 4, "fp8": 1, "auto": 2}
"""Bytes per number of a dtype."""

QUANTIZED = {"fp8": 1.0, "awq": 0.56, "gptq": 0.56, "bitsandbytes": 0.56, "compressed-tensors": 1.0}
"""Bytes per parameter of a quantization method. Four-bit ones also store scales."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of a decoder, dense or with routed experts."""

    name: str
    layers: int
    hidden: int
    vocab: int
    tied: bool
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int  # of a dense layer
    context: int
    attention_params: int  # of one layer
    kv_numbers: int  # numbers that a token adds to the KV cache in one layer
    kv_shards: int  # the most GPUs that the KV cache of a layer can be divided among
    dense_layers: int  # layers without routed experts
    experts: int = 0  # routed experts per layer; 0 for a dense model
    active_experts: int = 0  # of them per token
    shared_experts: int = 0
    expert_intermediate: int = 0
    quantization: str | None = None

    @property
    def embedding_params(self) -> int:
        return self.vocab * self.hidden

    @property
    def head_params(self) -> int:
        """Parameters of the output projection. A tied one is counted with the embedding."""
        return 0 if self.tied else self.embedding_params

    @property
    def expert_params(self) -> int:
        """Parameters of one expert."""
        return 3 * self.hidden * self.expert_intermediate

    @property
    def routed_params(self) -> int:
        """Parameters of all routed experts."""
        return (self.layers - self.dense_layers) * self.experts * self.expert_params

    @property
    def params(self) -> int:
        """All parameters."""
        return self._params(self.experts)

    @property
    def active_params(self) -> int:
        """Parameters that one token is multiplied with; the embedding is only looked up."""
        whole = self._params(self.active_experts)
        return whole if self.tied else whole - self.embedding_params

    @property
    def layer_params(self) -> int:
        """Parameters of the largest layer."""
        routed = self.layers > self.dense_layers
        experts = self.experts + self.shared_experts
        wide = experts * self.expert_params if routed else 3 * self.hidden * self.intermediate
        return self.attention_params + wide

    def token_width(self, fp32_residual: bool) -> int:
        """Numbers of two bytes that a token keeps in the largest layer for the backward pass.

        Measured with saved_tensors_hooks on small models of the Llama and Qwen2 kind (grouped
        queries, SwiGLU): the norms keep fp32, and with a residual stream in fp32 (autocast) they
        and the additions keep more.
        """
        inner = self.intermediate
        if self.experts:
            inner = (self.active_experts + self.shared_experts) * self.expert_intermediate
        attention = 2 * self.heads * self.head_dim + 2 * self.kv_heads * self.head_dim
        return (13 if fp32_residual else 8) * self.hidden + attention + 4 * inner

    def _params(self, experts: int) -> int:
        routed = self.layers - self.dense_layers
        mlp = self.dense_layers * 3 * self.hidden * self.intermediate
        mlp += routed * (experts + self.shared_experts) * self.expert_params
        mlp += routed * self.hidden * self.experts  # the router
        norms = (2 * self.layers + 1) * self.hidden
        return (
            self.embedding_params
            + self.head_params
            + self.layers * self.attention_params
            + mlp
            + norms
        )


def find_architecture(model: str, like: str | None = None) -> Architecture:
    """Return the architecture of `demo`, a folder, a finished training or a public model.

    A model that is not there yet, such as the directory of a training to come, has that of `like`.
    Raises ModelError that says how to name one.
    """
    known = read_yaml(data_path(TABLE))
    name = DEMO_NAME if model == DEMO else model
    if name in known:
        return parse_config(name, known[name])
    try:
        file = Path(model_path(model)) / "config.json"
        if file.is_file():
            return parse_config(model, json.loads(file.read_text(encoding="utf-8")))
    except (ModelError, ValueError) as error:
        if like is None:
            raise ModelError(f"{error} {_REMEDY}") from error
    if like is not None:
        return find_architecture(like)
    raise ModelError(f"the config of model {model!r} is not known without a network. {_REMEDY}")


_REMEDY = (
    "Give a local folder with its config.json, or plan with the config of a similar model: "
    "--like Qwen/Qwen2.5-7B (data/models.yaml has the known ones)."
)


def parse_config(name: str, config: Mapping[str, Any]) -> Architecture:
    """Return the architecture that a config.json describes. Raises ModelError for a missing key."""
    text: Mapping[str, Any] = config.get("text_config") or config
    try:
        layers, hidden, heads = (
            int(text[key]) for key in ("num_hidden_layers", "hidden_size", "num_attention_heads")
        )
        kv_heads = int(text.get("num_key_value_heads") or heads)
        head_dim = int(text.get("head_dim") or hidden // heads)
        routed = int(text.get("n_routed_experts") or text.get("num_experts") or 0)
        dense = int(text.get("first_k_dense_replace") or 0) if routed else layers
        latent = text.get("kv_lora_rank")
        attention = (
            _latent_attention(text, hidden, heads)
            if latent
            else _grouped_attention(text, hidden, heads, kv_heads, head_dim)
        )
        kv_numbers = 2 * kv_heads * head_dim
        if latent:
            kv_numbers = int(latent) + int(text["qk_rope_head_dim"])
        shared = int(text.get("n_shared_experts") or 0)
        quantization = (text.get("quantization_config") or {}).get("quant_method")
        return Architecture(
            name=name,
            layers=layers,
            hidden=hidden,
            vocab=int(text["vocab_size"]),
            tied=bool(text.get("tie_word_embeddings", False)),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=int(text["v_head_dim"]) if latent else head_dim,
            intermediate=int(text["intermediate_size"]),
            context=int(text.get("max_position_embeddings") or 0) or 32_768,
            attention_params=attention,
            kv_numbers=kv_numbers,
            kv_shards=1 if latent else kv_heads,
            dense_layers=dense,
            experts=routed,
            active_experts=int(text.get("num_experts_per_tok") or 0) if routed else 0,
            shared_experts=shared if routed else 0,
            expert_intermediate=int(text["moe_intermediate_size"]) if routed else 0,
            quantization=quantization,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"the config of model {name!r} can't be planned with: {type(error).__name__}: {error}"
        ) from error


def _grouped_attention(
    text: Mapping[str, Any], hidden: int, heads: int, kv_heads: int, head_dim: int
) -> int:
    """Parameters of one layer's attention: query, key, value, output, and their biases."""
    wide, narrow = heads * head_dim, kv_heads * head_dim
    found = 2 * hidden * wide + 2 * hidden * narrow
    if text.get("attention_bias", text.get("model_type") == "qwen2"):
        found += wide + 2 * narrow
    if str(text.get("model_type", "")).startswith("qwen3"):
        found += 2 * head_dim  # norms of queries and keys
    return found


def _latent_attention(text: Mapping[str, Any], hidden: int, heads: int) -> int:
    """The same for DeepSeek's multi-head latent attention."""
    rope, nope, value = (
        int(text[key]) for key in ("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim")
    )
    query, latent = int(text.get("q_lora_rank") or 0), int(text["kv_lora_rank"])
    found = hidden * (latent + rope) + latent + latent * heads * (nope + value)
    found += heads * value * hidden
    if query:
        return found + hidden * query + query + query * heads * (nope + rope)
    return found + hidden * heads * (nope + rope)
