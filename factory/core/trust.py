"""Whether a file's code may run: only code that the user has trusted, by its content.

A recipe may name a class in a file. Before such a file runs it must be one of

- shipped with the project (recipes/),
- trusted for this process: `--trust-code`, FACTORY_TRUST_CODE=1, or `trust_code=True`,
- trusted before, in exactly this version: its path and content are remembered in the cache,
- trusted now, where a terminal can be asked.

Everything else is refused. A file that changes is another file and is asked for again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from factory.core.resources import cache_dir, recipe_path

VARIABLE = "FACTORY_TRUST_CODE"
_GRANTED = "FACTORY_TRUSTED_HASHES"
"""Hashes that were trusted in this process. In the environment, so that workers know them."""

_REMEDY = f"read it, then give --trust-code (Python: trust_code=True; CI: {VARIABLE}=1)"


class Code(NamedTuple):
    """Code that is about to run: a version of a file, or of a model's own code."""

    place: str  # the file
    what: str  # "class Name", as the recipe names it
    hash: str

    def describe(self) -> str:
        return f"{self.place} ({self.what}, content {self.hash[:12]})"


ask: Callable[[Code], bool] | None = None
"""Asks the user about code. The command line sets it where there is a terminal."""

say: Callable[[str], None] | None = None
"""Says what code is about to run. The command line sets it."""

_declined: set[str] = set()
_said: set[str] = set()


def require(path: Path, text: str, what: str) -> str | None:
    """Return None if a file may run, else why not. `text` is the file's content.

    Asks at most once about each version of a file, and remembers a yes.
    """
    path = path.resolve()
    code = Code(str(path), what, _hash(str(path), text))
    if path.is_relative_to(recipe_path("").resolve()) or _may_run(code):
        return None
    return f"{code.describe()} is code that is not trusted yet; {_REMEDY}"


def require_model(model: str, revision: str | None) -> str | None:
    """Return None if a model's own code (`trust_remote_code`) may run, else why not."""
    folder, texts = Path(model), [model, revision or ""]
    if folder.is_dir():
        files = sorted(folder.rglob("*.py"))
        texts += [text for file in files for text in (file.name, _read(file))]
    code = Code(model, "trust_remote_code", _hash(*texts))
    if _may_run(code):
        if say is not None and code.hash not in _said:
            say(
                f"the code of the model {model} runs with all your rights (trust_remote_code: true)"
            )
            _said.add(code.hash)
        return None
    return f"the code in {code.describe()} is not trusted yet; {_REMEDY}"


def require_program(program: str, *arguments: str) -> str | None:
    """Return None if a program that a recipe names may run with these arguments, else why not."""
    code = Code(program, "a program that the recipe starts", _hash("program", program, *arguments))
    if _may_run(code):
        return None
    return f"{code.describe()} is code that is not trusted yet; {_REMEDY}"


def require_build(place: str) -> str | None:
    """Return None if the build script of a source distribution may run, else why not.

    Tools that fetch one run it to learn its metadata.
    """
    code = Code(place, "a source distribution's build script", _hash("sdist", place))
    if _may_run(code):
        return None
    return f"{code.describe()} is code that is not trusted yet; {_REMEDY}"


def is_trusted(path: Path) -> bool:
    """Whether a file may run in its present version. Never asks."""
    path = path.resolve()
    found = _hash(str(path), _read(path))
    shipped = path.is_relative_to(recipe_path("").resolve())
    return shipped or _everything() or _is_granted(found) or _is_remembered(found)


def trust_file(path: Path) -> None:
    """Trust the present version of a file for this process: the user named the file itself."""
    path = path.resolve()
    if path.is_file():
        _grant(_hash(str(path), _read(path)))


def remember_own(path: Path) -> None:
    """Remember a file that this process wrote itself, in its present version."""
    path = path.resolve()
    _remember(Code(str(path), "written here", _hash(str(path), _read(path))))


def trust_everything() -> None:
    """Trust all code that this process and its workers are about to load: `--trust-code`."""
    os.environ[VARIABLE] = "1"


@contextmanager
def trusting(everything: bool) -> Iterator[None]:
    """Trust all code that is loaded in the block; what was loaded stays trusted in this process."""
    before = os.environ.get(VARIABLE)
    if everything:
        trust_everything()
    try:
        yield
    finally:
        if everything:
            del os.environ[VARIABLE]
            os.environ |= {VARIABLE: before} if before is not None else {}


def granted() -> str:
    """What this process trusts, for workers that do not inherit its environment."""
    return "everything" if _everything() else os.environ.get(_GRANTED, "")


def accept(given: str) -> None:
    """Trust what the process that started this worker trusts: its `granted`."""
    if given == "everything":
        trust_everything()
    for found in given.split():
        _grant(found)


def _may_run(code: Code) -> bool:
    if _everything() or _is_granted(code.hash) or _is_remembered(code.hash):
        _grant(code.hash)
        return True
    if ask is None or code.hash in _declined:
        return False
    if not ask(code):
        _declined.add(code.hash)
        return False
    _grant(code.hash)
    _remember(code)
    return True


def _hash(*texts: str) -> str:
    found = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogateescape")
        found.update(len(data).to_bytes(8, "big") + data)
    return found.hexdigest()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _everything() -> bool:
    return os.environ.get(VARIABLE, "").lower() in ("1", "true", "yes")


def _is_granted(found: str) -> bool:
    return found in os.environ.get(_GRANTED, "").split()


def _grant(found: str) -> None:
    if not _is_granted(found):
        os.environ[_GRANTED] = f"{os.environ.get(_GRANTED, '')} {found}".strip()


def _folder() -> Path:
    return cache_dir() / "trusted"


def _is_remembered(found: str) -> bool:
    """A record counts only if this user wrote it: a cache may be shared."""
    with suppress(OSError):
        return (_folder() / found).lstat().st_uid == os.getuid()
    return False


def _remember(code: Code) -> None:
    with suppress(OSError):  # then it is asked again next time
        _folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        (_folder() / code.hash).write_text(f"{code.place}\n{code.what}\n", encoding="utf-8")
