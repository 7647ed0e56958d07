"""Drafts to rewrite: the prompts of a finished run, each with one of its accepted samples.

R1's cold start is R1-Zero's output, rewritten to be readable (§2.3.1). The prompt keeps its id and
verifier, so that a rewritten sample is judged by the original answer.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from factory.core.errors import SourceError
from factory.core.nouns import Prompt
from factory.core.run_dir import read_manifest
from factory.core.think import join_think
from factory.prompts.from_run import EarlierRun
from factory.prompts.source import BadRow, Row, Source, Unwanted
from factory.prompts.templates import DRAFT

if TYPE_CHECKING:
    import polars as pl


class Drafts(Source):
    """Prompts of a finished run with a row in its corpus, and one row's text as the draft.

    For `prompting.template: rewrite`. Drafts include reviewers' edits, as the corpus does.
    """

    kind: Literal["drafts"] = "drafts"
    path: str = Field(description="Directory of a finished run.")
    pick: Literal["shortest", "longest", "first"] = Field(
        "shortest", description="Which of a prompt's rows is the draft, by length in tokens."
    )
    verified: bool = Field(
        True,
        description="Leave out drafts whose answer was not accepted by a `correctness` filter.",
    )

    def local_paths(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def label(self) -> str:
        return self.name or Path(self.path).name or self.kind

    @property
    def _shards(self) -> list[Path]:
        return sorted((Path(self.path) / "corpus").glob("*.parquet"))

    @property
    def _run(self) -> EarlierRun:
        """A source of the same prompts without drafts."""
        keys = {name: getattr(self, name) for name in ("domain", "language", "license")}
        return EarlierRun(path=self.path, name=self.label, take="accepted", **keys)

    def identity(self) -> Any:
        stats = [(s.name, s.stat().st_size, s.stat().st_mtime_ns) for s in self._shards]
        return [super().identity(), stats]

    def read(self) -> Iterator[tuple[str, Row | BadRow]]:
        if read_manifest(Path(self.path)).get("state") != "done":
            raise SourceError(
                f"{self.path}: is not a finished run; finish it with `factory build` (paths are "
                "relative to the recipe)"
            )
        drafts = self._drafts()
        for place, row in self._run.read():
            yield place, row if isinstance(row, BadRow) else {**row, DRAFT: drafts[row["id"]]}

    def prompt(self, row: Row) -> Prompt:
        prompt, draft = self._run.prompt(row), row[DRAFT]
        if self.verified and not draft["verified"]:
            raise Unwanted("unverified_draft")
        text = join_think(draft["thinking"], draft["response"])
        meta = {**prompt.meta, DRAFT: {"sample_id": draft["id"], "text": text}}
        return dataclasses.replace(prompt, meta=meta)

    def _drafts(self) -> dict[str, dict[str, Any]]:
        """Return one corpus row per prompt, by prompt id."""
        import polars as pl

        rows = pl.scan_parquet(self._shards)
        chosen = (
            rows.select("id", "prompt_id", "index", "n_tokens")
            .sort("prompt_id", *self._order(), "index")
            .unique("prompt_id", keep="first", maintain_order=True)
            .select("id")
        )
        verdict = pl.element().struct
        accepted = (verdict.field("filter") == "correctness") & (
            verdict.field("decision") == "keep"
        )
        found = rows.join(chosen, on="id", how="semi").select(
            *("id", "prompt_id", "thinking", "response"),
            verified=pl.col("verdicts").list.eval(accepted).list.any(),
        )
        return {row["prompt_id"]: row for row in found.collect().iter_rows(named=True)}

    def _order(self) -> list[pl.Expr]:
        import polars as pl

        tokens = pl.col("n_tokens").cast(pl.Int64)
        return {"shortest": [tokens], "longest": [-tokens], "first": []}[self.pick]


def remove_draft_text(meta: str) -> str:
    """Return a prompt's meta for the corpus: with the id of the rewritten sample, not its text."""
    fields = json.loads(meta)
    if isinstance(fields.get(DRAFT), dict):
        fields[DRAFT].pop("text", None)
    return json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
