"""GRPO over episodes: real environments, and a loss without a token that the policy was shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from factory.core.errors import RecipeError
from factory.core.nouns import Message, Prompt
from factory.prompts.templates import Prompting
from factory.recipe.grpo import Grpo
from factory.recipe.rewards import AccuracyReward, EnvironmentReward
from factory.recipe.sampling import EpisodeLimits
from factory.train.policy.episodes import EpisodePlayer, as_rollout
from factory.train.policy.grpo import check_episodes
from factory.train.scoring import Played, Scoring
from tests.export.tokenizers import CHATML, write_tokenizer
from tests.train.policy import RECIPE, policy_trainer

HOSTILE = Path(__file__).parents[1] / "environments" / "hostile.py"


def prompt(question: str, **environment: Any) -> Prompt:
    made = environment or {"kind": "calculator"}
    verifier = {"kind": "math", "answer": "5"}
    message = Message(role="user", content=question)
    return Prompt("test", "math", (message,), verifier, environment=made)


SUM = prompt("What is 2 + 3?")
PLAIN = Prompt("test", "math", (Message(role="user", content="2 + 3?"),), SUM.verifier)
CALL = "<tool_call>" + json.dumps({"name": "calculate", "arguments": {"expression": "2 + 3"}})
CALL += "</tool_call>"
ANSWER = "It is \\boxed{5}."


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(write_tokenizer(tmp_path_factory.mktemp("t"), CHATML))


class Script:
    """Answers the prompts of each batch with the texts of a turn, and keeps what it was given."""

    def __init__(self, tokenizer: Any, *turns: list[str], end: str = "<|im_end|>") -> None:
        self.tokenizer, self.turns, self.end = tokenizer, list(turns), end
        self.given: list[list[str]] = []

    def __call__(self, prompts: list[list[int]]) -> tuple[list[list[int]], list[list[float]]]:
        texts = self.turns[len(self.given)]
        self.given.append([self.tokenizer.decode(ids) for ids in prompts])
        assert len(texts) == len(prompts)
        ids = [self.tokenizer.encode(f"{text}{self.end}") for text in texts]
        return ids, [[-0.5] * len(one) for one in ids]


@pytest.fixture
def make(tokenizer: Any) -> Iterator[Any]:
    players = []

    def made(*prompts: Prompt, room: int = 4000, turn: int = 400, **limits: Any) -> Any:
        players.append(
            EpisodePlayer(EpisodeLimits(**limits), Prompting(), tokenizer, prompts,
                          max_tokens=turn, room=room)
        )  # fmt: skip
        return players[-1]

    yield made
    for player in players:
        player.close()


def own_text(tokenizer: Any, one: Played) -> tuple[str, str]:
    """What the policy wrote, and what it was shown."""
    tokens = [*zip(one.tokens, one.own, strict=True)]
    said, shown = ([token for token, own in tokens if own is mine] for mine in (True, False))
    return tokenizer.decode(said), tokenizer.decode(shown)


def test_own_tokens_and_observations_are_kept_apart(make: Any, tokenizer: Any) -> None:
    script = Script(tokenizer, [CALL, ANSWER, ANSWER], [ANSWER])
    player = make(SUM, PLAIN)
    played = player.play([SUM.id, SUM.id, PLAIN.id], [1, 1, 1], script)
    assert [one.finish_reason for one in played] == ["stop"] * 3
    first = played[0]
    said, shown = own_text(tokenizer, first)
    assert said == f"{CALL}<|im_end|>{ANSWER}<|im_end|>"
    assert "<tool_response>\n5\n</tool_response>" in shown
    assert shown.endswith("<|im_start|>assistant\n")
    assert len(first.tokens) == len(first.own) == len(first.logprobs)
    assert [value for value, own in zip(first.logprobs, first.own, strict=True) if own] == [
        -0.5
    ] * sum(first.own)
    assert [turn.role for turn in first.turns] == ["tools", "assistant", "tool", "assistant", "end"]
    assert "calculate" in script.given[0][0]
    assert script.given[1] == [tokenizer.decode(first.prompt + first.tokens)[: -len(ANSWER) - 10]]
    assert all(played[1].own)
    assert "calculate" not in script.given[0][2]


def test_the_whole_is_what_the_template_renders(make: Any, tokenizer: Any) -> None:
    """Token by token: no turn is encoded again, and none is lost."""
    script = Script(tokenizer, [CALL], [ANSWER])
    (one,) = make(SUM).play([SUM.id], [1], script)
    text = tokenizer.decode(one.prompt + one.tokens)
    assert text.count("<|im_end|>\n<|im_start|>") == 4
    assert text.index(CALL) < text.index("<tool_response>") < text.index(ANSWER)


@pytest.mark.parametrize(
    ("turns", "end", "limits", "reason"),
    [
        ([CALL, CALL, CALL], "<|im_end|>", {"max_turns": 3}, "max_turns"),
        ([CALL], "<|im_end|>", {"max_tokens": 10}, "length"),
        ([CALL], "<|im_end|>", {"room": 690}, "length"),
        (["x" * 400], "", {}, "length"),
        (["<tool_call>{", ANSWER], "<|im_end|>", {}, "stop"),
        (["", ], "<|im_end|>", {}, "stop"),
    ],
)  # fmt: skip
def test_episodes_end(
    make: Any, tokenizer: Any, turns: list[str], end: str, limits: Any, reason: str
) -> None:
    script = Script(tokenizer, *([text] for text in turns), end=end)
    (one,) = make(SUM, **limits).play([SUM.id], [1], script)
    assert one.finish_reason == reason
    assert len(script.given) == len(turns)
    assert one.own[-1], "it ends with what the policy wrote"


@pytest.mark.usefixtures("trusted_code")
@pytest.mark.parametrize(
    ("name", "why"),
    [("Spins", "CPU time"), ("Exits", "process ended"), ("KillsItself", "process ended")],
)
def test_a_bad_environment_is_undecided(make: Any, tokenizer: Any, name: str, why: str) -> None:
    from factory.core.environment import name_environment

    bad = prompt("Play.", **name_environment(f"{HOSTILE}:{name}"))
    script = Script(tokenizer, [CALL, CALL], [ANSWER])
    played = make(bad, SUM, step_cpu_s=1).play([bad.id, SUM.id], [1, 1], script)
    assert [one.finish_reason for one in played] == ["environment", "stop"]
    assert why in played[0].turns[-1].text
    scores = score([bad, SUM], played)
    assert scores.parts == {"accuracy": [None, 1.0], "environment": [None, 0.0]}
    assert scores.undecided == 1


def test_an_environment_that_cannot_begin_gives_nothing_to_learn(make: Any, tokenizer: Any) -> None:
    bad = prompt("Play.", kind="sqlite", setup="no SQL")
    (one,) = make(bad).play([bad.id], [1], Script(tokenizer))
    rollout = as_rollout([one], 7)
    assert rollout["completion_ids"] == [[7]]
    assert rollout["env_mask"] == [[0]]
    assert score([bad], [one]).parts["accuracy"] == [None]


def score(prompts: list[Prompt], played: list[Played]) -> Any:
    rewards = {"accuracy": AccuracyReward(think="optional"), "environment": EnvironmentReward()}
    names = [one.id for one in prompts]
    zeros = [0] * len(names)
    return Scoring(rewards, prompts).score(names, [""] * len(names), zeros, zeros, played)


def test_the_last_answer_is_what_is_verified(make: Any, tokenizer: Any) -> None:
    script = Script(tokenizer, [CALL, CALL], ["\\boxed{5}", "\\boxed{6}"])
    played = make(SUM).play([SUM.id] * 2, [1, 1], script)
    scores = score([SUM, SUM], played)
    assert scores.parts["accuracy"] == [1.0, 0.0]
    assert scores.frame["n_tokens"].to_list() == [one.n_tokens for one in played]


@pytest.mark.real(group="torch")
def test_no_token_that_it_was_shown_is_in_the_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient of the loss by each token's log probability, from a rollout of real episodes."""
    import torch

    source = RECIPE["sources"][0] | {"environment": {"kind": "calculator"}, "size": 4}
    trainer = policy_trainer(
        tmp_path, sources=[source], max_length=2000, beta=0.1,
        rollouts={"kind": "none", "max_tokens": 200}, batch=4, micro_batch=4,
        rewards={"accuracy": {"think": "optional"}, "environment": {}},
    )  # fmt: skip
    try:
        answers = [ANSWER, "\\boxed{1}", "\\boxed{99}", "\\boxed{-1}"]
        script = Script(trainer.processing_class, [CALL] * 4, answers)
        monkeypatch.setattr(trainer, "_generate_turns", script)
        row = trainer.train_dataset[0]
        right = next(p for p in trainer.player._prompts.values() if p.id == row["prompt_id"])
        answers[0] = f"\\boxed{{{(right.verifier or {})['answer']}}}"
        inputs = trainer._generate_and_score_completions([dict(row) for _ in range(4)])
        inputs["num_items_in_batch"] = inputs["completion_mask"].sum()
        shape = inputs["completion_ids"].shape
        leaf = (torch.zeros(shape) - 1).requires_grad_()
        monkeypatch.setattr(
            trainer, "_get_per_token_logps_and_entropies",
            lambda *_, **__: (leaf, torch.zeros(shape), None),
        )  # fmt: skip
        trainer.compute_loss(trainer.model, inputs).backward()
    finally:
        trainer.close_engine()
    assert inputs["advantages"].abs().min() > 0
    own = (inputs["tool_mask"] * inputs["completion_mask"]).bool()
    shown = inputs["completion_mask"].bool() & ~own
    assert shown.sum(1).min() > 50
    assert leaf.grad is not None
    assert (leaf.grad[own] != 0).all()
    assert (leaf.grad[~own] == 0).all()
    decode = trainer.processing_class.decode
    assert "tool_response" in decode(inputs["completion_ids"][0][shown[0]])
    assert "tool_response" not in decode(inputs["completion_ids"][0][own[0]])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"rollouts": {"kind": "server", "url": "http://x"}}, "rollouts.kind"),
        ({"rollouts": {"tensor_parallel": 2}}, "rollouts.tensor_parallel"),
        ({"rollouts": {"asynchronous": True}}, "rollouts.asynchronous"),
        ({"prompting": {"template": "r1_zero"}, "rollouts": {}}, "prompting.template"),
    ],
)
def test_what_episodes_need_is_named(tmp_path: Path, changes: Any, problem: str) -> None:
    from factory.train.train import load_training
    from tests.train.policy import write_policy

    recipe = load_training(write_policy(tmp_path, **changes))
    assert isinstance(recipe, Grpo)
    check_episodes(recipe, [PLAIN])
    with pytest.raises(RecipeError) as error:
        check_episodes(recipe, [PLAIN, SUM])
    assert [one.place for one in error.value.problems] == [problem]
