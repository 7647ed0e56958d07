"""Training on episodes: the model's own turns, never an observation; the gate proves it per row."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console

from factory.build.build import build
from factory.core.errors import ModelError
from factory.core.nouns import Message, Prompt
from factory.core.trust import trusting
from factory.export.dialogue import Dialogue, read_dialogue
from factory.export.export import export_run
from factory.export.gate import Gate, alternates
from factory.export.layouts import Conversation
from factory.export.responses import write_items
from factory.export.sharegpt import require_hermes_calls, write_turns
from factory.export.target import Target, load_target
from factory.prompts.files import Files
from factory.recipe.build import load_recipe
from factory.train.data import read_rows
from factory.train.tokens import IGNORED, TURNS, tokenize
from tests.episodes import call, write_recipe

TOOLS = [{"type": "function", "function": {"name": "calculate", "parameters": {}}}]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four prompts' episodes."""
    folder = tmp_path_factory.mktemp("played")
    with trusting(True):
        build(load_recipe(write_recipe(folder, 4)), folder / "run", Console(quiet=True))
    return folder / "run"


@pytest.fixture(scope="module")
def target() -> Target:
    return load_target("demo", template="chatml_tools")


def episode(observation: str = "13", *, answer: str = "It is 13.", think: str = "") -> Dialogue:
    return Dialogue(
        [
            Message(role="user", content="Hello"),
            Message(role="assistant", content="Hi, what can I do?"),
            Message(role="user", content="What is 12 + 1?"),
            Message(
                role="assistant",
                content=think,
                tool_calls=[call("calculate", {"expression": "12 + 1"})],
            ),
            Message(role="tool", content=observation, name="calculate"),
            Message(role="assistant", content=answer),
        ],
        TOOLS,
        3,
    )


@pytest.mark.parametrize("observation", ["13", "It is 13.", "", "<|im_end|>", "é" * 50, "\n\n13\n"])
def test_the_loss_covers_own_turns_and_no_observation(target: Target, observation: str) -> None:
    row = episode(observation, think="<think>\nI ask.\n</think>\n\n")
    (tokens,) = tokenize([row], target)
    learnt = [label for label in tokens.labels if label != IGNORED]
    assert tokens.learnt == len(learnt)
    assert target.tokenizer.decode(learnt) == (
        '<think>\nI ask.\n</think>\n\n<tool_call>\n{"name": "calculate", "arguments": '
        '{"expression": "12 + 1"}}\n</tool_call><|im_end|>It is 13.<|im_end|>'
    )
    assert Gate(target, TURNS).check("row", row) is None


def test_pieces_are_encoded_as_they_were_generated(target: Target) -> None:
    (tokens,) = tokenize([episode()], target)
    text = target.tokenizer.decode(tokens.ids)
    assert text == TURNS.text(episode(), target)
    assert "Hi, what can I do?<|im_end|>" in target.tokenizer.decode(
        [i for i, label in zip(tokens.ids, tokens.labels, strict=True) if label == IGNORED]
    )


OWN = load_target("demo").tokenizer.chat_template
FORGETS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'tool' and not loop.last %}"
    "…{% else %}{{ m.content }}{% endif %}{% for c in m.tool_calls or [] %}<tool_call>"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
    "</tool_call>"
    "{% endfor %}<|im_end|>\n{% endfor %}calculate"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DROPS_CALLS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}calculate<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (OWN, "tools_dropped"),
        (FORGETS, "cannot_render"),
        (DROPS_CALLS, "cannot_render"),
        ("calculate " + DROPS_CALLS.replace("calculate", ""), "calls_changed"),
    ],
)
def test_templates_that_lose_something_are_refused(template: str, reason: str) -> None:
    target = load_target("demo")
    target.tokenizer.chat_template = template
    fault = Gate(target, TURNS).check("row", episode())
    assert fault is not None
    assert fault.reason == reason


@pytest.mark.parametrize("marked", [True, False])
def test_exports_pass_the_gate_with_a_template_that_knows_tools(
    target: Target, marked: bool
) -> None:
    layout = Conversation(marked=marked, tools=True)
    assert Gate(target, layout).check("row", episode()) is None


