"""Turns as messages and as the text and tokens that follow what was generated."""

from __future__ import annotations

import json
from typing import Any

import pytest

from factory.core.errors import ModelError
from factory.core.models import load_tokenizer, model_path
from factory.core.nouns import Message, Prompt, Turn
from factory.prompts.conversation import continue_episode, list_messages, read_action
from factory.prompts.templates import Prompting

TOOLS = ({"type": "function", "function": {"name": "add", "parameters": {}}},)
PROMPT = Prompt("t", "math", (Message(role="user", content="1 + 1?"),), tools=TOOLS)
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
END = "<|im_end|>"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(model_path("demo"), needed_for="a test")


def own(text: str, ids: list[int] | None = None) -> Turn:
    return Turn(role="assistant", text=text, token_ids=None if ids is None else tuple(ids))


def shown(text: str) -> Turn:
    return Turn(role="tool", text=text, name="add", call_id="call_0_0")


AFTER = (
    f"{END}\n<|im_start|>user\n<tool_response>\n2\n</tool_response>{END}\n<|im_start|>assistant\n"
)


def test_generated_ids_stay_as_they_are(tokenizer: Any) -> None:
    """ "12" in two tokens is not how the tokenizer writes it."""
    odd = [tokenizer.encode(sign, add_special_tokens=False)[0] for sign in "12"]
    assert tokenizer.encode("12", add_special_tokens=False) != [*odd, 0]
    end = tokenizer.eos_token_id
    found = continue_episode(Prompting(), PROMPT, (own("12", [*odd, end]), shown("2")), tokenizer)
    opening = tokenizer.encode(found.opening, add_special_tokens=False)
    after = tokenizer.encode(AFTER, add_special_tokens=False)
    assert found.ids == [*opening, *odd, *after]  # the end of the turn once
    assert found.text == f"{found.opening}12{AFTER}"


def test_a_turn_without_its_end_gets_one(tokenizer: Any) -> None:
    ids = tokenizer.encode(CALL, add_special_tokens=False)
    found = continue_episode(Prompting(), PROMPT, (own(CALL, ids), shown("2")), tokenizer)
    assert tokenizer.decode(found.ids) == f"{found.opening}{CALL}{AFTER}"


def test_turns_without_ids_are_encoded(tokenizer: Any) -> None:
    found = continue_episode(Prompting(), PROMPT, (own(CALL), shown("2")), tokenizer)
    assert tokenizer.decode(found.ids) == f"{found.opening}{CALL}{AFTER}"


def test_a_prefill_opens_every_turn(tokenizer: Any) -> None:
    prompting = Prompting(prefill="<think>\n")
    turns = (own(f"<think>\nI ask.\n</think>\n\n{CALL}"), shown("2"))
    found = continue_episode(prompting, PROMPT, turns, tokenizer)
    assert found.prefill == "<think>\n"
    assert found.text.endswith("<|im_start|>assistant\n")
    assert tokenizer.decode(found.ids).endswith("<|im_start|>assistant\n<think>\n")


def test_two_observations_share_a_turn(tokenizer: Any) -> None:
    found = continue_episode(Prompting(), PROMPT, (own(CALL), shown("2"), shown("3")), tokenizer)
    assert "2\n</tool_response>\n<tool_response>\n3" in found.text
    assert found.text.count("<|im_start|>user") == 2


def test_what_a_reset_shows_precedes_the_first_turn(tokenizer: Any) -> None:
    game = Prompt("t", "games", (Message(role="user", content="Play."),), environment={"kind": "x"})
    turns = (
        Turn(role="tools", text=json.dumps(TOOLS)),
        Turn(role="user", text="Guess."),
        own("I say 3."),
        Turn(role="user", text="Higher."),
    )
    found = continue_episode(Prompting(), game, turns, tokenizer)
    assert found.opening.endswith(f"Guess.{END}\n<|im_start|>assistant\n")
    assert '"name": "add"' in found.opening
    assert found.text.endswith(f"Higher.{END}\n<|im_start|>assistant\n")


class Template:
    """A tokenizer with a template of its own."""

    def __init__(self, tokenizer: Any, template: str) -> None:
        self._tokenizer, self.chat_template = tokenizer, template

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        options.setdefault("chat_template", self.chat_template)
        return self._tokenizer.apply_chat_template(conversation, **options)

    def encode(self, text: str, **options: Any) -> Any:
        return self._tokenizer.encode(text, **options)


PLAIN = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
KNOWS = "{{ tools | length if tools else 0 }}" + PLAIN
LAST = "{{ tools | length if tools else 0 }}[{{ messages[-1].role }}]{{ messages[-1].content }}"
RAISES = "{{ raise_exception('roles must alternate') if messages | length > 1 }}tools" + PLAIN


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (PLAIN, "has no place for them"),
        (LAST, "drops the assistant's text"),
        (RAISES, r"fails on turns of user, assistant, tool: roles must alternate"),
        (KNOWS, None),
    ],
)
def test_templates_that_cannot_are_refused(tokenizer: Any, template: str, said: str | None) -> None:
    turns, made = (own("a"), shown("b")), Template(tokenizer, template)
    if said is None:
        assert continue_episode(Prompting(), PROMPT, turns, made).text == "1[user]1 + 1?a[tool]b"
        return
    with pytest.raises(ModelError, match=said):
        continue_episode(Prompting(), PROMPT, turns, made)


def test_only_a_chat_template_shows_tools() -> None:
    with pytest.raises(ModelError, match=r"only `prompting\.template: chat`"):
        Prompting(template="few_shot").render(PROMPT)


def test_calls_without_ids_are_numbered() -> None:
    action = read_action(f"Two.\n{CALL}\n{CALL}", 3)
    assert [call["id"] for call in action["tool_calls"]] == ["call_3_0", "call_3_1"]
    assert action["content"] == "Two."
    given = read_action('<tool_call>{"name": "f", "arguments": {}, "id": "x"}</tool_call>', 0)
    assert given["tool_calls"][0]["id"] == "x"


def test_arguments_written_as_texts_get_the_types_of_the_schema() -> None:
    """Qwen3-Coder writes them so."""
    text = "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>"
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    tools = ({"type": "function", "function": {"name": "add", "parameters": schema}},)
    (call,) = read_action(text, 0, "auto", tools)["tool_calls"]
    assert call["function"]["arguments"] == {"a": 1}
    (untyped,) = read_action(text, 0)["tool_calls"]
    assert untyped["function"]["arguments"] == {"a": "1"}


def test_messages_of_turns() -> None:
    turns = (
        Turn(role="tools", text="[]"),
        own(f"<think>I ask.</think>Now. {CALL}"),
        shown("2"),
        own("<tool_call>{broken"),
        Turn(role="tool", text="error"),
        own("It is 2."),
        Turn(role="end", text=""),
    )
    first, observed, broken, _, last = list_messages(turns)
    assert first["content"] == "<think>\nI ask.\n</think>\n\nNow."
    assert first["tool_calls"][0]["function"] == {"name": "add", "arguments": {"a": 1}}
    assert observed == {
        "role": "tool", "content": "2", "name": "add", "tool_call_id": "call_0_0",
    }  # fmt: skip
    assert broken == {"role": "assistant", "content": "<tool_call>{broken"}
    assert last == {"role": "assistant", "content": "It is 2."}
