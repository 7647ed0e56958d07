"""Where prompts come from, by the `kind` a recipe's source names.

Named by path and imported on use, so that asking for one imports one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.core.plugins import find_class

if TYPE_CHECKING:
    from factory.prompts.source import Source

LOADERS = {
    "files": "factory.prompts.files:Files",
    "hub": "factory.prompts.hub:Hub",
    "gym": "factory.prompts.gym:Gym",
    "repository_bugs": "factory.prompts.repositories.bugs:RepositoryBugs",
    "writing": "factory.prompts.sets.writing:Writing",
    "run": "factory.prompts.from_run:EarlierRun",
    "drafts": "factory.prompts.drafts:Drafts",
    "prefixes": "factory.prompts.steps.prefixes:Prefixes",
    "gsm8k": "factory.prompts.sets.math_sets:Gsm8k",
    "numina_math": "factory.prompts.sets.math_sets:NuminaMath",
    "deepscaler": "factory.prompts.sets.math_sets:DeepScaler",
    "dapo_math": "factory.prompts.sets.math_sets:DapoMath",
    "big_math": "factory.prompts.sets.math_sets:BigMath",
    "openr1_math": "factory.prompts.sets.math_sets:OpenR1Math",
    "open_math_reasoning": "factory.prompts.sets.math_sets:OpenMathReasoning",
    "deep_math": "factory.prompts.sets.math_sets:DeepMath",
    "prm800k": "factory.prompts.sets.step_sets:Prm800k",
    "math_shepherd": "factory.prompts.sets.step_sets:MathShepherd",
    "taco": "factory.prompts.sets.code_sets:Taco",
    "apps": "factory.prompts.sets.code_sets:Apps",
    "code_contests": "factory.prompts.sets.code_sets:CodeContests",
    "gpqa": "factory.prompts.sets.benchmarks:Gpqa",
    "live_code_bench": "factory.prompts.sets.benchmarks:LiveCodeBench",
    "swe_bench": "factory.prompts.sets.repository_sets:SweBench",
    "swe_gym": "factory.prompts.sets.repository_sets:SweGym",
    "swe_smith": "factory.prompts.sets.repository_sets:SweSmith",
    "swe_rebench": "factory.prompts.sets.repository_sets:SweRebench",
    "r2e_gym": "factory.prompts.sets.repository_sets:R2eGym",
    "prime_intellect": "factory.prompts.sets.prime_intellect:PrimeIntellect",
    "xlam": "factory.prompts.sets.tool_sets:XLam",
    "toolace": "factory.prompts.sets.tool_sets:ToolAce",
    "apigen_mt": "factory.prompts.sets.tool_sets:ApiGenMt",
    "hermes_calls": "factory.prompts.sets.tool_sets:HermesCalls",
    "bfcl": "factory.prompts.sets.bfcl:Bfcl",
    "textarena": "factory.prompts.sets.games:TextArena",
    "openenv": "factory.prompts.sets.openenv:OpenEnv",
    "verifiers": "factory.prompts.sets.verifiers:Verifiers",
    "nemo_gym": "factory.prompts.sets.nemo_gym:NemoGym",
}


GROUP = "factory.loaders"
"""Installed packages add loaders as entry points of this group."""


def loader_class(kind: str) -> type[Source]:
    """The class behind a source's kind, an entry point's name, or `path/to/file.py:Class`.

    Raises PluginError.
    """
    from factory.prompts.source import Source

    return find_class(LOADERS, kind, Source, GROUP)
