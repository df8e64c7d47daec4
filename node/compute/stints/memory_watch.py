"""Looks after the memory that is left to a node while its tasks run.

While that is short, processes that wait for another attempt are ended.  While it is nearly out the newest
attempt is, one at a time: what ends by itself soon has begun before it, and it has the least to lose.

Rule J34: docs/protocol/jobs.md.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.overload.node_memory import NodeMemory
from ringmill.cluster.ports import Clock
from ringmill.cluster.sometimes import sometimes
from ringmill.node.compute.attempt_runner import AttemptRunner
from ringmill.node.compute.task_pool import TaskPool

__all__ = ["MemoryWatch"]

_SETTLE_S: Final = 1.0
"""For the memory of one that is ended to come back, before another one is."""
_log = logging.getLogger(__name__)


class MemoryWatch:
    def __init__(self, node: NodeId, memory: NodeMemory, pool: TaskPool, clock: Clock) -> None:
        self._node, self._memory, self._pool, self._clock = node, memory, pool, clock
        self._ended_at = float("-inf")

    async def look(self, attempts: Sequence[AttemptRunner] = ()) -> None:
        """`attempts` are those that run, in the order in which they began."""
        if not self._memory.is_short:
            return
        if self._pool.has_idle:
            await self._pool.close()
            return
        now = self._clock.monotonic()
        if not self._memory.is_nearly_out or now - self._ended_at < _SETTLE_S:
            return
        if (left := self._memory.left) is None:
            return
        had = f"{left.left_bytes >> 20} MiB of {left.of_bytes >> 20} MiB of memory left"
        why = f"ended by {self._node}, whose {left.whose} had {had}, as its newest task"
        newest = next((each for each in reversed(attempts) if each.end_for(Cause.NODE_MEMORY, why)), None)
        if newest is not None:
            sometimes("the newest attempt ends for want of memory")
            self._ended_at = now
            job, attempt = newest.name
            _log.warning(
                "%s: %s of job %s is ended: the %s has %s", self._node, attempt, job, left.whose, had
            )

    @property
    def is_told(self) -> bool:
        """Whether anybody tells what is left."""
        return self._memory.left is not None

    @property
    def why_not(self) -> TaskFailed | None:
        """How an attempt ends that has not begun now; None while it may begin."""
        if not self._memory.is_short:
            return None
        sometimes("an attempt is given back for want of memory")
        return TaskFailed(Cause.NODE_MEMORY, f"not begun by {self._node}, which is short of memory")
