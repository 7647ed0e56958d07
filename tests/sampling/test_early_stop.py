from __future__ import annotations

import random

import pytest

from factory.core.nouns import Message, Prompt
from factory.recipe.sampling import EarlyStop
from factory.sampling.early_stop import (
    AFTER_ANSWER,
    Halt,
    Watch,
    answer_end,
    has_switched_language,
    is_looping,
    make_watch,
)

ENGLISH = (
    "we could take the other root and see whether it is still smaller than the first one but then "
    "there would be no reason to keep this case so let us go back and count what was left over "
    "when they had all been placed since each of them needs at least two and none may have more"
)
GERMAN = (
    "wir könnten auch die andere Lösung nehmen und sehen ob sie noch kleiner ist als die erste "
    "aber dann gäbe es keinen Grund diesen Fall zu behalten also gehen wir zurück und zählen was "
    "übrig war als alle verteilt worden sind denn jeder braucht mindestens zwei und keiner mehr"
)
CHINESE = (
    "我们可以取另一个根看看它是否仍然比第一个小但是那样就没有理由保留这种情况"
    "所以回去数一数还剩下多少因为每个至少需要两个"
)


def prose(words: str, length: int, seed: int = 0) -> str:
    """Words in ever new orders; Chinese by the character."""
    choose = random.Random(seed)
    parts = words.split() if " " in words else list(words)
    joint = " " if " " in words else ""
    text = ""
    while len(text) < length:
        text += joint.join(choose.sample(parts, 12)) + choose.choice([". ", ".\n", ", "])
    return text[:length]


GOOD = prose(ENGLISH, 9000)

LOOPS = [
    ("prose", GOOD, False),
    ("a loop", GOOD + "Wait, is it? " * 400, True),
    ("a loop that counts", GOOD + "".join(f"Step {n}: compute again. " for n in range(300)), True),
    ("a loop of a long sentence", GOOD + (prose(ENGLISH, 250) + "\n") * 20, True),
    ("a loop that was left", "Wait, is it? " * 400 + GOOD, False),
    ("a short loop", GOOD + "Wait, is it? " * 100, False),
    ("a table", GOOD + "".join(f"n = {n}: {n}^2 = {n * n}, no cube.\n" for n in range(300)), False),
    ("Han", "的" * 3000, True),
    ("too short to tell", "a" * 4000, False),
    ("empty", "", False),
]


@pytest.mark.parametrize(("text", "loops"), [c[1:] for c in LOOPS], ids=[c[0] for c in LOOPS])
def test_is_looping(text: str, loops: bool) -> None:
    assert is_looping(text) is loops


FORMULAS = "\\[ x^2 + y^2 = z^2 \\]\n" * 10
ASTRAY = [
    ("at home", prose(ENGLISH, 4000), "en", False),
    ("another script", prose(ENGLISH, 4000) + prose(CHINESE, 4000), "en", True),
    ("another language", prose(ENGLISH, 4000) + prose(GERMAN, 4000), "en", True),
    ("English for Chinese", prose(CHINESE, 4000) + prose(ENGLISH, 4000), "zh", True),
    ("a quotation", prose(ENGLISH, 4000) + prose(GERMAN, 1600), "en", False),
    ("came back", prose(GERMAN, 4000) + prose(ENGLISH, 2000), "en", False),
    ("formulas only", prose(ENGLISH, 1000) + FORMULAS * 30, "en", False),
    ("too short to tell", prose(GERMAN, 2000), "en", False),
]


@pytest.mark.parametrize(
    ("text", "language", "astray"), [c[1:] for c in ASTRAY], ids=[c[0] for c in ASTRAY]
)
def test_is_astray(text: str, language: str, astray: bool) -> None:
    assert has_switched_language(text, language) is astray


