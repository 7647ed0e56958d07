"""Where prompts come from, by the `kind` a recipe's source names.

Named by path and imported on use, so that asking for one imports one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.lookup import look_up

if TYPE_CHECKING:
    from factory.loaders.source import Source

LOADERS = {
    "files": "factory.loaders.files:Files",
    "hub": "factory.loaders.hub:Hub",
    "gym": "factory.loaders.gym:Gym",
    "run": "factory.loaders.earlier:EarlierRun",
    "drafts": "factory.loaders.drafts:Drafts",
    "numina_math": "factory.loaders.math_sets:NuminaMath",
    "deepscaler": "factory.loaders.math_sets:DeepScaler",
    "dapo_math": "factory.loaders.math_sets:DapoMath",
    "big_math": "factory.loaders.math_sets:BigMath",
    "openr1_math": "factory.loaders.math_sets:OpenR1Math",
    "open_math_reasoning": "factory.loaders.math_sets:OpenMathReasoning",
    "deep_math": "factory.loaders.math_sets:DeepMath",
    "taco": "factory.loaders.code_sets:Taco",
    "apps": "factory.loaders.code_sets:Apps",
    "code_contests": "factory.loaders.code_sets:CodeContests",
    "gpqa": "factory.loaders.eval_sets:Gpqa",
    "live_code_bench": "factory.loaders.eval_sets:LiveCodeBench",
    "prime_intellect": "factory.loaders.prime_intellect:PrimeIntellect",
}


def loader_class(kind: str) -> type[Source]:
    """The class behind a source's kind. Raises KeyError for a kind not in `LOADERS`."""
    found: type[Source] = look_up(LOADERS[kind])
    return found
