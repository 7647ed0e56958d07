"""The recipe reference: every key of every kind of recipe, at every depth, as Markdown pages.

The pages are a pure function of the code and of docs/reference/examples.yaml, which holds one
snippet for every section.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from factory.core.plugins import look_up
from factory.prompts import LOADERS, loader_class
from factory.prompts.source import Source
from factory.recipe.assembly import Assembly
from factory.recipe.build import Recipe
from factory.recipe.evaluation import Eval
from factory.recipe.kinds import ASSEMBLY
from factory.recipe.pipeline import Pipeline
from factory.recipe.rewards import REWARDS, Reward, reward_class
from factory.train.train import KINDS as TRAINERS
from filters import FILTERS, filter_class
from filters.base import Filter

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
EXAMPLES = REFERENCE / "examples.yaml"

MADE = "*Generated from the code by `make docs`.*"


def kinds() -> dict[str, type[BaseModel]]:
    """Each value of a recipe's key `kind`, and the schema it selects."""
    training = {kind: look_up(options) for kind, (options, _) in TRAINERS.items()}
    return {ASSEMBLY: Assembly, **training, "eval": Eval, "pipeline": Pipeline}


class Section(NamedTuple):
    """One part of a recipe: where it stands (`engine.server`), its schema, and which of several."""

    path: str
    part: type[BaseModel]
    variant: str = ""

    @property
    def key(self) -> str:
        """Names the section in examples.yaml; three kinds of recipe have an `optimizer`."""
        known = {"": self.part.__name__, "optimizer": f"optimizer {self.part.__name__}"}
        return known.get(self.path, f"{self.path} {self.variant}".strip())

    @property
    def title(self) -> str:
        """The heading of the section."""
        words = [word for word in (self.path, self.variant) if word]
        return " ".join(f"`{word}`" for word in words) or "Top level"


class Page(NamedTuple):
    """One page of the recipe reference."""

    file: str
    title: str
    introduction: str
    sections: list[Section]


@cache
def pages() -> tuple[Page, ...]:
    """The pages of the recipe reference. Every section stands on one of them, once."""
    seen: set[type[BaseModel]] = set()
    found = [Page("index.md", "Recipes", _RECIPES, list(_walk("", Recipe, seen)))]
    loaders = [Section("sources[]", Source)]
    for kind in LOADERS:
        loaders += _walk("sources[]", loader_class(kind), seen, f"kind: {kind}")
    found.append(Page("sources.md", "Sources", _SOURCES, loaders))
    filters: list[Section] = []
    for name in FILTERS:
        filters += _walk(f"filters.{name}", filter_class(name), seen)
    found.append(Page("filters.md", "Filters", _FILTERS, filters))
    for kind, part in kinds().items():
        sections = list(_walk("", part, seen))
        found.append(Page(f"{kind}.md", f"Recipes of kind: {kind}", "", sections))
    return tuple(found)


_RECIPES = """\
A recipe is one YAML file. It is strict: unknown keys, wrong types and impossible combinations are
refused all at once, with file, line, value and remedy.

- A recipe without `kind` samples a corpus; its keys are on this page. The other kinds are
  [assembly](assembly.md), [sft](sft.md), [grpo](grpo.md), [reward_model](reward_model.md),
  [eval](eval.md) and [pipeline](pipeline.md).
- `sources` and `filters` have pages of their own: [sources](sources.md), [filters](filters.md).
- `extends: base.yaml` (or a list) lays this recipe over another one. `null` removes a key that the
  other one has.
- `${NAME}` and `${NAME:-default}` are environment variables.
- Relative paths start at the file that names them.
- `--set key.path=value` on the command line overrides a key. Items of a list go by number.
- Editors complete and check recipes by `recipes/schema.json`; begin the file with
  `# yaml-language-server: $schema=schema.json`.

**What a change costs.** `model`, `prompting`, the settings of `sampling` that change a sample, and
the engine arguments `dtype`, `quantization`, `kv_cache_dtype` and `hf_overrides` need another run
directory: samples drawn with different settings are never mixed. A filter's limits cost nothing.
Other keys of a filter make it measure again. Everything else in `engine` changes only the speed."""

