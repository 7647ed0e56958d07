"""Loads the prompts of all sources, merges duplicates and counts what became of each row."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from factory.core.errors import SourceError
from factory.core.nouns import Prompt
from factory.prompts.source import Reject, Source

MAX_FIRST_REJECTS = 200
"""Stop if all of this many first rows are malformed: then the column mapping is wrong."""

MOST_FIELDS = 8
"""Fields without effect that are named."""


@dataclass
class SourceCount:
    """Counts of one source's rows."""

    name: str
    kind: str
    rows: int = 0
    prompts: int = 0  # distinct prompts, including those of other sources
    repeated: int = 0  # rows with a prompt that this source already had
    shared: int = 0  # prompts that are also in an earlier source
    rejected: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    references: Counter[str] = field(default_factory=Counter)  # read otherwise than written
    unread: Counter[str] = field(default_factory=Counter)  # fields without effect, by name
    first_reject: Reject | None = None


@dataclass(frozen=True)
class Loaded:
    """The distinct prompts of all sources in order, and the counts per source."""

    prompts: list[Prompt]
    counts: list[SourceCount]


def load_prompts(
    sources: Sequence[Source],
    *,
    rejects: Callable[[Reject], None] = lambda reject: None,
    progress: Callable[[SourceCount], None] = lambda count: None,
    finished: Callable[[SourceCount], None] = lambda count: None,
) -> Loaded:
    """Read the sources one after another. Memory holds the distinct prompts.

    A prompt in several sources keeps the fields of the first and lists the others in `also_in`.
    `rejects` is called with each malformed row, `progress` with the counts after each row,
    `finished` with those of each source. Raises
    SourceError for a source that is unreadable, empty or has too many malformed rows.
    """
    prompts: dict[str, Prompt] = {}
    counts: list[SourceCount] = []
    for source in sources:
        if any(source.label == count.name for count in counts):
            raise SourceError(
                f"sources: two have the name {source.label}; set another `name:` for one of them"
            )
        counts.append(_load(source, prompts, rejects, progress))
        finished(counts[-1])
    return Loaded(list(prompts.values()), counts)


def _load(
    source: Source,
    prompts: dict[str, Prompt],
    rejects: Callable[[Reject], None],
    progress: Callable[[SourceCount], None],
) -> SourceCount:
    count = SourceCount(source.label, source.kind)
    for prompt in read_usable(source, count, rejects):
        known = prompts.get(prompt.id)
        if known is None:
            prompts[prompt.id] = prompt
        elif count.name in (known.source, *known.also_in):
            count.repeated += 1
            count.prompts -= 1
        else:
            count.shared += 1
            prompts[prompt.id] = dataclasses.replace(known, also_in=(*known.also_in, count.name))
        progress(count)
        if count.prompts == source.limit:
            break
    _require_usable(source, count)
    return count


def read_usable(
    source: Source, count: SourceCount, rejects: Callable[[Reject], None]
) -> Iterator[Prompt]:
    """Yield the usable prompts of a source and update `count`. The caller handles repeats."""
    for outcome in source.rows():
        count.rows += 1
        count.unread = source.unread
        match outcome:
            case Prompt():
                count.prompts += 1
                if "reference_read" in outcome.meta:
                    count.references[str(outcome.meta["reference_read"])] += 1
                yield outcome
            case Reject():
                count.first_reject = count.first_reject or outcome
                count.rejected[outcome.reason] += 1
                rejects(outcome)
                if count.rows == count.rejected.total() == MAX_FIRST_REJECTS:
                    break
            case _:
                count.skipped[outcome.reason] += 1


def _require_usable(source: Source, count: SourceCount) -> None:
    first = count.first_reject
    if first and count.rejected.total() > source.max_reject_rate * count.rows:
        raise SourceError(_describe_rejects(source, count, first))
    if not count.prompts:
        raise SourceError(_describe_empty(source, count))


def preview(source: Source, size: int = 3) -> list[Prompt]:
    """Return the first prompts of a source, to check a recipe. Raises as `load_prompts` does."""
    found: list[Prompt] = []
    count = SourceCount(source.label, source.kind)
    for prompt in read_usable(source, count, lambda reject: None):
        found.append(prompt)
        if len(found) == min(size, source.limit or size):
            return found
    _require_usable(source, count)
    return found


def _describe_rejects(source: Source, count: SourceCount, first: Reject) -> str:
    rejected = count.rejected.total()
    detail = f" ({first.detail})" if first.detail else ""
    return (
        f"{first.place}: {first.reason}{detail}. {rejected} of the {count.rows} rows read from "
        f"{source.label} are malformed ({_format_counts(count.rejected)}), more than "
        f"max_reject_rate {source.max_reject_rate:g}; fix the source or raise the rate."
        + (f" The row: {first.excerpt}" if first.excerpt else "")
    )


def _describe_empty(source: Source, count: SourceCount) -> str:
    if not count.rows:
        name = f"{source.label} ({source.kind})"
        return f"{name}: the source is empty; check what it names, such as `path`"
    return (
        f"{source.label} ({source.kind}): none of its {count.rows} rows is a prompt: "
        f"{_format_counts(count.skipped + count.rejected)}; check the source's settings"
    )


def _format_counts(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason} {n}" for reason, n in reasons.most_common())


def describe(count: SourceCount) -> str:
    """Format the counts of a source as one line."""
    facts = [f"{count.name}: {count.prompts:,} prompts from {count.rows:,} rows"]
    facts += [f"{count.repeated:,} repeated"] * bool(count.repeated)
    facts += [f"{count.shared:,} also in an earlier source"] * bool(count.shared)
    facts += [f"{n:,} references: {how}" for how, n in count.references.items()]
    facts += [f"{n:,} left out ({reason})" for reason, n in count.skipped.items()]
    facts += [f"{n:,} malformed ({reason})" for reason, n in count.rejected.items()]
    if count.unread:
        named = [f"{name} ({n:,} rows)" for name, n in count.unread.most_common(MOST_FIELDS)]
        more = len(count.unread) - len(named)
        named += [f"{more} more"] * bool(more)
        facts.append(f"fields not used: {', '.join(named)}; `keep` stores them with the prompt")
    return ", ".join(facts)
