"""Push a finished run to a dataset repository on the Hugging Face Hub, in one commit.

Large files are uploaded first, and the Hub stores them by content, so a repeated push sends only
what is missing. Nothing is visible before the single commit.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from factory.core.errors import (
    MissingDependency,
    PushError,
    RunError,
    is_hub_error,
    is_transport_error,
)
from factory.core.files import atomic_folder
from factory.corpus.assembly.statistics import FILE as STATISTICS
from factory.export.export import corpus_shards, split_of
from factory.export.hub.card import write_card
from factory.export.hub.corpus_summary import CorpusFacts, SourceUse, measure_corpus
from factory.export.key_scan import Finding, describe_findings, scan_rows, scan_text

if TYPE_CHECKING:
    import tenacity
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

ATTEMPTS = 8
FIRST_WAIT = 2.0  # seconds
LONGEST_WAIT = 300.0  # seconds

_OWNED = ("data/", "prompts/", "figures/")
"""Folders of the repository that a push owns: it deletes files there that it does not contain."""

Content = Path | str
Folder = Mapping[str, Content]
"""Path in the repository → a file or a text."""


@dataclass(frozen=True)
class PushReport:
    """Summary of a push or of a dry run."""

    files: list[str]
    rows: dict[str, int]
    url: str | None  # of the commit; None for a dry run
    folder: Path | None  # of a dry run

    def format_line(self) -> str:
        """Summarize the push in one line."""
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
    allow_keys: Collection[str] = (),
    in_progress: bool = False,
    scanned: Collection[str] = (),
    note: Callable[[str], None] = lambda _: None,
) -> PushReport:
    """Push a run's corpus with its card, or write the same files to the folder `dry_run`.

    The token is the one that huggingface_hub finds (HF_TOKEN, or `hf auth login`). The Hub is
    HF_ENDPOINT or the public one. `allow_keys` are rules of `key_scan` that do not matter here.
    `in_progress` is said on the card. `scanned` are corpus files that were scanned for keys before.
    `note` is called with every wait and warning. Raises RunError where there is no corpus,
    PushError where the Hub refuses, a licence does not allow it, or a file holds what looks like a
    key.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise PushError(f"--repo {repo!r} is no repository name; write OWNER/NAME")
    shards = corpus_shards(run)
    facts = measure_corpus(run)
    problem = "" if private or accept_licenses else describe_licence_problem(facts.sources)
    if problem and dry_run is None:
        raise PushError(problem)
    folder = dataset_folder(
        run, repo, shards, facts, with_prompts=with_prompts, in_progress=in_progress
    )
    unscanned = {
        name: content
        for name, content in folder.items()
        if not (name.startswith("data/") and name in scanned)
    }
    if keys := describe_findings(_find_keys(unscanned), allow_keys):
        raise PushError(f"nothing was pushed or written: {keys}")
    if dry_run is not None:
        if problem:
            note(f"the push itself would be refused: {problem}")
        _write(folder, dry_run)
        return PushReport(list(folder), facts.splits, None, dry_run)
    return PushReport(
        list(folder),
        facts.splits,
        _upload(folder, repo, private, message or _message(facts, in_progress), note),
        None,
    )


def _message(facts: CorpusFacts, in_progress: bool) -> str:
    return f"{facts.name}: {facts.rows:,} rows{', in progress' if in_progress else ''}"


def dataset_folder(
    run: Path,
    repo: str,
    shards: list[Path],
    facts: CorpusFacts,
    *,
    with_prompts: bool = False,
    in_progress: bool = False,
) -> Folder:
    """Return all files that a push puts into the repository."""
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
    card = write_card(facts, repo, configs, list(figures), in_progress=in_progress)
    return {"README.md": card, **files}


def _prompts(run: Path) -> Path:
    file = run / "prompts.parquet"
    if not file.exists():
        raise RunError(
            f"{run} has no prompts.parquet (an assembly's prompts are in its runs); push without "
            "--with-prompts"
        )
    return file


def describe_licence_problem(sources: Sequence[SourceUse]) -> str:
    """Describe why these sources can't be published, with a remedy; empty where they can."""
    blocked = [use for use in sources if not use.may_be_shared]
    if not blocked:
        return ""
    listing = "\n".join(
        f"  {use.source}: {use.license or 'states no licence'} ({use.rows:,} rows)"
        for use in blocked
    )
    return (
        "a public dataset would share prompts whose licence is not known to allow it:\n"
        f"{listing}\nPush with --private; or set `license:` on the source if you know it; or use "
        "--accept-licenses if you have the right to publish them."
    )


def _write(folder: Folder, target: Path) -> None:
    """Write the files to the folder `target`, which appears complete or not at all."""
    if target.exists() and not (target / "README.md").is_file() and any(target.iterdir()):
        raise RunError(f"{target} is not empty and is no dataset folder; choose another")
    with atomic_folder(target) as scratch:
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
            "needs write access to the repository."
        )
    _refuse_secret(folder, token)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT", "").rstrip("/") or None)
    hub = _RetryingCaller(token, note)
    hub.call(
        f"creating {repo}",
        lambda: api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True),
    )
    info = hub.call(f"reading {repo}", lambda: api.dataset_info(repo))
    if private and not info.private:
        raise PushError(
            f"{repo} exists and is public, so --private has no effect; nothing was pushed. Make "
            "it private on the Hub, or push to another repository."
        )
    return hub.call(f"pushing to {repo}", lambda: commit_once(api, repo, folder, message))


