"""The pauses of a copy that is being filled, so that requests keep processors, disks and loops.

Requests of this node count (how busy its gate is), and so do the processors of its host: a joiner that has no
request yet may share them with nodes that have.  Rule O8: docs/protocol/overload.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.overload.governor import core_pause_s
from ringmill.cluster.ports import CoreTime

__all__ = ["FillPace"]

BYTES_PER_S: Final = 24 << 20
"""The most that one copy is filled with.  Chosen, not measured."""
LONGEST_S: Final = 30.0
_AT_WORK: Final = 4.0
"""Times what the loop needed of a processor: a part that took longer waited for a source or for the disk."""


class FillPace:
    """The pace at which one copy is filled, made when the filling begins.

    `beside`: how many nodes of this host are being filled, this one included.
    """

    def __init__(self, gate: Gate, core_time: Callable[[], CoreTime], beside: int) -> None:
        self._gate = gate
        self._core_time = core_time
        self._beside = beside
        self._begin()

    async def rest(self, size_bytes: int = 0) -> None:
        """Pause for what was done since the last pause; `size_bytes` were read meanwhile, and more follow."""
        now, used = asyncio.get_running_loop().time(), self._core_time()
        meanwhile = CoreTime(used.ran_s - self._used.ran_s, used.waited_s - self._used.waited_s)
        pause_s = size_bytes / BYTES_PER_S * self._gate.stretch
        took_s = min(now - self._since, _AT_WORK * (meanwhile.ran_s + meanwhile.waited_s))
        pause_s = max(pause_s, min(core_pause_s(took_s, meanwhile, self._beside), LONGEST_S))
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        self._begin()

    def _begin(self) -> None:
        self._since = asyncio.get_running_loop().time()
        self._used = self._core_time()
