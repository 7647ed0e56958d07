"""What a run has lost: files of a finished run, and samples whose prompts are asked no more."""

from __future__ import annotations

import json
from pathlib import Path

from factory.core.checksums import check, folder_digests_path
from factory.core.run_dir import RunDir, sample_parts


def find_loss(run: Path) -> str | None:
    """Return which file of a finished run is damaged or gone, or None. Reads all of them."""
    for part in sample_parts(run):
        if check(part) == "damaged":
            return f"samples/{part.name} is damaged"
    for verdicts in sorted((run / "verdicts").glob("part-*.parquet")):
        if not (run / "samples" / verdicts.name).exists():
            return f"samples/{verdicts.name} is gone"
    corpus = run / "corpus"
    try:
        written = json.loads(folder_digests_path(corpus).read_text(encoding="utf-8"))
        names = sorted(map(str, written))
    except (OSError, ValueError, TypeError):  # of an older version
        names = [file.name for file in sorted(corpus.glob("*.parquet"))]
    for name in names:
        if not (corpus / name).exists():
            return f"corpus/{name} is gone"
        if check(corpus / name) == "damaged":
            return f"corpus/{name} is damaged"
    return None if corpus.is_dir() else "corpus/ is gone"


def count_unasked(run: RunDir, asked: set[str]) -> tuple[int, int]:
    """Count the samples whose prompts are not asked, and these prompts."""
    prompts: dict[str, int] = {}
    for name, _, _ in run.read_drawn():
        if name not in asked:
            prompts[name] = prompts.get(name, 0) + 1
    return sum(prompts.values()), len(prompts)
