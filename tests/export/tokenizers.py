"""Small tokenizers: one token per byte, and a few special tokens."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

STRIPS = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% set said = m.content.split('</think>') | last %}"
    "<|Assistant|>{{ said | trim }}<|im_end|>"
    "{% else %}<|User|>{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)
"""Like the stock DeepSeek-V3 and R1-Distill templates: only the response is kept."""

STRIPS_EARLIER = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and not loop.last %}"
    "{{ (m.content.split('</think>') | last).lstrip() }}"
    "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Like Qwen3's template: only the last turn keeps its reasoning."""

STRIPS_TAGS = CHATML.replace(
    "m.content }}", "m.content | replace('<think>', '') | replace('</think>', '') }}"
)
OPENS_TWICE = CHATML.replace(
    "{{ m.content }}", "{% if m.role == 'assistant' %}<think>\n{% endif %}{{ m.content }}"
)
NO_END = CHATML.replace("<|im_end|>", "")
ENDS_EARLY = CHATML.replace("<|im_end|>\n", "<|im_end|>\nNext:")
SHOUTS = CHATML.replace("{{ m.content }}", "{{ m.content | replace('It is', 'IT IS') }}")
FAILS = "{{ raise_exception('roles must take turns') }}"
MARKS_NOTHING = CHATML + "{% generation %}{% endgeneration %}"
MARKS_ONLY_THE_END = CHATML.replace(
    "<|im_end|>\n{% endfor", "{% generation %}<|im_end|>{% endgeneration %}\n{% endfor"
)

SPECIAL = ["<|im_start|>", "<|im_end|>", "<|User|>", "<|Assistant|>", "<|begin|>", "<|endoftext|>"]


def write_tokenizer(
    folder: Path,
    template: str | None,
    *,
    eos: str | None = "<|im_end|>",
    bos: str | None = None,
    context: int | None = None,
) -> str:
    """Write a tokenizer's folder; returns its path as a user would write it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({char: place for place, char in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
    tokenizer.chat_template = template
    for name, token in (("eos_token", eos), ("bos_token", bos)):
        if token is not None:
            setattr(tokenizer, name, token)
    tokenizer.pad_token = "<|endoftext|>"
    tokenizer.save_pretrained(folder)
    if context is not None:
        (folder / "config.json").write_text(
            json.dumps({"model_type": "llama", "max_position_embeddings": context})
        )
    return str(folder)
