"""Sets of function calls, on rows in their exact shape, written here; BFCL's own data, if there."""

from __future__ import annotations

import json
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from factory.core.errors import SourceError
from factory.core.nouns import Prompt
from factory.prompts.sets.bfcl import CATEGORIES, Bfcl
from factory.prompts.sets.tool_schemas import parse_type
from factory.prompts.source import Reject, Skip
from filters.verify.verifiers import Item, Verifiers
from tests.loaders.test_sets import outcome

WEATHER = {
    "name": "live_weather",
    "description": "Weather of a city.",
    "parameters": {
        "city": {"description": "The city.", "type": "str"},
        "days": {"description": "Days.", "type": "int, optional", "default": 3},
        "tags": {"description": "Tags.", "type": "List[str], optional", "default": ""},
    },
}
XLAM = {
    "id": 7,
    "query": "What will the weather in Oslo be?",
    "answers": json.dumps([{"name": "live_weather", "arguments": {"city": "Oslo"}}]),
    "tools": json.dumps([WEATHER]),
}
MARKET: dict[str, Any] = {
    "name": "Market Trends API",
    "description": "Market data.",
    "parameters": {
        "type": "dict",
        "properties": {
            "kind": {"type": "string", "enum": ["INDEX", "GAINERS"]},
            "limit": {"type": "int"},
        },
        "required": ["kind"],
    },
    "required": None,
}
TOOLACE: dict[str, Any] = {
    "system": "You compose functions. Here is a list of functions in JSON format that you can "
    f"invoke:\n{json.dumps([MARKET, {'name': 'a/b', 'description': '', 'parameters': {}}])}. \n"
    "Put the calls in the format [func1(a=1)]",
    "conversations": [
        {"from": "user", "value": "How do the (big) indices do, and a/b?"},
        {"from": "assistant", "value": '[Market Trends API(kind="INDEX", limit=2), a/b()]'},
        {"from": "tool", "value": "[]"},
        {"from": "assistant", "value": "Well."},
    ],
}
CANCEL = {
    "name": "cancel_order",
    "description": "Cancel an order.",
    "parameters": {
        "type": "object",
        "properties": {"order": {"type": "string"}},
        "required": ["order"],
    },
}
APIGEN = {
    "system": "You are an agent of a shop.",
    "tools": json.dumps([CANCEL]),
    "conversations": [
        {"from": "human", "value": "I want to cancel."},
        {"from": "gpt", "value": "Which order?"},
        {"from": "human", "value": "W7."},
        {
            "from": "function_call",
            "value": '{"name": "cancel_order", "arguments": {"order": "W7"}}',
        },
        {"from": "observation", "value": "{}"},
        {"from": "gpt", "value": "Done."},
    ],
}
HERMES = {
    "id": "u-1",
    "category": "Shop",
    "tools": json.dumps([{"type": "function", "function": CANCEL}]),
    "conversations": [
        {"from": "system", "value": "You are a function calling AI model. <tools> [] </tools>"},
        {"from": "human", "value": "Cancel W7 and W8."},
        {
            "from": "gpt",
            "value": "<tool_call>\n{'name': 'cancel_order', 'arguments': {'order': 'W7'}}\n"
            '</tool_call>\n<tool_call>\n{"name": "cancel_order", "arguments": {"order": "W8"}}\n'
            "</tool_call>",
        },
    ],
}
HERMES_JSON = {
    "id": "u-2",
    "conversations": [
        {
            "from": "system",
            "value": "You answer in JSON. Here is the schema:\n<schema>\n{'type': 'object', "
            "'properties': {'name': {'type': 'string'}}, 'required': ['name']}\n</schema>",
        },
        {"from": "human", "value": "A cat called Mia."},
        {"from": "gpt", "value": '{"name": "Mia"}'},
    ],
}


def prompt_of(kind: str, row: dict[str, Any], **keys: Any) -> Prompt:
    found = outcome(kind, row, **keys)
    assert isinstance(found, Prompt), found
    return found


def judge(prompt: Prompt, *responses: str) -> list[str]:
    with Verifiers(workers=1) as verifiers:
        assert verifiers.check([prompt.verifier]) == [None]
        return [
            found.state
            for found in verifiers.verify([Item(prompt.verifier, text) for text in responses])
        ]


def calls(*made: tuple[str, dict[str, Any]]) -> str:
    return json.dumps([{"name": name, "arguments": arguments} for name, arguments in made])


