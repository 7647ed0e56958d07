"""The recipe of a GRPO training, as for R1-Zero, reasoning RL and all-scenario RL.

The defaults are R1's (v2) where published. The clip range of R1-Zero and the learning rate schedule
are not published; the defaults are the usual 0.2 and a constant rate.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, SerializeAsAny, ValidationError, model_validator

from factory.core.content_hash import content_hash
from factory.core.errors import Problem, RecipeError
from factory.core.plugins import PluginError, find_function
from factory.prompts.source import Source
from factory.prompts.templates import Prompting
from factory.recipe.document import Document, Loc
from factory.recipe.exclusion import Exclude
from factory.recipe.parsing import (
    Strict,
    explain_validation,
    find_part,
    parse_part,
    parse_sources,
    problem_at,
    split_class,
)
from factory.recipe.rewards import FormatReward, Reward, reward_class
from factory.recipe.sampling import EpisodeLimits
from factory.recipe.training import CARRYING, Optimizer, Training
from filters.contamination import Contamination


class PolicyOptimizer(Optimizer):
    """AdamW with the learning rate of R1's RL (v2). R1 published no schedule: it is constant."""

    learning_rate: float = Field(3e-6, gt=0, description="Peak learning rate.")
    schedule: Literal["cosine", "constant"] = Field(
        "constant", description="`cosine` falls to `floor` at the last step."
    )


