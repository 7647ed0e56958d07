"""Pushing, with the real client against a server that speaks the Hub's protocol."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from datasets import load_dataset

from factory.cli import cli
from factory.core.errors import PushError, RunError
from factory.export.hub import push
from factory.export.hub.push import push_run, retry_after
from tests.export.runs import RECIPE, conversation, row, small_run, write_run
from tests.push.hub import Fault, Hub, running_hub

TOKEN = "hf_averysecrettokenofnobody"
REPO = "someone/sums"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    # Xet needs its own content-addressed service; the client falls back to LFS without it.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(push, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with running_hub(TOKEN) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url + "/")
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return small_run(tmp_path / "run")


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_a_push_equals_its_dry_run(run: Path, hub: Hub, tmp_path: Path) -> None:
    (run / "report").mkdir()
    (run / "report" / "lengths.png").write_bytes(b"\x89PNG not a real one")
    push_run(run, REPO, dry_run=tmp_path / "dry", with_prompts=True)
    report = push_run(run, REPO, with_prompts=True)
    assert hub.files == folder_bytes(tmp_path / "dry")
    assert set(report.files) == set(hub.files) >= {"README.md", "figures/lengths.png"}
    assert len(hub.commits) == 1
    assert report.url == f"{hub.url}/datasets/{REPO}/commit/{hub.sha}"
    assert not hub.private


def test_the_folder_loads_with_the_configs_and_splits_of_its_card(
    run: Path, tmp_path: Path
) -> None:
    push_run(run, REPO, dry_run=tmp_path / "dry", with_prompts=True)
    cache = str(tmp_path / "cache")
    loaded = load_dataset(str(tmp_path / "dry"), cache_dir=cache)
    assert {name: len(split) for name, split in loaded.items()} == {"train": 12, "validation": 3}
    assert loaded["train"][0]["messages"] == conversation(0)
    prompts = load_dataset(str(tmp_path / "dry"), "prompts", cache_dir=cache)
    assert prompts["train"]["domain"] == ["math"]


@pytest.mark.parametrize(
    ("step", "faults"),
    [
        ("create", [429]),
        ("yaml", [503, "drop"]),
        ("commit", [429, 500]),
        ("commit", ["drop"]),
        ("commit", ["lose"]),
        ("tree", ["drop"]),
        ("put", ["drop"]),
        ("batch", [503]),
    ],
)
def test_transient_errors_delay_a_push_and_duplicate_nothing(
    step: str, faults: list[Fault], run: Path, hub: Hub
) -> None:
    hub.faults[step] = list(faults)
    notes: list[str] = []
    push_run(run, REPO, note=notes.append)
    assert len(hub.commits) == 1
    assert "data/train-00001-of-00002.parquet" in hub.files
    assert len(hub.uploads) == len(set(hub.uploads)) == 3
    # A commit whose response was lost exists: the retry must find it, not make another.
    assert hub.seen.count(step) >= len(faults) + (faults != ["lose"])
    assert all(TOKEN not in note for note in notes)


def test_the_wait_requested_by_the_hub_is_observed(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    hub.faults["commit"], hub.retry_after = [429], "17"
    push_run(run, REPO)
    assert len(waits) == 1
    assert waits[0] >= 17


WAITS = [
    ({"retry-after": "17"}, 17),
    ({"ratelimit": '"api";r=0;t=55', "retry-after": "17"}, 55),
    ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
    ({}, None),
]


@pytest.mark.parametrize(("headers", "wait"), WAITS)
def test_both_headers_that_request_a_wait(headers: dict[str, str], wait: float | None) -> None:
    error = httpx.HTTPStatusError(
        "", request=httpx.Request("GET", "http://h"), response=httpx.Response(429, headers=headers)
    )
    wrapped = RuntimeError("upload failed")
    assert retry_after(wrapped) is None
    wrapped.__cause__ = error
    assert retry_after(wrapped) == wait


def test_the_command_prints_a_summary(run: Path, hub: Hub, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["push", str(run), "--repo", REPO])
    assert done.exception is None
    assert done.stdout == (
        f"12 train rows, 3 validation rows in 6 files: {hub.url}/datasets/{REPO}/commit/{hub.sha}\n"
    )
    dry = tmp_path / "dry"
    done = CliRunner().invoke(cli, ["push", str(run), "--repo", REPO, "--dry-run", str(dry)])
    assert done.stdout == f"12 train rows, 3 validation rows in 6 files: {dry}\n"


def test_an_assembly_has_no_prompts_to_publish(run: Path) -> None:
    (run / "prompts.parquet").unlink()
    with pytest.raises(RunError, match="push without --with-prompts"):
        push_run(run, REPO, with_prompts=True)


def test_an_interrupted_push_publishes_nothing_and_resumes(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "ATTEMPTS", 2)
    hub.faults["commit"] = ["drop"] * 2
    with pytest.raises(PushError, match="same command again to resume"):
        push_run(run, REPO)
    assert hub.files == {}
    assert hub.commits == []
    sent = list(hub.uploads)
    push_run(run, REPO)
    assert len(hub.commits) == 1
    assert hub.uploads == sent, "a file was sent twice"


def test_pushing_again_commits_only_what_changed(run: Path, hub: Hub, tmp_path: Path) -> None:
    push_run(run, REPO)
    push_run(run, REPO)
    assert len(hub.commits) == 1
    hub.files["LICENSE"] = b"someone's own"
    smaller = small_run(tmp_path / "smaller", rows=8, validation=0)
    (smaller / "corpus" / "validation-00000-of-00001.parquet").unlink()
    push_run(smaller, REPO)
    assert len(hub.commits) == 2
    assert not any("validation" in name for name in hub.files)
    assert "LICENSE" in hub.files


@pytest.mark.parametrize(
    ("license", "shared"),
    [
        ("MIT", True),
        ("Apache-2.0", True),
        ("cc-by-nc-4.0", True),
        ("GPL-3.0-or-later", True),
        (None, False),
        ("cc-by-nd-4.0", False),
        ("proprietary", False),
        ("MIT-ish", False),
    ],
)
def test_a_public_push_needs_licences_that_allow_it(
    license: str | None, shared: bool, tmp_path: Path, hub: Hub
) -> None:
    run = small_run(tmp_path / "run", license=license)
    if not shared:
        with pytest.raises(PushError, match=r"sums: .*\n.*--private.*--accept-licenses"):
            push_run(run, REPO)
        assert hub.seen == [], "refused only after talking to the Hub"
        push_run(run, REPO, private=True)
        assert hub.private
    else:
        push_run(run, REPO)
    assert len(hub.commits) == 1


def test_accepting_the_licences_publishes(tmp_path: Path, hub: Hub) -> None:
    push_run(small_run(tmp_path / "run", license=None), REPO, accept_licenses=True)
    assert b"license: unknown" in hub.files["README.md"]


def test_private_does_not_write_into_a_public_repository(run: Path, hub: Hub) -> None:
    push_run(run, REPO)
    with pytest.raises(PushError, match="exists and is public"):
        push_run(run, REPO, private=True)
    assert len(hub.commits) == 1


def test_a_refused_token_is_in_no_message(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_anotherone")
    with pytest.raises(PushError, match="may write to this repository") as caught:
        push_run(run, REPO)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "the client's error holds the request's headers"
    assert "hf_anotherone" not in "".join(traceback.format_exception(caught.value))
    assert hub.seen.count("create") == 1, "a permanent refusal was retried"
    assert "commit" not in hub.seen


def test_a_missing_token_is_reported_before_anything_is_sent(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(PushError, match="hf auth login"):
        push_run(run, REPO)
    assert hub.seen == []


def test_a_token_in_the_recipe_is_not_published(tmp_path: Path, hub: Hub) -> None:
    rows = {"train-00000-of-00001.parquet": [row(1, conversation(1))]}
    run = write_run(tmp_path / "run", rows, RECIPE + f"# {TOKEN}\n")
    with pytest.raises(PushError, match=r"recipe\.yaml, characters .* rule environment") as caught:
        push_run(run, REPO)
    assert TOKEN not in str(caught.value)
    assert hub.seen == []


@pytest.mark.parametrize("repo", ["nobody", "a/b/c", "a b/c", ""])
def test_a_repository_has_an_owner_and_a_name(repo: str, run: Path) -> None:
    with pytest.raises(PushError, match="OWNER/NAME"):
        push_run(run, repo)


def test_an_unfinished_run_is_not_pushed(run: Path) -> None:
    manifest = run / "run.json"
    manifest.write_text(manifest.read_text().replace("done", "running"))
    with pytest.raises(RunError, match="not finished"):
        push_run(run, REPO)


def test_a_dry_run_does_not_overwrite_another_folder(run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("keep me")
    with pytest.raises(RunError, match="is not empty and is no dataset folder"):
        push_run(run, REPO, dry_run=mine)
    assert (mine / "notes.txt").read_text() == "keep me"
