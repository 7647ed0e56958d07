"""The gate: templates with which a model would be trained on something else than the corpus."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.core.errors import ModelError
from factory.core.nouns import Message
from factory.export.formats import find_format
from factory.export.gate import REMEDIES, Gate, alternates
from factory.export.layouts import LayoutName
from factory.export.target import Target, load_target
from tests.export import tokenizers as t
from tests.export.runs import conversation

TWO_TURNS = [*conversation(1, "Earlier I thought."), *conversation(2, "Later I thought.")]
NO_REASONING = [
    Message(role="user", content="hello"),
    Message(role="assistant", content="Hello! How can I help?"),
]
NO_ANSWER = conversation(1)[:1]
OPENED_TWICE = [
    conversation(1)[0],
    Message(role="assistant", content="<think><think>Adding.</think>2"),
]


def gate(
    folder: Path,
    own: str | None,
    format: str = "trl",
    layout: LayoutName | None = None,
    template: str | None = None,
) -> Gate:
    """`own` is the tokenizer's template, `template` the one that replaces it."""
    chosen = find_format(format)
    name = t.write_tokenizer(folder, own, bos="<|begin|>")
    target = load_target(name, template=template)
    return Gate(target, chosen.layout(layout, format), chosen.alternating)


CASES: list[tuple[str, str, LayoutName | None, list[Message], str | None]] = [
    (t.CHATML, "trl", None, conversation(1), None),
    (t.CHATML, "trl", "text", conversation(1), None),
    (t.CHATML, "verl", None, TWO_TURNS, None),
    (t.CHATML, "llama-factory", None, NO_REASONING, None),
    (t.CHATML, "trl", "messages", conversation(1), "loss_mask_empty"),
    (t.MARKS_NOTHING, "trl", "messages", conversation(1), "loss_mask_empty"),
    (t.MARKS_ONLY_THE_END, "trl", "messages", conversation(1), "not_trained_on"),
    (t.STRIPS, "trl", None, conversation(1), "reasoning_stripped"),
    (t.STRIPS, "verl", None, conversation(1), "reasoning_stripped"),
    (t.STRIPS, "openai", None, conversation(1), "reasoning_stripped"),
    (t.STRIPS, "trl", "text", conversation(1), None),  # the remedy
    (t.STRIPS, "trl", None, NO_REASONING, None),  # nothing to strip
    (t.STRIPS_TAGS, "trl", None, conversation(1), "reasoning_stripped"),
    (t.STRIPS_EARLIER, "verl", None, conversation(1), None),
    (t.STRIPS_EARLIER, "verl", None, TWO_TURNS, "reasoning_stripped"),
    (t.STRIPS_EARLIER, "trl", None, TWO_TURNS, None),  # only the last turn is trained on
    (t.OPENS_TWICE, "trl", None, conversation(1), "think_doubled"),
    (t.OPENS_TWICE, "trl", "text", conversation(1), None),
    (t.CHATML, "trl", None, OPENED_TWICE, None),  # as it was sampled: not the template's fault
    (t.NO_END, "trl", None, conversation(1), "eos_missing"),
    (t.NO_END, "trl", "text", conversation(1), None),
    (t.ENDS_EARLY, "trl", None, conversation(1), "eos_missing"),
    (t.SHOUTS, "trl", None, conversation(1), "response_changed"),
    (t.FAILS, "trl", None, conversation(1), "cannot_render"),
    (t.CHATML, "llama-factory", None, [*conversation(1), *NO_ANSWER], "turns_out_of_order"),
    (t.CHATML, "axolotl", None, [NO_REASONING[0], *conversation(1)], None),
]


@pytest.mark.parametrize(("template", "format", "layout", "messages", "reason"), CASES)
def test_the_gates_verdict(
    template: str,
    format: str,
    layout: LayoutName | None,
    messages: list[Message],
    reason: str | None,
    tmp_path: Path,
) -> None:
    fault = gate(tmp_path, template, format, layout).check("row-1", messages)
    assert (fault and fault.reason) == reason
    if fault is not None:
        assert "row-1" in str(fault)
        assert REMEDIES[fault.reason] in str(fault)


@pytest.mark.parametrize("shipped", ["chatml", "plain"])
@pytest.mark.parametrize("layout", ["messages", "prompt-completion", "text"])
@pytest.mark.parametrize("messages", [conversation(1), TWO_TURNS, NO_REASONING])
def test_the_shipped_templates_fix_a_tokenizer(
    shipped: str, layout: LayoutName, messages: list[Message], tmp_path: Path
) -> None:
    for own in (None, t.STRIPS):
        fixed = gate(tmp_path, own, "trl", layout, template=shipped)
        assert fixed.check("row-1", messages) is None


