"""Asks workers what they run, in a form that they know.

Those of earlier releases refuse a poll that says more than they know, in one line: they are polled in an
older form until they have a new start or do not answer.  See: docs/formats/worker_messages.md.
"""

from __future__ import annotations

from typing import Final

from ringmill.cluster.errors import ProtocolMismatch
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.messages.worker_messages import TASK_POLL, Poll, PollAnswer
from ringmill.node.jobs.surroundings import Surroundings

__all__ = ["WorkerPolls"]

_TIMEOUT_S: Final = 2.0
_OLDEST: Final = 3


class WorkerPolls:
    """The polls of one job's coordinator."""

    def __init__(self, world: Surroundings) -> None:
        self._ask = world.ask
        self._forms: dict[NodeId, int] = {}  # of workers that do not know the newest, 0

    async def poll(self, node: NodeId, job: str, term: int) -> PollAnswer:
        """What a worker answers.  Raises RingmillError, also for an answer that is none."""
        for form in range(self._forms.get(node, 0), _OLDEST):
            try:
                poll = Poll(job, term, asks_machine=True, reads_heavy_keys=form < 2, asks_why=form == 0)
                return await self._answered(node, poll)
            except ProtocolMismatch:
                self._forms[node] = form + 1
        return await self._answered(node, Poll(job, term))

    def forget(self, node: NodeId) -> None:
        """It may run other code the next time that it answers."""
        self._forms.pop(node, None)

    async def _answered(self, node: NodeId, poll: Poll) -> PollAnswer:
        return PollAnswer.decode(await self._ask(node, TASK_POLL, poll.encode(), _TIMEOUT_S))
