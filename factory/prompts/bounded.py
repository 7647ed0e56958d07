"""Compressed files and lines, read in bounded memory, whatever a file claims to be.

A few megabytes of gzip or zstd can expand to terabytes, and one line can be a file's whole content.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import zstandard

MAX_RATIO = 100
"""Largest expansion of a compressed file. Text reaches 3 to 20."""

FREE_BYTES = 256 << 20
"""What any compressed file may expand to."""

MAX_LINE_BYTES = 64 << 20
"""A longer line is one bad row, and is never held whole."""

_CHUNK = 1 << 11
"""Compressed bytes of zstd expanded at once. A block of 4 bytes may stand for 128 KiB."""


class TooLarge(OSError):
    """A compressed file expands too much."""


def open_bounded(path: Path) -> io.BufferedReader:
    """Open a file for reading, decompressed by its suffix.

    Reading raises TooLarge once it has expanded beyond both FREE_BYTES and MAX_RATIO.
    """
    source = path.open("rb")
    match path.suffix.lower():
        case ".gz":
            return io.BufferedReader(_Expanding(gzip.GzipFile(fileobj=source), source), 1 << 20)
        case ".zst":
            return io.BufferedReader(_Expanding(_ZstdFile(source), source), 1 << 20)
    return source


def lines(file: IO[bytes]) -> Iterator[bytes | None]:
    """Yield the lines of a file; None for one that is longer than MAX_LINE_BYTES."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) <= MAX_LINE_BYTES or line.endswith(b"\n"):
            yield line
            continue
        while (more := file.readline(MAX_LINE_BYTES)) and not more.endswith(b"\n"):
            pass
        yield None


class LimitedLines(io.RawIOBase):
    """A file whose lines are at most MAX_LINE_BYTES long: reading a longer one raises TooLarge."""

    def __init__(self, source: io.BufferedReader) -> None:
        self._source = source
        self._length = 0  # of the line so far

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = self._source.readinto(buffer)
        end = bytes(buffer[:size]).rfind(b"\n")
        self._length = self._length + size if end < 0 else size - end - 1
        if self._length > MAX_LINE_BYTES:
            raise TooLarge(f"a line of more than {MAX_LINE_BYTES >> 20} MiB")
        return size

    def close(self) -> None:
        self._source.close()
        super().close()


class _Expanding(io.RawIOBase):
    """Counts what a compressed file expands to."""

    def __init__(self, expanded: Any, source: IO[bytes]) -> None:
        self._expanded, self._source = expanded, source
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size: int = self._expanded.readinto(buffer)
        self._count += size
        if self._count > max(FREE_BYTES, MAX_RATIO * self._source.tell()):
            raise TooLarge(
                f"it expands to more than {MAX_RATIO} times its size ({self._count >> 20:,} MiB of "
                f"{self._source.tell():,} bytes so far); if that is meant, decompress it first"
            )
        return size

    def close(self) -> None:
        self._expanded.close()
        self._source.close()
        super().close()


class _ZstdFile(io.RawIOBase):
    """A zstd stream of any number of frames. Unlike the library's own reader it notices that the
    last frame is cut off."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._pending = b""  # compressed, the next frame's start
        self._ready = memoryview(b"")  # decompressed, not yet handed out
        self._inside = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            chunk = self._pending or self._source.read(_CHUNK)
            self._pending = b""
            if not chunk:
                if self._inside:
                    raise EOFError("the zstd stream is cut off")
                return 0
            self._ready = memoryview(self._frame.decompress(chunk))
            self._inside = not self._frame.eof
            if self._frame.eof:
                self._pending = self._frame.unused_data
                self._frame = zstandard.ZstdDecompressor().decompressobj()
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size