_SOURCES = """\
`sources` is a list. Each entry names its `kind`; the entries may be of different kinds. The same
prompt from two sources is one prompt that names both. Malformed rows are listed with place and
reason in `rejected_prompts.jsonl`, and fail the build only past `max_reject_rate`."""

_FILTERS = """\
`filters` is an ordered mapping. The reason of a sample is that of the first filter that drops it. A
filter of your own stands under any name, with `class: path/to/file.py:Class`; see
[Add a filter](../../how-to/add-a-filter.md).

What each filter measures, and every reason code:
[metrics and reasons](../metrics-and-reasons.md)."""


def _walk(
    path: str, part: type[BaseModel], seen: set[type[BaseModel]], variant: str = ""
) -> Iterator[Section]:
    """A part and every part below it that no earlier section has shown."""
    if part in seen:
        return
    seen.add(part)
    yield Section(path, part, variant)
    for name, field in part.model_fields.items():
        below = list(_parts(field.annotation))
        for suffix, inner in below:
            which = _variant(inner) if len(below) > 1 else ""
            yield from _walk(f"{path}.{name}{suffix}".strip("."), inner, seen, which)


def _variant(part: type[BaseModel]) -> str:
    """What tells one of several schemas for the same key from the others."""
    kind = part.model_fields.get("kind")
    if kind is not None and isinstance(kind.default, str):
        return f"kind: {kind.default}"
    name, field = next(iter(part.model_fields.items()))
    return f"with {field.alias or name}"


