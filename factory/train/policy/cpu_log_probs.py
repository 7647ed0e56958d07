"""GRPO's log probabilities without a GPU: the shared prompt of completions is computed once.

TRL runs every completion with its own copy of the prompt, padded to the longest, and without Triton
it projects every position onto the vocabulary. Here, the completions of one question are packed
into one row after their prompt, each attending to the prompt and itself. Only completion tokens are
projected. Of completions without a gradient (no advantage, no KL), one per question is computed,
for the logged entropy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from factory.train.cpu_loss import score_tokens, unwrap_adapters
from factory.train.policy.trainer import PolicyTrainer

MAX_ROW_TOKENS = 2048
"""Most tokens of a row: the cost of attention is quadratic in it, even with a mask."""

SUPPORTED = frozenset({"llama", "qwen2", "qwen3"})
"""Architectures in which only mask and positions decide what a token attends to."""


class PackedRow(NamedTuple):
    """A prompt and several completions as one row, without each completion's last token."""

    ids: torch.Tensor  # [tokens]
    positions: torch.Tensor  # [tokens]
    mask: torch.Tensor  # [tokens, tokens]: True where a token attends to another
    predictors: torch.Tensor  # indices of the states that predict the targets
    targets: torch.Tensor  # all completion tokens


class CpuPolicyTrainer(PolicyTrainer):
    """The same loss as PolicyTrainer, computed faster in one process without a GPU."""

    _has_gradient: torch.Tensor | None = None  # per completion; None means all
    _old_logps: torch.Tensor | None = None  # log probabilities of the policy that sampled

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        if not self.beta and self.top_entropy_quantile == 1:
            self._has_gradient = inputs["advantages"] != 0
            self._old_logps = inputs.get("old_per_token_logps")
        try:
            return super()._compute_loss(model, inputs)
        finally:
            self._has_gradient = self._old_logps = None

    def _compute_logps(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **others: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        if not self._is_supported(model):
            found: tuple[torch.Tensor, torch.Tensor | None, None]
            found = super()._compute_logps(
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size=batch_size,
                compute_entropy=compute_entropy,
                **others,
            )
            return found
        logps: dict[int, torch.Tensor] = {}
        entropies: dict[int, torch.Tensor] = {}
        start = input_ids.size(1) - logits_to_keep
        rows = [ids[mask.bool()].split([int(mask[:start].sum()), int(mask[start:].sum())])
                for ids, mask in zip(input_ids, attention_mask, strict=True)]  # fmt: skip
        for places, has_gradient in self._group_rows(rows):
            prompt, completions = rows[places[0]][0], [rows[place][1] for place in places]
            lengths = [len(completion) for completion in completions]
            if has_gradient:
                nll, entropy = self._score(model, pack_row(prompt, completions), compute_entropy)
                logps |= zip(places, (-nll).split(lengths), strict=True)
                if entropy is not None:
                    entropies |= zip(places, entropy.split(lengths), strict=True)
                continue
            with torch.no_grad():
                first = next((one for one in completions if len(one)), completions[0])
                _, entropy = self._score(model, pack_row(prompt, [first]), compute_entropy)
            for place, length in zip(places, lengths, strict=True):
                logps[place] = self._placeholder_logps(place, length)
                if entropy is not None:
                    entropies[place] = entropy.mean().expand(length)
        return _pad(logps, logits_to_keep), _pad(entropies, logits_to_keep), None

    def _placeholder_logps(self, place: int, length: int) -> torch.Tensor:
        """Return log probabilities for which a completion's importance ratio is 1."""
        return torch.zeros(length) if self._old_logps is None else self._old_logps[place, :length]

    def _is_supported(self, model: Any) -> bool:
        config = model.config
        return (
            config.model_type in SUPPORTED
            and config._attn_implementation == "sdpa"
            and not getattr(config, "use_sliding_window", False)
            and not self._entropy_bonus_enabled
            and not self.args.cast_lm_head_to_fp32
        )

    def _group_rows(
        self, rows: Sequence[Sequence[torch.Tensor]]
    ) -> Iterator[tuple[list[int], bool]]:
        """Yield the completions to pack into one row, and whether they have a gradient."""
        gradient = [True] * len(rows) if self._has_gradient is None else self._has_gradient.tolist()
        if not any(gradient):
            gradient[0] = True  # its gradient is zero, but the optimizer needs one
        groups: dict[Any, list[int]] = defaultdict(list)
        for place, (prompt, _) in enumerate(rows):
            groups[(*prompt.tolist(), gradient[place])].append(place)
        for (*prompt, has_gradient), places in groups.items():
            packed: list[int] = []
            length = len(prompt)
            for place in places:
                if packed and length + len(rows[place][1]) > MAX_ROW_TOKENS:
                    yield packed, bool(has_gradient)
                    packed, length = [], len(prompt)
                packed.append(place)
                length += len(rows[place][1])
            yield packed, bool(has_gradient)

    def _score(
        self, model: Any, row: PackedRow, compute_entropy: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        causal = unwrap_adapters(model)
        with self.accelerator.autocast():
            hidden = causal.base_model(
                input_ids=row.ids[None],
                position_ids=row.positions[None],
                attention_mask=row.mask[None, None],
                use_cache=False,
            ).last_hidden_state[0]
            return score_tokens(
                causal.get_output_embeddings(),
                hidden[row.predictors],
                row.targets,
                temperature=self.temperature,
                entropy=compute_entropy,
            )


def pack_row(prompt: torch.Tensor, completions: Sequence[torch.Tensor]) -> PackedRow:
    """Pack `completions` of one `prompt` into a row.

    >>> row = pack_row(torch.tensor([7, 8]), [torch.tensor([1, 2]), torch.tensor([3])])
    >>> row.ids.tolist(), row.positions.tolist(), row.predictors.tolist(), row.targets.tolist()
    ([7, 8, 1], [0, 1, 2], [1, 2, 1], [1, 2, 3])
    """
    root, device = len(prompt), prompt.device
    given = [completion[:-1] for completion in completions]
    lengths = torch.tensor([root, *map(len, given)], device=device)
    owner = torch.repeat_interleave(torch.arange(len(lengths), device=device), lengths)
    first = (lengths.cumsum(0) - lengths)[owner]  # where a token's completion begins in the row
    place = torch.arange(len(owner), device=device)
    predictors = []
    at = root
    for completion, inner in zip(completions, given, strict=True):
        if len(completion):
            predictors += [root - 1, *range(at, at + len(inner))]
        at += len(inner)
    same = (owner[:, None] == owner) | (owner == 0)
    return PackedRow(
        ids=torch.cat([prompt, *given]),
        positions=place - first + root * (owner > 0),
        mask=same & (place[:, None] >= place),
        predictors=torch.tensor(predictors, dtype=torch.long, device=device),
        targets=torch.cat(list(completions)),
    )


def _pad(rows: dict[int, torch.Tensor], width: int) -> torch.Tensor | None:
    """Stack rows in order, padded with zeros on the right, as TRL does; None without rows."""
    if not rows:
        return None
    return torch.stack(
        [functional.pad(rows[n], (0, width - len(rows[n]))) for n in range(len(rows))]
    )
