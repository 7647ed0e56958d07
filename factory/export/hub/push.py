"""A finished run → a dataset repository on the Hugging Face Hub, in one commit.

Large files go up first and are kept by content, so an interrupted push sends only what is missing
when it is repeated; nothing is visible before the single commit that makes all of it visible.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from factory.core.errors import MissingDependency, PushError, RunError
from factory.core.files import whole_folder
from factory.corpus.assembly.statistics import FILE as STATISTICS
from factory.export.export import corpus_shards, split_of
from factory.export.hub.card import write_card
from factory.export.hub.corpus_summary import CorpusFacts, SourceUse, measure_corpus

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

ATTEMPTS = 8
FIRST_WAIT = 2.0
LONGEST_WAIT = 300.0

_OWNED = ("data/", "prompts/", "figures/")
"""Folders of the repository that a push owns: what it no longer holds is deleted from them."""

Content = Path | str
Folder = Mapping[str, Content]
"""Path in the repository → a file, or a text."""


@dataclass(frozen=True)
class PushReport:
    """What was pushed, or written for a look."""

    files: list[str]
    rows: dict[str, int]
    url: str | None  # of the commit; None for a dry run
    folder: Path | None  # of a dry run

    def told(self) -> str:
        """The push in a line."""
        splits = ", ".join(f"{rows:,} {split} rows" for split, rows in self.rows.items())
        return f"{splits} in {len(self.files)} files: {self.url or self.folder}"


def push_run(
    run: Path,
    repo: str,
    *,
    private: bool = False,
    dry_run: Path | None = None,
    accept_licenses: bool = False,
    with_prompts: bool = False,
    message: str | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> PushReport:
    """Push a run's corpus with its card, or write the very folder to `dry_run`.

    The token is the one huggingface_hub finds (HF_TOKEN, or `hf auth login`), the Hub is
    HF_ENDPOINT or the public one. Raises RunError where there is no corpus, PushError where the Hub
    refuses or a licence forbids it. `note` is told of every wait and warning.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise PushError(f"--repo {repo!r} is no repository name; write OWNER/NAME")
    shards = corpus_shards(run)
    facts = measure_corpus(run)
    barred = "" if private or accept_licenses else licence_trouble(facts.sources)
    if barred and dry_run is None:
        raise PushError(barred)
    folder = dataset_folder(run, repo, shards, facts, with_prompts=with_prompts)
    if dry_run is not None:
        if barred:
            note(f"the push itself would be refused: {barred}")
        _write(folder, dry_run)
        return PushReport(list(folder), facts.splits, None, dry_run)
    return PushReport(
        list(folder),
        facts.splits,
        _upload(folder, repo, private, message or f"{facts.name}: {facts.rows:,} rows", note),
        None,
    )


def dataset_folder(
    run: Path, repo: str, shards: list[Path], facts: CorpusFacts, *, with_prompts: bool = False
) -> Folder:
    """Everything a push puts into the repository."""
    configs = {
        "default": {split_of(shard): f"data/{split_of(shard)}-*" for shard in shards},
    }
    files: dict[str, Content] = {f"data/{shard.name}": shard for shard in shards}
    if with_prompts:
        configs["prompts"] = {"train": "prompts/train-*"}
        files["prompts/train-00000-of-00001.parquet"] = _prompts(run)
    figures = {f"figures/{file.name}": file for file in sorted((run / "report").glob("*.png"))}
    files |= figures
    files["recipe.yaml"] = facts.recipe
    files["funnel.json"] = run / "funnel.json"
    if facts.assembly:
        files[STATISTICS] = run / STATISTICS
    return {"README.md": write_card(facts, repo, configs, list(figures)), **files}


def _prompts(run: Path) -> Path:
    file = run / "prompts.parquet"
    if not file.exists():
        raise RunError(
            f"{run} has no prompts of its own, an assembly's are its runs'; push without "
            "--with-prompts"
        )
    return file


def licence_trouble(sources: Sequence[SourceUse]) -> str:
    """Why these sources cannot be published, and what to do; empty where they can."""
    barred = [use for use in sources if not use.may_be_shared]
    if not barred:
        return ""
    listing = "\n".join(
        f"  {use.source}: {use.license or 'names no licence'} ({use.rows:,} rows)" for use in barred
    )
    return (
        "a public dataset would pass on prompts whose licence is not known to allow it:\n"
        f"{listing}\nPush with --private; or set `license:` on the source where you know it; or, "
        "if you have the right, --accept-licenses."
    )


def _write(folder: Folder, target: Path) -> None:
    """Write the folder beside its place and rename, so that it is whole or not there."""
    if target.exists() and not (target / "README.md").is_file() and any(target.iterdir()):
        raise RunError(f"{target} holds something that is no dataset folder; name another")
    with whole_folder(target) as scratch:
        for name, content in folder.items():
            file = scratch / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, file)
            else:
                file.write_text(content, encoding="utf-8")