def test_the_shipped_markers_are_the_assistants_words_and_eos(tmp_path: Path) -> None:
    for shipped in ("chatml", "plain"):
        fixed = gate(tmp_path, None, "trl", "messages", template=shipped)
        rendered = fixed.layout.render_row(TWO_TURNS, fixed.target)
        trained = fixed.target.tokenizer.decode(rendered.trained)
        assert trained == "".join(turn["content"] + "<|im_end|>" for turn in TWO_TURNS[1::2])


def test_finished_text_opens_the_think_section_once_and_bos_not_at_all(tmp_path: Path) -> None:
    """The template's opening is in the prompt, and the trainer's tokenizer adds no BOS here."""
    stripping = gate(tmp_path, t.STRIPS, "trl", "text")
    columns = stripping.layout.columns(conversation(3), stripping.target)
    assert columns["prompt"] == "<|begin|><|User|>What is 3 + 3?<|Assistant|><think>"
    assert columns["completion"].startswith("\n3 and 3 is twice 3.")
    assert columns["completion"].endswith("</think>\n\nIt is \\boxed{6}.<|im_end|>")


def test_a_base_models_eos_is_not_its_chat_templates_end(tmp_path: Path) -> None:
    """Qwen's base models: EOS is <|endoftext|>, the template ends turns with <|im_end|>."""
    name = t.write_tokenizer(tmp_path, t.CHATML, eos="<|endoftext|>")
    layout = find_format("trl").layout(None, "trl")
    fault = Gate(load_target(name), layout).check("row-1", conversation(1))
    assert fault is not None
    assert fault.reason == "eos_missing"
    assert "--eos" in str(fault)
    assert Gate(load_target(name, eos="<|im_end|>"), layout).check("r", conversation(1)) is None
    (tmp_path / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [load_target(name, eos="<|im_end|>").tokenizer.eos_token_id]})
    )
    assert Gate(load_target(name), layout).check("row-1", conversation(1)) is None


class Unfit(NamedTuple):
    message: str
    own: str | None = t.CHATML
    eos: str | None = "<|im_end|>"
    context: int | None = None
    ask_template: str | None = None
    ask_eos: str | None = None
    ask_length: int | None = None


UNFIT = [
    Unfit("no chat template.*--template", own=None),
    Unfit("no EOS token.*--eos", eos=None),
    Unfit("does not know", ask_eos="<|what|>"),
    Unfit("none of the shipped templates: chatml, chatml_tools, plain", ask_template="alpaca"),
    Unfit("context of 512", context=512, ask_length=1024),
]


@pytest.mark.parametrize("case", UNFIT)
def test_an_unusable_target_is_refused(case: Unfit, tmp_path: Path) -> None:
    name = t.write_tokenizer(tmp_path, case.own, eos=case.eos, context=case.context)
    with pytest.raises(ModelError, match=case.message):
        load_target(name, template=case.ask_template, eos=case.ask_eos, max_length=case.ask_length)


def test_a_missing_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such folder"):
        load_target(str(tmp_path / "none"))
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_target(str(tmp_path))


def test_a_finished_training_can_be_used_as_a_model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    name = t.write_tokenizer(tmp_path / "model", t.CHATML)
    (tmp_path / "model" / "config.json").write_text("{}")
    for state, message in (("running", "not finished"), ("done", None)):
        (tmp_path / "train.json").write_text(json.dumps({"state": state}))
        if message:
            with pytest.raises(ModelError, match=message):
                load_target(str(tmp_path))
    assert load_target(str(tmp_path)).model == name


@pytest.mark.parametrize(
    ("context", "asked", "length"), [(None, None, 32_768), (512, None, 512), (512, 100, 100)]
)
def test_the_length_is_the_models_or_less(
    context: int | None, asked: int | None, length: int, tmp_path: Path
) -> None:
    name = t.write_tokenizer(tmp_path, t.CHATML, context=context)
    assert load_target(name, max_length=asked).max_length == length


@pytest.fixture(scope="module")
def bytewise(tmp_path_factory: pytest.TempPathFactory) -> Target:
    return load_target(t.write_tokenizer(tmp_path_factory.mktemp("bytewise"), t.CHATML))


@given(texts=st.lists(st.text(max_size=60), max_size=8), limit=st.integers(1, 80))
def test_lengths_over_the_limit_are_exact(texts: list[str], limit: int, bytewise: Target) -> None:
    target = replace(bytewise, max_length=limit)
    for text, length in zip(texts, target.lengths(texts), strict=True):
        exact = len(target.encode(text))
        assert exact == length if length > limit else exact <= length


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ("ua", True),
        ("sua", True),
        ("uaua", True),
        ("", False),
        ("s", False),
        ("uu", False),
        ("uuaa", False),
        ("au", False),
        ("usua", False),
    ],
)
def test_turns_in_order(roles: str, expected: bool) -> None:
    names = {"u": "user", "a": "assistant", "s": "system"}
    assert alternates([Message(role=names[role], content="x") for role in roles]) is expected
