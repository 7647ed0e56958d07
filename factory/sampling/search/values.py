"""Values of prefixes: scores of the prefix itself, or the mean score of rollouts from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol, get_args

from factory.core.errors import EngineError, ModelError
from factory.core.nouns import Prompt
from factory.core.plugins import find_class
from factory.recipe.search import GROUP, Scorer, Search, SearchRule, Value
from factory.sampling.search.tree import Draw, Growth, Node, Tree
from filters.judges.classifier import load_config
from filters.judges.process_model import aggregate
from filters.verify.verifiers import Item, shared

_SCORES = {"correct": 1.0, "wrong": 0.0, "no_answer": 0.0, "unparseable": 0.0}
"""States of a verifier with a score. All others say nothing about the answer."""


class Judge(Protocol):
    """Scores turns, or starts of turns, of one prompt; None: no score."""

    def __call__(self, prompt: Prompt, texts: Sequence[str]) -> list[float | None]: ...


class Valuer:
    """Values the nodes of one tree. `recorded` has values of an earlier process, by node."""

    def __init__(
        self,
        tree: Tree,
        prompt: Prompt,
        judge: Judge,
        rollouts: int,
        recorded: Callable[[Node], tuple[bool, float | None]],
        record: Callable[[Node], None],
    ) -> None:
        self._tree, self._prompt, self._judge, self._rollouts = tree, prompt, judge, rollouts
        self._recorded, self._record = recorded, record

    def assess(self, nodes: Sequence[Node]) -> Growth:
        """Set the value of each node. May ask for rollouts, which get values too."""
        rolled: dict[int, list[Node]] = {}
        if self._rollouts:
            starts = [node for node in nodes if node.end == "step"]
            ends = yield [
                Draw(node.number, whole=True) for node in starts for _ in range(self._rollouts)
            ]
            self._score(ends)
            for end in ends:
                rolled.setdefault(end.parent, []).append(end)
        self._score([node for node in nodes if node.number not in rolled])
        for node in nodes:
            scores = [end.value for end in rolled.get(node.number, ()) if end.value is not None]
            if node.number in rolled:
                node.value = math.fsum(scores) / len(scores) if scores else None

    def _score(self, nodes: Sequence[Node]) -> None:
        unknown = []
        for node in nodes:
            known, node.value = self._recorded(node)
            if not known:
                unknown.append(node)
        texts = [self._tree.text(node.number) for node in unknown]
        scores = self._judge(self._prompt, texts) if texts else []
        for node, score in zip(unknown, scores, strict=True):
            node.value = score
            self._record(node)


def check_value(search: Search) -> None:
    """Raise ModelError, before the engine starts, for a value model that does not fit the search.

    Steps that end elsewhere than in the model's training are texts that it never saw. A rule that
    the recipe names for the model is its user's decision.
    """
    value = search.value
    if value.reward_model is not None:
        load_config(value.reward_model.model, "sequence")
    if value.process_model is None:
        return
    rule = value.process_model.read_rule()
    if value.process_model.rule is None and rule not in (search.rule, "auto"):
        remedy = f"search.rule: {rule}, or " if rule in get_args(SearchRule) else ""
        raise ModelError(
            f"process reward model {value.process_model.model} was trained on steps by the rule "
            f"{rule}, and the search ends them by {search.rule}; set {remedy}process_model.rule "
            "if it is to score such steps all the same"
        )


def make_judge(value: Value) -> Judge:
    """Return what scores texts by the settings of a recipe. Models are loaded at the first use."""
    if value.process_model is not None:
        return _judge_by_steps(value)
    if value.reward_model is not None:
        return _judge_by_answers(value)
    return _judge_by_verifier if value.verifier else _judge_by_class(str(value.reference))


def _judge_by_steps(value: Value) -> Judge:
    def judge(prompt: Prompt, texts: Sequence[str]) -> list[float | None]:
        assert value.process_model is not None
        found = value.process_model.scores([(prompt.question, text) for text in texts])
        return [None if own is None else aggregate(own, value.by) for own in found]

    return judge


def _judge_by_answers(value: Value) -> Judge:
    def judge(prompt: Prompt, texts: Sequence[str]) -> list[float | None]:
        assert value.reward_model is not None
        found = value.reward_model.scores([(prompt.question, text) for text in texts])
        return [None if score is None else _squash(score) for score in found]

    return judge


def _squash(score: float) -> float:
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, score))))


def _judge_by_verifier(prompt: Prompt, texts: Sequence[str]) -> list[float | None]:
    items = [Item.of(prompt.verifier, text) for text in texts]
    return [_SCORES.get(verdict.state) for verdict in shared().verify(items)]


@cache
def _make_scorer(reference: str) -> Scorer:
    made: Any = find_class({}, reference, Scorer, GROUP)
    scorer: Scorer = made()
    return scorer


def _judge_by_class(reference: str) -> Judge:
    def judge(prompt: Prompt, texts: Sequence[str]) -> list[float | None]:
        try:
            found = list(_make_scorer(reference).score(prompt.question, list(texts)))
        except Exception as error:  # a user's class may raise anything
            what = f"raises {type(error).__name__}: {error}"
            raise EngineError(f"{reference}: score {what}") from error
        fits = all(isinstance(one, int | float) and 0 <= one <= 1 for one in found)
        if len(found) != len(texts) or not fits:
            raise EngineError(
                f"{reference}: score returns {found!r:.80} for {len(texts)} texts; return a number "
                "from 0 to 1 for each"
            )
        return [float(one) for one in found]

    return judge
