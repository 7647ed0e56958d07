"""The model to train: its tokenizer, chat template, end of turn and context."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.core.errors import ModelError
from factory.core.models import load_tokenizer, tokenizer_path
from factory.core.nouns import Message
from factory.core.resources import data_path

PAPER_CONTEXT = 32_768
"""R1's context in SFT and distillation (v2, supplement); the default where a model states none."""

_MARKERS = re.compile(r"\{%-?\s*generation\b")
_UNLIMITED = 10**9  # transformers uses a larger number where the tokenizer states no length


@dataclass(frozen=True)
class Target:
    """Everything the trainer renders rows with."""

    tokenizer: Any
    model: str  # named in a config: a folder or a Hub id
    template: Path | None  # replaces the tokenizer's own
    eos: str
    stop_ids: frozenset[int]  # EOS and the stop tokens of the model's generation_config
    max_length: int  # tokens

    @property
    def marks_generation(self) -> bool:
        """True if the template marks the assistant's tokens with `{% generation %}`."""
        return bool(_MARKERS.search(self.tokenizer.chat_template))

    def render(
        self,
        messages: Sequence[Mapping[str, Any]] | Sequence[Message],
        *,
        open_turn: bool = False,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """Render a conversation; with `open_turn` it ends where the assistant would begin."""
        extra = {"tools": [dict(tool) for tool in tools]} if tools else {}
        text: str = self.tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=False,
            add_generation_prompt=open_turn,
            **extra,
        )
        return text

    def encode(self, text: str) -> list[int]:
        """Return the token ids of rendered text, which contains its special tokens already."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def assistant_tokens(
        self,
        messages: Sequence[Mapping[str, Any]] | Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> tuple[list[int], list[bool]]:
        """Return the token ids, and for each whether the template marks it as the assistant's."""
        extra = {"tools": [dict(tool) for tool in tools]} if tools else {}
        marked: Mapping[str, list[int]] = self.tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            **extra,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        return list(marked["input_ids"]), [bool(flag) for flag in marked["assistant_masks"]]

    def lengths(self, texts: Sequence[str], *, special_tokens: bool = False) -> list[int]:
        """Return the number of tokens of each text, or an upper bound that fits the context.

        A token covers at least one byte, unless the tokenizer normalizes its input. So most texts
        are known to fit without being tokenized.
        """
        counts = [len(text.encode("utf-8", "replace")) + 2 for text in texts]
        unsure = [
            place
            for place, (text, count) in enumerate(zip(texts, counts, strict=True))
            if count > self.max_length or not self._is_read_verbatim(text)
        ]
        if unsure:
            chosen = [texts[place] for place in unsure]
            encoded = self.tokenizer(chosen, add_special_tokens=special_tokens)["input_ids"]
            for place, ids in zip(unsure, encoded, strict=True):
                counts[place] = len(ids)
        return counts

    def _is_read_verbatim(self, text: str) -> bool:
        """Return True if the tokenizer is known not to normalize this text to a longer one."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            return False
        if backend.normalizer is None:
            return True
        return type(backend.normalizer).__name__ == "NFC" and unicodedata.is_normalized("NFC", text)


def load_target(
    tokenizer: str,
    *,
    model: str | None = None,
    template: str | None = None,
    eos: str | None = None,
    max_length: int | None = None,
) -> Target:
    """Load the target of an export.

    `tokenizer` is a folder, a training's directory, a Hub id or `demo`. `template` is a Jinja file
    or the name of a shipped one. `eos` overrides the tokenizer's. Raises ModelError where one of
    them can't be used.
    """
    name = tokenizer_path(tokenizer)
    loaded = load_tokenizer(name, needed_for="the export gate")
    file = None if template is None else find_template(template)
    if file is not None:
        loaded.chat_template = file.read_text(encoding="utf-8")
    if not loaded.chat_template:
        raise ModelError(
            f"tokenizer {tokenizer!r} has no chat template, so a trainer could not render a row. "
            "Name one with --template: a Jinja file, or a shipped one (`plain` fits any tokenizer, "
            "`chatml` those that know <|im_start|> and <|im_end|>)."
        )
    if eos is not None:
        loaded.eos_token = _require_token(loaded, tokenizer, eos)
    if not loaded.eos_token:
        raise ModelError(
            f"tokenizer {tokenizer!r} names no EOS token; a model trained without one never stops. "
            "Name it with --eos, for instance --eos '<|im_end|>'."
        )
    folder = Path(name).expanduser()
    stop_ids = frozenset({loaded.eos_token_id}) | (frozenset() if eos else _read_stop_ids(folder))
    return Target(
        tokenizer=loaded,
        model=model or name,
        template=file,
        eos=loaded.eos_token,
        stop_ids=stop_ids,
        max_length=_resolve_max_length(max_length, folder, loaded),
    )


def find_template(name: str) -> Path:
    """Find a template by path or by the name of a shipped one. Raises ModelError for neither."""
    shipped = data_path("templates")
    for file in (Path(name).expanduser(), shipped / f"{name}.jinja"):
        if file.is_file():
            return file
    known = ", ".join(sorted(file.stem for file in shipped.glob("*.jinja")))
    raise ModelError(f"template {name!r} is no file and none of the shipped templates: {known}")


def _require_token(loaded: Any, name: str, token: str) -> str:
    if token not in loaded.get_vocab():
        raise ModelError(f"tokenizer {name!r} does not know {token!r} as a token; check --eos")
    return token


def _read_stop_ids(folder: Path) -> frozenset[int]:
    ids = _read_json(folder / "generation_config.json").get("eos_token_id")
    return frozenset(ids if isinstance(ids, list) else [] if ids is None else [ids])


def _resolve_max_length(requested: int | None, folder: Path, loaded: Any) -> int:
    """Return the requested length, or the model's context up to PAPER_CONTEXT.

    Raises ModelError for a requested length over the model's context.
    """
    config = _read_json(folder / "config.json")
    stated = config.get("max_position_embeddings") or config.get("text_config", {}).get(
        "max_position_embeddings"
    )
    if stated is None and loaded.model_max_length < _UNLIMITED:
        stated = loaded.model_max_length
    if requested is None:
        return int(min(stated or PAPER_CONTEXT, PAPER_CONTEXT))
    if stated is not None and requested > stated:
        raise ModelError(
            f"--max-length {requested} is more than the model's context of {stated} tokens; lower "
            "it, or extend the model's context (RoPE scaling) first"
        )
    return requested


def _read_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file} is not JSON: {error}") from error
    return content
