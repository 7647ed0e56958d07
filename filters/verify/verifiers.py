"""One call for responses of any kind: the right verifier for each, verdicts in order."""

from __future__ import annotations

import atexit
import hashlib
import json
import re
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any, NamedTuple, Self

from factory.core.errors import FactoryError
from factory.core.think import Shape, split_think
from filters.verify import VERIFIERS, verifier_class
from filters.verify.own import own_versions
from filters.verify.verification import CONSENSUS, LATER, State, Verification, Verifier

_SURROGATE = re.compile("[\\ud800-\\udfff]")
_NO_DEFECT = (FactoryError, OSError, MemoryError)
"""What ends a verification: the machine, or something that its user can fix."""

MAX_RESPONSE = 1_000_000
"""Characters of a response that are read: the last ones, where the answer is."""


class Item(NamedTuple):
    """A prompt's verifier mapping (None: nothing can verify it) and the response it got."""

    verifier: Mapping[str, Any] | None
    response: str | None
    shape: Shape = "ok"

    @classmethod
    def of(cls, verifier: Mapping[str, Any] | None, text: str) -> Item:
        """From a whole completion, think section and all."""
        parts = split_think(text)
        return cls(verifier, parts.response, parts.shape)


class Verifiers:
    """Keeps verifiers and their worker processes alive between calls; `close` ends them.

    `deadline_s` bounds the algebra or scoring of one answer. With `require_think`, a completion
    without a think section has no answer. Safe to call from several threads; a forked process
    starts workers of its own.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        require_think: bool = False,
        deadline_s: float = 2.0,
        unsafe_without_sandbox: bool = False,
    ) -> None:
        self.require_think = require_think
        self._options: dict[str, dict[str, Any]] = {
            "math": {"workers": workers, "deadline_s": deadline_s},
            "gym": {
                "workers": workers,
                "deadline_s": deadline_s,
                "unsafe_without_sandbox": unsafe_without_sandbox,
            },
            "own": {"workers": workers, "deadline_s": deadline_s},
            "json_schema": {"workers": workers, "deadline_s": deadline_s},
            "rubric": {"workers": workers, "deadline_s": deadline_s},
            "code": {"workers": workers, "unsafe_without_sandbox": unsafe_without_sandbox},
            "repository": {"workers": workers},
        }
        self._made: dict[str, Verifier] = {}
        self._lock = threading.Lock()

    def verify(self, items: Sequence[Item], *, later: Collection[str] = ()) -> list[Verification]:
        """The verdicts of `items`, in their order. Never raises on any text or mapping.

        Items of the kinds `later` are `pending`, with the version and the hash by which their
        verdicts are known when they come.
        """
        verdicts: list[Verification | None] = []
        by_kind: dict[str, list[int]] = {}
        for position, item in enumerate(items):
            verdict = self._unread(item)
            verdicts.append(verdict)
            if verdict is None:
                assert item.verifier is not None
                by_kind.setdefault(item.verifier["kind"], []).append(position)
        with self._lock:
            for kind, positions in by_kind.items():
                work = [
                    (items[at].verifier or {}, (items[at].response or "")[-MAX_RESPONSE:])
                    for at in positions
                ]
                named = _name_versions(kind, work)
                hashes = _hashes(work)
                found = (
                    [Verification("pending", None, LATER)] * len(work)
                    if kind in later
                    else _verify(self._verifier(kind), work)
                )
                for at, verdict, version, read in zip(positions, found, named, hashes, strict=True):
                    own = _storable(replace(verdict, version=version, input=read))
                    verdicts[at] = _by_vote(own, items[at].verifier or {})
        return [verdict for verdict in verdicts if verdict is not None]

    def check(self, specs: Sequence[Mapping[str, Any] | None]) -> list[str | None]:
        """What is wrong with each reference; None where nothing is, or nothing verifies it."""
        problems: list[str | None] = [None] * len(specs)
        by_kind: dict[str, list[int]] = {}
        for position, spec in enumerate(specs):
            if spec is None:
                continue
            if spec.get("kind") in VERIFIERS:
                by_kind.setdefault(spec["kind"], []).append(position)
            else:
                problems[position] = f"no verifier of kind {spec.get('kind')!r}"
        with self._lock:
            for kind, positions in by_kind.items():
                found = _check(self._verifier(kind), [specs[at] or {} for at in positions])
                for at, problem in zip(positions, found, strict=True):
                    problems[at] = problem
        return problems

    def close(self) -> None:
        with self._lock:
            for verifier in self._made.values():
                verifier.close()
            self._made.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _unread(self, item: Item) -> Verification | None:
        """The verdict of what no verifier needs to see."""
        if item.verifier is None:
            return _say("unverifiable", "no verifier")
        kind = item.verifier.get("kind")
        if kind not in VERIFIERS:
            return _say("unverifiable", f"no verifier of kind {kind!r}")
        if item.response is None or item.shape == "unclosed":
            return _say("no_answer", "the think section is not closed")
        if item.shape == "repeated":
            return _say("no_answer", "a second think section: which response is meant is not said")
        if self.require_think and item.shape == "no_think":
            return _say("no_answer", "no think section")
        if not item.response.strip():
            return _say("no_answer", "nothing after the think section")
        return None

    def _verifier(self, kind: str) -> Verifier:
        if kind not in self._made:
            self._made[kind] = verifier_class(kind)(**self._options.get(kind, {}))
        return self._made[kind]


def verify_responses(
    items: Iterable[Item | tuple[Mapping[str, Any] | None, str]],
    *,
    require_think: bool = False,
    verifiers: Verifiers | None = None,
) -> list[Verification]:
    """Verdicts of items, or of (verifier mapping, whole completion) pairs, in order.

    Without `verifiers` a set shared by the whole process is used, and closed at its end.
    """
    ready = [item if isinstance(item, Item) else Item.of(*item) for item in items]
    return (verifiers or shared(require_think=require_think)).verify(ready)


@cache
def shared(
    *,
    require_think: bool = False,
    deadline_s: float = 2.0,
    unsafe_without_sandbox: bool = False,
) -> Verifiers:
    """The process's own verifiers."""
    made = Verifiers(
        require_think=require_think,
        deadline_s=deadline_s,
        unsafe_without_sandbox=unsafe_without_sandbox,
    )
    atexit.register(made.close)
    return made


