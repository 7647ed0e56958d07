"""Summarize a finished corpus: facts measured on its rows or read from its run."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from factory.core.errors import RunError
from factory.core.think import THINK_OPEN
from factory.core.yaml_files import parse_yaml
from factory.corpus.assembly.statistics import FILE as STATISTICS
from factory.corpus.assembly.statistics import PAPER_TABLE_5, AssemblyReport, Share, load_report
from factory.judging.funnel import Funnel, load_funnel

_SHAREABLE = re.compile(
    r"""apache-2\.0|mit|isc|zlib|unlicense|wtfpl|ncsa|ms-pl|bsl-1\.0|artistic-2\.0|openrail
    |bsd-[23]-clause(-clear)?|mpl-2\.0|epl-2\.0|eupl-1\.[12]|gfdl|[al]?gpl(-[23]\.[01])?
    |cc0-1\.0|cc-by(-nc)?(-sa)?-[1-4]\.\d|cdla-(permissive|sharing)-[12]\.0|odc-by|odbl|pddl""",
    re.VERBOSE,
)
"""Licences that allow sharing an adapted work, by the Hub's ids (SPDX in lower case).

NoDerivatives licences are excluded: a corpus of answers is an adaptation of its prompts.
"""


@dataclass(frozen=True)
class SourceUse:
    """The rows of one source under one licence; None where the source states no licence."""

    source: str
    license: str | None
    rows: int

    @property
    def hub_license(self) -> str | None:
        """The licence as the Hub's id."""
        if self.license is None:
            return None
        known = re.sub(r"-(only|or-later)$", "", self.license.strip().lower())
        return re.sub(r"^(odc-by|odbl|pddl)-1\.0$", r"\1", known)

    @property
    def may_be_shared(self) -> bool:
        """True for a licence that is known to allow it; False for an unknown one."""
        return self.hub_license is not None and bool(_SHAREABLE.fullmatch(self.hub_license))


@dataclass(frozen=True)
class CorpusFacts:
    """The facts that a card states about a corpus."""

    name: str
    splits: dict[str, int]
    sources: list[SourceUse]
    also_in: list[str]  # other sources that have some of the same prompts
    languages: dict[str | None, int]
    domains: dict[str, Share]  # "total" is the last
    models: dict[str, int]
    filters: dict[str, int]  # rows judged by each filter
    verified: int  # rows whose answer a verifier found correct
    reasoning: int  # rows with a think section
    tagged: int  # of those, rows with <think> and </think> in `messages`
    recipe: str  # without absolute paths
    contamination: dict[str, Any]  # decontamination settings, as written in the recipe
    audit: dict[str, Any] | None  # audit.json; None: nobody has checked the verdicts
    funnel: Funnel
    assembly: AssemblyReport | None  # for a corpus mixed from several runs

    @property
    def rows(self) -> int:
        return sum(self.splits.values())


def measure_corpus(run: Path) -> CorpusFacts:
    """Measure the corpus of a finished run, in bounded memory."""
    rows = pl.scan_parquet(run / "corpus" / "*.parquet", include_file_paths="file")
    split = pl.col("file").str.extract(r"([A-Za-z]+)-[^/]*\.parquet$")
    recipe = _read_recipe(run / "recipe.yaml")
    document: dict[str, Any] = parse_yaml(recipe)
    domains = _sum_by_domain(rows)
    total = domains.select(pl.exclude("domain").sum()).row(0, named=True)
    named = pl.col("verdicts").list.eval(pl.element().struct["filter"])
    by_source = rows.group_by("source", "license").agg(rows=pl.len())
    also_in = rows.select(pl.col("also_in").explode().drop_nulls().unique().sort())
    return CorpusFacts(
        name=str(document.get("name", run.name)),
        splits=dict(sorted(_count(rows.select(split=split), "split"))),
        sources=[
            SourceUse(*row)
            for row in _collect(by_source)
            .sort("rows", "source", "license", descending=[True, False, False])
            .iter_rows()
        ],
        also_in=_collect(also_in)["also_in"].to_list(),
        languages=dict(_count(rows, "language")),
        domains={row["domain"]: _share(row) for row in domains.iter_rows(named=True)}
        | {"total": _share(total)},
        models=dict(_count(rows, "model")),
        filters=dict(_count(rows.select(filter=named.explode()).drop_nulls(), "filter")),
        verified=total["verified"],
        reasoning=total["thinks"],
        tagged=total["tagged"],
        recipe=recipe,
        contamination=_contamination(document),
        audit=_audit(run),
        funnel=load_funnel(run),
        assembly=load_report(run) if (run / STATISTICS).exists() else None,
    )


def _audit(run: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((run / "audit.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _sum_by_domain(rows: pl.LazyFrame) -> pl.DataFrame:
    """Return sums by domain, in the paper's order. This is the only pass that reads the texts."""
    thinks = pl.col("thinking").is_not_null()
    answer = pl.col("messages").list.last().struct["content"]
    judged = pl.element().struct["filter"] == "correctness"
    passed = pl.col("verdicts").list.eval(judged & (pl.element().struct["decision"] == "keep"))
    rounds = pl.col("messages").list.eval(pl.element().struct["role"] == "user").list.sum()
    sums = rows.group_by("domain").agg(
        samples=pl.len(),
        rounds=rounds.sum(),
        tokens=pl.col("n_tokens").cast(pl.Int64).sum(),
        # A recipe may keep unverifiable rows; their prompts have no correct sample.
        verified=(passed.list.any() & (pl.col("n_correct") > 0)).sum(),
        thinks=thinks.sum(),
        tagged=(thinks & answer.str.starts_with(THINK_OPEN)).sum(),
    )
    order = {name: place for place, name in enumerate(PAPER_TABLE_5)}
    place = pl.col("domain").replace_strict(order, default=len(order), return_dtype=pl.Int8)
    return _collect(sums).sort(place, "domain")


def _share(sums: dict[str, int]) -> Share:
    samples = sums["samples"]
    return Share(samples, sums["rounds"] / samples, sums["tokens"] / samples)


def _count(rows: pl.LazyFrame, column: str) -> Iterable[tuple[Any, int]]:
    counted = _collect(rows.group_by(column).agg(rows=pl.len()))
    return counted.sort("rows", column, descending=[True, False]).iter_rows()


def _collect(frame: pl.LazyFrame) -> pl.DataFrame:
    return frame.collect(engine="streaming")


def _read_recipe(file: Path) -> str:
    """Return the recipe's text without its store, and with absolute paths replaced.

    It is unchanged where there are none.

    Raises RunError where it can't be read.
    """
    try:
        text = file.read_text(encoding="utf-8")
        document = parse_yaml(text)
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read: {error}") from error
    public = _hide_paths(document)
    if isinstance(public, dict):
        for key in ("notify", "store"):  # addresses that are nobody else's business
            public.pop(key, None)
    if public == document:
        return text
    return yaml.safe_dump(public, sort_keys=False, allow_unicode=True)


def _hide_paths(value: Any) -> Any:
    """Make absolute paths in a recipe relative: they may reveal names of users and machines."""
    if isinstance(value, dict):
        return {key: _hide_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_hide_paths(item) for item in value]
    if isinstance(value, str) and value.startswith(os.sep) and "\n" not in value:
        path = os.path.relpath(value)
        return path if not path.startswith(os.pardir) else f"…/{Path(value).name}"
    return value


def _contamination(document: dict[str, Any]) -> dict[str, Any]:
    """Return the decontamination settings: an assembly's section, or a filter's."""
    filters = document.get("filters", {})
    return dict(document.get("contamination") or filters.get("contamination") or {})
