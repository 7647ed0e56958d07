"""What looks like a key is found, named by its place and never shown; near misses are not."""

from __future__ import annotations

import base64
import hashlib
import random
import string
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory.core.errors import ModelError, PushError
from factory.core.models import model_path
from factory.core.resources import data_path
from factory.export.export import export_run
from factory.export.hub.push import push_run
from factory.export.key_scan import RULES, describe_findings, find_keys, scan_rows, scan_text
from tests.export.runs import conversation, row, write_run

DRAW = random.Random(7)


def drawn(length: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    """A random value that has a digit, a small and a capital letter."""
    return "a1B" + "".join(DRAW.choices(alphabet, k=length - 3))


UPPER = string.ascii_uppercase + "234567"
PEM = "-----BEGIN {}PRIVATE KEY-----\n" + "\n".join(drawn(64) for _ in range(3))

KEYS = [
    ("huggingface", "export HF_HOME=/x; login hf_" + drawn(34)),
    ("openai", "sk-proj-" + drawn(48)),
    ("openai", "Use sk-" + drawn(48) + " for it."),
    ("openai", "sk-ant-api03-" + drawn(90)),
    ("openai", "sk-or-v1-" + hashlib.sha256(b"x").hexdigest()),
    ("github", "ghp_" + drawn(36)),
    ("github", "github_pat_" + drawn(22) + "_" + drawn(59)),
    ("gitlab", "glpat-" + drawn(20)),
    ("aws", "AKIA" + "".join(DRAW.choices(UPPER, k=16))),
    ("google", "AIza" + drawn(35)),
    ("slack", "xoxb-123456789012-1234567890123-" + drawn(24)),
    ("private_key", PEM.format("RSA ")),
    ("private_key", PEM.format("")),
    ("jwt", f"eyJ{drawn(30)}.eyJ{drawn(60)}.{drawn(43)}"),
    ("assignment", f"MY_API_KEY={drawn(32)}"),
    ("assignment", f'AZURE_OPENAI_KEY: "{hashlib.md5(b"x").hexdigest()}"'),
    ("assignment", f"api_key = '{drawn(40)}'"),
    ("assignment", f'"password": "{drawn(24)}"'),
]

NEAR_MISSES = [
    r"\frac{\sqrt{x}}{y_{sk-1}} = \text{hf_a} \quad sk-\alpha",
    "sk-learn is short for scikit-learn; sk-fading-circle-with-many-words is a class",
    "The prefix of such a token is hf_ and that of GitHub's is ghp_.",
    "export API_KEY=YOUR_API_KEY_GOES_HERE_PLEASE",
    "api_key_env: OPENROUTER_API_KEY_OF_THE_PROJECT",
    "OPENAI_API_KEY=sk-...",
    'primary_key = "customer_identifier_of_the_order"',
    f"sha256 {hashlib.sha256(b'y').hexdigest()}",
    f"commit {hashlib.sha1(b'y').hexdigest()}",
    f"SESSION_KEY={uuid.UUID(int=DRAW.getrandbits(128))}",
    str(uuid.UUID(int=DRAW.getrandbits(128))),
    'data = "' + base64.b64encode(DRAW.randbytes(300)).decode() + '"',
    "data:image/png;base64," + base64.b64encode(DRAW.randbytes(90)).decode(),
    "-----BEGIN PRIVATE KEY----- is how such a file begins.",
    "-----BEGIN PUBLIC KEY-----\n" + drawn(64),
    "-----BEGIN CERTIFICATE-----\n" + drawn(64),
    "A JWT has three parts: eyJhbGciOi.eyJzdWIi.signature",
    "KEY = 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'",
    "SECRET=00000000000000000000000000000000",
    "token = tokenizer.convert_ids_to_tokens(tokens_of_the_row)",
    "AKIAisnotakey and ASIA is a continent: ASIAPACIFICREGIONALS2023X",
    "xoxo-hugs-and-kisses-1234567890",
    "KEY = ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "PASSWORD=correct-horse-battery-staple-again",
]


@pytest.mark.parametrize(("rule", "text"), KEYS)
def test_a_key_is_found(rule: str, text: str) -> None:
    assert rule in {found for found, _, _ in find_keys(text, {})}


def test_every_rule_has_a_case() -> None:
    assert {rule for rule, _ in KEYS} == set(RULES)


@pytest.mark.parametrize("text", NEAR_MISSES)
def test_what_only_resembles_a_key_is_left_alone(text: str) -> None:
    assert not list(find_keys(text, {}))


def test_no_shipped_prompt_alarms() -> None:
    for file in sorted(data_path("prompts").glob("*.jsonl")):
        assert not list(find_keys(file.read_text(encoding="utf-8"), {})), file


def test_rows_are_scanned_in_every_column_however_deep(tmp_path: Path) -> None:
    key = "hf_" + drawn(34)
    rows: list[dict[str, Any]] = [
        {"id": "a", "n": 1, "messages": [{"role": "user", "content": "x"}], "tags": [["y"]]},
        {"id": "b", "n": 2, "messages": [{"role": "user", "content": f"é {key}"}], "tags": []},
        {"id": "c", "n": 3, "messages": [], "tags": [[], ["z", key]]},
        {"id": "d", "n": 4, "messages": None, "tags": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    found = list(scan_rows(tmp_path / "x.parquet", "data/x.parquet"))
    assert [(one.row, one.column, one.start, one.end) for one in found] == [
        ("b", "messages.content", 2, 39),
        ("c", "tags", 0, 37),
    ]
    problem = describe_findings(found, ())
    assert "data/x.parquet, row b, column messages.content, characters 2-39" in problem
    assert "--allow-key huggingface" in problem
    assert key not in problem
    assert describe_findings(found, ["huggingface"]) == ""
    assert describe_findings(found, ["openai"]) == problem


def test_a_secret_of_this_process_is_found_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE_TOKEN", "quiet-words-of-mine-42")
    monkeypatch.setenv("MY_SERVICE_NAME", "a-public-name-of-mine-42")
    text = "from quiet-words-of-mine-42 and a-public-name-of-mine-42"
    (found,) = scan_text("recipe.yaml", text)
    assert str(found) == "recipe.yaml, characters 5-27: rule environment"


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    key = "ghp_" + drawn(36)
    rows = [row(n, conversation(n, f"Use {key} here." if n == 3 else None)) for n in range(1, 6)]
    return write_run(tmp_path / "run", {"train-00000-of-00001.parquet": rows})


def test_export_and_push_refuse_and_the_flag_overrides(leaky: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    place = r"row 0000000000000003-0, column messages.content, characters"
    with pytest.raises(ModelError, match=place):
        export_run(leaky, "trl", model_path("demo"), out)
    with pytest.raises(PushError, match=place):
        push_run(leaky, "a/b", dry_run=out)
    assert not out.exists()
    assert push_run(leaky, "a/b", dry_run=out, allow_keys=["github"]).files


def test_the_command_knows_the_rules(leaky: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "factory.cli", "push", str(leaky), "--repo", "a/b"]
    command += ["--dry-run", str(tmp_path / "out"), "--allow-key"]
    wrong = subprocess.run([*command, "all"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "the rules are huggingface" in wrong.stderr
    right = subprocess.run([*command, "github"], capture_output=True, text=True)
    assert right.returncode == 0, right.stderr
