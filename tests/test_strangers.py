"""What a stranger gives does nothing: no file appears, no process starts, until it is trusted.

Every case runs a real command on a recipe, run directory, data file or model folder whose code
would write a canary file.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from tests.recorded import recipe_file, record

ROOT = Path(__file__).parents[1]

FILTER = """
import polars as pl
from filters.base import Filter, Rule

{first}

class Polite(Filter):
    max_words: int = 0

    def expressions(self):
        return {{"polite_words": pl.col("response").fill_null("").str.count_matches("rather")}}

    def rules(self):
        when = pl.col("polite_words") > self.max_words
        return [Rule("too_polite", when, "polite_words", f"at most {{self.max_words}}")]
"""


def canary(folder: Path) -> Path:
    return folder / "canary"


def hostile(folder: Path) -> str:
    return f"open({str(canary(folder))!r}, 'w').write('ran')"


def factory(
    *arguments: object, cwd: Path, trust: bool = False, cache: Path | None = None
) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("FACTORY_TRUST")}
    env |= {"PYTHONPATH": str(ROOT)}
    env |= {"FACTORY_TRUST_CODE": "1"} if trust else {}
    env |= {"FACTORY_CACHE": str(cache)} if cache else {}
    return subprocess.run(
        [sys.executable, "-m", "factory.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a filter of its own, made with trust; its class is then exchanged."""
    folder = tmp_path_factory.mktemp("stranger")
    recorded = record(folder / "recorded", 4)
    recipe = recipe_file(folder, recorded, 4)
    text = recipe.read_text(encoding="utf-8")
    own = f"  polite: {{class: '{folder}/own.py:Polite'}}\n  correctness: {{}}\n"
    recipe.write_text(text.replace("  correctness: {}\n", own), encoding="utf-8")
    (folder / "own.py").write_text(FILTER.format(first=""), encoding="utf-8")
    done = factory("build", recipe, "--run", folder / "run", cwd=folder, trust=True)
    assert done.returncode == 0, done.stderr
    (folder / "own.py").write_text(FILTER.format(first=hostile(folder)), encoding="utf-8")
    return folder


def sample_of(run: Path, reason: str) -> str:
    verdicts = pl.read_parquet(run / "verdicts" / "*.parquet")
    return str(verdicts.filter(pl.col("reason") == reason)["sample_id"][0])


LOOKS: list[tuple[str, list[str], str]] = [
    ("show", ["{run}"], "too_polite"),
    ("samples", ["{run}", "--reason", "too_polite"], "too_polite"),
    ("explain", ["{run}", "{sample}"], "polite_words"),
    ("report", ["{run}"], "report.html"),
    ("compare", ["{run}", "{run}"], "too_polite"),
    ("audit", ["{run}", "-n", "3"], "false negatives"),
    ("push", ["{run}", "--repo", "a/b", "--dry-run", "out", "--accept-licenses"], "rows"),
]
"""Command, its arguments, and what it must still print of what is stored."""


