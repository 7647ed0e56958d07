"""What a model is given, template by template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from factory.core.errors import ModelError, RecipeError, SourceError
from factory.core.nouns import Message, Prompt
from factory.prompts.chain_of_thought import Cot
from factory.prompts.templates import BOXED, CODE, Prompting


class Tokenizer:
    """A chat template as plain as can be."""

    chat_template: Any = "{{ messages }}"

    def apply_chat_template(self, conversation: list[Message], **kwargs: Any) -> str:
        return "".join(f"[{m['role']}]{m['content']}" for m in conversation) + "[assistant]"


def prompt(*turns: str, draft: str | None = None, cot: bool | None = None) -> Prompt:
    """User and assistant in turn; a first turn in capitals is the system's."""
    roles = ["user", "assistant"] * len(turns)
    if turns[0].isupper():
        roles.insert(0, "system")
    messages = tuple(Message(role=r, content=c) for r, c in zip(roles, turns, strict=False))
    meta: dict[str, Any] = {} if draft is None else {"draft": {"sample_id": "a-0", "text": draft}}
    if cot is not None:
        meta["cot"] = {"asked": cot, "why": "test"}
    return Prompt("tests", "general", messages, meta=meta)


TALK = prompt("BE KIND", "Hi", "Hello!", "Why?")

CHATS = [
    (Prompting(), prompt("Why?"), "[user]Why?[assistant]"),
    (Prompting(), TALK, "[system]BE KIND[user]Hi[assistant]Hello![user]Why?[assistant]"),
    (Prompting(instruction="boxed"), prompt("2+2?"), f"[user]2+2?\n{BOXED}[assistant]"),
    (Prompting(instruction="Be brief."), prompt("2+2?"), "[user]2+2?\nBe brief.[assistant]"),
    (
        Prompting(instruction="boxed"),
        TALK,
        f"[system]BE KIND[user]Hi[assistant]Hello![user]Why?\n{BOXED}[assistant]",
    ),
]


@pytest.mark.parametrize(("prompting", "asked", "text"), CHATS)
def test_chat(prompting: Prompting, asked: Prompt, text: str) -> None:
    assert prompting.render(asked, Tokenizer()).prompt_text == text


class Reasoner(Tokenizer):
    """Opens the think section itself, as the templates of R1's distilled models do."""

    def apply_chat_template(self, conversation: list[Message], **kwargs: Any) -> str:
        return super().apply_chat_template(conversation) + "<think>\n"


OPENED = [
    ("", None, "<think>\n"),
    ("<think>\n", None, "<think>\n"),
    ("Well,", None, "<think>\nWell,"),
    ("<think>\nWell,", True, "<think>\nWell,"),
    ("", False, ""),
]


@pytest.mark.parametrize(("prefill", "cot", "opening"), OPENED)
def test_an_opening_by_the_template_is_part_of_the_completion(
    prefill: str, cot: bool | None, opening: str
) -> None:
    asked = prompt("What is <think>?", cot=cot)
    found = Prompting(prefill=prefill).render(asked, Reasoner())
    assert found[:2] == ("[user]What is <think>?[assistant]", opening)


@pytest.mark.parametrize(("name", "words"), [("reflect", "verify it another way"), ("think", "")])
def test_instructions_that_ship(name: str, words: str) -> None:
    text = Prompting(instruction=name).render(prompt("2+2?"), Tokenizer()).prompt_text
    assert "<think> and </think>" in text
    assert words in text


INSTRUCTIONS: list[tuple[dict[str, Any], str, str, str | None]] = [
    ({"instruction": "boxed"}, "sums", "math", BOXED),
    ({"instruction": "boxed", "instructions": {"code": "code"}}, "sums", "math", BOXED),
    ({"instruction": "boxed", "instructions": {"code": "code"}}, "taco", "code", CODE),
    ({"instruction": "boxed", "instructions": {"code": "Be brief."}}, "taco", "code", "Be brief."),
    ({"instruction": "boxed", "instructions": {"general": None}}, "chat", "general", None),
    ({"instructions": {"math": "boxed"}}, "sums", "math", BOXED),
    ({"instructions": {"math": "boxed"}}, "chat", "general", None),
    # The source goes before the domain.
    ({"instructions": {"math": "boxed", "proofs": None}}, "proofs", "math", None),
    ({"instructions": {"math": None, "proofs": "boxed"}}, "proofs", "math", BOXED),
    ({"instructions": {"math": None, "proofs": "boxed"}}, "proof", "math", None),
    ({"instruction": "boxed", "instructions": {"general": None}}, "chat", "General", BOXED),
]


@pytest.mark.parametrize(("keys", "source", "domain", "added"), INSTRUCTIONS)
def test_instructions_by_source_and_domain(
    keys: dict[str, Any], source: str, domain: str, added: str | None
) -> None:
    asked = Prompt(source, domain, (Message(role="user", content="Hello!"),))
    content = Prompting(**keys).messages_for(asked)[-1]["content"]
    assert content == ("Hello!" if added is None else f"Hello!\n{added}")


def test_an_instruction_for_nothing_is_refused() -> None:
    prompting = Prompting(instructions={"code": "code", "genral": None})
    prompting.check_instructions({"genral", "math"})  # someone's own domain
    with pytest.raises(RecipeError, match=r"instructions\.genral is neither .* general, .*math"):
        prompting.check_instructions({"math"})


