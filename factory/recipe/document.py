"""YAML documents that record the place of every value, so that errors name file and line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from factory.core.errors import Problem, RecipeError
from factory.core.plugins import suggest
from factory.core.resources import data_path, named_path, recipe_path

Loc = tuple[str | int, ...]

SHIPPED = "factory:"
"""Begins the name of a recipe or a data file that comes with the factory."""

PATH_KEYS = {"path", "exemplars", "replay", "recipe", "class", "data", "request", "python"}
"""Keys whose values are paths. Relative paths are resolved against the file with the key."""

EVALUATION_FILES = (".txt", ".jsonl", ".parquet", ".npz")
"""Suffixes that mark a string in a contamination filter's `against` as a file, not a Hub id."""

NAMED = frozenset({"filters", "rewards", "quotas"})
"""Keys of mappings whose own keys are names: there, null removes what an extended recipe has."""

VARIABLE_KEYS = PATH_KEYS | {
    *("model", "id", "revision", "tokenizer", "start", "reward_model", "against"),
    *("url", "urls", "base_url", "address", "launch", "notify", "store"),
}
"""Keys in which `${NAME}` is an environment variable: places, models and addresses. What else a
recipe says is published with the corpus, and reads nothing from the environment."""

_VARIABLE = re.compile(r"(\$?)\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|(^|_)(API_?)?KEY(_|$)", re.IGNORECASE)

MAX_BYTES = 8 << 20
MAX_VALUES = 200_000
"""A larger recipe is refused: YAML's aliases make terabytes of a few lines."""


class _Yaml(yaml.SafeLoader):
    """Safe YAML in which 1e-5 is a number, unlike in YAML 1.1."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"),
    [*"-+0123456789"],
)


@dataclass
class Document:
    """Plain data, with the place (file and line) of every key and item."""

    data: dict[str, Any]
    places: dict[Loc, str] = field(default_factory=dict)

    def place(self, loc: Loc) -> str:
        """Return the place of `loc`, or of the innermost mapping that should contain it."""
        for end in range(len(loc), -1, -1):
            if loc[:end] in self.places:
                return self.places[loc[:end]]
        return ""


def load_document(path: Path, assignments: Iterable[str] = ()) -> Document:
    """Read a recipe file, resolve `extends` and apply the assignments of `--set`.

    Raises RecipeError that lists all problems.
    """
    problems: list[Problem] = []
    found = find_recipe(path)
    if not found.exists() and found == path:
        hint = suggest(path, _shipped_names())
        raise RecipeError([Problem(str(path), f"is no file and no shipped recipe{hint}")])
    document = _load(found, problems, ())
    if problems:
        raise RecipeError(problems)
    change(document, list(assignments))
    document.places.setdefault((), str(found))
    if not document.data:
        what = "is empty; begin with the recipe that `factory init mine.yaml` writes"
        raise RecipeError([Problem(str(found), what)])
    return document


def read_mapping(data: Mapping[str, Any]) -> Document:
    """A recipe given as a mapping; its relative paths start at the working directory.

    Raises RecipeError, also for a value that YAML does not hold.
    """
    try:
        text = yaml.safe_dump(_plain(data), sort_keys=False, allow_unicode=True)
    except yaml.YAMLError as error:
        what = f"holds a value that a recipe cannot: {error}; use texts, numbers, lists, mappings"
        raise RecipeError([Problem("the recipe", what)]) from None
    problems: list[Problem] = []
    document = _parse(text, Path.cwd() / _MAPPING, problems, ())
    if problems:
        raise RecipeError(problems)
    document.places = {
        loc: place for loc, place in document.places.items() if not place.startswith(_MAPPING)
    }
    return document


_MAPPING = "<mapping>"
"""Stands for the file of a recipe that is none."""


def _plain(value: Any) -> Any:
    """Paths as texts and tuples as lists, all through a recipe's data."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def find_recipe(path: Path) -> Path:
    """A recipe's file: the one at `path`, or the shipped one of that name.

    `quickstart`, `r1/corpus` and `factory:quickstart.yaml` name shipped ones.
    """
    name = str(path)
    if path.is_file() or not _SHIPPED.fullmatch(name):
        return path
    shipped = recipe_path(f"{name.removeprefix('factory:').removesuffix('.yaml')}.yaml")
    named = name.startswith("factory:") or not name.endswith(".yaml")
    return shipped if named and shipped.is_file() else path


