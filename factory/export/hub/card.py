"""The dataset card: content, sources, statistics and known limits of a run's corpus.

All facts are measured on the corpus or read from the run; unknown ones are stated as unknown. Text
written by users or models is escaped, so that no prompt, name or recipe can add markup to the page.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from factory.corpus.assembly.statistics import CONTAMINATED, PAPER_TABLE_5
from factory.export.hub.corpus_summary import CorpusFacts
from factory.report.tables import format_price

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)


IN_PROGRESS = (
    "**In progress.** This corpus is still being sampled. Rows are added as samples are accepted; "
    "the finished corpus will replace all files, and may leave out rows that are here now."
)


def write_card(
    facts: CorpusFacts,
    repo: str,
    configs: Mapping[str, Mapping[str, str]],
    figures: Sequence[str] = (),
    *,
    in_progress: bool = False,
) -> str:
    """Return the card's Markdown. `configs` maps each config to its splits' file patterns."""
    parts = [
        front_matter(facts, configs),
        f"# {escape(repo.rsplit('/', 1)[-1])}",
        IN_PROGRESS if in_progress else "",
        _summary(facts),
        _loading(facts, repo, configs),
        _statistics(facts),
        _licences(facts),
        _funnel(facts),
        _teachers(facts),
        _decontamination(facts),
        _figures(figures),
        _limits(facts),
        "## Recipe\n\n" + fenced(facts.recipe, "yaml"),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def front_matter(facts: CorpusFacts, configs: Mapping[str, Mapping[str, str]]) -> str:
    """Return the YAML front matter that the Hub and `datasets` read."""
    known = sorted({str(use.hub_license) for use in facts.sources if use.may_be_shared})
    if all(use.may_be_shared for use in facts.sources):
        license: Any = known[0] if len(known) == 1 else known
    else:
        license = "unknown" if any(use.license is None for use in facts.sources) else "other"
    languages = sorted(code for code in facts.languages if code and re.fullmatch("[a-z]{2}", code))
    data: dict[str, Any] = {
        "license": license,
        **({"language": languages} if languages else {}),
        "pretty_name": facts.name,
        "size_categories": [size_category(facts.rows)],
        "task_categories": ["text-generation"],
        "tags": ["reasoning", "chain-of-thought", "synthetic", "r1-factory"]
        + [domain for domain in facts.domains if domain != "total"],
        "configs": [
            {
                "config_name": name,
                **({"default": True} if name == "default" else {}),
                "data_files": [{"split": split, "path": path} for split, path in splits.items()],
            }
            for name, splits in configs.items()
        ],
    }
    return f"---\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True)}---"


def size_category(rows: int) -> str:
    """Return the Hub's size category for a number of rows."""
    return next((name for limit, name in _SIZES if rows < limit), "10M<n<100M")


def escape(text: object) -> str:
    """Escape text to one line of plain words: no HTML, no Markdown, no table cells, no links."""
    line = " ".join(str(text).split())
    line = html.escape(line, quote=False)
    line = re.sub(r"([\\`*_{}\[\]()#|~$])", r"\\\1", line)
    # Bare addresses and mentions would become links.
    return re.sub(r"(?i)(https?|www|mailto|ftp)([:.])", r"\1&#8203;\2", line).replace("@", "&#64;")


