"""How things are found by name: shipped tables, installed packages, and a user's own files.

A table holds what ships. An installed package adds to it by an entry point of the table's group
(`factory.filters`, …); a user's own file by a reference `path/to/file.py:Class`. Both are code: a
name in a recipe is what runs them, and never a row of data. A file runs only once it is trusted
(`factory.core.trust`).
"""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TypeVar

from factory.core import trust
from factory.core.nouns import fingerprint

Base = TypeVar("Base")


class PluginError(ValueError):
    """What a name stands for cannot be loaded; the message names file, class and remedy."""


class UntrustedCode(PluginError):
    """A file holds code that the user has not trusted; nothing of it was run."""


def look_up(reference: str) -> Any:
    """What "package.module:attribute" names; its module is imported now.

    Tables name by path, so that asking for one thing imports one thing.
    """
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)


def find_class(
    table: Mapping[str, str], name: str, base: type[Base], group: str, *, files: bool = True
) -> type[Base]:
    """The class that `name` stands for; it has `base` as its base class or fits it as a protocol.

    `name` is a key of `table` ("package.module:Class" by name), the name of an entry point in
    `group`, or a reference `path/to/file.py:Class`, whose file is run now. What ships wins over an
    entry point of the same name. A class that is not shipped gets two attributes: `REFERENCE`, the
    name that finds it again in another process, and `SOURCE`, a hash of its module's text. Without
    `files` a reference is refused: for names that come from rows of data, which may run no file.

    Raises PluginError.
    """
    if name in table:
        shipped: type[Base] = look_up(table[name])
        return shipped
    if files and _is_reference(name):
        file, _, attribute = name.rpartition(":")
        return _own_class(Path(file), attribute, base)
    return _installed_class(table, name, base, group)


def is_known(table: Mapping[str, str], name: object, group: str) -> bool:
    """True for a name in the table or of an entry point; loads nothing."""
    return isinstance(name, str) and (name in table or bool(entry_points(group=group, name=name)))


def known_names(table: Mapping[str, str], group: str) -> list[str]:
    """Every name that `find_class` knows: the table's, then those of installed packages."""
    return list(dict.fromkeys((*table, *sorted(entry_points(group=group).names))))


def find_function(reference: str) -> Any:
    """A function in a user's own file, `path/to/file.py:function`. Raises PluginError."""
    file, colon, attribute = reference.rpartition(":")
    if not colon or not Path(file).is_file():
        raise PluginError(_form("function"))
    found = getattr(own_module(Path(file), f"function {attribute}"), attribute, None)
    if not callable(found):
        raise PluginError(f"{file} has no function {attribute}{_defined(Path(file), callable)}")
    return found


