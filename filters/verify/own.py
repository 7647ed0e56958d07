"""Verifiers of the user's own: a class in a Python file, or one that an installed package brings.

    verifier: {class: checks.py:ValidSql, max_rows: 100}     # a file next to the recipe
    verifier: {kind: sqlcheck, max_rows: 100}                # an entry point of factory.verifiers

Such a class is code, to be trusted as code is: only a recipe can name it, never a row of data. It
runs in killable processes with a memory limit, so that what it raises or never finishes is a
verdict (`error`, `timeout`), not the end of a build.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from factory.core.nouns import Message
from factory.core.plugins import PluginError, find_class, known_names
from factory.core.trust import accept, granted
from filters.verify import GROUP
from filters.verify.pool import Outcome, Pool
from filters.verify.verification import State, Verification

Decided = Literal[
    "correct", "wrong", "no_answer", "unparseable", "bad_reference", "unverifiable", "error"
]
_TASK = "filters.verify.own:run"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a verifier knows of a prompt: its reference, its meta (the columns that the source
    `keep`s) and the whole conversation."""

    answer: Any
    meta: Mapping[str, Any]
    messages: Sequence[Message]

    @property
    def question(self) -> str:
        """The last user turn."""
        turns = [turn["content"] for turn in self.messages if turn["role"] == "user"]
        return turns[-1] if turns else ""


class OwnVerifier(BaseModel):
    """Base of a verifier of the user's own. Its fields are its keys in a recipe.

    A subclass gives `verify`, and `check` where a reference can be bad. `VERSION` is raised
    whenever verdicts change, so that cached ones are judged again; a changed file is noticed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    VERSION: ClassVar[int] = 1
    SOURCE: ClassVar[str] = ""  # hash of its module's text, set where it is found
    REFERENCE: ClassVar[str] = ""

    def verify(self, asked: Asked, response: str) -> Verification:
        """The verdict of a response: what follows the closed think section. May raise: `error`."""
        raise NotImplementedError

    def check(self, asked: Asked) -> str | None:
        """What is wrong with a prompt's own reference; None if nothing."""
        return None

    def verdict(
        self, state: Decided, extracted: str | None = None, detail: str | None = None
    ) -> Verification:
        """A verdict: the answer as read, and why in a few words."""
        return Verification(state, extracted, type(self).__name__, detail=detail)


_NAMED: dict[str, str] = {}
"""Verifiers that recipes of this process have named: name in a prompt's mapping → where it is."""


