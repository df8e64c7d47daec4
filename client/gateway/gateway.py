"""The gateway: opens its doors, and closes them in order when it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from ringmill.client.gateway.clients_by_token import ClientsByToken

__all__ = ["Door", "run_gateway"]

GRACE_S: Final = 5.0
_log = logging.getLogger("ringmill.gateway")


class Door(Protocol):
    """Listens for callers of one protocol, and asks the cluster for them."""

    async def open(self) -> str:
        """Listen; what a caller is to connect to, such as "http://127.0.0.1:8080".

        Raises InvalidArgument when the port is taken or the address not allowed.
        """
        ...

    async def close(self, grace_s: float) -> None:
        """Take no new request, let those under way end within `grace_s` seconds, then close."""
        ...


async def run_gateway(doors: Sequence[Door], clients: ClientsByToken, tell: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM comes.  `tell` gets the place of each door once all are open."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    opened: list[Door] = []
    try:
        places = []
        for door in doors:
            places.append(await door.open())
            opened.append(door)
        for place in places:
            tell(place)
            _log.info("a door is open at %s", place)
        await stopping.wait()
        _log.info("the gateway stops")
    finally:
        await asyncio.gather(*(door.close(GRACE_S) for door in opened))
        await clients.aclose()
