"""Handing a corpus over: `export` and `push`."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.api.consoles import LOGGER
from factory.api.runs import Run

if TYPE_CHECKING:
    from factory.export.export import ExportReport
    from factory.export.hub.push import PushReport


def export(
    run: Run | str | PathLike[str],
    format: str,
    *,
    tokenizer: str,
    out: str | PathLike[str],
    **options: Any,
) -> ExportReport:
    """Write a finished run's corpus as a trainer wants it, with a config that runs.

    `format` is trl, verl, llama-factory, axolotl, openai, the name of an installed exporter or
    `path/to/file.py:Class`. `tokenizer` is the target's: a folder, a Hub id or `demo`. `options`
    are those of `factory export`: model, layout, template, eos, overlong, max_length, sample_rows,
    allow_keys.

    Every row passes a gate that renders it with the target's tokenizer. Raises ModelError (the
    gate's refusals are of this kind too) for what would train wrongly, and RunError where there is
    no corpus or `out` holds something else.

    >>> export("runs/quickstart", "trl", tokenizer="demo", out="out").rows  # doctest: +SKIP
    {'train': 296, 'validation': 16}
    """
    from factory.core.trust import trust_file
    from factory.export.export import export_run

    trust_file(Path(format.rpartition(":")[0]))  # named by the caller, not by a file of data
    return export_run(_path(run), format, tokenizer, Path(out), **options)


def push(
    run: Run | str | PathLike[str],
    repo: str,
    *,
    private: bool = False,
    dry_run: str | PathLike[str] | None = None,
    accept_licenses: bool = False,
    with_prompts: bool = False,
    message: str | None = None,
    allow_keys: Sequence[str] = (),
) -> PushReport:
    """Push a finished run's corpus and its dataset card to the Hugging Face Hub, in one commit.

    `repo` is OWNER/NAME. With `dry_run` the folder is written there and nothing is sent. Warnings
    and waits are logged. What looks like a key or a token is refused; `allow_keys` names the rules
    that don't matter here.

    Raises RunError where there is no corpus, PushError where the Hub refuses, cannot be reached, or
    a licence forbids it; nothing is visible then.

    >>> push("runs/quickstart", "me/sums", dry_run="look").files  # doctest: +SKIP
    """
    from factory.export.hub.push import push_run

    return push_run(
        _path(run),
        repo,
        private=private,
        dry_run=Path(dry_run) if dry_run is not None else None,
        accept_licenses=accept_licenses,
        with_prompts=with_prompts,
        message=message,
        allow_keys=allow_keys,
        note=lambda line: LOGGER.warning("%s", line),
    )


def _path(run: Run | str | PathLike[str]) -> Path:
    return run.path if isinstance(run, Run) else Path(run)
