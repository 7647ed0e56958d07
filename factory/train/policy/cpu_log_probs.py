"""GRPO's log probabilities where there is no GPU: what completions share is computed once.

TRL's own run every completion with its prompt before it, padded to the longest, and without Triton
they project every position onto the vocabulary. Here the completions of one question follow their
prompt in one row, each seeing the prompt and itself; only completion tokens meet the vocabulary;
and of completions that teach nothing (no advantage, no KL) one of each question is looked at, for
the entropy that is logged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from factory.train.cpu_loss import causal_lm, next_tokens
from factory.train.policy.trainer import PolicyTrainer

TOGETHER = 2048
"""Tokens of a row, at most: attention costs their square, whatever sees what."""

SHARING = frozenset({"llama", "qwen2", "qwen3"})
"""Architectures in which mask and positions alone say what a token sees; others go TRL's way."""


class Branches(NamedTuple):
    """A prompt and completions of it as one row. Each completion's last token is only predicted."""

    ids: torch.Tensor
    positions: torch.Tensor
    sees: torch.Tensor  # [tokens, tokens]: whether one attends to another
    before: torch.Tensor  # where each completion token is predicted
    targets: torch.Tensor


class CpuPolicyTrainer(PolicyTrainer):
    """The same loss, for one process without a GPU."""

    _teaches: torch.Tensor | None = None  # which completions have a gradient; None: all
    _before: torch.Tensor | None = None  # what the policy that wrote them thought, where it matters

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        if not self.beta and self.top_entropy_quantile == 1:
            self._teaches = inputs["advantages"] != 0
            self._before = inputs.get("old_per_token_logps")
        try:
            return super()._compute_loss(model, inputs)
        finally:
            self._teaches = self._before = None

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **others: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        if not self._fits(model):
            found: tuple[torch.Tensor, torch.Tensor | None, None]
            found = super()._get_per_token_logps_and_entropies(
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
        for places, learns in self._batches(rows):
            prompt, completions = rows[places[0]][0], [rows[place][1] for place in places]
            lengths = [len(completion) for completion in completions]
            if learns:
                nll, entropy = self._score(model, branches(prompt, completions), compute_entropy)
                logps |= zip(places, (-nll).split(lengths), strict=True)
                if entropy is not None:
                    entropies |= zip(places, entropy.split(lengths), strict=True)
                continue
            with torch.no_grad():
                first = next((one for one in completions if len(one)), completions[0])
                _, entropy = self._score(model, branches(prompt, [first]), compute_entropy)
            for place, length in zip(places, lengths, strict=True):
                logps[place] = self._unchanged(place, length)
                if entropy is not None:
                    entropies[place] = entropy.mean().expand(length)
        return _padded(logps, logits_to_keep), _padded(entropies, logits_to_keep), None

    def _unchanged(self, place: int, length: int) -> torch.Tensor:
        """Log probabilities that make a completion's ratio 1, whatever they are."""
        return torch.zeros(length) if self._before is None else self._before[place, :length]

    def _fits(self, model: Any) -> bool:
        config = model.config
        return (
            config.model_type in SHARING
            and config._attn_implementation == "sdpa"
            and not getattr(config, "use_sliding_window", False)
            and not self._entropy_bonus_enabled
            and not self.args.cast_lm_head_to_fp32
        )

    def _batches(self, rows: Sequence[Sequence[torch.Tensor]]) -> Iterator[tuple[list[int], bool]]:
        """Which completions go into one row, and whether anything is learnt of them."""
        teaches = [True] * len(rows) if self._teaches is None else self._teaches.tolist()
        if not any(teaches):
            teaches[0] = True  # its gradient is zero, but an optimizer wants one
        groups: dict[Any, list[int]] = defaultdict(list)
        for place, (prompt, _) in enumerate(rows):
            groups[(*prompt.tolist(), teaches[place])].append(place)
        for (*prompt, learns), places in groups.items():
            together: list[int] = []
            length = len(prompt)
            for place in places:
                if together and length + len(rows[place][1]) > TOGETHER:
                    yield together, bool(learns)
                    together, length = [], len(prompt)
                together.append(place)
                length += len(rows[place][1])
            yield together, bool(learns)

    def _score(
        self, model: Any, row: Branches, compute_entropy: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        causal = causal_lm(model)
        with self.accelerator.autocast():
            hidden = causal.base_model(
                input_ids=row.ids[None],
                position_ids=row.positions[None],
                attention_mask=row.sees[None, None],
                use_cache=False,
            ).last_hidden_state[0]
            return next_tokens(
                causal.get_output_embeddings(),
                hidden[row.before],
                row.targets,
                temperature=self.temperature,
                entropy=compute_entropy,
            )


def branches(prompt: torch.Tensor, completions: Sequence[torch.Tensor]) -> Branches:
    """`completions` as branches of one `prompt`.

    >>> row = branches(torch.tensor([7, 8]), [torch.tensor([1, 2]), torch.tensor([3])])
    >>> row.ids.tolist(), row.positions.tolist(), row.before.tolist(), row.targets.tolist()
    ([7, 8, 1], [0, 1, 2], [1, 2, 1], [1, 2, 3])
    """
    root, device = len(prompt), prompt.device
    given = [completion[:-1] for completion in completions]
    lengths = torch.tensor([root, *map(len, given)], device=device)
    owner = torch.repeat_interleave(torch.arange(len(lengths), device=device), lengths)
    first = (lengths.cumsum(0) - lengths)[owner]  # where a token's branch begins in the row
    place = torch.arange(len(owner), device=device)
    before = []
    at = root
    for completion, inner in zip(completions, given, strict=True):
        if len(completion):
            before += [root - 1, *range(at, at + len(inner))]
        at += len(inner)
    same = (owner[:, None] == owner) | (owner == 0)
    return Branches(
        ids=torch.cat([prompt, *given]),
        positions=place - first + root * (owner > 0),
        sees=same & (place[:, None] >= place),
        before=torch.tensor(before, dtype=torch.long, device=device),
        targets=torch.cat(list(completions)),
    )


def _padded(rows: dict[int, torch.Tensor], width: int) -> torch.Tensor | None:
    """Rows in their order, zeros where nothing was written, as TRL's own."""
    if not rows:
        return None
    return torch.stack(
        [functional.pad(rows[n], (0, width - len(rows[n]))) for n in range(len(rows))]
    )