MORE = "x" * AFTER_ANSWER
ANSWERS = [
    ("tag", "<answer>4</answer>\nUser: and 5?", "<answer>4</answer>"),
    ("box and a new text", f"So \\boxed{{4}}.\n\n{MORE}", "So \\boxed{4}."),
    ("nested braces", f"\\boxed{{\\frac{{1}}{{2}}}}\n\n{MORE}", "\\boxed{\\frac{1}{2}}"),
    ("set braces", f"\\boxed{{\\{{1, 2\\}}}}\n\n{MORE}", "\\boxed{\\{1, 2\\}}"),
    ("a sentence may follow", "So \\boxed{4}.\n\nThat is even.", None),
    ("same paragraph", f"So \\boxed{{4}} {MORE}", None),
    ("the box is open", f"So \\boxed{{4\n\n{MORE}", None),
    ("a second box is on its way", f"\\boxed{{4}}\n\n{MORE} \\boxed{{", None),
    ("no answer yet", MORE, None),
    ("empty", "", None),
]


@pytest.mark.parametrize(("text", "kept"), [c[1:] for c in ANSWERS], ids=[c[0] for c in ANSWERS])
def test_answer_end(text: str, kept: str | None) -> None:
    end = answer_end(text)
    assert (None if end is None else text[:end]) == kept


def stream(watch: Watch, text: str, size: int = 40) -> tuple[Halt | None, int]:
    """Feed a text in pieces of `size` characters, ten tokens each: the halt, characters fed."""
    tokens = fed = 0
    for start in range(0, len(text), size):
        tokens, fed = tokens + 10, start + size
        halt = watch.feed(text[start:fed], tokens)
        if halt is not None:
            return halt, fed
    return None, len(text)


ALL = EarlyStop(closed_answer=True, every=128)


def test_a_loop_is_cut_short() -> None:
    halt, fed = stream(Watch(ALL, "en", "<think>\n"), GOOD + "Wait, is it? " * 4000)
    assert halt == Halt("loop")
    assert halt.finish_reason == "early_stop"
    assert len(GOOD) + 3000 < fed < len(GOOD) + 6000


def test_a_good_sample_is_left_alone() -> None:
    halt, _ = stream(Watch(ALL, "en", "<think>\n"), f"{GOOD}</think>\n\nSo \\boxed{{4}}.")
    assert halt is None


def test_reasoning_gone_astray_is_cut_short_but_a_response_may_be_in_any_language() -> None:
    watch = Watch(ALL, "en", "<think>\n")
    halt, _ = stream(watch, GOOD + prose(CHINESE, 6000))
    assert halt == Halt("language")
    halt, _ = stream(Watch(ALL, "en", "<think>\n"), f"{GOOD}</think>" + prose(GERMAN, 6000))
    assert halt is None


def test_a_closed_answer_keeps_what_came_before() -> None:
    answered = f"{GOOD}</think>\n\nSo \\boxed{{4}}."
    text = answered + "\n\n" + prose(ENGLISH, 3000, seed=2)
    halt, _ = stream(Watch(ALL, "en", "<think>\n"), text)
    assert halt is not None
    assert halt.finish_reason == "stop"
    assert ("<think>\n" + text)[: halt.keep] == "<think>\n" + answered


def test_an_answer_inside_the_reasoning_closes_nothing() -> None:
    halt, _ = stream(Watch(ALL, "en", "<think>\n"), f"\\boxed{{4}}\n\n{GOOD}")
    assert halt is None


@pytest.mark.parametrize("key", ["loop", "language", "closed_answer"])
def test_each_check_can_be_turned_off(key: str) -> None:
    texts = {
        "loop": GOOD + "Wait, is it? " * 4000,
        "language": GOOD + prose(CHINESE, 6000),
        "closed_answer": f"{GOOD}</think>\\boxed{{4}}\n\n{GOOD}",
    }
    options = ALL.model_copy(update={key: False})
    assert stream(Watch(options, "en", "<think>\n"), texts[key])[0] is None


def test_the_language_is_the_prompts_or_its_questions() -> None:
    def prompt(question: str, language: str | None) -> Prompt:
        message = Message(role="user", content=question)
        return Prompt(source="s", domain="math", messages=(message,), language=language)

    text = prose(GERMAN, 6000)
    for asked, language, halted in ((ENGLISH, None, True), (GERMAN, None, False)):
        watch = make_watch(ALL, prompt(asked, language), "<think>\n")
        assert watch is not None
        assert (stream(watch, text)[0] is not None) is halted
    assert make_watch(None, prompt(ENGLISH, "en"), "") is None
