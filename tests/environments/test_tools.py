"""The environments that ship, each in its process: what calls give, and what hostile ones do."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.core.nouns import Message, Prompt
from factory.environments.calculator import calculate
from factory.environments.host import EnvironmentHost, StepLimits, play
from factory.environments.search import Document, Index
from factory.environments.tools import ToolEnvironment, ToolError, describe_function
from tests.episodes import act, call, named

PROMPT = Prompt("test", "tools", (Message(role="user", content="Play."),))


@pytest.fixture(scope="module")
def host() -> Iterator[EnvironmentHost]:
    made = EnvironmentHost(StepLimits())
    yield made
    made.close()


def answers(host: EnvironmentHost, spec: dict[str, Any], *calls: dict[str, Any]) -> list[str]:
    """What each call is answered, in one episode."""
    replies = play(host, "episode", spec, PROMPT, 1, [act(one) for one in calls])
    assert all(reply.failure is None for reply in replies), replies
    return [r.observation.messages[0]["content"] for r in replies[1:] if r.observation]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("-7 // 2", "-4"),
        ("7 % 4", "3"),
        ("1 / 4", "0.25"),
        ("0.1 + 0.2", "0.3"),
        ("2 ^ 10", "1024"),
        ("2 ** -1", "0.5"),
        ("3 × 4 ÷ 2 − 1", "5"),
        (" 12 ", "12"),
    ],
)
def test_the_calculator_calculates(expression: str, value: str) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    ["", "1 +", "1 / 0", "x + 1", "__import__('os')", "9 ** 9 ** 9", "2 ** 0.5", "1" * 500,
     "(" * 390, "[1]", "'a' * 9", "True + 1", "1 if 2 else 3", "1 < 2", "2 ** -99999", "1e400 * 1"],
)  # fmt: skip
def test_the_calculator_refuses(expression: str) -> None:
    with pytest.raises(ToolError):
        calculate(expression)


@given(st.text(max_size=60))
def test_the_calculator_answers_or_refuses_any_text(text: str) -> None:
    with contextlib.suppress(ToolError):
        assert isinstance(calculate(text), str)


def run(code: str) -> dict[str, Any]:
    return call("run_python", {"code": code})


def test_python_remembers(host: EnvironmentHost) -> None:
    said = answers(
        host,
        {"kind": "python"},
        run("x = 6\nprint('once')"),
        run("x * 7"),
        run("def f(n):\n    return n + x\nf(1)"),
        run("1 / 0"),
        run("x += 1\nraise ValueError('late')"),
        run("x"),
        run("if True"),
        run("import random; random.random()"),
        run("random.random() != random.random()"),
    )
    assert said[:3] == ["once", "42", "7"]
    assert said[3] == "error: ZeroDivisionError: division by zero (line 1)"
    assert said[4] == "error: ValueError: late (line 2)"
    assert said[5] == "7"
    assert said[6].startswith("error: SyntaxError")
    assert said[8] == "True"


def test_python_is_replayable(host: EnvironmentHost) -> None:
    code = [run("import random; print(random.random(), hash('a'))")] * 2
    assert answers(host, {"kind": "python"}, *code) == answers(host, {"kind": "python"}, *code)


def test_python_survives_what_it_is_given(host: EnvironmentHost) -> None:
    said = answers(
        host,
        {"kind": "python", "seconds": 1.0},
        run("kept = 1"),
        run("while True: pass"),
        run("print('x' * 3_000_000)"),
        run("import os; os._exit(3)"),
        run("import os; os.fork()"),
        run("open('/etc/passwd').read()"),
        run("import socket; socket.create_connection(('127.0.0.1', 80))"),
        run("import sys; sys.stdout.buffer.write(b'\\xff\\xfe')"),
        run("exit()"),
        run("kept"),
    )
    assert said[1] == "error: it ran for more than 1 s; it left nothing behind"
    assert said[2].startswith("error: it was stopped (output_limit)")
    assert said[3].startswith("error: it was stopped (exit)")
    assert "PermissionError" in said[4]
    assert "FileNotFoundError" in said[5]
    assert "error: " in said[6]
    assert "\ufffd\ufffd" in said[7]
    assert said[8].startswith("error: SystemExit")
    assert said[9] == "1"


def test_python_without_a_sandbox_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be no fault of the model's, and must not read as an answer."""
    monkeypatch.setenv("PATH", "/nowhere")
    alone = EnvironmentHost(StepLimits())
    try:
        (failed,) = play(alone, "episode", {"kind": "python"}, PROMPT, 1, [])
    finally:
        alone.close()
    assert "bubblewrap is not installed" in str(failed.failure)


