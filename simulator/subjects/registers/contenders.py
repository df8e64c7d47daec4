"""Clients that contend for a lease, hold it for a while, and release it or vanish."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.simulator.register_history import Holding
from ringmill.simulator.subjects.registers.sessions import RegisterSession

__all__ = ["LEASE", "contend"]

LEASE: Final = "lease 0"
_DURATION_S: Final = 1.5
_LOOK_EVERY_S: Final = 0.02
_LONGEST_S: Final = 3.0
_PATIENCE_S: Final = 6.0
_VANISHES: Final = 0.4


async def contend(session: RegisterSession, rounds: int, draws: Random, holdings: list[Holding]) -> None:
    """Acquire the lease again and again; what the client believes is recorded as it believes it."""
    for _ in range(rounds):
        lease = session.registers.lease(LEASE, duration=_DURATION_S, owner=session.name)
        lasts_s, vanishes = _LONGEST_S * draws.random(), draws.random() < _VANISHES
        try:
            term = await lease.acquire(_PATIENCE_S)
        except RingmillError:
            continue
        now = asyncio.get_running_loop().time
        holding = Holding(session.name, LEASE, term, now(), now())
        holdings.append(holding)
        while lease.is_held and now() < holding.since + lasts_s:
            holding.until = now()
            await asyncio.sleep(_LOOK_EVERY_S)
        if vanishes:
            lease.abandon()
        else:
            await lease.release()