def _shipped_names() -> list[str]:
    folder = recipe_path("")
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")
    )


_SHIPPED = re.compile(r"(factory:)?[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)*")


def change(document: Document, overrides: Mapping[str, Any] | Iterable[str]) -> None:
    """Change keys of a document: dotted keys and their values, or `key.path=value` strings.

    Raises RecipeError.
    """
    if isinstance(overrides, Mapping):
        for dotted, value in overrides.items():
            _assign(document, dotted, _plain(value), f"overrides {dotted}")
        return
    for assignment in overrides:
        override(document, assignment)


def override(document: Document, assignment: str) -> None:
    """Apply one `--set key.path=value`. The value is YAML; list items are addressed by number."""
    dotted, equals, text = assignment.partition("=")
    if not equals or not dotted:
        what = "has no value; write it as key.path=value"
        raise RecipeError([Problem(f"--set {assignment}", what)])
    try:
        value = _Yaml(text).get_single_data()
    except _UNREADABLE as error:
        raise RecipeError(
            [Problem(f"--set {dotted}", f"is {text!r}, which YAML cannot read; quote a text")]
        ) from error
    _assign(document, dotted, _from_here(value, (*dotted.split("."),)), f"--set {dotted}")


def _from_here(value: Any, loc: Loc) -> Any:
    """A value of `--set` whose paths start at the working directory, not at a recipe."""
    if isinstance(value, dict):
        return {key: _from_here(item, (*loc, str(key))) for key, item in value.items()}
    if isinstance(value, list):
        return [_from_here(item, (*loc, number)) for number, item in enumerate(value)]
    own = isinstance(value, str) and _Builder.is_path(loc, value) and not value.startswith(SHIPPED)
    return os.path.abspath(os.path.expanduser(value)) if own else value


def _assign(document: Document, dotted: str, value: Any, place: str) -> None:
    keys: list[str | int] = [int(key) if key.isdigit() else key for key in dotted.split(".")]
    target: Any = document.data
    for depth, key in enumerate(keys[:-1]):
        if isinstance(target, dict) and not isinstance(target.get(key), dict | list):
            target[key] = {}
        target = _get_child(target, key, keys[: depth + 1], place)
    if isinstance(target, list):
        _get_child(target, keys[-1], keys, place)
    had = isinstance(target, dict) and keys[-1] in target
    target[keys[-1]] = value
    loc = tuple(keys)
    for stale in [known for known in document.places if known[: len(loc)] == loc]:
        del document.places[stale]
    if value is None and len(keys) > 1 and keys[-2] in NAMED and had:
        del target[keys[-1]]
    else:
        document.places |= dict.fromkeys(_iterate_locs(value, loc), place)


def _iterate_locs(value: Any, loc: Loc) -> Iterator[Loc]:
    """Yield the location of a value and of everything in it."""
    yield loc
    listed = enumerate(value) if isinstance(value, list) else ()
    for key, item in value.items() if isinstance(value, dict) else listed:
        yield from _iterate_locs(item, (*loc, key))


def _get_child(target: Any, key: str | int, keys: list[str | int], place: str) -> Any:
    try:
        return target[key]
    except (IndexError, KeyError, TypeError):
        where = ".".join(map(str, keys))
        raise RecipeError([Problem(place, f"names {where}, which does not exist")]) from None


def _load(path: Path, problems: list[Problem], chain: tuple[Path, ...]) -> Document:
    path = path.resolve()
    if path in chain:
        problems.append(Problem(str(_relative_path(path)), "extends itself; remove the cycle"))
        return Document({})
    try:
        if path.stat().st_size > MAX_BYTES:
            what = f"is larger than {MAX_BYTES >> 20} MiB; a recipe names its data by path"
            problems.append(Problem(str(_relative_path(path)), what))
            return Document({})
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        what = f"is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        problems.append(Problem(str(_relative_path(path)), what))
        return Document({})
    except OSError as error:
        problems.append(Problem(str(_relative_path(path)), f"cannot be read: {error}"))
        return Document({})
    return _parse(text, path, problems, chain)


