"""Python projects of the user's: what is their package, what are their tests, whose licence."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from factory.core.errors import SourceError
from factory.core.resources import cache_dir
from factory.core.trust import require_build
from filters.verify.repository.paths import is_test
from filters.verify.repository.snapshots import SnapshotError, pack_folder, read_snapshot

PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*")
_MARKERS = ("pyproject.toml", "setup.py", "setup.cfg")
_NO_PACKAGE = frozenset(
    {"docs", "doc", "examples", "example", "benchmarks", "benchmark", "scripts", "tools"}
)
_NO_MODULE = frozenset(
    {"setup.py", "tasks.py", "noxfile.py", "fabfile.py", "manage.py", "versioneer.py"}
)
_CLASSIFIERS = {
    "MIT License": "MIT",
    "BSD License": "BSD",
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
}
_LONGEST_LICENSE = 40


@dataclass(frozen=True, slots=True)
class Project:
    """A project, in the store of snapshots."""

    name: str
    snapshot: str
    packages: tuple[str, ...]  # folders or files, relative to the project
    paths: tuple[str, ...]  # where its package is imported from
    license: str | None

    def files(self) -> dict[str, str]:
        """The Python files of the package by path, without its tests."""
        texts = {}
        for path, content in read_snapshot(self.snapshot).items():
            if not path.endswith(".py") or is_test(path):
                continue
            if any(path == package or path.startswith(f"{package}/") for package in self.packages):
                try:
                    texts[path] = content.decode()
                except UnicodeDecodeError:
                    continue
        return texts


def find_projects(folder: Path) -> list[Project]:
    """The project in a folder, or those in the folders right below it. Raises SourceError."""
    if not folder.is_dir():
        raise SourceError(f"{folder} is no folder; name the folder of one Python project or more")
    found = [folder] if _is_project(folder) else sorted(filter(_is_project, folder.iterdir()))
    if not found:
        raise SourceError(
            f"{folder}: no Python project there or right below: none has {', '.join(_MARKERS)}"
        )
    return [read_project(path) for path in found]


def fetch_project(requirement: str) -> Project:
    """The project of a source distribution, fetched by pip once. Raises SourceError."""
    digest = hashlib.sha256(requirement.encode()).hexdigest()[:16]
    kept = cache_dir() / "sdists" / digest
    archives = sorted(kept.glob("*.tar.gz")) if kept.is_dir() else []
    if not archives:
        _download(requirement, kept)
        archives = sorted(kept.glob("*.tar.gz"))
    if len(archives) != 1:
        raise SourceError(
            f"{requirement}: pip gave {len(archives)} source distributions (.tar.gz); "
            "name a version that has one"
        )
    with tempfile.TemporaryDirectory() as folder:
        try:
            with tarfile.open(archives[0]) as archive:
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, OSError) as error:
            raise SourceError(f"{archives[0]} cannot be unpacked: {error}; remove it") from error
        (unpacked,) = (path for path in Path(folder).iterdir() if path.is_dir())
        return read_project(unpacked, name=requirement.partition("==")[0])


def read_project(folder: Path, name: str | None = None) -> Project:
    """A project as its folder says. Raises SourceError."""
    metadata = _metadata(folder)
    packages = tuple(_find_packages(folder))
    if not packages:
        raise SourceError(f"{folder}: no package there: no folder with __init__.py, no module")
    try:
        snapshot = pack_folder(folder)
    except (SnapshotError, OSError) as error:
        raise SourceError(f"{folder}: {error}") from error
    return Project(
        name=name or str(metadata.get("name") or folder.name),
        snapshot=snapshot,
        packages=packages,
        paths=("src",) if any(package.startswith("src/") for package in packages) else (".",),
        license=_license(folder, metadata),
    )


def _is_project(folder: Path) -> bool:
    return folder.is_dir() and any((folder / marker).is_file() for marker in _MARKERS)


def _download(requirement: str, folder: Path) -> None:
    """Have pip fetch one source distribution without what it requires."""
    refused = require_build(requirement)
    if refused is not None:
        raise SourceError(f"sdists: {refused}")
    name = requirement.partition("==")[0]
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", name, "--dest", str(folder), requirement]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        last = done.stderr.strip().rpartition("\n")[2]
        raise SourceError(
            f"sdists: pip could not fetch {requirement}: {last}; or unpack its source "
            "distribution yourself and name the folder as `path`"
        )


def _find_packages(folder: Path) -> Iterator[str]:
    for base in (folder / "src", folder):
        found = False
        for path in sorted(base.iterdir()) if base.is_dir() else []:
            if path.name.startswith((".", "_")) or path.is_symlink():
                continue
            place = path.relative_to(folder).as_posix()
            if path.is_dir() and (path / "__init__.py").is_file():
                if path.name not in _NO_PACKAGE and not is_test(f"{place}/__init__.py"):
                    found = True
                    yield place
            elif path.suffix == ".py" and path.name not in _NO_MODULE and not is_test(place):
                found = True
                yield place
        if found:
            return


def _metadata(folder: Path) -> Mapping[str, Any]:
    try:
        text = (folder / "pyproject.toml").read_text(encoding="utf-8")
        project = tomllib.loads(text).get("project", {})
    except (OSError, ValueError):
        return {}
    return project if isinstance(project, Mapping) else {}


def _license(folder: Path, metadata: Mapping[str, Any]) -> str | None:
    """What the project says: PKG-INFO's expression, its field, its classifier; pyproject.toml."""
    found: list[Any] = []
    classifiers = metadata.get("classifiers")
    names = [str(name) for name in classifiers] if isinstance(classifiers, list) else []
    if (folder / "PKG-INFO").is_file():
        headers = HeaderParser().parsestr((folder / "PKG-INFO").read_text(errors="replace"))
        found += [headers.get("License-Expression"), headers.get("License")]
        names += headers.get_all("Classifier") or []
    stated = metadata.get("license")
    found += [stated.get("text") if isinstance(stated, Mapping) else stated]
    found += [_CLASSIFIERS.get(name.rpartition(" :: ")[2]) for name in names]
    for text in found:
        if isinstance(text, str) and 0 < len(text.strip()) <= _LONGEST_LICENSE:
            return text.strip()
    return None