def own_module(path: Path, what: str) -> ModuleType:
    """A user's own file as a module. It is run once for each text that it has had.

    `what` says which part of the file is wanted, for the question whether to trust it. Raises
    UntrustedCode where it is not trusted, else PluginError that says what in the file failed.
    """
    try:
        path = path.resolve()
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise PluginError(f"{path} cannot be read ({error}); {_form('class')}") from None
    name = f"own_{path.stem}_{fingerprint([str(path), text], 12)}"
    if name in sys.modules:
        return sys.modules[name]
    if refusal := trust.require(path, text, what):
        raise UntrustedCode(refusal)
    loader = _TextLoader(name, path, text)
    spec = spec_from_loader(name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks a class's module up while it is being made
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's file may raise anything
        del sys.modules[name]
        what = f"{type(error).__name__}: {error}"
        raise PluginError(f"{path}{line_in(path, error)} fails: {what}") from error
    return module


def suggest(word: object, known: Iterable[str]) -> str:
    """A suggestion, in brackets, where a name is close to a known one."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


class _TextLoader(SourceFileLoader):
    """Runs the very text that was hashed: neither the file of a moment later nor stale bytecode."""

    def __init__(self, name: str, path: Path, text: str) -> None:
        super().__init__(name, str(path))
        self._text = text

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self._text.encode(), self.path)
        return code


def _is_reference(name: str) -> bool:
    return ":" in name or name.endswith(".py")


def _own_class(path: Path, attribute: str, base: type[Base]) -> type[Base]:
    if path.suffix != ".py" or not attribute.isidentifier():
        raise PluginError(_form("class"))
    module = own_module(path, f"class {attribute}")
    found = getattr(module, attribute, None)
    if not isinstance(found, type):
        listing = _defined(path, lambda item: _is_own_class(item, module))
        raise PluginError(f"{path} has no class {attribute}{listing}")
    if not _is_own_class(found, module):
        raise PluginError(
            f"{path} imports {attribute} and does not define it; name the class by where it is "
            "defined, or define a subclass of it in this file"
        )
    _require_base(found, base, f"{path}: class {attribute}")
    return _marked(found, f"{path.resolve()}:{attribute}", path)


def _installed_class(
    table: Mapping[str, str], name: str, base: type[Base], group: str
) -> type[Base]:
    matches = list(entry_points(group=group, name=name))
    if not matches:
        known = known_names(table, group)
        raise PluginError(
            f"{name!r} is unknown; it must be one of {', '.join(known)}{suggest(name, known)}"
        )
    places = {match.value: match for match in matches}
    if len(places) > 1:
        packages = ", ".join(sorted(_package(match) for match in matches))
        raise PluginError(
            f"several installed packages provide {name} as an entry point of {group}: {packages}; "
            "uninstall all but one"
        )
    (match,) = places.values()
    try:
        found = match.load()
    except (Exception, SystemExit) as error:  # an installed package may raise anything
        raise PluginError(
            f"{match.value}, which {_package(match)} provides as {name}, cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error
    where = f"{match.value}, which {_package(match)} provides as {name},"
    if not isinstance(found, type):
        raise PluginError(f"{where} is no class; an entry point of {group} names a class")
    _require_base(found, base, where)
    file = inspect.getsourcefile(found)
    return _marked(found, name, Path(file) if file else None)


def _require_base(found: type, base: type, where: str) -> None:
    """Raises PluginError for a class that is no subclass of `base` and does not fit it."""
    wanted = f"{base.__module__}.{base.__qualname__}"
    if not getattr(base, "_is_protocol", False):
        if not issubclass(found, base):
            raise PluginError(f"{where} is no {wanted}; derive it from that class")
        return
    members = {
        member
        for owner in base.__mro__
        if getattr(owner, "_is_protocol", False)
        for member in (*vars(owner), *vars(owner).get("__annotations__", ()))
        if not member.startswith("_")
    }
    missing = sorted(member for member in members if not hasattr(found, member))
    if missing:
        raise PluginError(f"{where} is no {wanted}: it has no {', '.join(missing)}; add it")


def _marked(found: type[Base], reference: str, file: Path | None) -> type[Base]:
    text = file.read_bytes().decode("utf-8", "replace") if file else reference
    found.SOURCE = fingerprint(text)  # type: ignore[attr-defined]
    found.REFERENCE = reference  # type: ignore[attr-defined]
    return found


def _is_own_class(item: object, module: ModuleType) -> bool:
    return isinstance(item, type) and item.__module__ == module.__name__


def _defined(path: Path, wanted: Any) -> str:
    """What a file has of the kind that was asked for, to pick the right name from."""
    names = [
        name
        for name, item in vars(own_module(path, "")).items()
        if not name.startswith("_") and wanted(item)
    ]
    return f"; it has {', '.join(names)}" if names else ""


_EXAMPLE = {"class": "Class", "function": "function"}


def _form(what: str) -> str:
    return f"name a Python file and a {what} in it, as path/to/file.py:{_EXAMPLE[what]}"


def _package(match: EntryPoint) -> str:
    return f"{match.dist.name} {match.dist.version}" if match.dist else "a package"


def line_in(path: Path, error: BaseException) -> str:
    """ ":12", the last line of the file that an error passed through; "" where it did not."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f":{error.lineno}"
    line, frame = "", error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == str(path):
            line = f":{frame.tb_lineno}"
        frame = frame.tb_next
    return line
