"""The filters of a run that is only looked at: nothing that its recipe names is run.

A filter of a user's own is code. Its metrics and decisions are on disk, so a run is shown without
it: a `Recorded` stands for such a filter. Its limits are in its code, and are not shown.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from factory.core import trust
from factory.core.errors import RunError
from factory.core.plugins import PluginError, is_known
from factory.core.yaml_files import read_yaml
from factory.judging.metrics import TextHash, metrics_folder
from factory.judging.verdicts import METRICS_KEYS
from factory.recipe.build import refuse_assembly
from filters import FILTERS, GROUP, filter_class
from filters.base import Filter, Rule


class Recorded(Filter):
    """A filter whose class is not loaded. It shows what it measured before, and decides nothing."""

    reference: str
    options: dict[str, Any]
    key: str

    def cache_key(self) -> str:
        return self.key

    def rules(self) -> list[Rule]:
        return []

    def measure(self, samples: pl.DataFrame) -> pl.DataFrame:
        raise RunError(f"its class {self.reference} is not loaded: its code is not trusted")

    def load(self) -> Filter:
        """The real filter if its code is trusted already, else this one. Asks nobody."""
        if not trust.is_trusted(Path(self.reference.rpartition(":")[0])):
            return self
        try:
            return filter_class(self.reference).model_validate(self.options)
        except (PluginError, ValidationError):
            return self


def read_filters(run: Path) -> tuple[dict[str, Filter], list[str]]:
    """Return the filters of a run without running any code of its own, and what is amiss.

    They are read one by one, so that an unknown one does not hide the others.
    """
    filters: dict[str, Filter] = {"text": TextHash()}
    try:
        given = dict(read_yaml(run / "recipe.yaml")["filters"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        return filters, [f"recipe.yaml: {describe_damage(error)}"]
    missing = []
    for name, fields in given.items():
        place = f"recipe.yaml: filters.{name}"
        try:
            own = dict(fields or {})
            reference = own.pop("class", None)
            if reference is not None:
                key = _recorded_key(run, str(name))
                made = Recorded(reference=str(reference), options=own, key=key)
                filters[name] = made
                missing.append(
                    f"{place}: {made.reference} is code and is not loaded to show a run; its "
                    "metrics and decisions are shown as stored, without its limits"
                )
            elif is_known(FILTERS, name, GROUP):
                filters[name] = filter_class(name).model_validate(own)
            else:
                missing.append(f"recipe.yaml: this version has no filter {name}")
        except (PluginError, TypeError) as error:
            missing.append(f"{place}: {error}")
        except ValidationError as error:
            first = error.errors()[0]
            at = ".".join(map(str, first["loc"]))
            missing.append(f"{place}.{at}: {first['msg']}")
    return filters, missing


def open_filters(run: Path) -> tuple[dict[str, Filter], list[str]]:
    """`read_filters` of a run that has samples. Raises RunError for any other folder."""
    if not (run / "recipe.yaml").exists():
        raise RunError(f"{run} is not a run directory: it has no recipe.yaml")
    refuse_assembly(run)
    return read_filters(run)


def stored_folder(run: Path, name: str, filter_: Filter) -> Path:
    """Return the folder of a filter's metrics for a run that is only looked at.

    It is the one that a build would use or, where that is not there, the one that the run's
    verdicts were made with: an older version of the filter measured otherwise, and `correctness`
    has another key while a verifier of the user's own is not loaded.
    """
    folder = metrics_folder(run, name, filter_)
    return folder if folder.is_dir() else recorded_folder(run, name)


def recorded_folder(run: Path, name: str) -> Path:
    """Return the folder of the metrics that a run's verdicts were made with."""
    return run / "metrics" / f"{name}-{_recorded_key(run, name)}"


def describe_damage(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "not there"
    return f"cannot be read ({str(error).splitlines()[0][:160]})" if str(error) else repr(error)


def _recorded_key(run: Path, name: str) -> str:
    """The key of a filter's stored metrics: the one that the verdicts were made with.

    Without that record the only key there is; "unknown" where there are several or none.
    """
    try:
        found = json.loads((run / METRICS_KEYS).read_text(encoding="utf-8"))[name]
    except (OSError, ValueError, TypeError, KeyError):
        pattern = re.compile(rf"{re.escape(name)}-([0-9a-f]+)")
        folders = (run / "metrics").glob("*")
        keys = [match[1] for folder in folders if (match := pattern.fullmatch(folder.name))]
        found = keys[0] if len(keys) == 1 else ""
    return found if isinstance(found, str) and re.fullmatch(r"[0-9a-f]+", found) else "unknown"
