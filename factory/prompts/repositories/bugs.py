"""Prompts to repair bugs that are made here, in Python projects of the user's.

A project's own tests say which changes are bugs (`search`) and later which repairs are right. Its
files go into the store of snapshots, where the verifier finds them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from factory.core.nouns import Prompt
from factory.prompts import verifier_spec
from factory.prompts.repositories.issues import Notation, write_task
from factory.prompts.repositories.mutations import KINDS, Kind
from factory.prompts.repositories.projects import PINNED, Project, fetch_project, find_projects
from factory.prompts.repositories.search import Baseline, Bug, Found, Wanted, find_bugs
from factory.prompts.source import BadRow, Row, Source
from filters.verify.repository.environments import Environments


class RepositoryBugs(Source):
    """Bugs made in Python projects, to be repaired; judged by the projects' own tests.

    Needs the sandbox and pytest (the extra `swe`). Projects with what their tests import beyond
    the standard library need `requires`.
    """

    LANGUAGE = "en"

    kind: Literal["repository_bugs"] = "repository_bugs"
    path: str | None = Field(
        None, description="Folder of one Python project, or of several, relative to the recipe."
    )
    sdists: tuple[str, ...] = Field(
        (),
        description="Source distributions that pip fetches, pinned: `[tinydb==4.8.2]`. Fetching "
        "runs their build scripts, so that each must be trusted once, like other code.",
    )
    bugs: int = Field(20, ge=1, description="Number of bugs in each project.")
    mutations: tuple[Kind, ...] = Field(
        KINDS, min_length=1, description="Kinds of changes. Default: all."
    )
    several: float = Field(
        0.15, ge=0, le=1, description="Share of bugs that change two or three places at once."
    )
    requires: tuple[str, ...] = Field(
        (),
        description="Distributions installed next to r1-factory that the projects import. They "
        "are bound read-only into the sandbox.",
    )
    longest_file: int = Field(
        30_000, ge=100, description="Make no bugs in files with more characters."
    )
    code_chars: int = Field(
        24_000,
        ge=100,
        description="Characters of code in a prompt: the file with the bug, and others of the "
        "package as far as they fit.",
    )
    notation: Notation = Field(
        "search_replace",
        description="Notation that the prompt asks for. The verifier reads both.",
    )

    @field_validator("sdists")
    @classmethod
    def _are_pinned(cls, sdists: tuple[str, ...]) -> tuple[str, ...]:
        for text in sdists:
            if not PINNED.fullmatch(text):
                raise ValueError(f"{text!r} is not pinned; write it as `name==version`")
        return sdists

    @model_validator(mode="after")
    def _has_projects(self) -> RepositoryBugs:
        if self.path is None and not self.sdists:
            raise ValueError("names no project; set `path` (a folder) or `sdists`")
        return self

    @property
    def label(self) -> str:
        return self.name or (Path(self.path).name if self.path else self.kind)

    def identity(self) -> Any:
        folders = find_projects(Path(self.path)) if self.path else []
        return [super().identity(), [project.snapshot for project in folders]]

    def read(self) -> Iterator[tuple[str, Row | BadRow]]:
        wanted = Wanted(
            bugs=self.bugs,
            kinds=self.mutations,
            several=self.several,
            seed=self.seed,
            requires=self.requires,
            longest_file=self.longest_file,
        )
        environments = Environments()
        try:
            for project in self._projects():
                found = find_bugs(project, wanted, environments)
                if not found.bugs:
                    yield project.name, BadRow("no_bug_found", self._explain(project, found))
                for number, bug in enumerate(found.bugs, 1):
                    row = {"project": project, "found": found, "bug": bug}
                    yield f"{project.name}:{number}", row
        finally:
            environments.close()

    def _explain(self, project: Project, found: Found) -> str:
        if not found.tried:
            return (
                f"{project.name}: no function to put a bug into, in files of at most "
                f"{self.longest_file:,} characters; raise `longest_file`"
            )
        return f"{project.name}: its tests notice none of {found.tried} bugs; it needs more tests"

    def _projects(self) -> Iterator[Project]:
        if self.path is not None:
            yield from find_projects(Path(self.path))
        for requirement in self.sdists:
            yield fetch_project(requirement)

    def prompt(self, row: Row) -> Prompt:
        project: Project = row["project"]
        found: Found = row["found"]
        bug: Bug = row["bug"]
        files = {**project.files(), bug.path: bug.text}
        question = write_task(
            project.name,
            bug,
            files,
            random.Random(f"{self.seed} {project.snapshot} {bug.path} {bug.lines} {bug.kinds}"),
            notation=self.notation,
            code_chars=self.code_chars,
            tools=self.environment is not None and self.environment.kind == "repository",
        )
        verifier = write_verifier(project, found.baseline, bug, self.requires)
        meta = {
            "project": project.name,
            "file": bug.path,
            "functions": list(bug.functions),
            "mutations": list(bug.kinds),
            "failing": len(bug.fail_to_pass),
            "tests_left_out": len(found.baseline.left_out),
        }
        return self.make(question, verifier, license=project.license, meta=meta)


def write_verifier(
    project: Project, baseline: Baseline, bug: Bug, requires: Sequence[str] = ()
) -> verifier_spec.Spec:
    """Return the verifier mapping of a bug (`filters.verify.repository.problem`)."""
    failing = set(bug.fail_to_pass)
    return {
        "kind": "repository",
        "snapshot": project.snapshot,
        "changes": {bug.path: bug.text},
        "packages": list(project.packages),
        "paths": list(project.paths),
        "requires": list(requires),
        "fail_to_pass": list(bug.fail_to_pass),
        "pass_to_pass": [name for name in baseline.tests if name not in failing],
        "time_limit_s": baseline.time_limit_s,
        "reaches": list(baseline.reaches),
    }
