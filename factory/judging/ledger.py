"""Verdicts that come later: what was decided, by whom, and who is at work on what.

    RUN/later/HOST-PID.jsonl    verdicts of one process, appended and never changed
    RUN/later/leases/SAMPLE     a process is at work on a sample; its time says that it lives

A verdict counts for exactly one sample, input and version of the verifier; of several the first
one counts. So any number of processes may judge a run, and a killed one costs only its last work.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from factory.core.files import append_line, read_lines
from filters.verify.verification import Verification

FOLDER = "later"
BEAT_S = 5.0
STALE_S = 60.0
"""A lease whose process, on another machine, has not been heard of for so long is taken over."""


@dataclass(frozen=True, slots=True)
class LateVerdict:
    """One line of a ledger."""

    sample_id: str
    input: str
    version: str
    state: str
    extracted: str | None
    method: str
    detail: str | None
    ms: float
    host: str
    pid: int
    at: float

    @property
    def key(self) -> tuple[str, str, str]:
        return self.sample_id, self.input, self.version


def record_verdicts(run: Path, verdicts: Iterable[tuple[str, Verification]]) -> None:
    """Append this process's verdicts, by sample id."""
    file = run / FOLDER / f"{socket.gethostname()}-{os.getpid()}.jsonl"
    file.parent.mkdir(exist_ok=True)
    for sample_id, found in verdicts:
        verdict = LateVerdict(
            sample_id=sample_id,
            input=found.input or "",
            version=found.version or "",
            state=found.state,
            extracted=found.extracted,
            method=found.method,
            detail=found.detail,
            ms=found.ms,
            host=socket.gethostname(),
            pid=os.getpid(),
            at=time.time(),
        )
        append_line(file, asdict(verdict))


def read_verdicts(run: Path) -> dict[tuple[str, str, str], LateVerdict]:
    """All verdicts by sample, input and version. Lines that are no verdict are left out."""
    found: dict[tuple[str, str, str], LateVerdict] = {}
    fields = LateVerdict.__dataclass_fields__.keys()
    rows = [row for file in sorted((run / FOLDER).glob("*.jsonl")) for row in read_lines(file)]
    whole = [LateVerdict(**row) for row in rows if row.keys() == fields]
    for verdict in sorted(whole, key=lambda verdict: (verdict.at, verdict.host, verdict.pid)):
        found.setdefault(verdict.key, verdict)
    return found


class Leases:
    """The samples that this process is at work on. Its leases are kept fresh by a thread."""

    def __init__(self, run: Path) -> None:
        self._folder = run / FOLDER / "leases"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._owner = f"{socket.gethostname()} {os.getpid()}"
        self._held: set[Path] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="leases", daemon=True)

    def __enter__(self) -> Leases:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        self.release([path.name for path in self._held])

    def claim(self, sample_ids: Sequence[str], most: int) -> list[str]:
        """Up to `most` of these samples that no living process is at work on."""
        claimed: list[str] = []
        for sample_id in sample_ids:
            if len(claimed) == most:
                break
            if self._take(self._folder / sample_id):
                claimed.append(sample_id)
        return claimed

    def release(self, sample_ids: Iterable[str]) -> None:
        for sample_id in sample_ids:
            path = self._folder / sample_id
            self._held.discard(path)
            path.unlink(missing_ok=True)

    def _take(self, path: Path) -> bool:
        for _ in range(2):
            try:
                with open(path, "x", encoding="utf-8") as file:
                    file.write(self._owner)
            except FileExistsError:
                if not _is_abandoned(path):
                    return False
                self._clear(path)
            else:
                self._held.add(path)
                return True
        return False

    def _clear(self, path: Path) -> None:
        """Remove an abandoned lease, unless another process was faster and made its own."""
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            os.rename(path, aside)
            if _is_abandoned(aside):
                aside.unlink()
            else:
                os.link(aside, path)
                aside.unlink()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            for path in list(self._held):
                with contextlib.suppress(OSError):
                    os.utime(path)


def _is_abandoned(path: Path) -> bool:
    """Whether the process that holds a lease is dead, or has not been heard of for long."""
    try:
        host, _, pid = path.read_text(encoding="utf-8").partition(" ")
        age_s = time.time() - path.stat().st_mtime
    except OSError:
        return False  # it has just been released
    if host != socket.gethostname() or not pid.isdigit():
        return age_s > STALE_S
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
