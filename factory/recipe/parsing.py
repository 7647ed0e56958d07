"""Parts of a recipe, parsed by their schemas; errors in the recipe's own terms.

Every problem names its place (file, line, key), the value and what to write instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from factory.core.errors import FactoryError, Problem, RecipeError
from factory.core.plugins import PluginError, known_names, suggest
from factory.core.trial import call_own
from factory.prompts import GROUP as LOADER_GROUP
from factory.prompts import LOADERS, loader_class
from factory.prompts.source import Source
from factory.recipe.document import Document, Loc, dotted
from filters import filter_class
from filters.base import BASE_COLUMNS, Filter


class Strict(BaseModel):
    """A part of a recipe: unknown keys are refused, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def filters_by_name(names: Iterable[str]) -> dict[str, Filter]:
    """Filters with their defaults. Raises RecipeError for a name there is none of."""
    data: dict[str, Any] = {name.strip(): {} for name in names}
    problems: list[Problem] = []
    found: dict[str, Filter] = parse_filters(data, Document({"filters": data}), problems)
    if problems:
        raise RecipeError(problems)
    return found


def parse_sources(raw: Any, document: Document, problems: list[Problem]) -> Any:
    """Entries of `sources:` as loaders: each has a `kind`, or a `class` of the user's own."""
    if raw is None or raw == [] or not isinstance(raw, list):
        state = "is missing or empty" if not raw else f"is {raw!r:.60}, not a list"
        what = f"{state}; name one or more, such as `sources: [{{kind: files, path: mine.jsonl}}]`"
        problems.append(problem_at(document, ("sources",), what))
        return [UNREADABLE]
    parsed = []
    for number, item in enumerate(raw):
        loc: Loc = ("sources", number)
        own, fields = split_class(item)
        kind = fields.get("kind") if isinstance(fields, dict) else None
        if own is not None and kind is not None:
            what = "stands next to `class`, which already says how the source is read; keep one"
            problems.append(problem_at(document, (*loc, "kind"), what))
            continue
        if own is None and not isinstance(kind, str):
            known = ", ".join(known_names(LOADERS, LOADER_GROUP))
            what = f"is {kind!r}; it must be one of {known}, or give a `class`"
            problems.append(problem_at(document, (*loc, "kind"), what))
            continue
        at: tuple[Loc, Loc] = ((*loc, "class"), (*loc, "kind"))
        found = find_part(loader_class, own, kind, at, f"is {kind!r}", document, problems)
        if found is None:
            continue
        if own is not None:
            fields = {"kind": found.__name__.lower(), **fields}
        source = parse_part(found, fields, loc, document, problems)
        if source is not None:
            parsed.append(source)
    return parsed or [UNREADABLE]


UNREADABLE = Source.model_construct(kind="unreadable")
"""In the place of sources with problems, which are reported elsewhere."""


def parse_filters(raw: Any, document: Document, problems: list[Problem]) -> Any:
    """The mapping `filters:` as filters by name: a shipped or installed one, or a `class`."""
    if not isinstance(raw, dict):
        return raw if raw is not None else {}
    parsed = {}
    for name, given in raw.items():
        loc: Loc = ("filters", name)
        if given is None:
            what = "is empty; write {} for its defaults (null removes what an extended recipe has)"
            problems.append(problem_at(document, loc, what))
            continue
        own, fields = split_class(given)
        at: tuple[Loc, Loc] = ((*loc, "class"), loc)
        kind = find_part(filter_class, own, name, at, "is no filter", document, problems)
        if kind is None:
            continue
        found = parse_part(kind, fields, loc, document, problems)
        if found is not None:
            parsed[name] = found
    return parsed


SHARED_COLUMNS = frozenset((*BASE_COLUMNS, "pass_rate", "n_samples", "n_judged", "n_correct"))
"""What the rules of every filter may read: no filter measures it."""


def find_metric_clashes(filters: Mapping[str, Filter], document: Document) -> Iterator[Problem]:
    """Yield the filters whose rules read a metric that another one measures in another way.

    One column would have to hold both, and the order of the filters would change the corpus.
    Filters with the same cache key measure the same and may share it.
    """
    measured: dict[str, str] = {}
    for name, own in filters.items():
        try:
            rules = call_own(own.REFERENCE or name, "rules", own.rules, "return a list of Rule")
        except FactoryError as error:
            yield problem_at(document, ("filters", name), f"cannot be used: {error}")
            continue
        for metric in sorted({c for rule in rules for c in rule.when.meta.root_names()}):
            first = measured.setdefault(metric, name)
            if first == name or metric in SHARED_COLUMNS:
                continue
            if filters[first].cache_key() == own.cache_key():
                continue
            what = (
                f"measures {metric!r}, as does filters.{first} in another way, so that their order "
                "would change the corpus; keep one of them, or give one a class of its own whose "
                "metrics have another name"
            )
            yield problem_at(document, ("filters", name), what)
            break


def split_class(item: Any) -> tuple[Any, Any]:
    """The `class` of a part (None: it has none) and its other keys."""
    if not isinstance(item, dict) or "class" not in item:
        return None, item
    return item["class"], {key: value for key, value in item.items() if key != "class"}


_Class = TypeVar("_Class")


