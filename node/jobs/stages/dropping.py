"""Lets all workers drop a job: what they hold of it, and what they run for it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.messages.worker_messages import TASK_CANCEL, Cancel
from ringmill.node.jobs.surroundings import Surroundings

__all__ = ["drop_everywhere"]

_PATIENCE_S: Final = 3.0
_CALL_TIMEOUT_S: Final = 5.0


async def drop_everywhere(world: Surroundings, job: str, term: int) -> None:
    """Tell all members that seem up, and wait for at most 3 s; others drop the job by themselves."""
    body = Cancel(job, term).encode()

    async def drop(node: NodeId) -> None:
        with contextlib.suppress(RingmillError):
            await world.ask(node, TASK_CANCEL, body, _CALL_TIMEOUT_S)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            await gather_all(drop(node) for node in world.members_up())
