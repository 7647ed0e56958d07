"""Ports for servers that are started later: nobody else is given them meanwhile."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int) -> list[int]:
    """Return `count` free ports in a row, below those that the system hands out by itself."""
    first = int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.exists() else 32_768
    while True:
        start = random.SystemRandom().randrange(first // 3, first - count)
        ports = list(range(start, start + count))
        if all(map(_is_free, ports)):
            return ports


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False