def test_xlam_reads_python_types_and_defaults() -> None:
    prompt = prompt_of("xlam", XLAM)
    parameters = (prompt.verifier or {})["tools"][0]["function"]["parameters"]
    assert parameters["required"] == ["city"]
    assert parameters["properties"]["days"] == {
        "description": "Days.", "default": 3, "type": "integer",
    }  # fmt: skip
    assert parameters["properties"]["tags"]["items"] == {"type": "string"}
    assert prompt.license == "CC-BY-4.0"
    assert judge(
        prompt,
        calls(("live_weather", {"city": "Oslo"})),
        calls(("live_weather", {"city": "Oslo", "days": 3})),
        calls(("live_weather", {"city": "Oslo", "days": 4})),
        calls(("live_weather", {"city": "Oslo", "tags": ["a"]})),
    ) == ["correct", "correct", "wrong", "wrong"]


def test_the_model_is_offered_the_tools_that_its_calls_are_judged_by() -> None:
    prompt = prompt_of("xlam", XLAM)
    assert [tool["function"]["name"] for tool in prompt.tools] == ["live_weather"]
    assert prompt.verifier is not None
    assert list(prompt.tools) == prompt.verifier["tools"]


def test_toolace_names_become_fit_for_a_call() -> None:
    prompt = prompt_of("toolace", TOOLACE)
    assert [message["role"] for message in prompt.messages] == ["user"]
    names = [tool["function"]["name"] for tool in (prompt.verifier or {})["tools"]]
    assert names == ["Market_Trends_API", "a_b"]
    both = (("Market_Trends_API", {"kind": "INDEX", "limit": 2}), ("a_b", {}))
    assert judge(prompt, calls(*both), calls(*both[:1])) == ["correct", "wrong"]
    asked, *_ = TOOLACE["conversations"]
    said = {"from": "assistant", "value": '[a/b(), Market Trends API(kind="see a/b()")]'}
    kept = prompt_of("toolace", TOOLACE | {"conversations": [asked, said]})
    assert (kept.verifier or {})["calls"][1]["arguments"] == {"kind": "see a/b()"}


def test_apigen_stops_at_the_first_call() -> None:
    prompt = prompt_of("apigen_mt", APIGEN)
    roles = [message["role"] for message in prompt.messages]
    assert roles == ["system", "user", "assistant", "user"]
    assert judge(prompt, calls(("cancel_order", {"order": "W7"})), "Which?") == ["correct", "wrong"]


def test_hermes_calls_are_python_literals() -> None:
    prompt = prompt_of("hermes_calls", HERMES)
    assert [message["role"] for message in prompt.messages] == ["user"]
    right = calls(("cancel_order", {"order": "W8"}), ("cancel_order", {"order": "W7"}))
    assert judge(prompt, right, calls(("cancel_order", {"order": "W7"}))) == ["correct", "wrong"]


def test_hermes_json_is_verified_by_its_schema() -> None:
    prompt = prompt_of("hermes_calls", HERMES_JSON, config="json_mode_singleturn")
    assert [message["role"] for message in prompt.messages] == ["system", "user"]
    assert judge(prompt, '{"name": "Mia"}', '{"name": 3}') == ["correct", "wrong"]


def turns(row: dict[str, Any], *kept: int) -> dict[str, Any]:
    return {"conversations": [row["conversations"][index] for index in kept]}


@pytest.mark.parametrize(
    ("kind", "row", "change", "expected"),
    [
        ("xlam", XLAM, {"answers": "[]"}, "skip no_calls"),
        ("xlam", XLAM, {"answers": "[{"}, "reject bad_json"),
        ("xlam", XLAM, {"query": ""}, "reject no_question"),
        ("xlam", XLAM, {"tools": '[{"name": ""}]'}, "reject bad_tools"),
        ("xlam", {"question": "q"}, {}, "reject bad_shape"),
        ("toolace", TOOLACE, {"system": "You are kind."}, "reject bad_tools"),
        ("toolace", TOOLACE, turns(TOOLACE, 0, 3), "skip no_calls"),
        ("toolace", TOOLACE, turns(TOOLACE, 1), "skip no_question"),
        (
            "toolace",
            TOOLACE,
            {"conversations": [TOOLACE["conversations"][0],
                               {"from": "assistant", "value": "[Unknown Name(a=1)]"}]},
            "skip unreadable_calls",
        ),
        ("apigen_mt", APIGEN, turns(APIGEN, 0, 1), "skip no_calls"),
        ("apigen_mt", APIGEN, turns(APIGEN, 0, 4, 3), "skip observation_first"),
        ("apigen_mt", APIGEN, {"tools": None}, "reject bad_shape"),
        ("hermes_calls", HERMES, {"tools": None, **turns(HERMES, 1, 2)}, "skip no_tools"),
        ("hermes_calls", HERMES, {"tools": "[{"}, "reject bad_json"),
    ],
)  # fmt: skip
def test_rows_that_are_left_out(
    kind: str, row: dict[str, Any], change: dict[str, Any], expected: str
) -> None:
    assert outcome(kind, row | change) == expected


