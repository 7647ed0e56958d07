"""The dataset card: what a run's corpus is, where it came from, and what it is not good for.

Everything in it was measured or read from the run; what is unknown is said to be unknown. Whatever
a user or a model wrote is escaped, so that no prompt, name or recipe can put markup on the page.
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

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)


def write_card(
    facts: CorpusFacts,
    repo: str,
    configs: Mapping[str, Mapping[str, str]],
    figures: Sequence[str] = (),
) -> str:
    """The card's Markdown. `configs` maps each config to its splits' file patterns."""
    parts = [
        front_matter(facts, configs),
        f"# {escape(repo.rsplit('/', 1)[-1])}",
        _summary(facts),
        _loading(facts, repo, configs),
        _statistics(facts),
        _licences(facts),
        _funnel(facts),
        _decontamination(facts),
        _figures(figures),
        _limits(facts),
        "## Recipe\n\n" + fenced(facts.recipe, "yaml"),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def front_matter(facts: CorpusFacts, configs: Mapping[str, Mapping[str, str]]) -> str:
    """The YAML that the Hub and `datasets` read."""
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
    """The Hub's bracket for a number of rows."""
    return next((name for limit, name in _SIZES if rows < limit), "10M<n<100M")


def escape(text: object) -> str:
    """Any text as words on one line: no HTML, no Markdown, no table cell of its own."""
    words = " ".join(str(text).split())
    words = html.escape(words, quote=False)
    words = re.sub(r"([\\`*_{}\[\]()#|~$])", r"\\\1", words)
    # Bare addresses and mentions become links without any markup.
    return re.sub(r"(?i)(https?|www|mailto|ftp)([:.])", r"\1&#8203;\2", words).replace("@", "&#64;")


def fenced(text: str, language: str) -> str:
    """A code block that its own content cannot close."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _table(header: Sequence[str], rows: Iterable[Sequence[object]], words: int = 1) -> str:
    lines = [" | ".join(header), " | ".join(["---"] * words + ["---:"] * (len(header) - words))]
    lines += [" | ".join(str(cell) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _summary(facts: CorpusFacts) -> str:
    models = ", ".join(f"{escape(model)} ({rows:,} rows)" for model, rows in facts.models.items())
    tags = " between `<think>` and `</think>`" if facts.tagged == facts.reasoning else ""
    return (
        f"{facts.rows:,} conversations, {facts.reasoning:,} of them with a reasoning section{tags} "
        f"before the response. The responses were sampled from {models}, judged by the filters "
        "below and assembled by R1 Factory."
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
        f"## Loading\n\n{fenced(snippet, 'python')}\n\n{sizes}\n\nPrompts, not rows, were split: "
        "no prompt of one split is in another."
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
        f"## Statistics\n\n{_table(header, rows)}\n\nTokens are those the sampling model "
        "generated. R1's columns are those of DeepSeek-R1's own SFT corpus (arXiv 2501.12948v2, "
        "Table 5).\n\n"
        f"Rows by the prompt's language: {languages}."
    )


def _licences(facts: CorpusFacts) -> str:
    rows = [
        (
            escape(use.source),
            escape(use.license) if use.license else "**unknown**: the source names none",
            f"{use.rows:,}",
        )
        for use in facts.sources
    ]
    text = f"## Sources and licences\n\n{_table(('source', 'licence', 'rows'), rows, words=2)}"
    if facts.also_in:
        text += f"\n\nSome prompts are also in: {', '.join(map(escape, facts.also_in))}."
    return (
        f"{text}\n\nThese are the licences of the prompts. What the terms of the sampling model "
        "say of its outputs is not recorded here; look them up before use."
    )


def _funnel(facts: CorpusFacts) -> str:
    funnel = facts.funnel
    rows: list[tuple[str, str, str, str]] = [
        ("drawn", "", f"{funnel.drawn.samples:,}", f"{funnel.drawn.tokens:,}")
    ]
    for taken in funnel.taken:
        reason = escape(taken.reason) + (" (undecided)" if taken.decision != "drop" else "")
        rows.append(
            (
                escape(taken.filter),
                reason,
                f"-{taken.count.samples:,}",
                f"-{taken.count.tokens:,}",
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
    table = _table(("filter", "reason", "samples", "tokens"), rows, words=2)
    return f"## Funnel\n\n{funnel.prompts:,} prompts.\n\n{table}"


def _decontamination(facts: CorpusFacts) -> str:
    judged, told = facts.filters.get("contamination", 0), []
    if judged:
        taken = [taken for taken in facts.funnel.taken if taken.filter == "contamination"]
        counts = ", ".join(f"{escape(t.reason)} {t.count.samples:,}" for t in taken) or "nothing"
        told.append(
            f"{_so_many(judged, facts)} passed the contamination filter, which took: {counts}."
        )
    if facts.assembly and facts.contamination.get("against"):
        left = {step.name: step.left_out.samples for step in facts.assembly.steps}
        told.append(f"Assembling left out {left.get(CONTAMINATED, 0):,} rows that overlap them.")
    if not told:
        return (
            "## Decontamination\n\nNone was done: evaluation sets may overlap with these prompts."
        )
    if facts.contamination:
        shown = json.dumps(facts.contamination, indent=2, ensure_ascii=False, default=str)
        told.append(f"The settings (defaults apart):\n\n{fenced(shown, 'json')}")
    return "## Decontamination\n\n" + " ".join(told)


def _so_many(judged: int, facts: CorpusFacts) -> str:
    return "Every row" if judged == facts.rows else f"{judged:,} of {facts.rows:,} rows"


def _figures(figures: Sequence[str]) -> str:
    if not figures:
        return ""
    images = [f"![{escape(Path(name).stem)}]({quote(name)})" for name in figures]
    return "## Figures\n\n" + "\n\n".join(images)


def _limits(facts: CorpusFacts) -> str:
    limits = [
        f"Only {facts.verified:,} of {facts.rows:,} rows have an answer that a verifier found "
        "correct; nothing vouches for the others'."
        if facts.verified < facts.rows
        else "Every row's final answer was found correct by a verifier; its reasoning was not "
        "checked, and verifiers err.",
        "The text is a model's: it can be wrong, biased or unsafe in ways no filter here measures.",
    ]
    for name, absent, what in (
        ("safety", "No safety filter was run.", "were judged by a safety filter"),
        ("language", "Mixed languages were not looked for.", "were searched for mixed languages"),
    ):
        judged = facts.filters.get(name, 0)
        if not judged:
            limits.append(absent)
        elif judged < facts.rows:
            limits.append(f"Only {judged:,} of {facts.rows:,} rows {what}.")
    unknown = sum(use.rows for use in facts.sources if use.license is None)
    if unknown:
        limits.append(f"The licence of {unknown:,} rows' prompts is unknown.")
    return "## Known limits\n\n" + "\n".join(f"- {limit}" for limit in limits)
