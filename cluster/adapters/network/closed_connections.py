"""Closes connections that gRPC has accepted, by their peers: gRPC for Python has no way to.

A socket is looked for among this process's own descriptors and shut down.  gRPC reads its end, lets go of all
calls on it and closes it itself.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Set
from urllib.parse import unquote

from ringmill.cluster.adapters.in_thread import in_thread

__all__ = ["close_connections"]

_FOLDERS = ("/proc/self/fd", "/dev/fd")
_MAPPED = "::ffff:"


async def close_connections(port: int, peers: Set[str]) -> None:
    """Those to this port (0: any) from these peers: "ipv4:HOST:PORT" or "ipv6:[HOST]:PORT", as in gRPC."""
    await in_thread(_close, port, {unquote(peer) for peer in peers})


def _close(port: int, peers: Set[str]) -> None:
    folder = next((each for each in _FOLDERS if os.path.isdir(each)), None)
    for name in [] if folder is None else os.listdir(folder):
        try:
            # A duplicate: what is shut down is what was looked at, whoever closes it meanwhile.
            descriptor = os.dup(int(name))
        except OSError:
            continue
        _close_if(descriptor, port, peers)


def _close_if(descriptor: int, port: int, peers: Set[str]) -> None:
    try:
        connection = socket.socket(fileno=descriptor)
    except OSError:  # it is not a socket
        os.close(descriptor)
        return
    with connection:
        try:
            if connection.family not in (socket.AF_INET, socket.AF_INET6):
                return
            is_here = port in (0, connection.getsockname()[1])
            if is_here and _peer_text(connection.getpeername()) in peers:
                connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it listens, or is gone already


def _peer_text(address: tuple[str, int]) -> str:
    host = address[0].removeprefix(_MAPPED)
    return f"ipv6:[{host}]:{address[1]}" if ":" in host else f"ipv4:{host}:{address[1]}"
