"""What there is to say of a finished corpus, measured on its rows or read from its run."""

from __future__ import annotations

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
from factory.corpus.assembly.statistics import FILE as STATISTICS
from factory.corpus.assembly.statistics import PAPER_TABLE_5, AssemblyReport, Share, load_report
from factory.judging.funnel import Funnel, load_funnel

_SHARED = re.compile(
    r"""apache-2\.0|mit|isc|zlib|unlicense|wtfpl|ncsa|ms-pl|bsl-1\.0|artistic-2\.0|openrail
    |bsd-[23]-clause(-clear)?|mpl-2\.0|epl-2\.0|eupl-1\.[12]|gfdl|[al]?gpl(-[23]\.[01])?
    |cc0-1\.0|cc-by(-nc)?(-sa)?-[1-4]\.\d|cdla-(permissive|sharing)-[12]\.0|odc-by|odbl|pddl""",
    re.VERBOSE,
)
"""Licences that allow an adapted work to be passed on, by the Hub's ids (SPDX in lower case).

NoDerivatives licences are not among them: a corpus of answers adapts its prompts.
"""


@dataclass(frozen=True)
class SourceUse:
    """One source's share of the corpus under one licence; None where the source names none."""

    source: str
    license: str | None
    rows: int

    @property
    def hub_license(self) -> str | None:
        """The licence by the Hub's name for it."""
        if self.license is None:
            return None
        known = re.sub(r"-(only|or-later)$", "", self.license.strip().lower())
        return re.sub(r"^(odc-by|odbl|pddl)-1\.0$", r"\1", known)

    @property
    def may_be_shared(self) -> bool:
        """True only for a licence known to allow it: unknown is not allowed."""
        return self.hub_license is not None and bool(_SHARED.fullmatch(self.hub_license))


@dataclass(frozen=True)
class CorpusFacts:
    """What a card says of a corpus."""

    name: str
    splits: dict[str, int]
    sources: list[SourceUse]
    also_in: list[str]  # other sources that hold some of the same prompts
    languages: dict[str | None, int]
    domains: dict[str, Share]  # "total" is the last
    models: dict[str, int]
    filters: dict[str, int]  # how many rows each filter judged
    verified: int  # rows whose answer a verifier found correct
    reasoning: int  # rows with a think section
    tagged: int  # of those, in `messages` between <think> and </think>
    recipe: str  # without this machine's paths
    contamination: dict[str, Any]  # the settings of the recipe's own, as written
    funnel: Funnel
    assembly: AssemblyReport | None  # of a corpus that was mixed out of several

    @property
    def rows(self) -> int:
        return sum(self.splits.values())


def measure_corpus(run: Path) -> CorpusFacts:
    """Read a finished run, in bounded memory."""
    rows = pl.scan_parquet(run / "corpus" / "*.parquet", include_file_paths="file")
    split = pl.col("file").str.extract(r"([A-Za-z]+)-\d+-of-\d+\.parquet$")
    recipe = _written(run / "recipe.yaml")
    document: dict[str, Any] = yaml.safe_load(recipe)
    domains = _by_domain(rows)
    total = domains.select(pl.exclude("domain").sum()).row(0, named=True)
    named = pl.col("verdicts").list.eval(pl.element().struct["filter"])
    of_sources = rows.group_by("source", "license").agg(rows=pl.len())
    also_in = rows.select(pl.col("also_in").explode().drop_nulls().unique().sort())
    return CorpusFacts(
        name=str(document.get("name", run.name)),
        splits=dict(sorted(_counts(rows.select(split=split), "split"))),
        sources=[
            SourceUse(*row)
            for row in _collected(of_sources)
            .sort("rows", "source", "license", descending=[True, False, False])
            .iter_rows()
        ],
        also_in=_collected(also_in)["also_in"].to_list(),
        languages=dict(_counts(rows, "language")),
        domains={row["domain"]: _share(row) for row in domains.iter_rows(named=True)}
        | {"total": _share(total)},
        models=dict(_counts(rows, "model")),
        filters=dict(_counts(rows.select(filter=named.explode()).drop_nulls(), "filter")),
        verified=total["verified"],
        reasoning=total["thinks"],
        tagged=total["tagged"],
        recipe=recipe,
        contamination=_contamination(document),
        funnel=load_funnel(run),
        assembly=load_report(run) if (run / STATISTICS).exists() else None,
    )


def _by_domain(rows: pl.LazyFrame) -> pl.DataFrame:
    """Sums by domain, in the paper's order; the one pass that reads the rows' text."""
    thinks = pl.col("thinking").is_not_null()
    said = pl.col("messages").list.last().struct["content"]
    judged = pl.element().struct["filter"] == "correctness"
    passed = pl.col("verdicts").list.eval(judged & (pl.element().struct["decision"] == "keep"))
    asked = pl.col("messages").list.eval(pl.element().struct["role"] == "user").list.sum()
    sums = rows.group_by("domain").agg(
        samples=pl.len(),
        rounds=asked.sum(),
        tokens=pl.col("n_tokens").cast(pl.Int64).sum(),
        # A recipe may let unverifiable rows pass; their prompts have no correct sample.
        verified=(passed.list.any() & (pl.col("n_correct") > 0)).sum(),
        thinks=thinks.sum(),
        tagged=(thinks & said.str.starts_with(THINK_OPEN)).sum(),
    )
    order = {name: place for place, name in enumerate(PAPER_TABLE_5)}
    place = pl.col("domain").replace_strict(order, default=len(order), return_dtype=pl.Int8)
    return _collected(sums).sort(place, "domain")


def _share(sums: dict[str, int]) -> Share:
    samples = sums["samples"]
    return Share(samples, sums["rounds"] / samples, sums["tokens"] / samples)


def _counts(rows: pl.LazyFrame, column: str) -> Iterable[tuple[Any, int]]:
    counted = _collected(rows.group_by(column).agg(rows=pl.len()))
    return counted.sort("rows", column, descending=[True, False]).iter_rows()


def _collected(frame: pl.LazyFrame) -> pl.DataFrame:
    return frame.collect(engine="streaming")


def _written(file: Path) -> str:
    """The recipe, its paths as others may see them; as it stands where it has none of this machine.

    Raises RunError where it cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8")
        document = yaml.safe_load(text)
    except (OSError, yaml.YAMLError) as error:
        raise RunError(f"{file} cannot be read: {error}") from error
    told = _told(document)
    return text if told == document else yaml.safe_dump(told, sort_keys=False, allow_unicode=True)


def _told(value: Any) -> Any:
    """A part of a recipe with absolute paths made relative: they would tell who works where."""
    if isinstance(value, dict):
        return {key: _told(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_told(item) for item in value]
    if isinstance(value, str) and value.startswith(os.sep) and "\n" not in value:
        path = os.path.relpath(value)
        return path if not path.startswith(os.pardir) else f"…/{Path(value).name}"
    return value


def _contamination(document: dict[str, Any]) -> dict[str, Any]:
    """What a recipe says of evaluation sets: an assembly in its own section, others in a filter."""
    said = document.get("contamination") or document.get("filters", {}).get("contamination") or {}
    return dict(said)