def _parts(annotation: Any, suffix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """The parts that a type holds, and how a path goes on to each: "", "[]" or ".NAME"."""
    if annotation is Reward:
        yield from ((suffix, reward_class(kind)) for kind in REWARDS)
        return
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation not in (Source, Filter):  # their kinds have pages of their own
            yield suffix, annotation
        return
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is dict:
        yield from _parts(inner[1], f"{suffix}.NAME")
    elif origin in (tuple, list):
        for item in inner:
            yield from _parts(item, f"{suffix}[]")
    elif origin is not Literal:
        for item in inner:
            yield from _parts(item, suffix)


def recipe_page(page: Page) -> str:
    """One page of the recipe reference: a table of keys and an example per section."""
    lines = [f"# {page.title}", "", MADE, ""]
    if page.introduction:
        lines += [page.introduction, ""]
    for section in page.sections:
        part = section.part
        shown = {name: field for name, field in part.model_fields.items() if _is_own(part, name)}
        lines += [f"## {section.title}", "", prose(part), ""]
        if shown:
            lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
            lines += [_row(name, field, page.file) for name, field in shown.items()]
            lines.append("")
        if len(shown) < len(part.model_fields):
            lines += ["The keys of [every source](#sources) as well.", ""]
        lines += ["```yaml", examples()[section.key].rstrip(), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _is_own(part: type[BaseModel], name: str) -> bool:
    """Whether a section lists a key. A loader lists what no source has, or has otherwise."""
    if part is Source or not issubclass(part, Source) or name not in Source.model_fields:
        return True
    own, common = part.model_fields[name], Source.model_fields[name]
    return name == "kind" or own.default != common.default or own.annotation != common.annotation


@cache
def examples() -> dict[str, str]:
    """The snippets by section. Raises LookupError that names the sections without one."""
    read: dict[str, str] = yaml.safe_load(EXAMPLES.read_text(encoding="utf-8"))
    missing = {section.key for page in pages() for section in page.sections} - read.keys()
    if missing:
        raise LookupError(f"{EXAMPLES}: add an example of {', '.join(sorted(missing))}")
    return read


def _row(name: str, field: FieldInfo, file: str) -> str:
    shown = field.alias or name
    kind = type_text(field.annotation, tuple(field.metadata), file)
    about = meaning(field) or "Selects this section."  # only `kind` has no description
    return f"| `{shown}` | {kind} | {_default(field)} | {cell(about)} |"


_PLAIN: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "true or false",
    Path: "path",
    Any: "any value",
    type(None): "null",
}

_BOUNDS = {
    "ge": "≥ {}",
    "gt": "> {}",
    "le": "≤ {}",
    "lt": "< {}",
    "min_length": "length ≥ {}",
    "max_length": "length ≤ {}",
    "pattern": "matching `{}`",
}


def type_text(annotation: Any, metadata: tuple[Any, ...] = (), file: str = "") -> str:
    """A type in words, with its bounds: "integer, ≥ 1", "list of string"."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        text = type_text(inner[0], annotation.__metadata__, file)
    elif origin in (Union, types.UnionType):
        named = [type_text(item, (), file) for item in inner if item is not type(None)]
        named += ["null"] if type(None) in inner else []
        text = " or ".join(dict.fromkeys(named))
    elif origin is Literal:
        text = ", ".join(f"`{value}`" for value in inner)
    elif origin is dict:
        text = f"mapping of {type_text(inner[0])} to {type_text(inner[1], (), file)}"
    elif origin in (tuple, list):
        items = [item for item in inner if item is not Ellipsis]
        if origin is tuple and Ellipsis not in inner:
            text = f"list of {len(items)}: {', '.join(type_text(item, (), file) for item in items)}"
        else:
            text = f"list of {type_text(items[0], (), file)}"
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        text = _link(annotation, file)
    else:
        text = _PLAIN.get(annotation) or str(getattr(annotation, "__name__", annotation))
    bounds = [
        words.format(cell(str(getattr(item, key))))
        for item in metadata
        for key, words in _BOUNDS.items()
        if getattr(item, key, None) is not None
    ]
    return ", ".join([text, *bounds])


def _link(part: type[BaseModel], file: str) -> str:
    """A link to the section that lists a part's keys."""
    if part is Source:
        return "[source](sources.md)"
    if part is Filter:
        return "[filter](filters.md)"
    if part is Reward:
        return " or ".join(_link(reward_class(kind), file) for kind in REWARDS)
    for page in pages():
        for section in page.sections:
            if section.part is part:
                anchor = f"#{slug(section.title)}"
                return f"[{part.__name__}]({anchor if page.file == file else page.file + anchor})"
    raise KeyError(part)


def slug(heading: str) -> str:
    """The anchor of a heading, as Python-Markdown and code hosts make it."""
    kept = "".join(c for c in heading.lower().replace("`", "") if c.isalnum() or c in " -_")
    return kept.strip().replace(" ", "-")


def meaning(field: FieldInfo) -> str:
    """What a key is for: its own description, or that of the section it opens."""
    kind = field.annotation
    section = isinstance(kind, type) and issubclass(kind, BaseModel)
    return field.description or ((inspect.getdoc(kind) or "").split("\n\n")[0] if section else "")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True) if field.default_factory else field.default
    if value is PydanticUndefined or isinstance(value, BaseModel):
        return "its own defaults"
    text = json.dumps(value, default=sorted, ensure_ascii=False)
    return cell(f"`{text}`")


_LISTED = re.compile(r"^(\S+) {2,}(.+)$")


def prose(part: type[BaseModel]) -> str:
    """A docstring as Markdown: paragraphs, and lists where lines are "name  meaning"."""
    paragraphs = []
    for text in (inspect.getdoc(part) or "").split("\n\n"):
        lines = re.sub(r"\n +", " ", text).splitlines()  # an indented line continues one
        listed = [_LISTED.match(line) for line in lines]
        if all(listed):
            items = [wrap(f"- `{line[1]}`: {line[2]}", "  ") for line in listed if line]
            paragraphs.append("\n".join(items))
        else:
            paragraphs.append(wrap(cell(text).replace("\\|", "|")))
    return "\n\n".join(paragraphs)


def wrap(text: str, indent: str = "") -> str:
    """A paragraph in lines of at most 110 characters, `indent` before all but the first.

    A code span or a link stays on one line.
    """
    whole = re.sub(r"`[^`]*`|\[[^\]]*\]\([^)]*\)", lambda part: part[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(
        whole,
        110,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace("\0", " ")


def cell(text: str) -> str:
    """A text as one table cell. Outside code spans `<` would open an HTML tag."""
    spans = " ".join(text.split()).replace("|", "\\|").split("`")
    spans[::2] = [span.replace("<", "&lt;") for span in spans[::2]]
    return "`".join(spans)
