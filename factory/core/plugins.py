"""How things are found by name: what tables hold, and what a user's own files do."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any


def look_up(reference: str) -> Any:
    """What "package.module:attribute" names; its module is imported now.

    Tables name by path, so that asking for one thing imports one thing.
    """
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)


def own_module(path: Path) -> ModuleType:
    """A file of the user's own as a module, run once: it is code, to be trusted as code is.

    Raises ImportError, saying what in the file failed.
    """
    name = f"own_{path.stem}_{abs(hash(path.resolve())):x}"
    module = sys.modules.get(name)
    if module is not None:
        return module
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks a class's module up while it is being made
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's file may raise anything
        del sys.modules[name]
        raise ImportError(f"{path} fails: {type(error).__name__}: {error}") from error
    return module
