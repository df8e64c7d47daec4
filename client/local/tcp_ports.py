"""Finds free ports of the loopback address, and the owner of a taken one.

Ports of nodes are below 32768.  The system assigns higher ports to outgoing connections, so a restarted node
might find its own port taken.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import ClassVar

from ringmill.cluster.errors import InvalidArgument, RingmillError

__all__ = ["HOST", "LIMIT", "PortTaken", "check_free", "free_base", "is_free", "is_loopback"]

HOST = "127.0.0.1"
LIMIT = 32768
LONGEST_COMMAND = 80


class PortTaken(RingmillError):
    """Another process listens on the port of a node."""

    code: ClassVar[str] = "PORT_TAKEN"


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now; connections that are still closing do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a name or address is one of this machine's loopback."""
    bare = host.strip("[]").lower()
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def check_free(ports: Sequence[int], *, are_settled: bool = False) -> None:
    """Raises PortTaken, which names the first taken port and its owner; InvalidArgument out of range.

    `are_settled` says that the nodes exist already and keep their addresses, so no other range will do.
    """
    for port in ports:
        if not 1024 <= port < LIMIT:
            raise InvalidArgument(
                f"port {port} is out of range; nodes use 1024 to {LIMIT - 1}", hint="choose a --base-port"
            )
        if not is_free(port):
            hint = "stop it: nodes that exist keep their addresses"
            if not are_settled:
                other = free_base(len(ports), ports[0] + 100)
                hint = f"stop it, or choose another range: --base-port {other}"
            raise PortTaken(f"port {port} is taken by {owner_of(port)}", detail={"port": port}, hint=hint)


def free_base(count: int, start: int = 7101, *, apart: int = 1) -> int:
    """The first port of `start`, `start + apart` and so on from which `count` consecutive ports are free.

    Clusters that look for theirs in the same places, and get more nodes later, leave each other room by
    `apart`.
    """
    base = start
    while base + count < LIMIT:
        taken = [port for port in range(base, base + count) if not is_free(port)]
        if not taken:
            return base
        base += -(-(taken[-1] + 1 - base) // apart) * apart
    raise RingmillError(f"no {count} free ports in a row between {start} and {LIMIT}")


def owner_of(port: int) -> str:
    """The process that listens on a port, as far as this user may see it."""
    import psutil

    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == "LISTEN":
                if connection.pid is None:
                    break
                process = psutil.Process(connection.pid)
                return f"pid {connection.pid} ({_shortened(process.cmdline()) or process.name()})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        pass
    return "a process of another user"


def _shortened(command: Sequence[str]) -> str:
    """A command line shortened for an error message."""
    line = " ".join(" ".join(command).split())
    return line if len(line) <= LONGEST_COMMAND else f"{line[:LONGEST_COMMAND]}…"
