"""Rewards for other people's trainers: `reward` for TRL, `compute_score` for verl."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from factory.core.errors import Problem, RecipeError
from factory.core.nouns import Message, Prompt
from factory.core.think import join_think

_PER_COMPLETION = ("verifier", "language", "completion_ids")

Turns = Sequence[Mapping[str, Any]]


class RewardFunction:
    """A reward as TRL calls it; made by `reward`. Can be pickled."""

    def __init__(
        self, name: str, reference: str, verifier: str, prefill: str, options: Mapping[str, Any]
    ) -> None:
        self._made_of = (name, reference, verifier, prefill, dict(options))
        self._reward = _part(name, options)
        self.__name__ = name.rpartition(":")[2]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_of

    def __repr__(self) -> str:
        return f"<reward {self.__name__}>"

    def __call__(
        self,
        prompts: Sequence[str | Turns],
        completions: Sequence[str | Turns],
        **columns: Any,
    ) -> list[float | None]:
        """What each completion earns; None where the reward does not apply or cannot be decided."""
        from factory.train.scoring import Scoring

        _, reference, kind, prefill, _ = self._made_of
        given = {"prompts": prompts, **{key: columns.get(key) for key in _PER_COMPLETION}}
        given[reference] = columns.get(reference)
        for name, items in given.items():
            if items is not None and len(items) != len(completions):
                raise ValueError(
                    f"{name} has {len(items)} items for {len(completions)} completions; "
                    "give one each"
                )
        specs = _verifiers(columns, reference, kind, len(completions))
        if self._made_of[0] == "accuracy" and all(spec is None for spec in specs):
            known = ", ".join(sorted(columns)) or "none"
            raise ValueError(
                f"the reward accuracy needs a column `verifier` or {reference!r} with the "
                f"references, and there is none among {known}; name yours: "
                "reward('accuracy', reference=COLUMN)"
            )
        ids = columns.get("completion_ids")
        if self._reward.kind == "overlong" and ids is None:
            raise ValueError("the reward overlong needs completion_ids, which TRL gives")
        languages = columns.get("language") or [None] * len(completions)
        asked = [
            Prompt("reward", "general", _messages(prompt), verifier=spec, language=language)
            for prompt, spec, language in zip(prompts, specs, languages, strict=True)
        ]
        scoring = Scoring(
            {self.__name__: self._reward}, asked, prefills={one.id: prefill for one in asked}
        )
        scores = scoring.score(
            [one.id for one in asked],
            [_text(completion) for completion in completions],
            [len(one) for one in ids] if ids is not None else [0] * len(asked),
            [False] * len(asked),
        )
        return scores.parts[self.__name__]


def reward(
    name: str,
    *,
    reference: str = "reference",
    verifier: str = "math",
    prefill: str = "",
    **options: Any,
) -> RewardFunction:
    """A reward of a GRPO recipe as a function for TRL's `reward_funcs`.

    `name` is accuracy, format, language, overlong, filter, model, server, one that an installed
    package adds, or `path/to/file.py:Class`; `options` are its keys in a recipe. Weights are the
    trainer's (`GRPOConfig.reward_weights`).

    The function takes `prompts` and `completions`, texts or conversations, and the data set's
    columns. For accuracy a column `verifier` holds each prompt's mapping (`{"kind": "math",
    "answer": "1/2"}`, or its JSON); or else the column named by `reference` holds answers that are
    verified as kind `verifier`. A column `language` (ISO 639-1) says which language a completion
    should be in; where there is none the prompt's is detected. `prefill` is what the prompt already
    put into the model's mouth (`"<think>\\n"`): it belongs to the completion.

    Returns one number for each completion, None where the reward does not apply or nothing could be
    decided (a verifier that timed out), which TRL leaves out of the sum.

    Raises RecipeError for a reward or key there is none of.

    >>> accuracy = reward("accuracy", reference="answer", think="optional")
    >>> accuracy(["1+1?"], ["\\\\boxed{2}"], answer=["2"])
    [1.0]
    """
    return RewardFunction(name, reference, verifier, prefill, options)


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str | float | Mapping[str, Any],
    extra_info: Mapping[str, Any] | None = None,
    **_: Any,
) -> float:
    """1.0 if an answer is verified to be correct, else 0.0: what verl's custom reward calls.

    `ground_truth` is a prompt's verifier mapping, its JSON, or a plain reference, which is verified
    as mathematics. What nothing can decide earns 0.0: verl has no other state. A think section is
    not required. In verl's config: `reward.custom_reward_function: {path: FILE, name:
    compute_score}`, FILE holding `from factory import compute_score`.

    Raises ValueError for a mapping without a known kind and for a missing reference, TypeError for
    a solution that is no text.

    >>> compute_score("gsm8k", "\\\\boxed{0.5}", "1/2")
    1.0
    """
    from filters.verify.verifiers import Item, shared

    if not isinstance(solution_str, str):
        raise TypeError(f"solution_str is {type(solution_str).__name__}, not a string")
    (verdict,) = shared().verify([Item.of(_spec(ground_truth, "math"), solution_str)])
    return 1.0 if verdict.state == "correct" else 0.0


def _part(name: str, options: Mapping[str, Any]) -> Any:
    from factory.core.trust import trust_file
    from factory.recipe.document import read_mapping
    from factory.recipe.grpo import parse_reward

    if "weight" in options:
        what = "is the trainer's: GRPOConfig(reward_weights=[…])"
        raise RecipeError([Problem(f"reward {name}: weight", what)])
    trust_file(Path(name.rpartition(":")[0]))  # named by the caller, not by a file of data
    fields = dict(options) | ({"class": name} if ":" in name else {"kind": name})
    document = read_mapping({"rewards": {"reward": fields}})
    problems: list[Problem] = []
    found = parse_reward("reward", document.data["rewards"]["reward"], document, problems)
    if found is None:
        raise RecipeError(
            [Problem(f"reward {name}:", f"{problem.place} {problem.what}") for problem in problems]
        )
    return found


def _verifiers(
    columns: Mapping[str, Any], reference: str, kind: str, count: int
) -> list[Mapping[str, Any] | None]:
    """Each completion's verifier mapping, by the columns of the data set."""
    if "verifier" in columns:
        return [None if spec is None else _spec(spec, kind) for spec in columns["verifier"]]
    if reference in columns:
        return [
            None if answer is None else {"kind": kind, "answer": answer}
            for answer in columns[reference]
        ]
    return [None] * count


def _spec(given: str | float | Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """A verifier mapping; from JSON where it is the JSON of one, else around a plain reference."""
    spec: Any = _read(given) if isinstance(given, str) else given
    if isinstance(given, str | int | float) and not isinstance(spec, dict):
        return {"kind": kind, "answer": given}
    if not isinstance(spec, Mapping):
        raise ValueError(
            f"the reference is {given!r:.80}; it must be an answer (text or number) or the mapping "
            "of a verifier, such as {'kind': 'math', 'answer': '1/2'}"
        )
    from factory.core.plugins import is_known
    from filters.verify import GROUP, VERIFIERS

    if not is_known(VERIFIERS, spec.get("kind"), GROUP):
        raise ValueError(
            f"{given!r:.80} names no kind of verifier that is known here; it must have a `kind` of "
            f"{', '.join(VERIFIERS)}"
        )
    # Arrow gives every row of a column the same keys, null where it has none.
    return {key: value for key, value in spec.items() if value is not None}


@cache
def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # a plain reference, however deep its brackets
        return None


def _messages(prompt: str | Turns) -> tuple[Message, ...]:
    if isinstance(prompt, str):
        return (Message(role="user", content=prompt),)
    return tuple(Message(role=turn["role"], content=_content(turn)) for turn in prompt)


def _text(completion: str | Turns) -> str:
    """The model's own words, think section and all; what tools answered is none of them."""
    if isinstance(completion, str):
        return completion
    return "\n".join(_turn(turn) for turn in completion if turn["role"] == "assistant")


def _turn(turn: Mapping[str, Any]) -> str:
    thinking = turn.get("reasoning_content")
    return join_think(thinking, _content(turn)) if thinking else _content(turn)


def _content(turn: Mapping[str, Any]) -> str:
    content = turn.get("content") or ""
    if not isinstance(content, str):
        raise TypeError(f"a message's content is {type(content).__name__}; only text is read")
    return content