@pytest.mark.parametrize(
    ("written", "schema"),
    [
        ("str", {"type": "string"}),
        ("int, optional", {"type": "integer"}),
        ("float, default 1", {"type": "number"}),
        ("List[Tuple[int]]", {"type": "array", "items": {"type": "array"}}),
        ("Optional[bool]", {"type": "boolean"}),
        ("Dict[str, int]", {"type": "object"}),
        ("Tuple[float, float]", {"type": "array"}),
        ("Union[int, str]", {}),
        ("HashMap", {"type": "object"}),
        ("any", {}),
        ("", {}),
    ],
)  # fmt: skip
def test_types_in_words(written: str, schema: dict[str, Any]) -> None:
    assert parse_type(written) == schema


QUESTION = {
    "id": "live_simple_0",
    "question": [[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Go."}]],
    "function": [
        {
            "name": "car.move",
            "description": "Move.",
            "parameters": {
                "type": "dict",
                "properties": {
                    "to": {"type": "string"},
                    "speed": {"type": "float", "default": 1.5},
                    "where": {"type": "tuple", "items": {"type": "float"}},
                    "how": {"type": "any"},
                    "load": {"type": "HashMap"},
                },
                "required": ["to"],
            },
        }
    ],
}
ANSWER = {
    "id": "live_simple_0",
    "ground_truth": [
        {
            "car.move": {
                "to": ["the harbour", "harbour"],
                "speed": ["", 1.5],
                "how": ["", "fast", 3],
                "load": ["", {"crates": [2], "label": ["", "x"]}],
            }
        }
    ],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "possible_answer").mkdir()
    for folder, row in ((tmp_path, QUESTION), (tmp_path / "possible_answer", ANSWER)):
        (folder / "BFCL_v4_live_simple.json").write_text(json.dumps(row) + "\n")
    several = QUESTION | {"id": "irrelevance_1", "question": [[], []]}
    rows = [QUESTION | {"id": "irrelevance_0"}, several, QUESTION | {"function": []}, "oops"]
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (tmp_path / "BFCL_v4_irrelevance.json").write_text("\n".join(lines))
    return tmp_path


def test_bfcl_maps_types_and_accepted_values(data: Path) -> None:
    (prompt,) = Bfcl(path=data, categories=("live_simple",)).rows()
    assert isinstance(prompt, Prompt)
    assert [message["role"] for message in prompt.messages] == ["system", "user"]
    assert prompt.meta == {"category": "live_simple", "id": "live_simple_0"}
    described = (prompt.verifier or {})["tools"][0]["function"]["parameters"]["properties"]
    types = {name: schema.get("type") for name, schema in described.items()}
    assert types == {
        "to": "string", "speed": "number", "where": "array", "how": None, "load": "object",
    }  # fmt: skip
    made = [
        {"to": "Harbour."},
        {"to": "harbour", "speed": 1.5, "how": 3, "load": {"crates": 2}},
        {"to": "harbour", "load": {"crates": 2, "label": "X"}},
        {"to": "harbour", "load": {"label": "x"}},
        {"to": "harbour", "speed": 2},
        {"speed": 1.5},
        {"to": "harbour", "where": [1.0]},
    ]
    states = judge(prompt, *(calls(("car.move", arguments)) for arguments in made))
    assert states == ["correct"] * 3 + ["wrong"] * 4
    (underscored,) = Bfcl(path=data, categories=("live_simple",), names="underscored").rows()
    assert isinstance(underscored, Prompt)
    assert judge(underscored, calls(("car_move", {"to": "harbour"}))) == ["correct"]


def test_other_data_of_bfcl_are_another_source(data: Path) -> None:
    source = Bfcl(path=data, categories=("live_simple",))
    before = source.identity()
    assert source.identity() == before
    file = data / "BFCL_v4_live_simple.json"
    file.write_text(file.read_text() + "\n")
    assert source.identity() != before


def test_bfcl_irrelevance_wants_no_call(data: Path) -> None:
    found = [*Bfcl(path=data, categories=("irrelevance",)).rows()]
    prompt, several, toolless, broken = found
    assert isinstance(prompt, Prompt)
    assert judge(prompt, "I cannot do this.", calls(("car.move", {"to": "x"}))) == [
        "correct", "wrong",
    ]  # fmt: skip
    assert (several, toolless) == (Skip("several_turns"), Skip("no_tools"))
    assert isinstance(broken, Reject)
    assert broken.place == "BFCL_v4_irrelevance.json:4"


FILES_DOC = [
    {"name": name, "description": name, "parameters": {"type": "dict", "properties": properties}}
    for name, properties in (
        ("cd", {"folder": {"type": "string"}}),
        ("tail", {"file_name": {"type": "string"}, "lines": {"type": "integer"}}),
    )
]
TURNS = {
    "id": "multi_turn_miss_func_0",
    "question": [[{"role": "user", "content": "Go to docs."}], [], []],
    "initial_config": {"GorillaFileSystem": {"root": {}}},
    "involved_classes": ["GorillaFileSystem"],
    "missed_function": {"1": ["tail"]},
}
EXPECTED = [["cd(folder='docs')"], ["tail('a.txt', lines=2)"], []]


@pytest.mark.parametrize(
    ("row", "expected", "reason"),
    [
        (TURNS, EXPECTED, None),
        (TURNS, [["tail('a.txt')"], [], []], "expected_too_early"),
        (TURNS, EXPECTED[:1], "bad_answer"),
        (TURNS, [["__import__('os').system('true')"], [], []], "bad_answer"),
        (TURNS, [["cd(folder=open('x'))"], [], []], "bad_answer"),
        (TURNS, [["cd('a', 'b')"], [], []], "bad_answer"),
        (TURNS, [["fly()"], [], []], "bad_answer"),
        (TURNS, [["cd("], [], []], "bad_answer"),
        (TURNS, None, "no_answer"),
        (TURNS | {"involved_classes": ["Unknown"]}, EXPECTED, "bad_shape"),
        (TURNS | {"question": []}, EXPECTED, "bad_shape"),
    ],
)
def test_bfcl_turns_become_an_episode(
    tmp_path: Path, row: dict[str, Any], expected: Any, reason: str | None
) -> None:
    name = "BFCL_v4_multi_turn_miss_func.json"
    for file, lines in (
        (name, [row]),
        (f"possible_answer/{name}", [{"id": row["id"], "ground_truth": expected}]),
        ("multi_turn_func_doc/gorilla_file_system.json", FILES_DOC),
    ):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (found,) = Bfcl(path=tmp_path, categories=("multi_turn_miss_func",)).rows()
    if reason is not None:
        assert isinstance(found, Reject | Skip)
        assert found.reason == reason
        return
    assert isinstance(found, Prompt)
    assert found.verifier == {"kind": "state", "reward": 1}
    assert [tool["function"]["name"] for tool in found.tools] == ["cd"]
    environment = found.environment or {}
    assert environment["kind"] == "bfcl"
    assert environment["turns"][1] == ""
    assert environment["turns"][0]["tools"][0]["function"]["name"] == "tail"
    assert environment["expected"][1] == [
        {"name": "tail", "arguments": {"file_name": "a.txt", "lines": 2}}
    ]


def test_bfcl_without_its_data_says_how_to_get_them(data: Path) -> None:
    with pytest.raises(SourceError, match=r"BFCL_v4_parallel\.json does not exist"):
        [*Bfcl(path=data, categories=("parallel",)).rows()]


def test_bfcl_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factory.prompts.sets.bfcl.find_spec", lambda name: None)
    with pytest.raises(SourceError, match="pip install --no-deps bfcl-eval"):
        [*Bfcl().rows()]


@pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="bfcl-eval is not installed")
def test_bfcl_as_published() -> None:
    found = [*Bfcl().rows()]
    counts = Counter(item.meta["category"] for item in found if isinstance(item, Prompt))
    assert set(counts) == set(CATEGORIES)
    assert not [item for item in found if isinstance(item, Reject)]
    assert sum(counts.values()) == 3637
    with Verifiers() as verifiers:
        prompts = [item for item in found if isinstance(item, Prompt)]
        bad = [item for item in verifiers.check([p.verifier for p in prompts]) if item]
    assert len(bad) == 4
