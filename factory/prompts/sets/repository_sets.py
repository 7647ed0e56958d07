"""Published sets of repairs of repositories: SWE-bench, SWE-Gym, SWE-smith, SWE-rebench, R2E-Gym.

Their tests run in container images of their own, which are not used here: a row gives its prompt,
its tests and its repair, and every attempt is undecided ("no environment").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from factory.core.nouns import Prompt
from factory.prompts import verifier_spec
from factory.prompts.repositories.issues import ANSWERS, Notation
from factory.prompts.sets.base import NamedSet
from factory.prompts.source import BadRow, Row, Unwanted

_HUNK = re.compile(r"@@ -(\S+) \+(\S+) @@(.*)")


class RepositorySet(NamedSet):
    """The base of the sets of repairs: a problem statement, tests, a patch, an image."""

    LANGUAGE = "en"
    DOMAIN: ClassVar[str | None] = "code"

    notation: Notation = Field("diff", description="Notation of the repair to ask for.")

    def repair(
        self,
        row: Row,
        *,
        repository: str,
        patch: str | None,
        tests: Mapping[str, Any],
        image: str | None,
        license: str | None = None,
        **meta: Any,
    ) -> Prompt:
        statement = row["problem_statement"]
        if not isinstance(statement, str) or not statement.strip():
            raise Unwanted("no_problem_statement")
        verifier: verifier_spec.Spec = {"kind": "repository", "repository": repository, **tests}
        verifier |= {"image": image} if image else {}
        verifier |= {"solution": patch} if patch else {}
        question = (
            f"This issue was reported for the repository {repository}.\n\n{statement.strip()}\n\n"
            f"Repair it. Tests must not be changed. {ANSWERS[self.notation]}"
        )
        return self.make(
            question, verifier, license=license, meta={"repository": repository, **meta}
        )


class SweBench(RepositorySet):
    """SWE-bench and its subsets (Lite, Verified). The two lists of tests are JSON text."""

    kind: Literal["swe_bench"] = "swe_bench"
    dataset: str = Field("SWE-bench/SWE-bench_Verified", description="Id on the Hub, or a copy.")
    split: str = Field("test", description="Split of the data set.")

    def read_row(self, row: Row) -> Prompt:
        return self.repair(
            row,
            repository=row["repo"],
            patch=row["patch"],
            tests=parse_tests(row),
            image=None,
            instance=row["instance_id"],
            commit=row["base_commit"],
            version=row.get("version"),
        )


class SweGym(SweBench):
    """SWE-Gym: the columns of SWE-bench, with lists of tests."""

    kind: Literal["swe_gym"] = "swe_gym"  # type: ignore[assignment]
    dataset: str = Field("SWE-Gym/SWE-Gym", description="Id on the Hub, or a local copy.")
    split: str = Field("train", description="Split of the data set.")


class SweSmith(RepositorySet):
    """SWE-smith. Its patch makes the bug, so that the repair is the patch reversed."""

    kind: Literal["swe_smith"] = "swe_smith"
    dataset: str = Field("SWE-bench/SWE-smith", description="Id on the Hub, or a local copy.")

    def read_row(self, row: Row) -> Prompt:
        return self.repair(
            row,
            repository=row["repo"],
            patch=reverse_diff(row["patch"]),
            tests=parse_tests(row),
            image=row.get("image_name"),
            instance=row["instance_id"],
        )


class SweRebench(RepositorySet):
    """SWE-rebench. How to install may be a mapping or JSON text; each row names its licence."""

    kind: Literal["swe_rebench"] = "swe_rebench"
    dataset: str = Field("nebius/SWE-rebench", description="Id on the Hub, or a local copy.")
    split: str = Field("test", description="Split of the data set.")

    def read_row(self, row: Row) -> Prompt:
        install = row.get("install_config")
        config = verifier_spec.structured(install) if install else {}
        if not isinstance(config, Mapping):
            raise BadRow("bad_shape", f"install_config {str(install)[:80]!r} is no mapping")
        return self.repair(
            row,
            repository=row["repo"],
            patch=row["patch"],
            tests=parse_tests(row),
            image=row.get("docker_image") or row.get("image_name"),
            license=row.get("license_name"),
            instance=row["instance_id"],
            commit=row["base_commit"],
            python=config.get("python"),
        )


class R2eGym(RepositorySet):
    """R2E-Gym. Expected results are JSON text of test names and states; it has no patch column."""

    kind: Literal["r2e_gym"] = "r2e_gym"
    dataset: str = Field("R2E-Gym/R2E-Gym-Lite", description="Id on the Hub, or a local copy.")

    def read_row(self, row: Row) -> Prompt:
        expected = verifier_spec.structured(row["expected_output_json"])
        if not isinstance(expected, Mapping) or not expected:
            raise BadRow("bad_tests", f"expected_output_json {str(expected)[:80]!r} has no tests")
        return self.repair(
            row,
            repository=row["repo_name"],
            patch=None,
            tests={"expected": dict(expected)},
            image=row.get("docker_image"),
            commit=row.get("commit_hash"),
        )


def parse_tests(row: Row) -> dict[str, list[str]]:
    """The two lists of tests, which some sets keep as JSON text. Raises BadRow."""
    found = {}
    for column, key in (("FAIL_TO_PASS", "fail_to_pass"), ("PASS_TO_PASS", "pass_to_pass")):
        names = verifier_spec.structured(row[column])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BadRow("bad_tests", f"{column} is {str(names)[:80]!r}, no list of test names")
        found[key] = names
    if not found["fail_to_pass"]:
        raise Unwanted("no_failing_test")
    return found


def reverse_diff(text: str) -> str:
    """The unified diff that undoes another one.

    >>> print(reverse_diff("--- a/x.py\\n+++ b/x.py\\n@@ -1 +1,2 @@\\n-a\\n+b\\n+c"))
    --- a/x.py
    +++ b/x.py
    @@ -1,2 +1 @@
    +a
    -b
    -c
    """
    lines: list[str] = []
    old: str | None = None
    in_hunk = False
    for line in text.split("\n"):
        hunk = _HUNK.match(line)
        if hunk:
            in_hunk = True
            lines.append(f"@@ -{hunk[2]} +{hunk[1]} @@{hunk[3]}")
        elif line.startswith("diff --git "):
            in_hunk = False
            lines.append(line)
        elif in_hunk and line[:1] in ("+", "-"):
            lines.append(f"{'-' if line[0] == '+' else '+'}{line[1:]}")
        elif not in_hunk and line.startswith("--- "):
            old = line[4:]
        elif not in_hunk and line.startswith("+++ ") and old is not None:
            before, after = _swap(line[4:], old)
            lines += [f"--- {before}", f"+++ {after}"]
        else:
            lines.append(line)
    return "\n".join(lines)


def _swap(new: str, old: str) -> tuple[str, str]:
    """The names in a reversed diff: `a/` stays with the old one, `b/` with the new one."""
    before = f"a/{new[2:]}" if new.startswith("b/") else new
    after = f"b/{old[2:]}" if old.startswith("a/") else old
    return before, after