def name_verifier(
    reference: str | None, kind: str | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The mapping of a verifier that a recipe names by file and class, or by entry point: what
    prompts carry, less their own part. Loads the class, as the user asked for. Raises
    PluginError."""
    made = _make(reference or kind or "", options)
    place = name = made.REFERENCE
    if reference is not None:
        file, _, attribute = place.rpartition(":")
        name = f"{Path(file).parent.name}/{Path(file).name}:{attribute}"
    if _NAMED.get(name, place) != place:
        raise PluginError(f"{name} names two files ({_NAMED[name]}, {place}); rename one")
    _NAMED[name] = place
    return {"kind": "own", "class": name, "options": dict(options)}


def own_versions(names: Iterable[str]) -> dict[str, str]:
    """The version of verifiers of these names, with the hash of their files. Names that no recipe
    of this process has named are left out."""
    known = {name: _NAMED[name] for name in names if name in _NAMED}
    classes = {name: find_class({}, place, OwnVerifier, GROUP) for name, place in known.items()}
    return {name: f"{found.VERSION}-{found.SOURCE}" for name, found in classes.items()}


def find_places(names: Iterable[str]) -> dict[str, str]:
    """Return where the verifiers of these names are, which recipes of this process have named."""
    return {name: _NAMED[name] for name in names}


def name_again(named: Mapping[str, str]) -> None:
    """Name in this process what another one's recipes have named: its `find_places`.

    Loads the classes. Raises PluginError.
    """
    for name, place in named.items():
        find_class({}, place, OwnVerifier, GROUP)
        _NAMED[name] = place


def entry_point_names() -> list[str]:
    """The verifiers that installed packages bring."""
    return known_names({}, GROUP)


class OwnVerifiers:
    """Verifier of `{"kind": "own", "class": name, "options", "answer", "meta", "messages"}`."""

    VERSION = 1

    def __init__(self, workers: int | None = None, *, deadline_s: float = 2.0) -> None:
        self._pool = Pool(_TASK, workers=workers, attempts=(deadline_s, deadline_s))

    def verify(self, items: Sequence[tuple[Mapping[str, Any], str]]) -> list[Verification]:
        verdicts: list[Verification | None] = []
        waiting: list[int] = []
        for position, (spec, _) in enumerate(items):
            obstacle = _obstacle(spec)
            if obstacle is None:
                verdicts.append(None)
                waiting.append(position)
            else:
                verdicts.append(Verification("unverifiable", None, "own", detail=obstacle))
        outcomes = self._run((items[at][0], items[at][1]) for at in waiting)
        for position, outcome in zip(waiting, outcomes, strict=True):
            verdicts[position] = _verification(outcome)
        return [verdict for verdict in verdicts if verdict is not None]

    def check(self, specs: Sequence[Mapping[str, Any]]) -> list[str | None]:
        problems = [_obstacle(spec) for spec in specs]
        waiting = [position for position, problem in enumerate(problems) if problem is None]
        outcomes = self._run((specs[at], None) for at in waiting)
        for position, outcome in zip(waiting, outcomes, strict=True):
            # Too slow is not bad: the prompt is sampled.
            problem = outcome.detail if outcome.failure else outcome.value
            problems[position] = None if outcome.failure == "timeout" else problem
        return problems

    def failure(self, spec: Mapping[str, Any], response: str) -> str | None:
        """Why the class fails on one prompt and response, whatever it says of them; else None."""
        outcomes = self._run([(spec, None), (spec, response)])
        failed = [outcome for outcome in outcomes if outcome.failure]
        return failed[0].detail if failed else None

    def close(self) -> None:
        self._pool.close()

    def _run(self, work: Iterable[tuple[Mapping[str, Any], str | None]]) -> list[Outcome]:
        trusted = granted()
        payloads = [
            {
                "place": _NAMED[spec["class"]],
                "options": spec.get("options") or {},
                "asked": [spec.get("answer"), spec.get("meta") or {}, spec.get("messages") or []],
                "response": response,
                "trusted": trusted,
            }
            for spec, response in work
        ]
        return self._pool.run(payloads)


def run(payload: Mapping[str, Any]) -> Any:
    """A verdict as a mapping, or what is wrong with a reference. Runs in a worker."""
    place = payload["place"]
    accept(payload["trusted"])
    verifier = _make(place, payload["options"])
    asked = Asked(*payload["asked"])
    response = payload["response"]
    try:
        if response is None:
            found: Any = verifier.check(asked)
            expected: Any = str | None
        else:
            found, expected = verifier.verify(asked, response), Verification
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:  # the user's class may raise anything: say where
        frames = traceback.extract_tb(error.__traceback__)
        written = getattr(sys.modules[type(verifier).__module__], "__file__", None)
        frame = ([item for item in frames if item.filename == written] or frames)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        raise PluginError(f"{place}: {where}: {type(error).__name__}: {error}") from error
    method = "check" if response is None else "verify"
    if not isinstance(found, expected):
        wanted = "None or what is wrong" if response is None else "a Verification"
        raise PluginError(
            f"{place}: {method} returned {type(found).__name__}; it must return {wanted}"
        )
    if response is None:
        return found
    if found.state not in get_args(Decided):
        known = ", ".join(get_args(Decided))
        raise PluginError(f"{place}: verify said {found.state!r}; it may say {known}")
    for name in ("extracted", "method", "detail"):
        value = getattr(found, name)
        if not isinstance(value, str | None):
            kind = type(value).__name__
            raise PluginError(f"{place}: verify gave {name} as {kind}; it must be a text or None")
    return {name: _encodable(value) for name, value in asdict(found).items()}


def _encodable(value: Any) -> Any:
    """Text without lone surrogates, which a model may write and no Parquet file can hold."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _verification(outcome: Outcome) -> Verification:
    if outcome.failure:
        state: State = outcome.failure
        return Verification(state, None, "own", round(outcome.ms, 3), outcome.detail)
    return Verification(**{**outcome.value, "ms": round(outcome.ms, 3)})


def _obstacle(spec: Mapping[str, Any]) -> str | None:
    name = spec.get("class")
    if name in _NAMED:
        return None
    return f"no recipe here names the verifier {name!r:.100}, and data cannot"


def _make(place: str, options: Mapping[str, Any]) -> OwnVerifier:
    kind = find_class({}, place, OwnVerifier, GROUP)
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
        )
        known = ", ".join(kind.model_fields) or "none"
        raise PluginError(f"{place}: {said}; its options are {known}") from None
