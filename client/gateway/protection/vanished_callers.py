"""Connections whose caller has vanished without a word end after a time, and not when the system gives up.

Linux sends what is not acknowledged for a quarter of an hour, and asks a silent connection after two hours.
A caller that is stopped, and whose machine is there, has not vanished: its system goes on to acknowledge.
"""

from __future__ import annotations

import asyncio
import socket

__all__ = ["end_if_vanished"]

_TIMES = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_USER_TIMEOUT")  # not every system has all


def end_if_vanished(transport: asyncio.BaseTransport | None, within_s: float) -> None:
    """End the connection when the other side acknowledges nothing, or has no room, for so long.

    What is idle is asked after a third of that, and then at each sixth: Linux ends a connection by the time
    of the last answer, so that several probes have to be lost.
    """
    connection = None if transport is None else transport.get_extra_info("socket")
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    times = (max(1, int(within_s / 3)), max(1, int(within_s / 6)), int(within_s * 1000))
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in zip(_TIMES, times, strict=True):
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    except OSError:  # it has ended
        return