def _upload(
    folder: Folder, repo: str, private: bool, message: str, note: Callable[[str], None]
) -> str:
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError as error:
        raise MissingDependency(f"pushing needs {error.name}; install the extra `hub`") from error
    token = get_token()
    if token is None:
        raise PushError(
            "no Hugging Face token was found. Set HF_TOKEN, or run `hf auth login`; the token "
            "needs the right to write to the repository."
        )
    _refuse_secret(folder, token)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT", "").rstrip("/") or None)
    patience = _Patience(token, note)
    patience.call(
        f"creating {repo}",
        lambda: api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True),
    )
    info = patience.call(f"reading {repo}", lambda: api.dataset_info(repo))
    if private and not info.private:
        raise PushError(
            f"{repo} exists and is public, so --private cannot hold; nothing was pushed. Make it "
            "private on the Hub, or push to another repository."
        )
    return patience.call(f"pushing to {repo}", lambda: commit_once(api, repo, folder, message))


def commit_once(api: HfApi, repo: str, folder: Folder, message: str) -> str:
    """One commit that makes the repository hold `folder`; returns its address.

    Safe to repeat after any failure: files the Hub already has are neither sent nor committed
    again, so a commit whose answer was lost is not made twice; and `parent_commit` lets the Hub
    refuse if anyone else committed in between.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    parent = api.dataset_info(repo).sha
    there = api.list_repo_files(repo, repo_type="dataset")
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationAdd(name, content if isinstance(content, Path) else content.encode())
        for name, content in folder.items()
    ]
    operations += [
        CommitOperationDelete(name)
        for name in there
        if name.startswith(_OWNED) and name not in folder
    ]
    commit = api.create_commit(
        repo, operations, commit_message=message, repo_type="dataset", parent_commit=parent
    )
    return str(commit.commit_url)


def _refuse_secret(folder: Folder, token: str) -> None:
    """A token pasted into a recipe must not be published with it."""
    for name, content in folder.items():
        if isinstance(content, Path) and content.suffix not in (".yaml", ".json"):
            continue
        text = content.read_text(encoding="utf-8") if isinstance(content, Path) else content
        if token in text:
            raise PushError(f"{name} holds your Hugging Face token; take it out before pushing")


T = TypeVar("T")


class _Patience:
    """Calls the Hub again, later and later, while the trouble is of the passing kind."""

    def __init__(self, token: str, note: Callable[[str], None]) -> None:
        self._token, self._note = token, note

    def call(self, what: str, ask: Callable[[], T]) -> T:
        """The answer to `ask`. Raises PushError, which holds neither request nor token."""
        failures = (OSError, ValueError, RuntimeError, _transport_error())
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return ask()
            except failures as error:
                trouble, passing = self._described(error), is_passing(error)
                asked = retry_after(error)
            # Out of the handler: huggingface_hub's errors hold the request, and that the token.
            if not passing:
                raise PushError(f"{what} failed: {trouble}{_remedy(trouble)}")
            if attempt == ATTEMPTS:
                break
            wait = asked or min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempt - 1))
            wait *= 1 + random.random() / 4  # many jobs must not come back at the same instant
            self._note(f"{what}: {trouble}; trying again in {wait:,.0f} s")
            time.sleep(wait)
        raise PushError(
            f"{what} failed {ATTEMPTS} times, last: {trouble}. What was sent is kept: the same "
            "command goes on from there."
        )

    def _described(self, error: BaseException) -> str:
        firsts = [next(iter(str(cause).strip().splitlines()), "") for cause in _causes(error)]
        words = ": ".join(dict.fromkeys(filter(None, firsts))) or type(error).__name__
        return words.replace(self._token, "***")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it: the client wraps what happens in its upload threads."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _transport_error() -> type[Exception]:
    import httpx

    return httpx.TransportError


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def is_passing(error: BaseException) -> bool:
    """True for what time may mend: rate limits, server errors, dropped connections."""
    for cause in _causes(error):
        status = _status(cause)
        if status is not None:
            return status == 429 or status >= 500
        if isinstance(cause, (_transport_error(), ConnectionError, TimeoutError)):
            return True
    return False


def retry_after(error: BaseException) -> float | None:
    """The wait in seconds that the Hub asked for, in either of its ways: `Retry-After: 55`, or the
    time to its window's end in `RateLimit: "api";r=0;t=55`."""
    for cause in _causes(error):
        headers = getattr(getattr(cause, "response", None), "headers", {})
        window = re.search(r"\bt\s*=\s*(\d+)", headers.get("ratelimit", ""))
        seconds = window[1] if window else headers.get("retry-after", "")
        if seconds.isdigit():
            return float(seconds)
    return None


def _remedy(trouble: str) -> str:
    if "401" in trouble or "403" in trouble:
        return ". Check that the token may write to this repository (`hf auth whoami`)."
    if "412" in trouble:
        return ". Someone else committed meanwhile; the same command takes that into account."
    return ""
