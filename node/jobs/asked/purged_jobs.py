"""What nodes still tell of a job from memory is dropped when a user has its history removed.

The list of jobs and the journal are the coordinator's to change (node/jobs/tenure.py).  Beside these each
node that has coordinated the job keeps its last state and what its attempts have printed, until it stops.

Rule J29: docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgpack

from ringmill.cluster.consensus.forgotten_journals import place_of
from ringmill.cluster.errors import NotFound, RingmillError
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.well_formed import text, well_formed
from ringmill.cluster.ports import Handler, Incoming
from ringmill.node.jobs.job_driver import JobDriver
from ringmill.node.jobs.surroundings import Surroundings

__all__ = ["JOB_PURGED", "PurgedJobs"]

JOB_PURGED: Final = "job.purged"
_TIMEOUT_S: Final = 1.0
_ANY: Final = ""  # instead of a journal: no journal of the job is in the list
_DROPPED: Final = b"\x01"


class PurgedJobs:
    """`jobs` are those that this node can tell of."""

    def __init__(self, world: Surroundings, jobs: dict[str, JobDriver]) -> None:
        self._world = world
        self._jobs = jobs

    def handlers(self) -> Mapping[str, Handler]:
        return {JOB_PURGED: self._on_purged}

    async def tell(self, job: str, journal: str) -> list[NodeId]:
        """Have every member drop a job; returns those that did not answer, and may tell of it until they
        hear of it or stop."""
        return (await self._told(job, journal))[0]

    async def tell_again(self, job: str) -> list[NodeId]:
        """As `tell`, of a job that is in no list: it was removed by a purge of which not all have heard.

        Raises NotFound if nobody has it.
        """
        silent, have_dropped = await self._told(job, _ANY)
        if not have_dropped:
            raise NotFound(f"no job {job!r}", hint="see `ringmill job list`")
        return silent

    async def _told(self, job: str, journal: str) -> tuple[list[NodeId], bool]:
        """The members that did not answer, and whether one of the others had the job."""
        nodes = self._world.members()
        body = msgpack.packb([job, journal])
        answers = await gather_all(self._has_dropped(node, body) for node in nodes)
        silent = [node for node, answer in zip(nodes, answers, strict=True) if answer is None]
        return silent, any(answers)

    async def _has_dropped(self, node: NodeId, body: bytes) -> bool | None:
        """Whether it had the job; None if it does not answer."""
        if not self._world.liveness.is_up(node):
            return None
        try:
            return bool(await self._world.ask(node, JOB_PURGED, body, _TIMEOUT_S))
        except RingmillError:
            return None

    def _on_purged(self, incoming: Incoming) -> bytes:
        with well_formed("a purged job"):
            job, journal = map(text, msgpack.unpackb(incoming.body))
        driver = self._jobs.get(job)
        if driver is None or not driver.is_over or not _is_covered(driver.journal.name, journal):
            return b""
        del self._jobs[job]
        return _DROPPED


def _is_covered(held: str, purged: str) -> bool:
    """Whether a journal is the purged one, or of the same job before that."""
    if purged in (_ANY, held):
        return True
    before, last = (place_of(each.encode(errors="surrogatepass")) for each in (held, purged))
    return before is not None and last is not None and before < last
