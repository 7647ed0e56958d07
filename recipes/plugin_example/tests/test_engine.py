"""The engine through its contract: what is submitted comes back, once each."""

from __future__ import annotations

from pathlib import Path

from plugin_example.engine import Canned

from factory.core.nouns import Message, Prompt, Sample
from factory.prompts.templates import Prompting
from factory.recipe.engine import Engine, EngineSpec, Model
from factory.recipe.sampling import Sampling
from factory.sampling.engine import Request


def test_every_request_comes_back(tmp_path: Path) -> None:
    options = Engine(args={"text": "</think>\\boxed{2}"})
    prompting = Prompting(template="few_shot", prefill="<think>\n")
    engine = Canned(EngineSpec(Model(id="canned"), options, prompting, Sampling()), tmp_path, 0)
    prompt = Prompt("test", "math", (Message(role="user", content="1+1?"),))
    for index in range(3):
        engine.submit(Request(prompt, index))
    found = list(engine.completed())
    assert [(one.prompt_id, one.index) for one in found] == [(prompt.id, n) for n in range(3)]
    assert all(isinstance(one, Sample) and one.text.endswith("\\boxed{2}") for one in found)
    assert not list(engine.completed())
    engine.close()
    engine.close()
