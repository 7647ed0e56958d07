"""Verdicts that come later: what was decided, by whom, and who is at work on what.

    RUN/later/HOST-PID.jsonl          verdicts of one process, appended and never changed
    RUN/later/queue/HOST-PID.jsonl    what a running build leaves to be judged, before it is sealed
    RUN/later/leases/SAMPLE           a process is at work on a sample; its time says that it lives

A verdict counts for exactly one sample, input and version of the verifier; of several the first
one counts. So any number of processes may judge a run, and a killed one costs only its last work.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from factory.core.files import append_line
from filters.verify.verification import State, Verification

FOLDER = "later"
QUEUE = "later/queue"
BEAT_S = 5.0
STALE_S = 60.0
"""A lease whose process has not been heard of for so long is taken over."""


@dataclass(frozen=True, slots=True)
class LateVerdict:
    """One line of a ledger."""

    sample_id: str
    input: str
    version: str
    state: State
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

    def as_verification(self) -> Verification:
        return Verification(
            self.state,
            self.extracted,
            self.method,
            self.ms,
            self.detail,
            self.version,
            self.input,
        )


def own_file(folder: Path) -> Path:
    """The file of this process in a folder, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{socket.gethostname()}-{os.getpid()}.jsonl"


def record_verdicts(run: Path, verdicts: Iterable[tuple[str, Verification]]) -> None:
    """Append this process's verdicts, by sample id."""
    file = own_file(run / FOLDER)
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
    reader = LedgerReader(run)
    reader.refresh()
    return reader.verdicts


class LedgerReader:
    """Reads a ledger as it grows: each call costs only what has come since the last one."""

    def __init__(self, run: Path) -> None:
        self._lines = LineReader(run / FOLDER)
        self.verdicts: dict[tuple[str, str, str], LateVerdict] = {}

    def refresh(self) -> list[LateVerdict]:
        """Read what has come. Returns the verdicts that are new, the first of each key."""
        fields = LateVerdict.__dataclass_fields__.keys()
        read = [LateVerdict(**row) for row in self._lines.read() if row.keys() == fields]
        read.sort(key=lambda verdict: (verdict.at, verdict.host, verdict.pid))
        return [one for one in read if self.verdicts.setdefault(one.key, one) is one]


class LineReader:
    """Reads the JSON lines that processes append to the files of a folder, each line once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ends: dict[Path, int] = {}

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the objects of lines that were not there at the last call. A line that is not
        ended yet is left for a later call; one that is no object is left out."""
        for file in sorted(self._folder.glob("*.jsonl")):
            end = self._ends.get(file, 0)
            try:
                with open(file, "rb") as stream:
                    if stream.seek(0, os.SEEK_END) < end:
                        end = 0  # another file under this name
                    stream.seek(end)
                    text = stream.read()
            except FileNotFoundError:
                continue
            whole = text[: text.rfind(b"\n") + 1]
            self._ends[file] = end + len(whole)
            for line in whole.splitlines():
                with contextlib.suppress(ValueError):
                    row = json.loads(line)
                    if isinstance(row, dict):
                        yield row


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
    """Whether the process that holds a lease is dead, or has not been heard of for long.

    A number that another process has by now says nothing for long: its lease is not kept fresh.
    """
    try:
        host, _, pid = path.read_text(encoding="utf-8").partition(" ")
        age_s = time.time() - path.stat().st_mtime
    except OSError:
        return False  # it has just been released
    if age_s > STALE_S:
        return True
    return host == socket.gethostname() and pid.isdigit() and not _is_running(int(pid))


def _is_running(pid: int) -> bool:
    """Whether a process of this machine runs. One that is dead and was not waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")