def _parse(text: str, path: Path, problems: list[Problem], chain: tuple[Path, ...]) -> Document:
    """A file's text and everything it `extends` as one document."""
    try:
        root = yaml.compose(text, Loader=_Yaml)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}" if mark else ""
        problems.append(Problem(f"{_relative_path(path)}{line}:", f"is not YAML: {error.problem}"))
        return Document({})
    except yaml.reader.ReaderError as error:
        at = f"{_relative_path(path)}:{text.count(chr(10), 0, error.position) + 1}:"
        what = f"has the character {chr(error.character)!a}, which YAML does not allow; remove it"
        problems.append(Problem(at, what))
        return Document({})
    except RecursionError:
        problems.append(Problem(f"{_relative_path(path)}:", "is nested too deeply"))
        return Document({})
    if root is None:
        root = yaml.MappingNode("tag:yaml.org,2002:map", [])
    if not isinstance(root, yaml.MappingNode):
        what = "must be a mapping of keys to values"
        problems.append(Problem(f"{_relative_path(path)}:1:", what))
        return Document({})
    own = Document({})
    try:
        own.data = _Builder(path, own.places, problems).mapping(root, ())
    except _TooLarge:
        what = f"expands to more than {MAX_VALUES:,} values; its aliases repeat too much"
        problems.append(Problem(f"{_relative_path(path)}:", what))
        return Document({})
    # Keys that begin with x- are a home for anchors; nothing reads them.
    own.data = {key: value for key, value in own.data.items() if not key.startswith("x-")}
    bases = own.data.pop("extends", [])
    merged = Document({})
    for base in [bases] if isinstance(bases, str) else bases:
        _merge(merged, _load(_base(path, str(base)), problems, (*chain, path)))
    _merge(merged, own)
    return merged


def _base(path: Path, name: str) -> Path:
    """What a recipe extends: a file next to it, or a shipped recipe, `factory:quickstart.yaml`."""
    return find_recipe(Path(name)) if name.startswith(SHIPPED) else path.parent / name


_UNREADABLE = (yaml.YAMLError, ValueError, AttributeError, KeyError, RecursionError)
"""What PyYAML raises for a value that it cannot read; `!!bool maybe` is a KeyError."""


class _TooLarge(Exception):
    """A document that expands to too many values."""