def test_markers_around_an_observation_are_refused() -> None:
    target = load_target("demo", template="chatml_tools")
    template = target.tokenizer.chat_template
    target.tokenizer.chat_template = template.replace(
        "{{- '<tool_response>\\n' + message.content + '\\n</tool_response>' -}}",
        "{%- generation -%}{{- '<tool_response>\\n' + message.content -}}{%- endgeneration -%}"
        "{{- '\\n</tool_response>' -}}",
    )
    assert target.tokenizer.chat_template != template
    fault = Gate(target, Conversation(marked=True, tools=True)).check("row", episode())
    assert fault is not None
    assert fault.reason == "observation_trained"


def test_rows_of_a_corpus_are_read_with_their_calls(run: Path) -> None:
    (shard,) = (run / "corpus").glob("*.parquet")
    target = load_target("demo", template="chatml_tools")
    for name, row in read_rows([shard]):
        assert isinstance(row, Dialogue)
        assert row.n_prompt == 1
        assert Gate(target, TURNS).check(name, row) is None
        (tokens,) = tokenize([row], target)
        learnt = target.tokenizer.decode([i for i in tokens.labels if i != IGNORED])
        assert learnt.count("<|im_end|>") == 2
        assert "<tool_response>" not in learnt


@pytest.mark.parametrize("format", ["trl", "verl", "axolotl", "openai"])
def test_a_corpus_of_episodes_is_exported(run: Path, tmp_path: Path, format: str) -> None:
    out = tmp_path / "out"
    export_run(run, format, "demo", out, template="chatml_tools")
    row: dict[str, Any]
    if format == "openai":
        row = json.loads((out / "train.jsonl").read_text().splitlines()[0])
    else:
        (file,) = out.rglob("train*.parquet")
        row = pq.read_table(file).to_pylist()[0]
    assert [message["role"] for message in row["messages"]] == [
        "user", "assistant", "tool", "assistant",
    ]  # fmt: skip
    (called,) = row["messages"][1]["tool_calls"]
    assert "expression" in json.loads(called["function"]["arguments"])
    tools = row["tools"] if format == "openai" else json.loads(row["tools"])
    assert tools[0]["function"]["name"] == "calculate"


def test_llama_factory_gets_function_calls_and_observations(run: Path, tmp_path: Path) -> None:
    """In the format of its documentation: odd turns are read, even ones are learnt."""
    out = tmp_path / "out"
    export_run(run, "llama-factory", "demo", out, template="chatml_tools")
    (table,) = json.loads((out / "dataset_info.json").read_text()).values()
    assert table["columns"] == {"messages": "messages", "tools": "tools"}
    tags = table["tags"]
    (file,) = (out / table["file_name"]).glob("*.parquet")
    for row in pq.read_table(file).to_pylist():
        turns = [(turn[tags["role_tag"]], turn[tags["content_tag"]]) for turn in row["messages"]]
        assert [role for role, _ in turns] == [
            tags["user_tag"], tags["function_tag"], tags["observation_tag"], tags["assistant_tag"],
        ]  # fmt: skip
        called = json.loads(turns[1][1])
        assert called["name"] == "calculate"
        assert "expression" in called["arguments"]
        assert json.loads(row["tools"])[0]["function"]["name"] == "calculate"
    config = yaml.safe_load((out / "sft.yaml").read_text())
    assert (config["template"], config["default_system"]) == ("qwen", "")