def commit_once(api: HfApi, repo: str, folder: Folder, message: str) -> str:
    """Make the repository contain `folder` in one commit; returns the commit's URL.

    Safe to repeat after any failure. Files that the Hub has are neither sent nor committed again,
    so a commit whose response was lost is not made twice. `parent_commit` makes the Hub refuse if
    someone else has committed in between.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    parent = api.dataset_info(repo).sha
    existing = api.list_repo_files(repo, repo_type="dataset")
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationAdd(name, content if isinstance(content, Path) else content.encode())
        for name, content in folder.items()
    ]
    operations += [
        CommitOperationDelete(name)
        for name in existing
        if name.startswith(_OWNED) and name not in folder
    ]
    commit = api.create_commit(
        repo, operations, commit_message=message, repo_type="dataset", parent_commit=parent
    )
    return str(commit.commit_url)


def _find_keys(folder: Folder) -> Iterator[Finding]:
    for name, content in folder.items():
        if isinstance(content, Path):
            if content.suffix == ".parquet":
                yield from scan_rows(content, name)
                continue
            if content.suffix not in (".yaml", ".json"):
                continue
            content = content.read_text(encoding="utf-8")
        yield from scan_text(name, content)


def _refuse_secret(folder: Folder, token: str) -> None:
    """Raise PushError if a file contains the token, for instance a recipe it was pasted into."""
    for name, content in folder.items():
        if isinstance(content, Path) and content.suffix not in (".yaml", ".json"):
            continue
        text = content.read_text(encoding="utf-8") if isinstance(content, Path) else content
        if token in text:
            raise PushError(f"{name} contains your Hugging Face token; remove it before pushing")


T = TypeVar("T")


class _RetryingCaller:
    """Calls the Hub, and retries transient errors with exponential back-off."""

    def __init__(self, token: str, note: Callable[[str], None]) -> None:
        self._token, self._note = token, note

    def call(self, what: str, request: Callable[[], T]) -> T:
        """Return the result of `request`. Raises PushError, which never contains the token."""
        import tenacity

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=_wait,
            retry=tenacity.retry_if_exception(lambda e: is_hub_error(e) and is_transient(e)),
            before_sleep=lambda state: self._announce(what, state),
            reraise=True,
        )
        try:
            return retrying(request)
        except Exception as error:
            if not is_hub_error(error):
                raise
            problem, transient = self._describe(error), is_transient(error)
        # Raise outside the handler: huggingface_hub's errors hold the request with the token.
        if not transient:
            raise PushError(f"{what} failed: {problem}{_remedy(problem)}")
        raise PushError(
            f"{what} failed {ATTEMPTS} times, last: {problem}. Uploaded files are kept: run the "
            "same command again to resume."
        )

    def _announce(self, what: str, state: tenacity.RetryCallState) -> None:
        error, action = _last_error(state), state.next_action
        assert action is not None
        self._note(f"{what}: {self._describe(error)}; trying again in {action.sleep:,.0f} s")

    def _describe(self, error: BaseException) -> str:
        firsts = [next(iter(str(cause).strip().splitlines()), "") for cause in _causes(error)]
        text = ": ".join(dict.fromkeys(filter(None, firsts))) or type(error).__name__
        return text.replace(self._token, "***")


def _last_error(state: tenacity.RetryCallState) -> BaseException:
    error = state.outcome and state.outcome.exception()
    assert isinstance(error, BaseException)
    return error


def _wait(state: tenacity.RetryCallState) -> float:
    """Return the seconds until the next attempt: what the Hub asks for, or exponential back-off."""
    doubled = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (state.attempt_number - 1))
    wait = retry_after(_last_error(state)) or doubled
    return wait * (1 + random.random() / 4)  # jitter, so that many jobs don't retry at once


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes: the client wraps the errors of its upload threads."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def is_transient(error: BaseException) -> bool:
    """Return True for errors worth a retry: rate limits, server errors, dropped connections."""
    for cause in _causes(error):
        status = _status(cause)
        if status is not None:
            return status == 429 or status >= 500
        if isinstance(cause, ConnectionError | TimeoutError) or is_transport_error(cause):
            return True
    return False


def retry_after(error: BaseException) -> float | None:
    """Return the wait in seconds that the Hub asks for; None where it asks for none.

    It sends either `Retry-After: 55`, or `RateLimit: "api";r=0;t=55` with the time to the end of
    the rate limit's window.
    """
    for cause in _causes(error):
        headers = getattr(getattr(cause, "response", None), "headers", {})
        window = re.search(r"\bt\s*=\s*(\d+)", headers.get("ratelimit", ""))
        seconds = window[1] if window else headers.get("retry-after", "")
        if seconds.isdigit():
            return float(seconds)
    return None


def _remedy(problem: str) -> str:
    if "401" in problem or "403" in problem:
        return ". Check that the token may write to this repository (`hf auth whoami`)."
    if "412" in problem:
        return ". Someone else has committed in the meantime; run the same command again."
    return ""