class _Builder:
    """Converts a YAML node tree to plain data, records places and expands variables.

    Raises _TooLarge past MAX_VALUES. An alias within its own anchor is a problem like any other.
    """

    def __init__(self, path: Path, places: dict[Loc, str], problems: list[Problem]) -> None:
        self.path, self.places, self.problems = path, places, problems
        self.scalars = yaml.SafeLoader("")
        self.values = 0
        self.open: set[int] = set()  # the nodes that are being converted

    def mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                what = "is a merge key; recipes have none: write its keys out, or use extends"
                self._problem((*loc, "<<"), key_node, what)
                continue
            is_word = key_node.tag.endswith(":bool")  # YAML 1.1 reads the key `on` as true
            key = key_node.value if is_word else str(self._read(key_node, loc))
            here = (*loc, key)
            if key in found:
                self._problem(here, key_node, "is given twice; keep one")
            found[key] = self._value(value_node, here)
            self.places[here] = self._place(key_node)  # a block's value starts one line below
        return found

    def _value(self, node: yaml.Node, loc: Loc) -> Any:
        self.values += 1
        if self.values > MAX_VALUES:
            raise _TooLarge
        self.places[loc] = self._place(node)
        if not isinstance(node, yaml.ScalarNode):
            if id(node) in self.open:
                self._problem(loc, node, "is an alias of what contains it; write it out")
                return None
            self.open.add(id(node))
            try:
                if isinstance(node, yaml.MappingNode):
                    return self.mapping(node, loc)
                return [self._value(item, (*loc, i)) for i, item in enumerate(node.value)]
            finally:
                self.open.discard(id(node))
        value = self._read(node, loc)
        if isinstance(value, str):
            value = self._expand(value, loc, node)
            if self.is_path(loc, value):
                value = self._resolve(value, loc, node)
        return value

    def _read(self, node: yaml.Node, loc: Loc) -> Any:
        try:
            return self.scalars.construct_object(node, deep=True)
        except _UNREADABLE:
            kind = node.tag.rpartition(":")[2].lstrip("!")
            self._problem(loc, node, f"is {node.value!r}, which is no {kind}; quote a text")
            return None

    def _resolve(self, value: str, loc: Loc, node: yaml.Node) -> str:
        if loc[-1:] == ("path",) and value.startswith(SHIPPED):
            return self._resolve_shipped(value, loc, node)
        try:
            return str(named_path(self.path.parent, value))
        except RuntimeError as error:
            self._problem(loc, node, f"is {value!r}: {error}")
            return value

    def _resolve_shipped(self, value: str, loc: Loc, node: yaml.Node) -> str:
        """Return the path of `factory:prompts/…`, a data file that comes with the factory."""
        root = data_path("")
        found = (root / value.removeprefix(SHIPPED)).resolve()
        if not found.is_file() or not found.is_relative_to(root.resolve()):
            self._problem(loc, node, f"is {value!r}; no such file comes with the factory")
        return str(found)

    def _expand(self, value: str, loc: Loc, node: yaml.Node) -> str:
        keys = [key.rpartition(".")[2] for key in loc if isinstance(key, str)]
        expanded = bool(keys) and keys[-1] in VARIABLE_KEYS

        def substitute(match: re.Match[str]) -> str:
            escaped, name, default = match.groups()
            if escaped:
                return match.group(0)[1:]
            known = os.environ.get(name, default)
            if _SECRET.search(name):
                what = (
                    f"uses ${{{name}}}, which looks like a secret: it would be written into the run"
                )
                what += " and published. Name the variable by `api_key_env` where a key is needed"
            elif not expanded:
                what = f"uses ${{{name}}}, but variables stand only in paths, models and addresses"
                what += f"; write the value, or $${{{name}}} for the text itself"
            elif known is None:
                what = (
                    f"uses ${{{name}}}, which is not set; export it or write ${{{name}:-default}}"
                )
            else:
                return known
            self._problem(loc, node, what)
            return match.group(0)

        return _VARIABLE.sub(substitute, value)

    @staticmethod
    def is_path(loc: Loc, value: str) -> bool:
        # A pipeline's `set` has dotted keys, and values "@step/…" that name outputs of its steps.
        keys = [key.rpartition(".")[2] for key in loc if isinstance(key, str)]
        if "://" in value or value[:1] in ("", "@"):
            return False
        named = keys in (["exclude"], ["against"]) or bool(PATH_KEYS.intersection(keys[-1:]))
        # These may also be a Hub id or the name of a shipped file.
        local = keys[-1:] in (["model"], ["template"], ["start"]) and value.startswith((".", "~"))
        evaluation_set = keys[-1:] == ["against"] and value.endswith(EVALUATION_FILES)
        return named or local or evaluation_set

    def _place(self, node: yaml.Node) -> str:
        return f"{_relative_path(self.path)}:{node.start_mark.line + 1}"

    def _problem(self, loc: Loc, node: yaml.Node, what: str) -> None:
        self.problems.append(Problem(f"{self._place(node)}: {dotted(loc)}", what))


def dotted(loc: Loc) -> str:
    return ".".join(map(str, loc))


def _merge(base: Document, over: Document) -> None:
    """Merge `over` into `base`: mappings are merged key by key, other values are replaced."""

    def merge(below: dict[str, Any], above: Mapping[str, Any], loc: Loc) -> None:
        for key, value in above.items():
            here = (*loc, key)
            if isinstance(value, dict) and isinstance(below.get(key), dict):
                merge(below[key], value, here)
                continue
            for stale in [known for known in base.places if known[: len(here)] == here]:
                del base.places[stale]
            if value is None and loc[-1:] and loc[-1] in NAMED and key in below:
                del below[key]
                continue
            below[key] = value

    merge(base.data, over.data, ())
    base.places.update(over.places)


def _relative_path(path: Path) -> Path:
    """Return the path relative to the current directory if possible."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
