"""Every source's prompts as one set: duplicates merged, every row accounted for."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from factory.core.errors import SourceError
from factory.core.nouns import Prompt
from factory.prompts.source import Reject, Source

HOPELESS = 200
"""Stop when not one of so many first rows can be used: the mapping is wrong, not the data."""


@dataclass
class SourceCount:
    """What became of one source's rows."""

    name: str
    kind: str
    rows: int = 0
    prompts: int = 0  # distinct ones, those of other sources included
    repeated: int = 0  # rows with a prompt that this source gave before
    shared: int = 0  # prompts that an earlier source holds too
    rejected: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    first_reject: Reject | None = None


@dataclass(frozen=True)
class Loaded:
    """The prompts of all sources, each once, in the order they came; and the count of each."""

    prompts: list[Prompt]
    counts: list[SourceCount]


def load_prompts(
    sources: Sequence[Source],
    *,
    rejects: Callable[[Reject], None] = lambda reject: None,
    progress: Callable[[SourceCount], None] = lambda count: None,
) -> Loaded:
    """Read the sources one after the other. What is held in memory is the distinct prompts.

    The same prompt from two sources keeps the first one's fields and names the others in
    `also_in`. `rejects` gets each malformed row, `progress` the running count after every row.
    """
    prompts: dict[str, Prompt] = {}
    counts: list[SourceCount] = []
    for source in sources:
        if any(source.label == count.name for count in counts):
            raise SourceError(
                f"sources: two are named {source.label}; give one of them another `name:`"
            )
        counts.append(_load(source, prompts, rejects, progress))
    return Loaded(list(prompts.values()), counts)


def _load(
    source: Source,
    prompts: dict[str, Prompt],
    rejects: Callable[[Reject], None],
    progress: Callable[[SourceCount], None],
) -> SourceCount:
    count = SourceCount(source.label, source.kind)
    for prompt in sound(source, count, rejects):
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


def sound(
    source: Source, count: SourceCount, rejects: Callable[[Reject], None]
) -> Iterator[Prompt]:
    """The usable prompts of a source, counted as they go: whoever merges takes repeats back."""
    for outcome in source.rows():
        count.rows += 1
        match outcome:
            case Prompt():
                count.prompts += 1
                yield outcome
            case Reject():
                count.first_reject = count.first_reject or outcome
                count.rejected[outcome.reason] += 1
                rejects(outcome)
                if count.rows == count.rejected.total() == HOPELESS:
                    break
            case _:
                count.skipped[outcome.reason] += 1


def _require_usable(source: Source, count: SourceCount) -> None:
    first = count.first_reject
    if first and count.rejected.total() > source.max_reject_rate * count.rows:
        raise SourceError(_complaint(source, count, first))
    if not count.prompts:
        raise SourceError(_emptiness(source, count))


def preview(source: Source, size: int = 3) -> list[Prompt]:
    """The first prompts of a source, to check a recipe by. Raises as `load_prompts` does."""
    found: list[Prompt] = []
    count = SourceCount(source.label, source.kind)
    for prompt in sound(source, count, lambda reject: None):
        found.append(prompt)
        if len(found) == min(size, source.limit or size):
            return found
    _require_usable(source, count)
    return found


def _complaint(source: Source, count: SourceCount, first: Reject) -> str:
    rejected = count.rejected.total()
    detail = f" ({first.detail})" if first.detail else ""
    return (
        f"{first.place}: {first.reason}{detail}. {rejected} of the {count.rows} rows read from "
        f"{source.label} are malformed ({_listed(count.rejected)}), more than its max_reject_rate "
        f"of {source.max_reject_rate:g}; mend the source or raise the rate. "
        f"The row: {first.excerpt or 'unreadable'}"
    )


def _emptiness(source: Source, count: SourceCount) -> str:
    if not count.rows:
        return f"{source.label} ({source.kind}): the source is empty; it holds not one row"
    return (
        f"{source.label} ({source.kind}): none of its {count.rows} rows is a prompt: "
        f"{_listed(count.skipped + count.rejected)}; check the source's settings"
    )


def _listed(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason} {n}" for reason, n in reasons.most_common())


def describe(count: SourceCount) -> str:
    """One source's account in a line."""
    facts = [f"{count.name}: {count.prompts:,} prompts from {count.rows:,} rows"]
    facts += [f"{count.repeated:,} repeated"] * bool(count.repeated)
    facts += [f"{count.shared:,} also in an earlier source"] * bool(count.shared)
    facts += [f"{n:,} left out ({reason})" for reason, n in count.skipped.items()]
    facts += [f"{n:,} malformed ({reason})" for reason, n in count.rejected.items()]
    return ", ".join(facts)