class Rollouts(Strict):
    """Generation of completions from the current policy.

    `colocate`: vLLM inside the training process (also on a CPU). `server`: a vLLM server on other
    GPUs. `none`: transformers, which is slow; for tests and models that vLLM doesn't support.
    """

    kind: Literal["colocate", "server", "none"] = Field(
        "colocate", description="The generator; see above."
    )
    max_tokens: int = Field(
        32_768, ge=1, description="Maximum number of generated tokens per completion."
    )
    temperature: float = Field(1.0, gt=0, description="R1: 1; all-scenario RL: 0.7.")
    top_p: float = Field(1.0, gt=0, le=1, description="Below 1 it halves the speed on a CPU.")
    top_k: int = Field(0, ge=0, description="0: off.")
    batches: int = Field(
        1,
        ge=1,
        description="Optimizer steps per rollout. R1: 16 (8,192 outputs at once).",
    )
    correction: Literal["token", "sequence", "none"] = Field(
        "token",
        description="Correction of the difference between vLLM's and the trainer's probabilities. "
        "`token`: each token is weighted by the ratio, up to 3. `sequence` (TRL's default): "
        "completions with a total ratio above 3 are left out, which is more likely for long ones. "
        "`none`: no correction, and one forward pass less.",
    )
    asynchronous: bool = Field(
        False,
        description="Compute the rewards of a rollout while the policy is updated on the one "
        "before and the next is generated: for slow rewards (code, judges). A rollout is then one "
        "update old when it is used, which importance weights correct.",
    )
    url: str | None = Field(
        None, pattern=r"^https?://", description="`server` only: URL of the vLLM server."
    )
    gpu_memory: float = Field(
        0.3, gt=0, le=1, description="`colocate` on GPUs: share of memory for vLLM."
    )
    tensor_parallel: int = Field(1, ge=1, description="`colocate` on GPUs: GPUs per engine.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.kind == "server") != (self.url is not None):
            raise ValueError("kind: server and the key url go together")
        return self


class Stop(Strict):
    """Rules that stop a training whose policy has collapsed. null disables a rule."""

    no_signal: int | None = Field(
        50,
        ge=1,
        description="Steps in a row in which the rewards of no group differed, below the maximum "
        "reward.",
    )
    format_below: float | None = Field(
        0.02,
        ge=0,
        lt=1,
        description="Mean format reward over `over` steps below which training stops, once it was "
        "above `format_from`.",
    )
    format_from: float = Field(0.5, gt=0, le=1, description="See `format_below`.")
    runaway: float | None = Field(
        0.98,
        gt=0,
        le=1,
        description="Share of completions cut off by the token limit over `over` steps from which "
        "training stops, once most ended by themselves.",
    )
    empty: float | None = Field(
        2.0, ge=0, description="Minimum mean number of tokens per completion over `over` steps."
    )
    over: int = Field(10, ge=1, description="Window in steps of all rules but `no_signal`.")


class Grpo(Training):
    """Group Relative Policy Optimization (R1 §2.2.1).

    Several completions per question form a group. Each is rewarded relative to its group.
    """

    kind: Literal["grpo"]
    optimizer: PolicyOptimizer = Field(default_factory=lambda: PolicyOptimizer())
    batch: int = Field(
        512, ge=2, description="Completions per optimizer step. R1: 512, for 32 questions."
    )
    sources: tuple[SerializeAsAny[Source], ...] = Field(
        min_length=1, description="Sources of the questions; see the loaders."
    )
    exclude: tuple[Exclude, ...] = Field(
        (), description="Questions to leave out: those that also occur there."
    )
    contamination: Contamination = Field(
        default_factory=lambda: Contamination(),
        description="Evaluation sets. Questions that overlap with one are left out.",
    )
    prompting: Prompting = Field(default_factory=lambda: Prompting())
    rewards: dict[str, SerializeAsAny[Reward]] = Field(
        min_length=1,
        description="Parts of the reward, by name. The kind of a part is its name unless `kind` is "
        "given. `class: file.py:Class` or `file.py:function` is your own.",
    )
    rollouts: Rollouts = Field(default_factory=lambda: Rollouts())
    episode: EpisodeLimits = Field(
        default_factory=lambda: EpisodeLimits(),
        description="Limits of the episodes of prompts with an environment. `rollouts.max_tokens` "
        "is the limit of one turn.",
    )
    unverified_from: int | None = Field(
        None,
        ge=1,
        description="Step from which questions without a verifier are used, the first one of a "
        "rollout; needs `steps`. R1: general data in the last 400 of 1,700 steps of all-scenario "
        "RL. null: from the start.",
    )
    samples: int = Field(16, ge=2, description="Completions per question (group size). R1: 16.")
    loss: Literal["grpo", "dr_grpo", "dapo"] = Field(
        "grpo",
        description="`grpo`: R1's, a mean per completion. `dapo`: a mean over all tokens. "
        "`dr_grpo`: divided by a constant, so that length is not rewarded.",
    )
    scale_rewards: Literal["group", "batch", "none"] = Field(
        "group", description="Scale of the advantage. R1: the standard deviation of the group."
    )
    beta: float = Field(
        0.001, ge=0, description="Coefficient of the KL divergence from the reference model."
    )
    kl_bias_correction: bool = Field(
        False,
        description="Multiply the KL estimate by the importance ratio (DeepSeek-V3.2; TRL's "
        "default). R1's formula has no such factor. It changes the gradient on-policy too.",
    )
    reference_every: int | None = Field(
        None, ge=1, description="Steps between updates of the reference model. R1: 400."
    )
    epsilon: float = Field(
        0.2, gt=0, description="Clip range of the ratio. R1: 10; not published for R1-Zero."
    )
    epsilon_high: float | None = Field(
        None, gt=0, description="Upper clip range, if different (DAPO: 0.28)."
    )
    iterations: int = Field(1, ge=1, description="Optimization passes per rollout. R1: 1.")
    stop: Stop = Field(default_factory=lambda: Stop())
    difficulty: str | None = Field(
        None,
        description="Field of the questions' `meta`, such as `level` or `difficulty`, by which the "
        "accuracy is logged and drawn over the steps (R1 v2, C.1). Many numbers become quarters.",
    )
    log_samples_every: int = Field(
        10, ge=1, description="Steps between two entries of samples.jsonl."
    )
    log_samples: int = Field(4, ge=0, description="Completions per entry of samples.jsonl.")

    @classmethod
    def parse(cls, document: Document) -> Self:
        data = dict(document.data)
        problems: list[Problem] = []
        data["sources"] = parse_sources(data.get("sources"), document, problems)
        data["rewards"] = _parse_rewards(data.get("rewards"), document, problems)
        try:
            recipe = cls.model_validate(data)
        except ValidationError as error:
            problems += explain_validation(error, (), cls, document)
        if problems:
            raise RecipeError(problems)
        recipe._written = document.data
        return recipe

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.batch % self.samples:
            raise ValueError(
                f"batch ({self.batch}) must be a multiple of samples ({self.samples}): "
                "a step uses whole groups"
            )
        if self.difficulty is not None and not any(
            part.kind == "accuracy" for part in self.rewards.values()
        ):
            raise ValueError("difficulty needs a reward of kind accuracy")
        if self.unverified_from is not None and self.steps is None:
            raise ValueError("unverified_from needs steps")
        if self.unverified_from is not None and (self.unverified_from - 1) % self.steps_per_rollout:
            each = self.steps_per_rollout
            before = (self.unverified_from - 1) // each * each + 1
            raise ValueError(
                f"unverified_from is {self.unverified_from}, but a rollout serves {each} steps "
                f"(rollouts.batches x iterations) and begins at step {before} or {before + each}; "
                "use one of these"
            )
        if self.reference_every and (not self.beta or self.lora):
            raise ValueError(
                "reference_every needs beta above 0 and no lora: otherwise there is no separate "
                "reference model to replace"
            )
        if self.prompting.variants:
            raise ValueError(
                "prompting.variants: a group's completions answer one prompt; leave it out here, "
                "and measure the spread with an evaluation"
            )
        if self.prompting.cot is not None and self.prompting.cot.rule == "judge":
            raise ValueError(
                "prompting.cot.rule: all processes of a training must mark a prompt alike, which a "
                "judge can't ensure; use list, always or never"
            )
        if self.rollouts.kind == "none" and self.prompting.stop:
            raise ValueError(
                f"rollouts of kind none don't support the stop strings of prompting.template: "
                f"{self.prompting.template}; use colocate"
            )
        return self

    @property
    def steps_per_rollout(self) -> int:
        """Optimizer steps that use the same completions."""
        return self.rollouts.batches * self.iterations

    @property
    def questions_per_rollout(self) -> int:
        return self.batch // self.samples * self.rollouts.batches

    def identity(self) -> dict[str, Any]:
        unseen = (
            "sources.",
            "exclude",
            "contamination.",
            "prompting.",
            "stop.",
            "rollouts.gpu",
            "rollouts.tensor",
            "episode.",
        )
        flat = {
            key: value
            for key, value in super().identity().items()
            if not key.startswith(unseen) and key not in GRPO_CARRYING
        }
        # Trainings from before there were these keys go on: a default of theirs is left out.
        newer = ("rollouts.asynchronous", *(f"rewards.{name}.consensus" for name in self.rewards))
        flat = {key: value for key, value in flat.items() if value or key not in newer}
        if self.episode.identity():
            flat["episode"] = self.episode.identity()
        flat["prompting"] = self.prompting.identity()
        flat["sources"] = [source.identity() for source in self.sources]
        if self.exclude:
            flat["exclude"] = [content_hash(item.path) for item in self.exclude]
        if self.contamination.against:
            flat["contamination"] = [self.contamination.cache_key(), self.contamination.max_share]
        return flat


GRPO_CARRYING = CARRYING | {
    "difficulty",
    "log_samples",
    "log_samples_every",
    "rollouts.url",
    "rollouts.max_tokens",  # R1-Zero's limit grew during training
    "max_length",
}
"""Keys that may change between two starts of a training."""


def _parse_rewards(raw: Any, document: Document, problems: list[Problem]) -> Any:
    if not isinstance(raw, dict):
        return raw if raw is not None else {}
    parsed = {}
    for name, fields in raw.items():
        found = parse_reward(name, fields, document, problems)
        if found is not None:
            parsed[name] = found
    # An empty mapping here would report "no rewards" in addition to the real problem.
    return parsed if parsed or not raw else {"unreadable": FormatReward()}


def parse_reward(
    name: str, given: Any, document: Document, problems: list[Problem]
) -> Reward | None:
    """Parse one part of the reward. Its kind is its name, unless it has a `kind` or a `class`.

    A `class` is a `Reward` in a user's own file, or a function there (kind `own`). Returns None if
    it is invalid; the problems are appended to `problems`.
    """
    loc: Loc = ("rewards", name)
    if given is None:
        what = "is empty; write {} for its defaults (null removes what an extended recipe has)"
        problems.append(problem_at(document, loc, what))
        return None
    own, fields = split_class(given)
    named = fields.get("kind", name) if isinstance(fields, dict) else name
    if own is not None and (named == "own" or _is_function(own)):
        return parse_part(reward_class("own"), given, loc, document, problems)
    unknown = "is not a kind of reward; set `kind` or `class`"
    at: tuple[Loc, Loc] = ((*loc, "class"), loc)
    found = find_part(reward_class, own, named, at, unknown, document, problems)
    if found is None:
        return None
    if own is not None and isinstance(fields, dict):
        fields = {"kind": found.__name__.lower(), **fields}
    elif isinstance(fields, dict) and found.model_fields["kind"].is_required():
        fields = {"kind": named, **fields}
    return parse_part(found, fields, loc, document, problems)


def _is_function(reference: object) -> bool:
    """Return whether a reference is not a class. One that can't be loaded counts as a function."""
    try:
        return not isinstance(find_function(str(reference)), type)
    except PluginError:
        return True
