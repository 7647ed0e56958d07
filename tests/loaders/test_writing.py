"""Generated writing tasks: the same by seed, no two instructions that contradict each other."""

from __future__ import annotations

from typing import get_args

from factory.core.nouns import Prompt
from factory.prompts.sets.writing import KINDS, Name, Writing
from filters.verify.verifiers import Verifiers


def prompts(**keys: object) -> list[Prompt]:
    found = [*Writing.model_validate({"kind": "writing", **keys}).rows()]
    assert all(isinstance(prompt, Prompt) for prompt in found)
    return [prompt for prompt in found if isinstance(prompt, Prompt)]


def test_the_seed_decides() -> None:
    one, again, other = prompts(size=20), prompts(size=20), prompts(size=20, seed=1)
    assert [prompt.id for prompt in one] == [prompt.id for prompt in again]
    assert {prompt.id for prompt in one}.isdisjoint(prompt.id for prompt in other)


def test_every_prompt_can_be_judged_and_says_all_of_its_instructions() -> None:
    assert list(get_args(Name)) == list(KINDS)
    made = prompts(size=400, instructions=4)
    with Verifiers() as verifiers:
        assert set(verifiers.check([prompt.verifier for prompt in made])) == {None}
    seen = set()
    for prompt in made:
        listed = (prompt.verifier or {})["instructions"]
        assert 1 <= len(listed) <= 4
        assert prompt.question.count("\n- ") == len(listed)
        fixed = [aspect for item in listed for aspect in KINDS[item["check"]].aspects]
        assert len(fixed) == len(set(fixed)), listed
        seen |= {item["check"] for item in listed}
    assert seen == set(KINDS)


def test_only_the_named_checks_are_drawn() -> None:
    for prompt in prompts(size=10, checks=["words", "title"]):
        listed = (prompt.verifier or {})["instructions"]
        assert {item["check"] for item in listed} <= {"words", "title"}
