"""The recipes of recipes/servers, each against a server that speaks as its provider documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from factory.core.errors import EngineError, RecipeError
from factory.core.resources import recipe_path
from factory.recipe.build import load_recipe
from factory.recipe.engines.options import ServerOptions
from factory.sampling.engines.server import connect
from tests.fake_server import FakeServer
from tests.sampling.conftest import Connect, drive, make_requests, samples_of

KEY = "sk-very-secret-0123456789"
NOT_STANDARD = frozenset({"top_k", "min_p", "repetition_penalty", "skip_special_tokens"})
NO_LIMIT = NOT_STANDARD | {"max_tokens"}
DEPLOYMENT = "/openai/deployments/gpt-5-mini?api-version=2025-04-01-preview"
DETAILS = [{"type": "reasoning.text", "text": "well", "format": "unknown", "index": 0}]
BLOCKS = [{"type": "thinking", "thinking": "well", "signature": "x"}]

# provider → (variable of the key, the server, fields that must be in a request)
PROVIDERS: dict[str, tuple[str | None, dict[str, Any], dict[str, Any]]] = {
    "deepseek": (
        "DEEPSEEK_API_KEY",
        {"owner": "deepseek", "context": None, "refused": NOT_STANDARD}
        | {"message": {"reasoning_content": "well"}},
        {"max_tokens": 32768},
    ),
    "openai": (
        "OPENAI_API_KEY",
        {"owner": "openai", "message": {"refusal": None, "annotations": []}, "refused": NO_LIMIT},
        {"max_completion_tokens": 32768, "temperature": 1, "reasoning_effort": "medium"},
    ),
    "azure": (
        "AZURE_OPENAI_API_KEY",
        {"has_models": False, "key_header": "api-key", "base": DEPLOYMENT, "refused": NO_LIMIT},
        {"max_completion_tokens": 32768},
    ),
    "openrouter": (
        "OPENROUTER_API_KEY",
        {"owner": "", "base": "/api/v1", "refused": NOT_STANDARD}
        | {"message": {"reasoning": None, "reasoning_details": DETAILS}},
        {"reasoning": {"enabled": True}, "provider": {"require_parameters": True}},
    ),
    "litellm": (
        "LITELLM_API_KEY",
        {"owner": "openai", "refused": NOT_STANDARD}
        | {"message": {"reasoning_content": "well", "thinking_blocks": BLOCKS}},
        {"reasoning_effort": "medium"},
    ),
    "vllm": (
        None,
        {"owner": "vllm", "message": {"reasoning": "well"}},
        {"top_k": 20, "stream": True, "chat_template_kwargs": {"enable_thinking": True}},
    ),
    "sglang": (
        None,
        {"owner": "sglang", "message": {"reasoning_content": "well"}},
        {"top_k": 20, "stream": True},
    ),
}


def test_every_recipe_is_tried() -> None:
    assert {path.stem for path in recipe_path("servers").glob("*.yaml")} == set(PROVIDERS)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_recipe_and_its_provider_understand_each_other(
    provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable, dialect, wanted = PROVIDERS[provider]
    if variable is not None:
        monkeypatch.setenv(variable, KEY)
    path = recipe_path("servers") / f"{provider}.yaml"
    recipe = load_recipe(path)
    given = recipe.engine.server
    assert given is not None
    model = given.model or recipe.model.id
    known = {"model": model, "pieces": 1, "answer": lambda body: "2", "key": variable and KEY}
    with FakeServer(**(known | dialect)) as server:
        here = [f"engine.server.urls=[{server.url!r}]"]
        recipe = load_recipe(path, here)
        options = recipe.engine.server
        assert options is not None
        engine = connect(recipe.engine_spec, options, tmp_path)
        try:
            (drawn,) = samples_of(drive(engine, make_requests(1)))
        finally:
            engine.close()
        (body,) = server.bodies
    reasons = any("reasoning" in name for name in dialect.get("message", ()))
    assert drawn.text == ("<think>\nwell\n</think>\n\n2" if reasons else "2")
    assert wanted.items() <= body.items()
    for name, value in given.headers.items():
        assert all(head[name.lower()] == value for head in server.heads)
    assert KEY not in recipe.to_yaml()
    assert KEY not in "".join(file.read_text() for file in tmp_path.iterdir())


QUERIES = [
    # (given, the base URL that is used)
    ("https://a.example/openai?api-version=2024-10-21", None),
    (
        "https://a.example/openai/?api-version=1&x=a%20b",
        "https://a.example/openai?api-version=1&x=a%20b",
    ),
    ("https://a.example?v=1", "https://a.example/v1?v=1"),
    ("https://a.example/v1#part", "https://a.example/v1"),
]


@pytest.mark.parametrize(("given", "used"), QUERIES)
def test_a_query_string_is_kept(given: str, used: str | None) -> None:
    assert ServerOptions(urls=(given,)).urls == (used or given,)


WRONG = [
    ({"urls": ["http://a/v1?api_key=hunter2"]}, "use headers_env"),
    ({"urls": ["http://a/v1?sig=hunter2"]}, "use headers_env"),
    ({"headers": {"api-key": "hunter2"}}, "use headers_env"),
    ({"headers": {"X-Auth-Token": "hunter2"}}, "use headers_env"),
    ({"headers": {"Authorization": "hunter2"}}, "use headers_env"),
    ({"headers": {"X-Title": "a\nhunter2"}}, "no header can carry"),
    ({"headers": {"X Title": "hunter2"}}, "no name of a header"),
    ({"headers": {"Content-Length": "5"}}, "no name of a header"),
    ({"headers_env": {"api-key": "${MY_KEY}"}}, "name of an environment variable"),
    ({"headers_env": {"api-key": "sk-hunter2"}}, "name of an environment variable"),
]


@pytest.mark.parametrize(("fields", "why"), WRONG)
def test_secrets_and_broken_headers_are_refused_unseen(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ServerOptions.model_validate({"urls": ["http://a/v1"]} | fields)
    (error,) = caught.value.errors(include_input=False, include_url=False)
    assert why in error["msg"]
    assert "hunter2" not in error["msg"]


@pytest.mark.parametrize("headers", [{"X-Title": "a b"}, {"HTTP-Referer": "https://a.example"}])
def test_other_headers_are_taken(headers: dict[str, str]) -> None:
    assert ServerOptions(urls=("http://a/v1",), headers=headers).headers == headers


def test_a_secret_header_is_needed_and_never_repeated(
    connected: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match=r"engine.server.headers_env.api-key names THE_KEY"):
        connected("http://127.0.0.1:9/v1", headers_env={"api-key": "THE_KEY"})
    monkeypatch.setenv("THE_KEY", KEY)
    with (
        FakeServer(key="another", key_header="api-key") as server,
        pytest.raises(EngineError, match="check the key in THE_KEY") as caught,
    ):
        connected(server.url, headers_env={"api-key": "THE_KEY"})
    assert KEY not in str(caught.value)