def fenced(text: str, language: str) -> str:
    """Return a fenced code block whose content can't close the fence."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _table(header: Sequence[str], rows: Iterable[Sequence[object]], text_columns: int = 1) -> str:
    """Return a Markdown table; the columns after the first `text_columns` are right-aligned."""
    rule = ["---"] * text_columns + ["---:"] * (len(header) - text_columns)
    lines = [" | ".join(header), " | ".join(rule)]
    lines += [" | ".join(str(cell) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _summary(facts: CorpusFacts) -> str:
    models = ", ".join(f"{escape(model)} ({rows:,} rows)" for model, rows in facts.models.items())
    tags = " between `<think>` and `</think>`" if facts.tagged == facts.reasoning else ""
    return (
        f"{facts.rows:,} conversations, {facts.reasoning:,} of them with a reasoning section{tags} "
        f"before the response. The responses were sampled from {models}, filtered as shown below "
        "and assembled by R1 Factory."
    )


def _loading(facts: CorpusFacts, repo: str, configs: Mapping[str, Mapping[str, str]]) -> str:
    calls = [
        f'{name.replace("-", "_")} = load_dataset("{repo}"'
        + ("" if name == "default" else f', "{name}"')
        + f")  # splits: {', '.join(splits)}"
        for name, splits in configs.items()
    ]
    snippet = "\n".join(
        ["from datasets import load_dataset", "", *calls, 'print(default["train"][0]["messages"])']
    )
    sizes = _table(("split", "rows"), [(name, f"{rows:,}") for name, rows in facts.splits.items()])
    return (
        f"## Loading\n\n{fenced(snippet, 'python')}\n\n{sizes}\n\nThe splits were made by prompt: "
        "no prompt is in more than one split."
    )


def _statistics(facts: CorpusFacts) -> str:
    rows = []
    for domain, share in facts.domains.items():
        theirs = PAPER_TABLE_5.get(domain)
        paper = (
            (f"{theirs[0]:,}", f"{theirs[1]:.1f}", f"{theirs[2]:,.1f}") if theirs else ("-",) * 3
        )
        rows.append(
            (
                escape(domain),
                f"{share.samples:,}",
                f"{share.rounds:.1f}",
                f"{share.tokens:,.1f}",
                *paper,
            )
        )
    header = ("domain", "samples", "mean rounds", "mean tokens", "R1: samples", "rounds", "tokens")
    languages = ", ".join(
        f"{escape(code) if code else 'not recorded'} {rows:,}"
        for code, rows in facts.languages.items()
    )
    return (
        f"## Statistics\n\n{_table(header, rows)}\n\nTokens are those that the sampling model "
        "generated. The last three columns describe DeepSeek-R1's SFT corpus (arXiv 2501.12948v2, "
        "Table 5).\n\n"
        f"Rows by the prompt's language: {languages}."
    )


def _licences(facts: CorpusFacts) -> str:
    rows = [
        (
            escape(use.source),
            escape(use.license) if use.license else "**unknown**: the source states none",
            f"{use.rows:,}",
        )
        for use in facts.sources
    ]
    table = _table(("source", "licence", "rows"), rows, text_columns=2)
    text = f"## Sources and licences\n\n{table}"
    if facts.also_in:
        text += f"\n\nSome prompts are also in: {', '.join(map(escape, facts.also_in))}."
    return (
        f"{text}\n\nThese are the licences of the prompts. The terms of the sampling model for its "
        "outputs are not recorded here; check them before use."
    )


def _funnel(facts: CorpusFacts) -> str:
    funnel = facts.funnel
    rows: list[tuple[str, str, str, str]] = [
        ("drawn", "", f"{funnel.drawn.samples:,}", f"{funnel.drawn.tokens:,}")
    ]
    for stage in funnel.taken:
        reason = escape(stage.reason) + (" (undecided)" if stage.decision != "drop" else "")
        rows.append(
            (
                escape(stage.filter),
                reason,
                f"-{stage.count.samples:,}",
                f"-{stage.count.tokens:,}",
            )
        )
    rows.append(("kept", "", f"{funnel.kept.samples:,}", f"{funnel.kept.tokens:,}"))
    for step in facts.assembly.steps if facts.assembly else ():
        left = step.left_out
        rows.append(("assembly", step.name, f"-{left.samples:,}", f"-{left.tokens:,}"))
    if funnel.rows:
        rows.append(
            ("corpus", "after selection", f"{funnel.rows.samples:,}", f"{funnel.rows.tokens:,}")
        )
    table = _table(("filter", "reason", "samples", "tokens"), rows, text_columns=2)
    return f"## Funnel\n\n{funnel.prompts:,} prompts.\n\n{table}"


def _teachers(facts: CorpusFacts) -> str:
    rows = [
        (
            escape(one.name),
            f"{one.drawn.samples:,}",
            f"{one.kept.samples:,}",
            f"{one.share:.1%}",
            f"{one.drawn.tokens:,}",
            format_price(one.price_per_accepted),
        )
        for one in facts.funnel.by_teacher
    ]
    if not rows:
        return ""
    header = ("teacher", "samples", "kept", "share", "tokens", "price per kept sample")
    table = _table(header, rows, text_columns=1)
    return f"## Teachers\n\nThe column `sampling` names the teacher of each row.\n\n{table}"


def _decontamination(facts: CorpusFacts) -> str:
    judged = facts.filters.get("contamination", 0)
    sentences = []
    if judged:
        stages = [stage for stage in facts.funnel.taken if stage.filter == "contamination"]
        counts = ", ".join(f"{escape(s.reason)} {s.count.samples:,}" for s in stages) or "nothing"
        rows = _format_rows(judged, facts)
        sentences.append(f"{rows} passed the contamination filter, which dropped: {counts}.")
    if facts.assembly and facts.contamination.get("against"):
        left = {step.name: step.left_out.samples for step in facts.assembly.steps}
        count = f"{left.get(CONTAMINATED, 0):,} rows"
        sentences.append(f"The assembly left out {count} that overlap with evaluation sets.")
    if not sentences:
        return (
            "## Decontamination\n\nNone was done: evaluation sets may overlap with these prompts."
        )
    if facts.contamination:
        shown = json.dumps(facts.contamination, indent=2, ensure_ascii=False, default=str)
        sentences.append(f"The settings that differ from the defaults:\n\n{fenced(shown, 'json')}")
    return "## Decontamination\n\n" + " ".join(sentences)


def _format_rows(judged: int, facts: CorpusFacts) -> str:
    return "Every row" if judged == facts.rows else f"{judged:,} of {facts.rows:,} rows"


def _figures(figures: Sequence[str]) -> str:
    if not figures:
        return ""
    images = [f"![{escape(Path(name).stem)}]({quote(name)})" for name in figures]
    return "## Figures\n\n" + "\n\n".join(images)


def _error_rates(audit: Mapping[str, Any] | None) -> str:
    """Return how often verdicts were found mistaken, and how that was measured."""
    if audit is None:
        return "The error rate of the verdicts is unknown: not audited."
    parts = {"all domains": audit, **(audit.get("by_domain") or {})}
    rates = [
        f"{escape(part)} {_interval(found.get('false_positives'))} accepted although wrong, "
        f"{_interval(found.get('false_negatives'))} refused although right"
        for part, found in parts.items()
    ]
    method = escape(audit.get("method", "an unnamed method"))
    return f"Audited by {method}, with 95% intervals: {'; '.join(rates)}."


def _interval(estimate: Mapping[str, Any] | None) -> str:
    if not estimate or not estimate.get("n"):
        return "an unknown share"
    return f"{estimate['low']:.1%} to {estimate['high']:.1%} of {estimate['n']:,}"


def _limits(facts: CorpusFacts) -> str:
    limits = [
        f"Only {facts.verified:,} of {facts.rows:,} rows have an answer that a verifier found "
        "correct; the answers of the others are unverified."
        if facts.verified < facts.rows
        else "A verifier found every row's final answer correct. The reasoning was not checked, "
        "and verifiers make mistakes.",
        _error_rates(facts.audit),
        "A model wrote the text: it can be wrong, biased or unsafe in ways no filter measures.",
    ]
    for name, absent, what in (
        ("safety", "No safety filter was run.", "were judged by a safety filter"),
        ("language", "Mixed languages were not checked.", "were checked for mixed languages"),
    ):
        judged = facts.filters.get(name, 0)
        if not judged:
            limits.append(absent)
        elif judged < facts.rows:
            limits.append(f"Only {judged:,} of {facts.rows:,} rows {what}.")
    unknown = sum(use.rows for use in facts.sources if use.license is None)
    if unknown:
        limits.append(f"The licence of the prompts of {unknown:,} rows is unknown.")
    return "## Known limits\n\n" + "\n".join(f"- {limit}" for limit in limits)
