"""Prompts from an earlier run or a corpus."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from factory.core.checksums import refuse_damaged
from factory.core.errors import SourceError
from factory.core.nouns import Prompt
from factory.core.run_dir import sample_parts
from factory.core.think import split_think
from factory.prompts.mapping import as_turns
from factory.prompts.readers import read_rows
from factory.prompts.source import BadRow, Row, Source, Unwanted
from factory.prompts.tools import read_environment
from filters.verify.prose.extract_answer import final_answer
from filters.verify.verification import CONSENSUS, VOTED_AS
from filters.votes import Vote, is_mathematics, measure_margin, tally


class Votes(BaseModel):
    """Votes of a run's samples in place of missing references (self-consistency)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    margin: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Least lead of the first answer over the second, as a share of all samples of "
        "the prompt. Prompts with a smaller lead are left out.",
    )
    samples: int = Field(
        4, ge=2, description="Least number of samples. Prompts with fewer are left out."
    )


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

    vote: Votes | None = Field(
        None,
        description="Give prompts without a reference the answer that most of the run's samples "
        "gave (mathematics only). Verdicts by it are `consensus` or `dissent`, never `correct`; "
        "see `filters.correctness.consensus`. Prompts with a reference keep it.",
    )

    def local_paths(self) -> tuple[str, ...]:
        return (self.path,)

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
            if self.vote is not None:
                raise BadRow("no_samples", f"{self.path} is a corpus; name its run to have votes")
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
        if self.vote is not None and found.verifier is None:
            found = self._add_vote(found, self.vote)
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

    def _add_vote(self, prompt: Prompt, wanted: Votes) -> Prompt:
        """Return a prompt with its vote as the reference. Raises Unwanted for an unclear vote."""
        answers = self._answers.get(prompt.id, [])
        if len(answers) < wanted.samples:
            raise Unwanted("few_votes")
        found = tally([Vote(answer) for answer in answers])
        margin = measure_margin(found, len(answers))
        if margin < wanted.margin - 1e-9:
            raise Unwanted("no_consensus")
        if not is_mathematics(found[0].answer):
            raise Unwanted("vote_in_words")
        votes = {"votes": round(found[0].weight), "of": len(answers), "margin": round(margin, 4)}
        return dataclasses.replace(
            prompt,
            verifier={"kind": "math", "answer": found[0].answer, CONSENSUS: votes},
            meta={VOTED_AS: prompt.id, **prompt.meta},
            id="",
        )

    @cached_property
    def _answers(self) -> dict[str, list[str | None]]:
        """The final answers of the run's samples by prompt, None for those without one."""
        import polars as pl

        parts = sample_parts(Path(self.path))
        refuse_damaged(parts)
        found: dict[str, list[str | None]] = {}
        for part in parts:
            rows = pl.read_parquet(part, columns=["prompt_id", "text"])
            for prompt_id, text in rows.iter_rows():
                response = split_think(text).response
                answer = final_answer(response) if response else None
                found.setdefault(prompt_id, []).append(answer.text if answer else None)
        return found

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
