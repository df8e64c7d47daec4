"""Lets all workers drop a job, what they hold of it and what they run for it, and removes what it leaves."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.output_commit import remove_every_staging
from ringmill.cluster.mapreduce.messages.worker_messages import TASK_CANCEL, Cancel
from ringmill.node.jobs.keyspaces.kept_snapshot import snapshot_name
from ringmill.node.jobs.surroundings import Surroundings

__all__ = ["clean_up_after", "drop_everywhere"]

_PATIENCE_S: Final = 3.0
_CALL_TIMEOUT_S: Final = 5.0
_REMOVAL_TIMEOUT_S: Final = 30.0  # a job is over once it has ended, however its output's disk hangs


async def drop_everywhere(world: Surroundings, job: str, term: int) -> None:
    """Tell all members that seem up, and wait for at most 3 s; others drop the job by themselves."""
    body = Cancel(job, term).encode()

    async def drop(node: NodeId) -> None:
        with contextlib.suppress(RingmillError):
            await world.ask(node, TASK_CANCEL, body, _CALL_TIMEOUT_S)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            await gather_all(drop(node) for node in world.members_up())


async def clean_up_after(world: Surroundings, spec: JobSpec, term: int) -> None:
    """Let all workers drop a job that is over, release its snapshot, and delete its staging folders."""
    await drop_everywhere(world, spec.job, term)
    if name := snapshot_name(spec):
        await world.keyspaces.release_snapshot(name)
    with contextlib.suppress(OSError):  # hidden leftovers beside the output; the job's result stands
        async with asyncio.timeout(_REMOVAL_TIMEOUT_S):
            await world.files.off_loop(remove_every_staging, world.files, spec, term)
