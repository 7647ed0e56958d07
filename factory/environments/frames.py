"""Messages between the host and its environment processes: JSON with its length before it."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

MAX_BYTES = 64 << 20
"""The largest message. A prompt may bring a database; an observation is cut long before."""

_LENGTH = struct.Struct("!I")


def encode_frame(message: Any) -> bytes:
    """Encode a message. Raises ValueError where it does not fit JSON or is too large."""
    text = json.dumps(message, ensure_ascii=True, allow_nan=False).encode()
    if len(text) > MAX_BYTES:
        raise ValueError(f"a message of {len(text):,} bytes; at most {MAX_BYTES:,} are taken")
    return _LENGTH.pack(len(text)) + text


class FrameReader:
    """Collects bytes and returns the whole messages in them."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """Add bytes; return the messages that are complete. Raises ValueError for what is none."""
        self._bytes += data
        found = []
        while len(self._bytes) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes)
            if length > MAX_BYTES:
                raise ValueError(f"a message of {length:,} bytes; at most {MAX_BYTES:,} are taken")
            end = _LENGTH.size + length
            if len(self._bytes) < end:
                break
            found.append(json.loads(bytes(self._bytes[_LENGTH.size : end])))
            del self._bytes[:end]
        return found


def receive(connection: socket.socket) -> Any:
    """Wait for one message. Raises EOFError when the other side has hung up."""
    reader = FrameReader()
    wanted = _LENGTH.size
    data = _receive_exactly(connection, wanted)
    (wanted,) = _LENGTH.unpack(data)
    (message,) = reader.feed(data + _receive_exactly(connection, min(wanted, MAX_BYTES + 1)))
    return message


def _receive_exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(min(1 << 20, size - len(data)))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)
