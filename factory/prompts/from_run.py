"""Prompts from an earlier run or a corpus."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from factory.core.checksums import refuse_damaged
from factory.core.errors import SourceError
from factory.core.nouns import Prompt
from factory.prompts.mapping import as_turns
from factory.prompts.readers import read_rows
from factory.prompts.source import BadRow, Row, Source
from factory.prompts.tools import read_environment


class EarlierRun(Source):
    """The prompts of a run directory, all or by outcome, or of a corpus directory.

    A prompt keeps its id and its verifier. Its first source is stored in its meta as `origin`. A
    corpus without its run has no verifiers; its conversations are read up to the last user turn.
    """

    kind: Literal["run"] = "run"
    path: str = Field(
        description="A run directory, or a folder with the Parquet files of a corpus."
    )
    take: Literal["all", "accepted", "unaccepted"] = Field(
        "all",
        description="Use all prompts, or only those with (without) a row in the run's corpus.",
    )

    @property
    def label(self) -> str:
        return self.name or Path(self.path).name or self.kind

    def read(self) -> Iterator[tuple[str, Row | BadRow]]:
        directory = Path(self.path)
        prompts = directory / "prompts.parquet"
        if prompts.is_file():
            accepted = self._accepted(directory / "corpus") if self.take != "all" else frozenset()
            for number, row in read_rows(prompts):
                if (
                    self.take == "all"
                    or isinstance(row, BadRow)
                    or (row["id"] in accepted) == (self.take == "accepted")
                ):
                    yield f"{prompts}:{number}", row
            return
        shards = sorted(directory.glob("*.parquet"))
        if not shards:
            raise SourceError(
                f"{directory}: neither a run (prompts.parquet) nor a corpus (*.parquet); "
                "paths are relative to the recipe"
            )
        for shard in shards:
            for number, row in read_rows(shard):
                yield f"{shard}:{number}", row

    def _accepted(self, corpus: Path) -> frozenset[str]:
        import polars as pl

        if not any(corpus.glob("*.parquet")):
            raise SourceError(
                f"{corpus}: no corpus, so accepted prompts are unknown; finish it or set take: all"
            )
        refuse_damaged(sorted(corpus.glob("*.parquet")))
        ids = pl.scan_parquet(corpus / "*.parquet").select("prompt_id").unique().collect()
        return frozenset(ids["prompt_id"])

    def prompt(self, row: Row) -> Prompt:
        if "also_in" not in row:
            return self._read_corpus_row(row)
        try:
            found = Prompt.from_row(row)
        except (KeyError, TypeError, ValueError) as error:
            raise BadRow("bad_prompt", f"{type(error).__name__}: {error}") from None
        environment = found.environment
        try:
            if self.environment is not None:
                environment = self.environment.mapping()
            elif environment is not None:
                read_environment(environment)
        except ValueError as error:
            raise BadRow("bad_environment", str(error)) from None
        return dataclasses.replace(
            found,
            source=self.label,
            domain=self.domain or found.domain,
            language=self.language or found.language,
            license=self.license or found.license,
            also_in=(),
            meta={"origin": found.source, **found.meta},
            environment=environment,
            id="",
        )

    def _read_corpus_row(self, row: Row) -> Prompt:
        if "messages" not in row:
            raise BadRow(
                "no_column", f"there is no column 'messages'; the columns are {', '.join(row)}"
            )
        return self.make(
            as_turns(row["messages"]),
            None,
            domain=row.get("domain"),
            language=row.get("language"),
            license=row.get("license"),
            meta={"origin": row.get("source")},
        )