def test_nemo_gym_gets_rollouts(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_run(run, "nemo-gym", "demo", out, template="chatml_tools")
    for line in (out / "train.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert set(row) == {"responses_create_params", "response", "reward"}
        (asked,) = row["responses_create_params"]["input"]
        assert asked["role"] == "user"
        (tool,) = row["responses_create_params"]["tools"]
        assert (tool["type"], tool["name"]) == ("function", "calculate")
        assert set(tool) == {"type", "name", "description", "parameters", "strict"}
        assert set(row["response"]) == {  # what its servers require
            "id", "object", "created_at", "model", "output", "parallel_tool_calls", "tool_choice",
            "tools",
        }  # fmt: skip
        called, answered, said = row["response"]["output"]
        assert (called["type"], answered["type"], said["type"]) == (
            "function_call", "function_call_output", "message",
        )  # fmt: skip
        assert called["call_id"] == answered["call_id"]
        assert "expression" in json.loads(called["arguments"])
        assert "boxed" in said["content"][0]["text"]


def test_items_of_parallel_calls_without_ids() -> None:
    one, two = ({"function": {"name": name, "arguments": {}}} for name in "ab")
    thought = "<think>\nBoth.\n</think>\n\nI ask."
    items = list(
        write_items(
            [
                Message(role="assistant", content=thought, tool_calls=[one, two]),
                Message(role="tool", content="1"),
                Message(role="tool", content="2"),
                Message(role="user", content="Go on."),
                Message(role="assistant", content=""),
            ],
            1,
        )
    )
    assert [item["type"] for item in items] == [
        "reasoning", "message", "function_call", "function_call",
        "function_call_output", "function_call_output", "message",
    ]  # fmt: skip
    assert [item["id"] for item in items if "id" in item] == ["rs_1", "msg_1"]  # both must have one
    assert [item["call_id"] for item in items if "call_id" in item] == [
        "call_1_0", "call_1_1", "call_1_0", "call_1_1",
    ]  # fmt: skip


def test_rows_of_nemo_gym_are_read(tmp_path: Path) -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
    asked = {"input": [{"role": "user", "content": "2 + 2?"}], "tools": [tool]}
    file = tmp_path / "example.jsonl"
    file.write_text(json.dumps({"responses_create_params": asked, "expected_answer": "4"}) + "\n")
    columns = {
        "messages": "responses_create_params.input",
        "tools": "responses_create_params.tools",
        "answer": "expected_answer",
    }
    (prompt,) = Files(path=str(file), columns=columns, verifier={"kind": "math"}).rows()
    assert isinstance(prompt, Prompt)
    assert prompt.question == "2 + 2?"
    assert prompt.tools[0]["function"]["name"] == "f"


def test_turns_that_llama_factory_has_no_role_for() -> None:
    add, say = call("add", {"a": 1}), call("say", {})
    written = write_turns(
        [
            Message(role="system", content="Be short."),
            Message(role="user", content="Go."),
            Message(role="assistant", content="", tool_calls=[add, say]),
            Message(role="tool", content="1"),
            Message(role="tool", content="2"),
            Message(role="assistant", content="Once more.", tool_calls=[say]),
            Message(role="tool", content="3"),
            Message(role="assistant", content="Done."),
        ]
    )
    assert [(turn["role"], turn["content"]) for turn in written] == [
        ("system", "Be short."),
        ("user", "Go."),
        (
            "function_call",
            '[{"name": "add", "arguments": {"a": 1}}, {"name": "say", "arguments": {}}]',
        ),
        ("observation", "1\n</tool_response>\n<tool_response>\n2"),
        ("assistant", 'Once more.\n<tool_call>\n{"name": "say", "arguments": {}}\n</tool_call>'),
        ("observation", "3"),
        ("assistant", "Done."),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ("user assistant tool assistant", True),
        ("system user assistant tool tool assistant user assistant", True),
        ("user user assistant tool assistant", False),
        ("user tool assistant", False),
        ("user assistant tool", False),
        ("user assistant tool user assistant", False),
        ("tool assistant", True),
    ],
)
def test_turns_alternate_with_answers_of_tools(roles: str, expected: bool) -> None:
    messages = [Message(role=role, content="x") for role in roles.split()]
    assert alternates(messages) is expected


def test_calls_in_another_format_are_refused_for_llama_factory(target: Target) -> None:
    other = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{{ m.tool_calls }}"
    other += "<|im_end|>\n{% endfor %}"
    assert require_hermes_calls(target) is False
    target.tokenizer.chat_template, kept = other, target.tokenizer.chat_template
    try:
        with pytest.raises(ModelError, match="as Hermes and Qwen do"):
            require_hermes_calls(replace(target, template=None))
    finally:
        target.tokenizer.chat_template = kept


def test_what_cannot_hold_calls_is_refused(run: Path, tmp_path: Path) -> None:
    template = "chatml_tools"
    with pytest.raises(ModelError, match="use --layout messages"):
        export_run(run, "trl", "demo", tmp_path / "a", layout="text", template=template)
    with pytest.raises(ModelError, match="would be trained on wrongly"):
        export_run(run, "trl", "demo", tmp_path / "c")


def test_conversations_of_others_are_read(target: Target) -> None:
    row = {
        "messages": [
            {"role": "user", "content": "12 + 1?"},
            {"role": "assistant", "content": None, "tool_calls": [
                {"type": "function", "function": {"name": "calculate", "arguments": {"e": "1"}}}]},
            {"role": "tool", "content": "13"},
            {"role": "assistant", "content": "13"},
        ],
    }  # fmt: skip
    read = read_dialogue(row)
    assert isinstance(read, Dialogue)
    assert (read.n_prompt, len(read)) == (1, 4)
    assert Gate(target, TURNS).check("row", read) is None