@lru_cache(maxsize=4096)
def read_verifier(text: str | None) -> Mapping[str, Any] | None:
    """A verifier mapping from the JSON of a prompt's row; samples of one prompt share it."""
    if text is None:
        return None
    read = json.loads(text)
    return read if isinstance(read, dict) else {"kind": None}


def versions(own: Iterable[str] = ()) -> dict[str, str]:
    """The version of every verifier, with the user's `own` ones: part of what names cached
    verdicts."""
    return {kind: verifier_version(kind) for kind in VERIFIERS} | own_versions(own)


def verifier_version(kind: str) -> str:
    return f"{kind}-{verifier_class(kind).VERSION}"


def _verify(
    verifier: Verifier, work: Sequence[tuple[Mapping[str, Any], str]]
) -> list[Verification]:
    """The verdicts of one verifier. A text that it fails on is an `error`, not a build's end."""
    try:
        return verifier.verify(work)
    except _NO_DEFECT:
        raise
    except Exception as error:  # a defect of ours on some text: find it, judge the others
        if len(work) > 1:
            return [verdict for one in work for verdict in _verify(verifier, [one])]
        return [_say("error", f"the verifier failed: {type(error).__name__}: {error}")]


def _check(verifier: Verifier, specs: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """What is wrong with references. One that the verifier fails on cannot be used."""
    try:
        return verifier.check(specs)
    except _NO_DEFECT:
        raise
    except Exception as error:
        if len(specs) > 1:
            return [problem for one in specs for problem in _check(verifier, [one])]
        return [f"the verifier failed: {type(error).__name__}: {error}"]


def _name_versions(kind: str, work: Sequence[tuple[Mapping[str, Any], str]]) -> list[str]:
    """The version behind each verdict; of a class of the user's own, also what is in its file."""
    version = verifier_version(kind)
    if kind != "own":
        return [version] * len(work)
    names = [str(spec.get("class")) for spec, _ in work]
    classes = own_versions(set(names))
    return [f"{version}-{classes.get(name, 'unknown')}" for name in names]


def _hashes(work: Sequence[tuple[Mapping[str, Any], str]]) -> list[str]:
    """A hash of each mapping and response; samples of one prompt share the mapping."""
    specs: dict[int, bytes] = {}
    found = []
    for spec, response in work:
        if id(spec) not in specs:
            try:
                text = json.dumps(spec, sort_keys=True, default=str)
            except (TypeError, ValueError, RecursionError):  # never out of a file
                text = ""
            specs[id(spec)] = hashlib.blake2b(text.encode(), digest_size=16).digest()
        written = response.encode("utf-8", "surrogatepass")
        found.append(hashlib.blake2b(specs[id(spec)] + written, digest_size=8).hexdigest())
    return found


def _storable(verdict: Verification) -> Verification:
    """A verdict whose texts are Unicode: a response may hold lone surrogates, Parquet may not."""
    return replace(verdict, extracted=_unicode(verdict.extracted), detail=_unicode(verdict.detail))


_BY_VOTE: Mapping[str, State] = {"correct": "consensus", "wrong": "dissent"}


def _by_vote(verdict: Verification, spec: Mapping[str, Any]) -> Verification:
    """A verdict by what stands for a reference: a vote knows of no answer that it is right."""
    if spec.get(CONSENSUS) is None:
        return verdict
    return replace(verdict, state=_BY_VOTE.get(verdict.state, verdict.state))


def _unicode(text: str | None) -> str | None:
    return text if text is None or text.isascii() else _SURROGATE.sub("\ufffd", text)


def _say(state: State, detail: str) -> Verification:
    return Verification(state, None, "extract", 0.0, detail)