@pytest.mark.parametrize(("command", "arguments", "shown"), LOOKS, ids=[one[0] for one in LOOKS])
def test_looking_at_a_run_directory_runs_nothing(
    command: str, arguments: list[str], shown: str, built: Path, tmp_path: Path
) -> None:
    run = built / "run"
    filled = [one.format(run=run, sample=sample_of(run, "too_polite")) for one in arguments]
    done = factory(command, *filled, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
    assert not canary(built).exists()
    if command in ("samples", "explain"):
        (line,) = [line for line in done.stderr.splitlines() if "own.py:Polite" in line]
        assert "without its limits" in line


def test_the_own_decisions_are_shown_as_stored(built: Path, tmp_path: Path) -> None:
    run = built / "run"
    told = factory("explain", run, sample_of(run, "too_polite"), cwd=tmp_path).stdout
    assert "polite: too_polite" in told
    assert re.search(r"polite_words +1", told)
    assert "at most 0" not in told


DOES: list[tuple[str, list[str]]] = [
    ("validate", ["{recipe}"]),
    ("build", ["{recipe}", "--run", "new"]),
    ("build", ["{recipe}", "--run", "{run}", "--dry-run"]),
    ("filter", ["{run}"]),
    ("serve", ["{recipe}"]),
]


@pytest.mark.parametrize(
    ("command", "arguments"), DOES, ids=[" ".join([one[0], *one[1]]) for one in DOES]
)
def test_code_of_a_recipe_needs_trust(
    command: str, arguments: list[str], built: Path, tmp_path: Path
) -> None:
    places = {"run": built / "run", "recipe": built / "recipe.yaml"}
    done = factory(command, *[one.format(**places) for one in arguments], cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    for part in ("filters.polite.class", "own.py", "class Polite", "--trust-code"):
        assert part in done.stderr
    assert not canary(built).exists()


PARTS = {
    "source": "sources: [{{class: '{evil}:Evil', path: x}}]",
    "verifier": "sources: [{{kind: files, path: x.jsonl, verifier: {{class: '{evil}:Evil'}}}}]",
    "engine": "engine: {{class: '{evil}:Evil'}}",
    "filter": "filters: {{evil: {{class: '{evil}:Evil'}}}}",
    "reward": "kind: grpo\nrewards: {{evil: {{class: '{evil}:Evil'}}}}",
    "function": "kind: grpo\nrewards: {{evil: {{class: '{evil}:evil'}}}}",
    "model": "model: {{id: {folder}/model, trust_remote_code: true}}",
}
BASE = {
    "name": "name: strange",
    "model": "model: demo",
    "sources": "sources: [{kind: gym, task: chain_sum, size: 4}]",
    "filters": "filters: {format: {}}",
}


@pytest.mark.parametrize("part", PARTS)
def test_no_part_of_a_strangers_recipe_runs(part: str, tmp_path: Path) -> None:
    evil = tmp_path / "evil.py"
    evil.write_text(hostile(tmp_path) + "\nclass Evil: pass\ndef evil(rows): return []\n")
    model_folder(tmp_path / "model", tmp_path)
    own = PARTS[part].format(evil=evil, folder=tmp_path)
    lines = [line for key, line in BASE.items() if f"{key}:" not in own.split()]
    if "kind: grpo" in own:
        lines.remove(BASE["filters"])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("\n".join([*lines, own]) + "\n", encoding="utf-8")
    done = factory("validate", recipe, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "not trusted yet" in done.stderr
    assert not canary(tmp_path).exists()


def model_folder(folder: Path, canary_in: Path) -> None:
    """A model with code of its own, as `auto_map` names it."""
    folder.mkdir()
    code = hostile(canary_in) + "\nclass Evil: pass\n"
    for name in ("modeling_evil.py", "tokenization_evil.py", "configuration_evil.py"):
        (folder / name).write_text(code, encoding="utf-8")
    maps = {
        "AutoConfig": "configuration_evil.Evil",
        "AutoModelForCausalLM": "modeling_evil.Evil",
        "AutoTokenizer": ["tokenization_evil.Evil", None],
    }
    config = {"model_type": "evil", "architectures": ["Evil"], "auto_map": maps}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = {"tokenizer_class": "Evil", "auto_map": maps}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")


def test_a_model_folder_runs_nothing(tmp_path: Path) -> None:
    model_folder(tmp_path / "model", tmp_path)
    lines = [*BASE.values()]
    lines[1] = f"model: {tmp_path}/model"
    (tmp_path / "recipe.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = factory("validate", tmp_path / "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 7, done.stderr
    assert not canary(tmp_path).exists()


def test_a_models_own_code_is_announced_before_it_runs(tmp_path: Path) -> None:
    model_folder(tmp_path / "model", tmp_path)
    lines = [*BASE.values()]
    lines[1] = f"model: {{id: {tmp_path}/model, trust_remote_code: true}}"
    (tmp_path / "recipe.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = factory("build", "recipe.yaml", "--dry-run", "--trust-code", cwd=tmp_path)
    assert f"the code of the model {tmp_path}/model runs with all your rights" in done.stderr


ROWS = [
    {"question": "?", "verifier": {"kind": "own", "class": "{evil}:Evil", "answer": "1"}},
    {"question": "?", "verifier": {"class": "{evil}:Evil"}},
    {"question": "__import__('os').system('touch {canary}')", "answer": "1"},
    {"question": "?", "answer": "{{{{ cycler.__init__.__globals__.os.popen('touch {canary}') }}}}"},
    {"question": "?", "answer": "$(touch {canary})"},
    {"question": "?", "answer": "!!python/object/apply:os.system ['touch {canary}']"},
]


def test_a_data_file_runs_nothing(tmp_path: Path) -> None:
    evil = tmp_path / "evil.py"
    evil.write_text(hostile(tmp_path) + "\n", encoding="utf-8")
    text = "\n".join(map(json.dumps, ROWS))
    text = text.replace("{evil}", str(evil)).replace("{canary}", str(canary(tmp_path)))
    (tmp_path / "rows.jsonl").write_text(text + "\n", encoding="utf-8")
    lines = [*BASE.values()]
    lines[2] = "sources: [{kind: files, path: rows.jsonl, language: en}]"
    (tmp_path / "recipe.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = factory("validate", tmp_path / "recipe.yaml", cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert not canary(tmp_path).exists()
    verified = factory("verify", tmp_path / "rows.jsonl", cwd=tmp_path)
    assert "Traceback" not in verified.stderr
    assert not canary(tmp_path).exists()


def on_terminal(arguments: list[str], answers: bytes, cwd: Path, cache: Path) -> tuple[int, str]:
    """Run a command on a pseudo-terminal and type the answers. Returns its code and output."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(cwd)
        os.environ.pop("FACTORY_TRUST_CODE", None)
        os.environ |= {"PYTHONPATH": str(ROOT), "FACTORY_CACHE": str(cache)}
        os.execv(sys.executable, [sys.executable, "-m", "factory.cli", *arguments])
    os.write(terminal, answers)
    output = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            break
        if not chunk:
            break
        output += chunk
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), output.decode("utf-8", "replace")


def test_a_terminal_is_asked_once_for_each_version(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(FILTER.format(first=hostile(tmp_path)), encoding="utf-8")
    lines = [*BASE.values()]
    lines[3] = f"filters: {{polite: {{class: '{own}:Polite'}}}}"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("\n".join(lines) + "\n", encoding="utf-8")
    filter_ = ["filter", "--on", "rows.jsonl", "--recipe", "recipe.yaml", "--out", "out.jsonl"]
    (tmp_path / "rows.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n', encoding="utf-8")
    cache = tmp_path / "cache"

    code, said = on_terminal(filter_, b"n\n", tmp_path, cache)
    assert code == 2
    for part in (str(own), "class Polite", "content", "Trust it and run it?"):
        assert part in said
    assert said.count("Trust it") == 1
    assert not canary(tmp_path).exists()

    code, said = on_terminal(filter_, b"y\n", tmp_path, cache)
    assert code == 0, said
    assert canary(tmp_path).exists()
    done = factory(*filter_, cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr  # remembered

    own.write_text(own.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    done = factory(*filter_, cwd=tmp_path, cache=cache)
    assert done.returncode == 2
    assert "not trusted yet" in done.stderr
    done = factory(*filter_, "--trust-code", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    done = factory(*filter_, cwd=tmp_path, cache=cache)
    assert done.returncode == 2  # the flag is for one command


def test_browsing_a_run_runs_nothing(built: Path) -> None:
    """The app, with a journal that is not judged: shown, and not decided without the class."""
    from starlette.testclient import TestClient

    from factory.view.app import create_app

    copy = built / "copy"
    shutil.copytree(built / "run", copy)
    with TestClient(create_app(copy), base_url="http://127.0.0.1") as client:
        sample = sample_of(copy, "too_polite")
        for path in ("/", "/live", "/samples", f"/samples/{sample}", "/thresholds"):
            answer = client.get(path)
            assert answer.status_code == 200, path
        assert "words" in client.get(f"/samples/{sample}").text
        rows = client.post("/api/funnel", json={"length": {"max_tokens": 100_000}}).json()["rows"]
        assert any(row["reason"] == "too_polite" and row["samples"] for row in rows)
    assert not canary(built).exists()


ENDPOINT = {"model": "judge", "api_key_env": "A_SECRET", "attempts": 1}
SERVERS: dict[str, dict[str, Any]] = {
    "correctness": {"combine": "rule_or_judge", "judge": {"base_url": "URL/v1", **ENDPOINT}},
    "quality": {"reward_server": {"base_url": "URL", **ENDPOINT}, "min_score": 0.0},
}
"""Filters that ask a server. It would get the text, and the key that `api_key_env` names."""


@pytest.mark.parametrize("name", SERVERS)
def test_an_edit_asks_no_server_of_a_strangers_run(
    name: str, built: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from factory.core.trust import remember_own
    from factory.report.rejudge import rejudge_edit
    from factory.report.snapshot import take_snapshot
    from factory.view.live import LiveStatus

    monkeypatch.delenv("FACTORY_TRUST_CODE", raising=False)
    monkeypatch.setenv("FACTORY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("A_SECRET", "sentinel")
    copy = shutil.copytree(built / "run", tmp_path / "copy")
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with listener.accept()[0] as connection:
                        asked.append(connection.recv(65_536))

        threading.Thread(target=accept, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        set_filters(copy, json.loads(json.dumps({name: SERVERS[name]}).replace("URL", url)))
        pretend_running(copy)
        snapshot = take_snapshot(copy)
        assert LiveStatus().status(snapshot).kept == 0  # nobody was asked, so nothing is accepted
        sample = snapshot.samples["sample_id"][0]
        found = rejudge_edit(snapshot, sample, "So.", "It is rather \\boxed{1}.")
        assert "names a server" in found.skipped[name]
        assert found.flags() == [f"{name}: unchecked"]
        assert asked == []
        remember_own(copy / "recipe.yaml")  # as a build of this user's does
        LiveStatus().status(snapshot)  # a page that is only opened asks nobody even so
        assert asked == []
        rejudge_edit(snapshot, sample, "So.", "It is rather \\boxed{1}.")
        assert asked
        assert b"sentinel" in asked[0]


def set_filters(run: Path, filters: dict[str, Any]) -> None:
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    (run / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "filters": filters}))


def pretend_running(run: Path) -> None:
    """Make a run look unfinished and unjudged, as a stranger's may."""
    manifest = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**manifest, "state": "running"}))
    shutil.rmtree(run / "verdicts")


LOCAL: list[tuple[str, dict[str, Any], str]] = [
    ("correctness", {"combine": "rule_or_judge", "judge": "engine"}, "The rule alone says wrong"),
    ("correctness", {"combine": "judge", "judge": {"start": "CANARY"}}, "(CANARY) runs on this"),
    ("quality", {"judge": "engine", "min_score": 5}, "the run's own model"),
    ("quality", {"judge": {"start": "CANARY"}, "min_score": 5}, "(CANARY) runs on this"),
    ("quality", {"reward_model": {"model": "./CANARY"}, "min_score": 0}, "names a model to load"),
    ("steps", {"process_model": {"model": "./CANARY"}, "min_score": 0}, "names a model to load"),
]
"""Filters whose judge is a model on this machine, and what is said about it."""


@pytest.mark.parametrize(("name", "options", "said"), LOCAL)
def test_an_edit_starts_no_model_of_a_run(
    name: str,
    options: dict[str, Any],
    said: str,
    built: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither an engine nor a reward model: what was not asked is said, and is no pass."""
    from factory.build import local_judges
    from factory.report.rejudge import rejudge_edit
    from factory.report.snapshot import take_snapshot
    from factory.view.live import LiveStatus
    from filters.judges import process_model, reward_model

    def start(*_: object) -> None:
        raise AssertionError("a model was started")

    monkeypatch.setattr(local_judges, "open_engine", start)
    for module in (process_model, reward_model):
        monkeypatch.setattr(module, "load_classifier", start)
    monkeypatch.delenv("FACTORY_TRUST_CODE", raising=False)
    monkeypatch.setenv("FACTORY_CACHE", str(tmp_path / "cache"))
    copy = shutil.copytree(built / "run", tmp_path / "copy")
    set_filters(copy, {name: options})
    pretend_running(copy)
    snapshot = take_snapshot(copy)
    LiveStatus().status(snapshot)
    found = rejudge_edit(snapshot, snapshot.samples["sample_id"][0], "So.", "It is \\boxed{987}.")
    assert found.flags() == [f"{name}: unchecked"]
    assert found.skipped[name].startswith("not asked")
    assert said in found.skipped[name]


def test_a_judge_whose_word_changes_nothing_is_not_missed(built: Path, tmp_path: Path) -> None:
    """The rule says yes, and with `rule_or_judge` one yes is enough."""
    from factory.report.rejudge import rejudge_edit
    from factory.report.snapshot import take_snapshot

    copy = shutil.copytree(built / "run", tmp_path / "copy")
    set_filters(copy, {"correctness": {"combine": "rule_or_judge", "judge": "engine"}})
    snapshot = take_snapshot(copy)
    sample = snapshot.samples["sample_id"][0]
    prompt = snapshot.prompts.filter(pl.col("prompt_id") == sample.rpartition("-")[0])
    answer = json.loads(prompt["verifier"][0])["answer"]
    found = rejudge_edit(snapshot, sample, "So.", f"It is \\boxed{{{answer}}}.")
    assert (found.flags(), found.skipped) == ([], {})


def test_an_edit_is_judged_by_an_own_filter_only_if_it_is_trusted(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from factory.report.rejudge import rejudge_edit
    from factory.report.snapshot import take_snapshot

    monkeypatch.delenv("FACTORY_TRUST_CODE", raising=False)
    sample = sample_of(built / "run", "too_polite")
    snapshot = take_snapshot(built / "run")
    found = rejudge_edit(snapshot, sample, "So.", "It is rather \\boxed{1}.")
    assert "not trusted" in found.skipped["polite"]
    assert "polite: unchecked" in found.flags()
    assert not canary(built).exists()
    monkeypatch.setenv("FACTORY_TRUST_CODE", "1")
    (built / "own.py").write_text(FILTER.format(first=""), encoding="utf-8")
    found = rejudge_edit(snapshot, sample, "So.", "It is rather \\boxed{1}.")
    assert "polite: too_polite" in found.flags()
    (built / "own.py").write_text(FILTER.format(first=hostile(built)), encoding="utf-8")