SETUP = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price REAL);
INSERT INTO item (name, price) VALUES ('pen', 1.5), ('book', 12.0), ('cup', NULL);
"""


def sql(text: str) -> dict[str, Any]:
    return call("query", {"sql": text})


def test_sqlite_answers_and_changes(host: EnvironmentHost) -> None:
    spec = {"kind": "sqlite", "setup": SETUP}
    said = answers(
        host,
        spec,
        sql("SELECT name, price FROM item ORDER BY id"),
        sql("UPDATE item SET price = 2 WHERE price IS NULL"),
        sql("SELECT * FROM item WHERE id > 9"),
        sql("SELECT colour FROM item"),
        sql("SELECT 1; SELECT 2"),
    )
    assert said[0] == "name | price\npen | 1.5\nbook | 12.0\ncup | NULL"
    assert said[1] == "1 rows changed"
    assert said[2] == "id | name | price\n(no rows)"
    assert said[3] == "error: no such column: colour"
    assert said[4].startswith("error: ")
    actions = [act(sql("DELETE FROM item WHERE id < 3")), act(content="Done.")]
    last = play(host, "episode", spec, PROMPT, 1, actions)[-1].observation
    assert last is not None
    assert (last.done, last.state) == (True, {"tables": {"item": [[3, "cup", None]]}})


@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH DATABASE '/tmp/never.db' AS other",
        "PRAGMA query_only = off",
        "SELECT load_extension('x')",
        "SELECT random()",
        "SELECT zeroblob(900000000)",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT sum(x) FROM n",
        "INSERT INTO item (name) VALUES ('x')",
        "VACUUM INTO '/tmp/never.db'",
    ],
)
def test_sqlite_refuses(host: EnvironmentHost, statement: str) -> None:
    spec = {"kind": "sqlite", "setup": SETUP, "read_only": True}
    (said,) = answers(host, spec, sql(statement))
    assert said.startswith("error: ")
    assert not Path("/tmp/never.db").exists()


def test_search_finds_and_reads(host: EnvironmentHost, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    rows = [
        {"id": "a", "title": "Rivers", "text": "The Nile is a long river in Africa."},
        {"id": "b", "title": "Mountains", "text": "Everest is high. " * 50},
        {"id": "c", "title": "More rivers", "text": "The Rhine flows through Europe."},
    ]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    spec = named({"kind": "search", "path": str(corpus), "results": 2})
    said = answers(
        host,
        spec,
        call("search", {"query": "a river in Africa"}),
        call("read", {"id": "b"}),
        call("read", {"id": "z"}),
        call("search", {"query": "volcano"}),
    )
    assert json.loads(said[0])[0]["id"] == "a"
    assert said[1] == rows[1]["text"]
    assert said[2] == "error: there is no document 'z'"
    assert said[3] == "[]"
    (failed,) = play(host, "episode", named({"kind": "search", "path": "/none"}), PROMPT, 1, [])
    assert "/none: no such file or folder" in str(failed.failure)


def test_rare_words_and_short_documents_weigh_more() -> None:
    documents = [Document(str(n), "", "common " * 5) for n in range(8)]
    documents += [Document("rare", "", "common rare"), Document("long", "", "rare " + "x " * 99)]
    assert [d.name for d, _ in Index(documents).search("common rare", 2)] == ["rare", "long"]


class Example(ToolEnvironment):
    def greet(self, name: str, times: int = 1, how: Literal["loud", "low"] = "low") -> str:
        """Greet somebody.

        name: who is greeted
        """
        return f"{name} {times} {how}"

    def total(
        self,
        numbers: list[float],
        scale: float | None = None,
        extra: dict[str, int] | None = None,
    ) -> float:
        """Add numbers."""
        return sum(numbers)

    def _hidden(self) -> str:
        return ""


def test_public_methods_are_tools_with_schemas() -> None:
    made = Example()
    seen = made.reset(PROMPT, 0)
    greet, total = (tool["function"] for tool in seen.tools)
    assert greet == {
        "name": "greet",
        "description": "Greet somebody.",
        "parameters": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "who is greeted"},
                "times": {"type": "integer"},
                "how": {"type": "string", "enum": ["loud", "low"]},
            },
            "required": ["name"],
        },
    }
    assert total["parameters"]["properties"] == {
        "numbers": {"type": "array", "items": {"type": "number"}},
        "scale": {"type": "number"},
        "extra": {"type": "object"},
    }
    said = made.step(act(call("greet", {"name": "Ada"}), call("total", {"numbers": ["x"]})))
    assert said.messages[0]["content"] == "Ada 1 low"
    assert said.messages[1]["content"].startswith("error: TypeError")
    many = made.step(act(*[call("greet", {"name": "Ada"})] * 20))
    assert many.messages[19]["content"] == "error: too many calls in one turn"


def test_a_function_without_hints_takes_anything() -> None:
    assert describe_function("f", lambda x: x)["function"]["parameters"]["properties"] == {"x": {}}