def test_no_chain_of_thought_means_no_request_for_one() -> None:
    prompting = Prompting(instruction="think", prefill="<think>\n", cot=Cot())
    with_cot = prompting.render(prompt("Why?", cot=True), Tokenizer())
    without = prompting.render(prompt("hello", cot=False), Tokenizer())
    assert with_cot.prefill == "<think>\n"
    assert (without.prompt_text, without.prefill) == ("[user]hello[assistant]", "")


def test_exemplars_show_thoughts_just_where_they_are_wanted() -> None:
    prompting = Prompting(template="few_shot", prefill="<think>\n", cot=Cot())
    with_cot = prompting.render(prompt("Why?", cot=True))
    without = prompting.render(prompt("hello", cot=False))
    assert with_cot.prompt_text.count("<think>") >= 3
    assert "<think>" not in without.prompt_text + without.prefill
    assert without.prompt_text.endswith("***\n\nQuestion: hello\nAnswer:\n")


FEW_SHOT = [
    (prompt("Why?"), "***\n\nQuestion: Why?\nAnswer:\n"),
    (prompt("Hi", "Hello!", "Why?"), "Hi\nAnswer:\nHello!\n\nQuestion: Why?\nAnswer:\n"),
    (TALK, "***\n\nQuestion: BE KIND\n\nHi\nAnswer:\nHello!\n\nQuestion: Why?\nAnswer:\n"),
]


@pytest.mark.parametrize(("asked", "end"), FEW_SHOT)
def test_conversations_in_the_exemplars_form(asked: Prompt, end: str) -> None:
    assert Prompting(template="few_shot").render(asked).prompt_text.endswith(end)


DRAFT = "<think>\nso 5 + 5... 等等, ten\n</think>\n\nIt is \\boxed{10}."


def test_a_rewrite_asks_about_question_and_draft() -> None:
    prompting = Prompting(template="rewrite", prefill="<think>\n")
    text, prefill, special = prompting.render(prompt("5 + 5?", draft=DRAFT), Tokenizer())
    assert text.startswith("[user]")
    assert "<question>\n5 + 5?\n</question>" in text
    assert f"<draft>\n{DRAFT}\n</draft>" in text
    for asked in ("language of the question", "first person", "Solve nothing again", "\\boxed{}"):
        assert asked in text
    assert (prefill, special) == ("<think>\n", False)


@given(st.text(alphabet="a$<>/draftquestion{}\\ ", max_size=60))
def test_a_draft_cannot_leave_its_tags(text: str) -> None:
    asked = prompt("5 + 5?", draft=text)
    rendered = Prompting(template="rewrite").render(asked, Tokenizer()).prompt_text
    assert rendered.count("</draft>") == 1


def test_a_conversation_is_rewritten_whole() -> None:
    asked = prompt("Hi", "Hello!", "Why?", draft=DRAFT)
    text = Prompting(template="rewrite").render(asked, Tokenizer()).prompt_text
    assert "User: Hi\n\nAssistant: Hello!\n\nUser: Why?" in text


def test_without_a_draft_there_is_nothing_to_rewrite() -> None:
    with pytest.raises(SourceError, match="has no draft to rewrite"):
        Prompting(template="rewrite").render(prompt("5 + 5?"), Tokenizer())


REQUESTS = [
    ("Rewrite ${draft}.", "must contain"),
    ("${question} ${draft} ${tone}", "must contain"),
    ("${question} ${draft} costs 5$", "must contain"),
]


@pytest.mark.parametrize(("text", "complaint"), REQUESTS)
def test_a_request_of_ones_own_is_checked(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "request.txt"
    file.write_text(text)
    with pytest.raises(SourceError, match=complaint):
        Prompting(template="rewrite", request=file).render(prompt("x", draft="y"), Tokenizer())


def test_a_request_of_ones_own_is_used(tmp_path: Path) -> None:
    file = tmp_path / "request.txt"
    file.write_text("Q: ${question}\nD: ${draft}\nfor $$5")
    prompting = Prompting(template="rewrite", request=file)
    text = prompting.render(prompt("x", draft="y"), Tokenizer()).prompt_text
    assert text == "[user]Q: x\nD: y\nfor $5[assistant]"
    before = prompting.identity()
    file.write_text("Q: ${question}\nD: ${draft}")
    assert Prompting(template="rewrite", request=file).identity() != before


@pytest.mark.parametrize("template", ["chat", "rewrite"])
def test_a_model_without_a_template(template: Any) -> None:
    bare = Tokenizer()
    bare.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        Prompting(template=template).render(prompt("x", draft="y"), bare)
    with pytest.raises(ModelError, match="the engine renders prompts without a tokenizer"):
        Prompting(template=template).render(prompt("x", draft="y"))


MISFITS: list[dict[str, Any]] = [
    {"exemplars": "x.yaml"},
    {"request": "x.txt"},
    {"template": "r1_zero", "system": "Be kind."},
    {"template": "r1_zero", "cot": {}},
    {"template": "rewrite", "cot": {}},
]


@pytest.mark.parametrize("keys", MISFITS)
def test_keys_that_do_not_go_together(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Prompting(**keys)


def test_old_recipes_keep_their_identity() -> None:
    """A key that says nothing changes no sample, or finished runs could not go on."""
    keys = {"template", "system", "instruction", "prefill"}
    assert Prompting(instruction="boxed").identity().keys() == keys
    assert Prompting(instruction="boxed").identity()["instruction"] == "boxed"
    assert Prompting(instruction="code").identity() == Prompting(instruction=CODE).identity()
    assert Prompting(instructions={"code": "code"}).identity()["instructions"] == {"code": CODE}