def find_part(
    find: Callable[[str], type[_Class]],
    own: Any,
    name: Any,
    places: tuple[Loc, Loc],
    unknown: str,
    document: Document,
    problems: list[Problem],
) -> type[_Class] | None:
    """The class of a part: `own`, its key `class`, or else what `name` stands for.

    `places` are those of `class` and of the name; `unknown` says what a name is that stands for
    nothing. None where there is no such class; what is wrong goes to `problems`.
    """
    try:
        if own is None:
            if ":" in str(name):
                raise PluginError("that is no name; a class in a file is named by the key `class`")
            return find(str(name))
        if not isinstance(own, str) or ":" not in own:
            raise PluginError("name a Python file and a class in it, as path/to/file.py:Class")
        return find(own)
    except PluginError as error:
        at, value = (places[1], unknown) if own is None else (places[0], f"is {own!r}")
        what = str(error).removeprefix(f"{name!r} is unknown; ")
        problems.append(problem_at(document, at, f"{value}; {what}"))
        return None


_Part = TypeVar("_Part", bound=BaseModel)


def parse_part(
    kind: type[_Part], fields: Any, loc: Loc, document: Document, problems: list[Problem]
) -> _Part | None:
    """One part of a document by its own schema; what is wrong with it goes to `problems`."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        problems.extend(explain_validation(error, loc, kind, document))
        return None


_LIMITS = {
    "greater_than_equal": ("ge", "it must be at least {}"),
    "greater_than": ("gt", "it must be more than {}"),
    "less_than_equal": ("le", "it must be at most {}"),
    "less_than": ("lt", "it must be less than {}"),
}


UNSAFE = "unsafe_value"
"""The type of a validation error that must not repeat the value: it may be a secret."""

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
LANGUAGE_PATTERN = r"^[a-z]{2}$"
_PATTERNS = {
    NAME_PATTERN: "it names a folder: use at most 100 characters, letters a-z and A-Z, digits, "
    "`.`, `_` and `-`, beginning with a letter or a digit",
    LANGUAGE_PATTERN: "write two small letters (ISO 639-1), such as en or zh",
}


def explain_validation(
    error: ValidationError, base: Loc, root: type[BaseModel], document: Document
) -> list[Problem]:
    """pydantic's errors in the recipe's own terms: place, value, remedy."""
    by_place: dict[Loc, list[ErrorDetails]] = {}
    for item in error.errors(include_url=False):
        by_place.setdefault(_written(base, item, document), []).append(item)
    problems = []
    for loc, items in by_place.items():
        # A key that takes a number or a mapping is refused once by each: say the one that fits.
        fitting = [item for item in items if not item["type"].endswith("_type")]
        if not fitting and any(len(loc) < len(at) and at[: len(loc)] == loc for at in by_place):
            continue
        fitting = fitting or items[:1]
        problems += [problem_at(document, loc, _in_words(item, root)) for item in fitting]
    return problems


def _written(base: Loc, item: ErrorDetails, document: Document) -> Loc:
    """Where an error is in the file: pydantic adds the name of each alternative it tried."""
    loc = base
    for key in item["loc"]:
        here = (*loc, key)
        loc = here if any(known[: len(here)] == here for known in document.places) else loc
    return (*loc, item["loc"][-1]) if item["type"] == "missing" else loc


def _in_words(item: ErrorDetails, root: type[BaseModel]) -> str:
    value, context = item["input"], item.get("ctx", {})
    if item["type"] == "extra_forbidden":
        keys = _keys_at(root, item["loc"][:-1])
        listing = f"; the keys are {', '.join(keys)}" if keys else ""
        return f"is not a key here{suggest(item['loc'][-1], keys)}{listing}"
    if item["type"] == "missing":
        return "is missing; add it"
    if value is None and item["type"].endswith("_type"):
        return "is empty; write a value, or leave the key out"
    if item["type"] == "string_type" and isinstance(value, bool):
        return (
            f"is {str(value).lower()}, not a text: YAML reads no, off, yes and on without quotes "
            'as true or false; write it in quotes, such as "no"'
        )
    if item["type"] == "string_pattern_mismatch" and context["pattern"] in _PATTERNS:
        return f"is {value!r}; {_PATTERNS[context['pattern']]}"
    if item["type"] in _LIMITS:
        key, words = _LIMITS[item["type"]]
        return f"is {value!r}; {words.format(context[key])}"
    if item["type"] == UNSAFE:
        return str(item["msg"])
    if item["type"] == "literal_error":
        return f"is {value!r}; it must be {context['expected']}"
    if item["type"] == "value_error":
        what = str(context["error"])
        return f"does not fit: {what}" if isinstance(value, dict) else f"is {value!r}: {what}"
    return f"is {value!r}: {item['msg'][0].lower()}{item['msg'][1:]}"


def _keys_at(root: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys of the part of the schema that `loc` leads to, where they are known."""
    part = root
    for key in loc:
        field = part.model_fields.get(str(key))
        if field is None or not isinstance(field.annotation, type):
            return []
        if not issubclass(field.annotation, BaseModel):
            return []
        part = field.annotation
    return list(part.model_fields)


def problem_at(document: Document, loc: Loc, what: str) -> Problem:
    """What is wrong at one place of a document, with the file and line it was written at."""
    place = document.place(loc)
    return Problem(": ".join(part for part in (place, dotted(loc)) if part), what)


def sort_problems(problems: Iterable[Problem]) -> list[Problem]:
    """Each problem once, in the order of the file."""
    return sorted(dict.fromkeys(problems), key=lambda problem: _line(problem.place))


def _line(place: str) -> tuple[str, int]:
    file, _, rest = place.partition(":")
    number = rest.split(":")[0]
    return file, int(number) if number.isdigit() else 0
